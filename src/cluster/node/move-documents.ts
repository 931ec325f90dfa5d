/**
 * The documents of moves as the writers of both sides read and change them. A move is read freshly: a decision that was
 * answered to anybody is seen. Sets are asked for behind it, and reads of one coordinator never go back: so a move that is
 * gone has left the sets as they are to stay.
 *
 *     MIGRATING ──► FREEZING ──► FLIPPED      one multi, with both sets' documents
 *         └────────────┴───────► ABORTED
 */
import { addSlots, hasAll, hasNone, removeSlots } from "../../base/slot-ranges.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import {
  type ReplicaSetDocument,
  replicaSetDocument,
  type SlotMoveDocument,
  type SlotRange,
  slotMoveDocument,
} from "../coordination/documents.ts";
import { movePath, setPath } from "../coordination/paths.ts";
import { isUndecided, type MoveView } from "../resharding/move-document.ts";
import type { KnownDocument } from "./document-folder.ts";

/** Other sets' moves, and changes of members, change the same documents. */
const FLIP_ATTEMPTS_MAX = 8;

export interface SeenMove {
  readonly view: MoveView;
  readonly move: KnownDocument<SlotMoveDocument> | undefined;
  /** Of this side, and of the one that has got its slots. */
  readonly sets: readonly KnownDocument<ReplicaSetDocument>[];
}

export class MoveDocuments {
  readonly #coordinator: Coordinator;
  readonly #setId: string;
  #flips: Promise<unknown> = Promise.resolve();

  constructor(coordinator: Coordinator, setId: string) {
    this.#coordinator = coordinator;
    this.#setId = setId;
  }

  /** What the documents say; `slots` are the move's, for when its document is gone. Undefined: not to be found out now. */
  async see(id: string, slots: readonly SlotRange[]): Promise<SeenMove | undefined> {
    const [move, own] = await Promise.all([this.#readMove(id), this.#readSet(this.#setId)]);
    if (move === undefined || own === undefined) return undefined;
    const document = move?.document;
    const moved = document?.slots ?? slots;
    const owns = moved.length > 0 && hasAll(own.document.slots, moved);
    const sets = [own];
    if (document?.state === "FLIPPED" && document.source === this.#setId) {
      // Nobody would have the slots in a picture with this side's document alone.
      const other = await this.#readSet(document.destination);
      if (other === undefined) return undefined;
      sets.push(other);
    }
    return {
      view: { state: document?.state ?? "GONE", owns },
      move: move ?? undefined,
      sets,
    };
  }

  /** MIGRATING becomes FREEZING; whether it is so now. */
  async announce(id: string): Promise<boolean> {
    const move = await this.#readMove(id);
    if (move?.document.state === "FREEZING") return true;
    if (move?.document.state !== "MIGRATING") return false;
    return await this.#setState(move, "FREEZING");
  }

  /** Whether the move is known to be ABORTED now. */
  async abort(id: string): Promise<boolean> {
    const move = await this.#readMove(id);
    const state = move?.document.state;
    if (state === "ABORTED") return true;
    if (!isUndecided(move?.document)) return false;
    return await this.#setState(move!, "ABORTED");
  }

  /**
   * Makes the destination the owner, if everything is as it must be. When that is known to be done, the new documents are
   * what is returned; else it is for see() to find out. One at a time, since all moves of a set change its document.
   */
  flip(id: string): Promise<SeenMove | undefined> {
    const flipped = this.#flips.then(async () => {
      for (let attempt = 0; attempt < FLIP_ATTEMPTS_MAX; attempt++) {
        const seen = await this.#flipOnce(id);
        if (seen !== "conflict") return seen;
      }
      return undefined;
    });
    this.#flips = flipped.catch(() => undefined);
    return flipped;
  }

  async #flipOnce(id: string): Promise<SeenMove | "conflict" | undefined> {
    const move = await this.#readMove(id);
    if (move?.document.state !== "FREEZING") return undefined;
    const { document } = move;
    const [source, destination] = await Promise.all([
      this.#readSet(document.source),
      this.#readSet(document.destination),
    ]);
    if (source === undefined || destination === undefined) return undefined;
    const { slots } = document;
    const fits = hasAll(source.document.slots, slots) && hasNone(destination.document.slots, slots);
    if (!fits) {
      await this.abort(id);
      return undefined;
    }
    const flipped = next<SlotMoveDocument>(move, {
      ...{ ...document, state: "FLIPPED" },
      ...{ sourceVersion: source.version, destinationVersion: destination.version },
    });
    const without = removeSlots(source.document.slots, slots);
    const withThem = addSlots(destination.document.slots, slots);
    const sets = [
      next(source, { ...source.document, slots: without }),
      next(destination, { ...destination.document, slots: withThem }),
    ];
    const outcome = await this.#coordinator.multi([
      write(movePath(id), slotMoveDocument.encode(flipped.document), move.version),
      ...sets.map((set) =>
        write(setPath(set.document.id), replicaSetDocument.encode(set.document), set.version - 1),
      ),
    ]);
    if (outcome.kind === "conflict") return "conflict";
    if (outcome.kind !== "ok") return undefined;
    return {
      view: { state: "FLIPPED", owns: document.destination === this.#setId },
      move: flipped,
      sets,
    };
  }

  /** Whether the document is known to be gone. REQUIRES: the move is over at the source; if it was FLIPPED, on both sides. */
  async remove(id: string): Promise<boolean> {
    const move = await this.#readMove(id);
    if (move === null) return true;
    const isDecided = move?.document.state === "FLIPPED" || move?.document.state === "ABORTED";
    if (!isDecided) return false;
    const outcome = await this.#coordinator.remove(movePath(id), move!.version);
    return outcome.kind === "ok";
  }

  async #setState(
    move: KnownDocument<SlotMoveDocument>,
    state: SlotMoveDocument["state"],
  ): Promise<boolean> {
    const data = slotMoveDocument.encode({ ...move.document, state });
    const path = movePath(move.document.id);
    const outcome = await this.#coordinator.write(path, data, move.version);
    return outcome.kind === "ok";
  }

  /** Null: there is none. Undefined: nobody can say now. */
  async #readMove(id: string): Promise<KnownDocument<SlotMoveDocument> | null | undefined> {
    const path = movePath(id);
    const read = await this.#coordinator.read(path, { fresh: true });
    if (read.kind === "missing") return null;
    if (read.kind !== "ok") return undefined;
    return { document: slotMoveDocument.parse(path, read.data), version: read.version };
  }

  async #readSet(id: string): Promise<KnownDocument<ReplicaSetDocument> | undefined> {
    const path = setPath(id);
    const read = await this.#coordinator.read(path);
    if (read.kind !== "ok") return undefined;
    return { document: replicaSetDocument.parse(path, read.data), version: read.version };
  }
}

function next<T>(known: KnownDocument<unknown>, document: T): KnownDocument<T> {
  return { document, version: known.version + 1 };
}

function write(path: string, data: Uint8Array, version: number) {
  return { kind: "write", path, data, version } as const;
}
