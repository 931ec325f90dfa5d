/**
 * What operators ask for: plans of moves, and their documents. Any node can do it; the writers of the sets carry it out.
 *
 * A move is one slot: while it is frozen nobody waits but for it, and what has been moved is served there at once. Slots
 * that are on the move already are left alone.
 */
import type { Coordinator } from "../coordination/coordinator.ts";
import {
  type ReplicaSetDocument,
  replicaSetDocument,
  type SlotMoveDocument,
  type SlotRange,
  slotMoveDocument,
} from "../coordination/documents.ts";
import { idsOf, MOVES_PATH, movePath, SETS_PATH, setPath } from "../coordination/paths.ts";
import { type PlannedMove, planMove, planShares } from "../resharding/planner.ts";
import { removeSlots, slotsOf } from "../resharding/slot-ranges.ts";
import type { KnownDocument } from "./document-folder.ts";

/** Documents that are written at one time. */
const CREATIONS_MAX = 64;

/** What a request has come to: the moves, or why there are none. */
export type MoveReply = { readonly moves: readonly PlannedMove[] } | { readonly problem: string };

export interface MoveRequestsOptions {
  readonly coordinator: Coordinator;
  /** 40 hexadecimal digits that no move had. */
  newId(): string;
}

interface Seen {
  readonly sets: readonly KnownDocument<ReplicaSetDocument>[];
  readonly moves: readonly KnownDocument<SlotMoveDocument>[];
}

const UNREACHABLE = "the coordinator cannot be reached now";

export class MoveRequests {
  readonly #coordinator: Coordinator;
  readonly #newId: () => string;

  constructor(options: MoveRequestsOptions) {
    this.#coordinator = options.coordinator;
    this.#newId = () => options.newId();
  }

  /** Slots go to one set. */
  async move(slots: readonly SlotRange[], setId: string, isDry: boolean): Promise<MoveReply> {
    const seen = await this.#see();
    if (seen === undefined) return { problem: UNREACHABLE };
    const sets = seen.sets.map(({ document }) => document);
    if (!sets.some(({ id }) => id === setId)) return { problem: `no replica set ${setId}` };
    return await this.#carryOut(seen, planMove(sets, slots, setId), isDry);
  }

  /** Every set gets its share; weights are 1 where nothing is said. */
  async rebalance(weights: ReadonlyMap<string, number>, isDry: boolean): Promise<MoveReply> {
    const seen = await this.#see();
    if (seen === undefined) return { problem: UNREACHABLE };
    const ids = new Set(seen.sets.map(({ document }) => document.id));
    for (const id of weights.keys()) if (!ids.has(id)) return { problem: `no replica set ${id}` };
    const busy = new Map(slotsInMoves(seen.moves));
    // What is on the move is where it goes.
    const planned = planShares(
      seen.sets.map(({ document: { id, slots } }) => ({
        ...{ id, weight: weights.get(id) ?? 1 },
        slots: [
          ...slotsOf(slots).filter((slot) => !busy.has(slot)),
          ...[...busy].filter(([, destination]) => destination === id).map(([slot]) => slot),
        ].map(single),
      })),
    );
    if (planned === undefined) return { problem: "every replica set has weight 0" };
    return await this.#carryOut(seen, planned, isDry);
  }

  /** Every move that has begun, or waits. */
  async list(): Promise<readonly SlotMoveDocument[] | undefined> {
    const seen = await this.#see();
    return seen?.moves.map(({ document }) => document);
  }

  /** Moves that have not been decided end; how many. */
  async abort(id: string | undefined): Promise<number | undefined> {
    const seen = await this.#see();
    if (seen === undefined) return undefined;
    let count = 0;
    for (const { document, version } of seen.moves) {
      const isOpen = document.state === "MIGRATING" || document.state === "FREEZING";
      if (!isOpen || (id !== undefined && document.id !== id)) continue;
      const data = slotMoveDocument.encode({ ...document, state: "ABORTED" });
      const outcome = await this.#coordinator.write(movePath(document.id), data, version);
      if (outcome.kind === "ok") count++;
    }
    return count;
  }

  async #carryOut(seen: Seen, wanted: readonly PlannedMove[], isDry: boolean): Promise<MoveReply> {
    const busy = slotsInMoves(seen.moves).map(([slot]) => single(slot));
    const planned = wanted
      .map((move) => ({ ...move, slots: removeSlots(move.slots, busy) }))
      .filter(({ slots }) => slots.length > 0);
    if (isDry) return { moves: planned };
    const versions = new Map(seen.sets.map(({ document, version }) => [document.id, version]));
    const documents = planned.flatMap(({ source, destination, slots }) =>
      slotsOf(slots).map(
        (slot): SlotMoveDocument => ({
          ...{ format: 1, id: this.#newId(), source, destination, slots: [single(slot)] },
          ...{ state: "MIGRATING", sourceVersion: versions.get(source)! },
          destinationVersion: versions.get(destination)!,
        }),
      ),
    );
    for (let at = 0; at < documents.length; at += CREATIONS_MAX) {
      const creations = documents.slice(at, at + CREATIONS_MAX).map((document) => ({
        ...({ kind: "create", path: movePath(document.id), lifetime: "durable" } as const),
        data: slotMoveDocument.encode(document),
      }));
      const outcome = await this.#coordinator.multi(creations);
      if (outcome.kind !== "ok")
        return { problem: `${at} moves have begun, and then: ${UNREACHABLE}` };
    }
    return { moves: planned };
  }

  async #see(): Promise<Seen | undefined> {
    const sets = await this.#readAll(SETS_PATH, setPath, replicaSetDocument);
    const moves = await this.#readAll(MOVES_PATH, movePath, slotMoveDocument);
    return sets === undefined || moves === undefined ? undefined : { sets, moves };
  }

  async #readAll<T>(
    folder: string,
    pathOf: (id: string) => string,
    codec: { parse(path: string, data: Uint8Array): T },
  ): Promise<KnownDocument<T>[] | undefined> {
    const listed = await this.#coordinator.list(folder);
    if (listed.kind !== "ok") return undefined;
    const found: KnownDocument<T>[] = [];
    for (const id of idsOf(listed.names)) {
      const path = pathOf(id);
      const read = await this.#coordinator.read(path);
      if (read.kind === "missing") continue;
      if (read.kind !== "ok") return undefined;
      found.push({ document: codec.parse(path, read.data), version: read.version });
    }
    return found;
  }
}

/** Slots that are on the move, and where to. */
function slotsInMoves(moves: Seen["moves"]): [number, string][] {
  return moves
    .filter(({ document: { state } }) => state === "MIGRATING" || state === "FREEZING")
    .flatMap(({ document: { slots, destination } }) =>
      slotsOf(slots).map((slot): [number, string] => [slot, destination]),
    );
}

function single(slot: number): SlotRange {
  return { start: slot, end: slot };
}
