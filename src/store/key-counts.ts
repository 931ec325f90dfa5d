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

interface MarkState {
  readonly segment: MemorySegment;
  readonly unknownCounts: number;
  readonly resolvedRecords: number;
}

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
  /** Grows with every deletion of all keys: a resolution that was under way is void. */
  generation = 0;

  constructor(memtable: Memtable) {
    this.#memtable = memtable;
  }

  /** Live keys of a slot, unresolved marks not counted. */
  known(slot: number): number {
    return this.#known[slot]!;
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
    for (const change of this.#unit) {
      const delta = (change & 3) - 1;
      this.#memtable.active.knownDeltas[change >>> 2]! -= delta;
      this.#settle(change >>> 2, -delta);
    }
    this.#unit.length = 0;
  }

  /** All keys are deleted: counts start from zero, and marks so far say nothing any more. Returns what undoes it. */
  clear(): () => void {
    const active = this.#memtable.active;
    const deltas = active.knownDeltas.slice();
    const known = this.#known.slice();
    const total = this.total;
    const unit = this.#unit.splice(0);
    const hadRangeDeletion = active.hasRangeDeletion;
    const marks: MarkState[] = [];
    for (const segment of this.unflushed()) {
      const { unknownCounts, resolvedRecords } = segment;
      marks.push({ segment, unknownCounts, resolvedRecords });
      segment.unknownCounts = 0;
      segment.resolvedRecords = segment.recordCount;
    }
    for (let slot = 0; slot < SLOT_COUNT; slot++) active.knownDeltas[slot]! -= known[slot]!;
    this.#known.fill(0);
    this.total = 0;
    active.hasRangeDeletion = true;
    this.generation++;
    return () => {
      active.knownDeltas.set(deltas);
      active.hasRangeDeletion = hadRangeDeletion;
      this.#known.set(known);
      this.total = total;
      this.#unit.splice(0, this.#unit.length, ...unit);
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
   * beyond what was known. A deletion of all keys in a later segment has already set the count to zero without
   * knowing of these, so it takes them back.
   */
  settleFlush(resolved: Float64Array): void {
    const deleting = this.unflushed().find((segment) => segment.hasRangeDeletion);
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const delta = resolved[slot]!;
      if (delta === 0) continue;
      if (deleting === undefined) this.#settle(slot, delta);
      else deleting.knownDeltas[slot]! -= delta;
    }
  }

  #settle(slot: number, delta: number): void {
    this.#known[slot]! += delta;
    this.total += delta;
  }
}
