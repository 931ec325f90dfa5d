/**
 * The slots that are on the move, as this replica set's log knows them: one SLOT_MOVES record holds all of them, and each
 * change writes it anew. So whoever becomes the writer goes on from where the log ends.
 *
 *     frozen     this set gives the slot away: it still has the keys, and nobody reads or writes them
 *     importing  this set gets the slot: its keys are being written here, and nobody sees them yet
 *     left       this set has given the slot away, and whoever still takes it for the owner is wrong
 *
 * A slot that is in none of these is served by whoever owns it. Moves leave the record when they are over, and a slot that
 * comes back is no longer one that has left.
 *
 * The record's value is JSON: a list of SlotMove.
 */
import { z } from "zod";
import { assert } from "../base/assert.ts";
import { chainChecksum } from "../base/checksum.ts";
import { CorruptionError } from "../base/errors.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import { hasSlot, rangesWhere } from "../base/slot-ranges.ts";

const count = z.int().min(0);
const slot = count.max(SLOT_COUNT - 1);
const ranges = z
  .array(z.strictObject({ start: slot, end: slot }))
  .min(1)
  .readonly();

/** Where the source goes on: in its keys by position, or in its log behind a frame and some records of the next one. */
const resumePoint = z.discriminatedUnion("phase", [
  z.strictObject({ phase: z.literal("keys"), slot, cursor: count, index: count }),
  z.strictObject({ phase: z.literal("log"), index: count, skip: count }),
]);

const frozen = z.strictObject({
  kind: z.literal("frozen"),
  id: z.string(),
  /** Both ends included, as in documents. */
  slots: ranges,
});

const importing = z.strictObject({
  kind: z.literal("importing"),
  id: z.string(),
  slots: ranges,
  /** Pieces that have been written here, and pieceChain() of all of them in order. */
  pieces: count,
  chain: z.string(),
  /** Undefined before the first piece. */
  resume: resumePoint.optional(),
  /** Of the source, when everything up to its freeze is here: the log's clock must not be less when the slot opens. */
  sourceClockMs: count.optional(),
  /** Versions of chunked values that are not whole yet: what they were at the source, what they are here. */
  versions: z.array(z.tuple([count, count])),
});

const left = z.strictObject({ kind: z.literal("left"), id: z.literal("left"), slots: ranges });

const slotMoves = z.array(z.discriminatedUnion("kind", [frozen, importing, left]));

export type ResumePoint = Readonly<z.infer<typeof resumePoint>>;
export type FrozenSlots = Readonly<z.infer<typeof frozen>>;
export type ImportingSlots = Readonly<z.infer<typeof importing>>;
export type SlotMove = FrozenSlots | ImportingSlots | Readonly<z.infer<typeof left>>;

const NOT_HELD = 0;
const FROZEN = 1;
const IMPORTING = 2;
const LEFT = 3;
const KINDS = { frozen: FROZEN, importing: IMPORTING, left: LEFT };

export class SlotMoves {
  #moves: readonly SlotMove[] = [];
  readonly #held = new Uint8Array(SLOT_COUNT);
  #waiters: (() => void)[] = [];

  get all(): readonly SlotMove[] {
    return this.#moves;
  }

  /** Nothing moves. Hot. */
  get isIdle(): boolean {
    return this.#moves.length === 0;
  }

  /** Hot. */
  isImporting(slot: number): boolean {
    return this.#held[slot] === IMPORTING;
  }

  /** Whether the slot is being given away, or is on its way here. */
  isMoving(slot: number): boolean {
    return this.#held[slot] === FROZEN || this.#held[slot] === IMPORTING;
  }

  /** Whether nobody may read or write the slot's keys here now. Hot. */
  isHeld(slot: number): boolean {
    return this.#held[slot] !== NOT_HELD;
  }

  get hasFrozen(): boolean {
    return this.#moves.some(({ kind }) => kind === "frozen");
  }

  frozen(id: string): FrozenSlots | undefined {
    const move = this.#find(id);
    return move?.kind === "frozen" ? move : undefined;
  }

  importing(id: string): ImportingSlots | undefined {
    const move = this.#find(id);
    return move?.kind === "importing" ? move : undefined;
  }

  /** Maximal runs of slots [start, end) that are not being imported. */
  visibleRuns(): { readonly start: number; readonly end: number }[] {
    const visible = rangesWhere((slot) => !this.isImporting(slot));
    return visible.map(({ start, end }) => ({ start, end: end + 1 }));
  }

  /** Resolves when the state has changed, or letGo() was called. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  letGo(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }

  /** The list with `move` in place of the one with its id, or behind the others. */
  with(move: SlotMove): SlotMove[] {
    return [...this.without(move.id), move];
  }

  without(id: string): SlotMove[] {
    return this.#moves.filter((other) => other.id !== id);
  }

  /** The list without the move, whose slots have left. */
  withLeft(id: string): SlotMove[] {
    const slots = this.#find(id)?.slots ?? [];
    return this.#leave((slot) => this.#held[slot] === LEFT || hasSlot(slots, slot), id);
  }

  /** The list with a move of slots that come, whether or not they had left. */
  withComing(move: ImportingSlots): SlotMove[] {
    const isLeft = (slot: number) => this.#held[slot] === LEFT && !hasSlot(move.slots, slot);
    return [...this.#leave(isLeft, move.id), move];
  }

  #leave(isLeft: (slot: number) => boolean, id: string): SlotMove[] {
    const others = this.#moves.filter((other) => other.id !== id && other.kind !== "left");
    const ranges = rangesWhere(isLeft);
    return ranges.length === 0 ? others : [...others, { kind: "left", id: "left", slots: ranges }];
  }

  /** What the log says now. Returns what takes it back. */
  set(moves: readonly SlotMove[]): () => void {
    const before = this.#moves;
    this.#install(moves);
    return () => this.#install(before);
  }

  #install(moves: readonly SlotMove[]): void {
    this.#moves = moves;
    this.#held.fill(NOT_HELD);
    for (const { kind, slots } of moves) {
      const state = KINDS[kind];
      for (const { start, end } of slots) {
        for (let slot = start; slot <= end; slot++) {
          assert(this.#held[slot] === NOT_HELD, "a slot in two moves");
          this.#held[slot] = state;
        }
      }
    }
    this.letGo();
  }

  #find(id: string): SlotMove | undefined {
    return this.#moves.find((move) => move.id === id);
  }
}

/** Before the first piece. */
export const NO_CHAIN = "0";

/**
 * Checksum over all pieces up to this one and where each of them led to. Fields of a point that was decoded may be in
 * another order.
 */
export function pieceChain(before: string, records: Uint8Array, resume: ResumePoint): string {
  const point = JSON.stringify(resume, ["phase", "slot", "cursor", "index", "skip"]);
  return chainChecksum(chainChecksum(before, records), Buffer.from(point));
}

export function encodeSlotMoves(moves: readonly SlotMove[]): Buffer {
  return Buffer.from(JSON.stringify(moves));
}

/** Throws CorruptionError; `path` is for its message. */
export function decodeSlotMoves(bytes: Uint8Array, path: string): SlotMove[] {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString());
  } catch (cause) {
    throw new CorruptionError("the record of moving slots is not JSON", { path, cause });
  }
  const result = slotMoves.safeParse(json);
  if (result.success) return result.data;
  throw new CorruptionError(`the record of moving slots: ${z.prettifyError(result.error)}`, {
    path,
  });
}
