/**
 * Exact counts of live keys, per slot and in all.
 *
 *   count(slot) = tables' count + changes known from unflushed segments + what marked records turn out to be
 *
 * A blind write of a key that memory does not know leaves a mark on its record instead of reading a table: a
 * flush, or a resolution asked for by DBSIZE, finds out whether the key existed (lsm/flush.ts).
 */
import { SLOT_COUNT } from "../base/slot.ts";
import { OFFSET_COUNT_UNKNOWN } from "../lsm/flush.ts";
import type { MemorySegment } from "../lsm/memory-segment.ts";
import type { Memtable } from "../lsm/memtable.ts";
import type { SlotMoves } from "./slot-moves.ts";

interface MarkState {
  readonly segment: MemorySegment;
  readonly unknownCounts: number;
  readonly resolvedRecords: number;
}

const NOTHING_TO_UNDO = (): void => undefined;

export class KeyCounts {
  readonly #memtable: Memtable;
  /** Live keys per slot but for unresolved marks: tables and unflushed segments together. */
  readonly #known = new Float64Array(SLOT_COUNT);
  /** Changes of the open unit, to be undone: slot << 2 | delta + 1. */
  readonly #unit: number[] = [];
  /** Segments whose records are not in tables, oldest first. */
  unflushed: () => readonly MemorySegment[] = () => [];
  /** Sum of the known counts. */
  total = 0;
  /** Grows with every deletion: a resolution that was under way is void. */
  generation = 0;

  constructor(memtable: Memtable) {
    this.#memtable = memtable;
  }

  /** Live keys of a slot, unresolved marks not counted. */
  known(slot: number): number {
    return this.#known[slot]!;
  }

  /** Sum of the known counts of slots whose keys can be seen. */
  visible(moves: SlotMoves): number {
    if (moves.isIdle) return this.total;
    let total = 0;
    for (const { start, end } of moves.visibleRuns())
      for (let slot = start; slot < end; slot++) total += this.#known[slot]!;
    return total;
  }

  /** Records whose marks are not resolved. */
  get unresolved(): number {
    let count = 0;
    for (const segment of this.unflushed()) count += segment.unknownCounts;
    return count;
  }

  /** Takes the tables' counts at start. */
  load(base: Float64Array): void {
    for (let slot = 0; slot < SLOT_COUNT; slot++) this.#settle(slot, base[slot]!);
  }

  /** Changes the count of a slot for the active segment; undoUnit() takes it back. delta: −1 or 1. Hot. */
  add(slot: number, delta: number): void {
    this.#unit.push((slot << 2) | (delta + 1));
    this.#memtable.active.knownDeltas[slot]! += delta;
    this.#settle(slot, delta);
  }

  endUnit(): void {
    if (this.#unit.length > 0) this.#unit.length = 0;
  }

  undoUnit(): void {
    this.#undoAfter(0);
  }

  /** Takes back all changes of the unit but the first `count`. */
  #undoAfter(count: number): void {
    for (let i = this.#unit.length - 1; i >= count; i--) {
      const change = this.#unit[i]!;
      const delta = (change & 3) - 1;
      this.#memtable.active.knownDeltas[change >>> 2]! -= delta;
      this.#settle(change >>> 2, -delta);
    }
    this.#unit.length = count;
  }

  /**
   * The keys of slots [startSlot, endSlot) are deleted: their counts start from zero. Marks of records that are hidden by
   * it stay, and whoever resolves them finds that they count for nothing. Returns what undoes it.
   */
  clear(startSlot: number, endSlot: number): () => void {
    const active = this.#memtable.active;
    const known = this.#known.slice(startSlot, endSlot);
    const deltas = active.knownDeltas.slice(startSlot, endSlot);
    const deleted = active.deletedSlots.slice(startSlot, endSlot);
    const total = this.total;
    const changes = this.#unit.length;
    const hadRangeDeletion = active.hasRangeDeletion;
    const undoMarks =
      startSlot === 0 && endSlot === SLOT_COUNT ? this.#forgetMarks() : NOTHING_TO_UNDO;
    for (let slot = startSlot; slot < endSlot; slot++) {
      active.knownDeltas[slot]! -= this.#known[slot]!;
      this.#settle(slot, -this.#known[slot]!);
    }
    active.hasRangeDeletion = true;
    active.deletedSlots.fill(1, startSlot, endSlot);
    this.generation++;
    return () => {
      this.#undoAfter(changes);
      active.knownDeltas.set(deltas, startSlot);
      active.deletedSlots.set(deleted, startSlot);
      active.hasRangeDeletion = hadRangeDeletion;
      this.#known.set(known, startSlot);
      this.total = total;
      undoMarks();
    };
  }

  /** Marks so far say nothing any more. Returns what undoes it. */
  #forgetMarks(): () => void {
    const marks: MarkState[] = [];
    for (const segment of this.unflushed()) {
      const { unknownCounts, resolvedRecords } = segment;
      marks.push({ segment, unknownCounts, resolvedRecords });
      segment.unknownCounts = 0;
      segment.resolvedRecords = segment.recordCount;
    }
    return () => {
      for (const mark of marks) {
        mark.segment.unknownCounts = mark.unknownCounts;
        mark.segment.resolvedRecords = mark.resolvedRecords;
      }
    };
  }

  /** The marks among a segment's records [resolvedRecords, end) have been resolved to these deltas per slot. */
  resolve(segment: MemorySegment, end: number, deltas: Float64Array): void {
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const delta = deltas[slot]!;
      if (delta === 0) continue;
      segment.knownDeltas[slot]! += delta;
      this.#settle(slot, delta);
    }
    for (let ordinal = segment.resolvedRecords; ordinal < end; ordinal++) {
      if ((segment.offsets[ordinal]! & OFFSET_COUNT_UNKNOWN) === 0) continue;
      segment.offsets[ordinal]! &= ~OFFSET_COUNT_UNKNOWN;
      segment.unknownCounts--;
    }
    segment.resolvedRecords = end;
  }

  /**
   * A flush has put segments into tables and resolved their marks: `resolved` is by how much the tables' counts grew
   * beyond what was known. A deletion in a later segment has already set the count to zero without knowing of these, so
   * it takes them back.
   */
  settleFlush(resolved: Float64Array): void {
    const withDeletions = this.unflushed().filter((segment) => segment.hasRangeDeletion);
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const delta = resolved[slot]!;
      if (delta === 0) continue;
      const deleting = withDeletions.find((segment) => segment.deletedSlots[slot] === 1);
      if (deleting === undefined) this.#settle(slot, delta);
      else deleting.knownDeltas[slot]! -= delta;
    }
  }

  #settle(slot: number, delta: number): void {
    this.#known[slot]! += delta;
    this.total += delta;
  }
}
