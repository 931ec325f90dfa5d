/**
 * What operators ask for: plans of moves, and their documents. Any node can do it; the writers of the sets carry it out.
 *
 * A move is one slot: while it is frozen nobody waits but for it, and what has been moved is served there at once. Slots
 * that are on the move already are left alone.
 *
 * A set that drains gets no slots, unless somebody asks for just that: then it drains no more. A move is made only while
 * the documents of both of its sets are as they were when it was planned, so that it has both (retired-set.ts).
 */
import {
  hasAll,
  rangesOfSlots,
  removeSlots,
  type SlotRange,
  slotsOf,
} from "../../base/slot-ranges.ts";
import type { Coordinator, Operation } from "../coordination/coordinator.ts";
import {
  type ReplicaSetDocument,
  replicaSetDocument,
  type SlotMoveDocument,
  slotMoveDocument,
} from "../coordination/documents.ts";
import { idsOf, MOVES_PATH, movePath, SETS_PATH, setPath } from "../coordination/paths.ts";
import { isUndecided } from "../resharding/move-document.ts";
import { type PlannedMove, planMove, planShares } from "../resharding/planner.ts";
import type { KnownDocument } from "./document-folder.ts";
import { retireSet } from "./retired-set.ts";

/** Documents that are written at one time. */
const CREATIONS_MAX = 64;
/** Slots that change owner meanwhile change the documents of their sets. */
const TRIES_MAX = 32;

/** What a request has come to: the moves, or why there are none. */
export type MoveReply = { readonly moves: readonly PlannedMove[] } | { readonly problem: string };

export interface MoveRequestsOptions {
  readonly coordinator: Coordinator;
  /** 40 hexadecimal digits that no move had. */
  newId(): string;
  /** 1 if it is not given. */
  readonly slotsPerMove?: number | undefined;
}

interface Seen {
  readonly sets: readonly KnownSet[];
  readonly moves: readonly KnownDocument<SlotMoveDocument>[];
}

type KnownSet = KnownDocument<ReplicaSetDocument>;

const UNREACHABLE = "the coordinator cannot be reached now";
const CONTENDED = "the replica sets' documents change all the time: try again";
const LAST_SET = "it is the last replica set that is not draining: nobody could have its slots";

export class MoveRequests {
  readonly #coordinator: Coordinator;
  readonly #newId: () => string;
  readonly #slotsPerMove: number;

  constructor(options: MoveRequestsOptions) {
    this.#coordinator = options.coordinator;
    this.#slotsPerMove = options.slotsPerMove ?? 1;
    this.#newId = () => options.newId();
  }

  /** Slots go to one set. */
  async move(slots: readonly SlotRange[], setId: string, isDry: boolean): Promise<MoveReply> {
    return await this.#request([setId], isDry ? [] : [setId], async (seen) => {
      const sets = seen.sets.map(({ document }) => document);
      return await this.#carryOut(seen, planMove(sets, slots, setId), isDry);
    });
  }

  /** Every set gets its share; weights are 1 where nothing is said, 0 for sets that drain. */
  async rebalance(weights: ReadonlyMap<string, number>, isDry: boolean): Promise<MoveReply> {
    const wanted = [...weights].filter(([, weight]) => weight > 0).map(([id]) => id);
    return await this.#request([...weights.keys()], isDry ? [] : wanted, (seen) =>
      this.#share(seen, weights, isDry),
    );
  }

  /** The set gives all of its slots away, and goes when it has none: at once if that is so, whether it has a writer or not. */
  async drain(setId: string, isDry: boolean): Promise<MoveReply> {
    const reply = await this.#request([setId], [], async (seen) => {
      if (seen.sets.every(({ document: { id, isDraining } }) => id === setId || isDraining))
        return { problem: LAST_SET };
      const marked = isDry ? seen : await this.#markDraining(seen, setId);
      return marked === "again" ? marked : await this.#share(marked, new Map([[setId, 0]]), isDry);
    });
    if (!isDry && !("problem" in reply)) await retireSet(this.#coordinator, setId);
    return reply;
  }

  /** `named` must be there; `wanted` drain no more. */
  async #request(
    named: readonly string[],
    wanted: readonly string[],
    attempt: (seen: Seen) => Promise<MoveReply | "again">,
  ): Promise<MoveReply> {
    for (let tried = 0; tried < TRIES_MAX; tried++) {
      const seen = await this.#see();
      if (seen === undefined) return { problem: UNREACHABLE };
      const ids = new Set(seen.sets.map(({ document }) => document.id));
      for (const id of named) if (!ids.has(id)) return { problem: `no replica set ${id}` };
      const open = await this.#endDrains(seen, wanted);
      const reply = open === "again" ? open : await attempt(open);
      if (reply !== "again") return reply;
    }
    return { problem: CONTENDED };
  }

  async #endDrains(seen: Seen, wanted: readonly string[]): Promise<Seen | "again"> {
    let open = seen;
    for (const known of seen.sets) {
      const { id, isDraining } = known.document;
      if (!isDraining || !wanted.includes(id)) continue;
      const next = await this.#setDraining(open, known, false);
      if (next === "again") return next;
      open = next;
    }
    return open;
  }

  /** Another set is held to be one that does not drain: so at least one never does, whoever asks for what at one time. */
  async #markDraining(seen: Seen, setId: string): Promise<Seen | "again"> {
    const known = seen.sets.find(({ document }) => document.id === setId)!;
    if (known.document.isDraining) return seen;
    const other = seen.sets.find(
      ({ document: { id, isDraining } }) => id !== setId && !isDraining,
    )!;
    return await this.#setDraining(seen, known, true, [checkOf(other)]);
  }

  async #setDraining(
    seen: Seen,
    known: KnownSet,
    isDraining: boolean,
    checks: readonly Operation[] = [],
  ): Promise<Seen | "again"> {
    const { version } = known;
    const document = { ...known.document, isDraining };
    const path = setPath(document.id);
    const data = replicaSetDocument.encode(document);
    const outcome = await this.#coordinator.multi([
      { kind: "write", path, version, data },
      ...checks,
    ]);
    if (outcome.kind !== "ok") return "again";
    const sets = seen.sets.map((each) =>
      each === known ? { document, version: version + 1 } : each,
    );
    return { ...seen, sets };
  }

  async #share(
    seen: Seen,
    weights: ReadonlyMap<string, number>,
    isDry: boolean,
  ): Promise<MoveReply> {
    const busy = new Map(slotsInMoves(seen.moves));
    // What is on the move is where it goes. It comes first: shares are given away from the end, and it cannot be.
    const planned = planShares(
      seen.sets.map(({ document: { id, slots, isDraining } }) => ({
        ...{ id, weight: weights.get(id) ?? (isDraining ? 0 : 1) },
        slots: [
          ...[...busy].filter(([, destination]) => destination === id).map(([slot]) => slot),
          ...slotsOf(slots).filter((slot) => !busy.has(slot)),
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

  /** Moves that have not been decided end; how many. All of them: then no set drains any more, either. */
  async abort(id: string | undefined): Promise<number | undefined> {
    if (id === undefined && !(await this.#endAllDrains())) return undefined;
    const seen = await this.#see();
    if (seen === undefined) return undefined;
    let count = 0;
    for (const { document, version } of seen.moves) {
      if (!isUndecided(document) || (id !== undefined && document.id !== id)) continue;
      const data = slotMoveDocument.encode({ ...document, state: "ABORTED" });
      const outcome = await this.#coordinator.write(movePath(document.id), data, version);
      if (outcome.kind === "ok") count++;
    }
    return count;
  }

  async #endAllDrains(): Promise<boolean> {
    for (let tried = 0; tried < TRIES_MAX; tried++) {
      const seen = await this.#see();
      if (seen === undefined) return false;
      const all = seen.sets.map(({ document }) => document.id);
      if ((await this.#endDrains(seen, all)) !== "again") return true;
    }
    return false;
  }

  async #carryOut(seen: Seen, wanted: readonly PlannedMove[], isDry: boolean): Promise<MoveReply> {
    const busy = slotsInMoves(seen.moves).map(([slot]) => single(slot));
    const planned = wanted
      .map((move) => ({ ...move, slots: removeSlots(move.slots, busy) }))
      .filter(({ slots }) => slots.length > 0);
    if (isDry) return { moves: planned };
    const versions = new Map(seen.sets.map(({ document, version }) => [document.id, version]));
    const documents = planned.flatMap(({ source, destination, slots }) =>
      this.#parts(slotsOf(slots)).map(
        (part): SlotMoveDocument => ({
          ...{ format: 1, id: this.#newId(), source, destination, slots: part },
          ...{ state: "MIGRATING", sourceVersion: versions.get(source)! },
          destinationVersion: versions.get(destination)!,
        }),
      ),
    );
    for (let at = 0; at < documents.length; at += CREATIONS_MAX) {
      const problem = await this.#create(documents.slice(at, at + CREATIONS_MAX));
      if (problem !== undefined) return { problem: `${at} moves have begun, and then: ${problem}` };
    }
    return { moves: planned };
  }

  /** The slots of one move each. */
  #parts(slots: readonly number[]): SlotRange[][] {
    const count = Math.ceil(slots.length / this.#slotsPerMove);
    return Array.from({ length: count }, (_, at) => {
      const first = at * this.#slotsPerMove;
      return rangesOfSlots(slots.slice(first, first + this.#slotsPerMove));
    });
  }

  /** Undefined: all moves that can be made have been. Those are left out whose sets are not as they were planned for. */
  async #create(documents: readonly SlotMoveDocument[]): Promise<string | undefined> {
    let moves = documents;
    for (let tried = 0; moves.length > 0 && tried < TRIES_MAX; tried++) {
      const outcome = await this.#coordinator.multi([
        ...checksOf(moves),
        ...moves.map((document) => ({
          ...({ kind: "create", path: movePath(document.id), lifetime: "durable" } as const),
          data: slotMoveDocument.encode(document),
        })),
      ]);
      if (outcome.kind === "ok") return undefined;
      if (outcome.kind !== "conflict") return UNREACHABLE;
      const sets = await this.#readAll(SETS_PATH, setPath, replicaSetDocument);
      if (sets === undefined) return UNREACHABLE;
      moves = stillPossible(moves, sets);
    }
    return moves.length === 0 ? undefined : CONTENDED;
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
    const listed = await this.#coordinator.list(folder, { fresh: true });
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
    .filter(({ document }) => isUndecided(document))
    .flatMap(({ document: { slots, destination } }) =>
      slotsOf(slots).map((slot): [number, string] => [slot, destination]),
    );
}

function checkOf({ document, version }: KnownSet): Operation {
  return { kind: "check", path: setPath(document.id), version };
}

/** That the sets of these moves are as they were seen. */
function checksOf(moves: readonly SlotMoveDocument[]): Operation[] {
  const versions = new Map<string, number>();
  for (const { source, destination, sourceVersion, destinationVersion } of moves) {
    versions.set(source, sourceVersion);
    versions.set(destination, destinationVersion);
  }
  return [...versions].map(([id, version]) => ({ kind: "check", path: setPath(id), version }));
}

/** The moves whose source has the slots yet, and whose destination takes any. */
function stillPossible(
  moves: readonly SlotMoveDocument[],
  sets: readonly KnownSet[],
): SlotMoveDocument[] {
  const byId = new Map(sets.map((known) => [known.document.id, known]));
  return moves.flatMap((move) => {
    const source = byId.get(move.source);
    const destination = byId.get(move.destination);
    if (source === undefined || !hasAll(source.document.slots, move.slots)) return [];
    if (destination === undefined || destination.document.isDraining) return [];
    const versions = {
      sourceVersion: source.version,
      destinationVersion: destination.version,
    };
    return [{ ...move, ...versions }];
  });
}

function single(slot: number): SlotRange {
  return { start: slot, end: slot };
}
