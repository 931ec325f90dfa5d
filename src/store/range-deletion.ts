/**
 * A deletion of all keys, or of those of some slots, as memory sees it: everything before it is hidden, in the memtable
 * by position and in tables by sequence, and the slots' counts start again from zero.
 */
import { SLOT_COUNT } from "../base/slot.ts";
import type { Lsm } from "../lsm/lsm.ts";
import type { Memtable } from "../lsm/memtable.ts";
import type { KeyCounts } from "./key-counts.ts";

export interface RangeDeletionParts {
  readonly memtable: Memtable;
  readonly counts: KeyCounts;
  readonly lsm: Lsm;
}

export interface DeletionRecord {
  /** In its segment. */
  readonly offset: number;
  readonly sequence: number;
  readonly startSlot: number;
  /** Behind the last one. */
  readonly endSlot: number;
}

/** Applies the RANGE_DELETION record at `offset` of a segment. Returns what takes it back. */
export function applyRangeDeletion(
  parts: RangeDeletionParts,
  segmentNumber: number,
  record: DeletionRecord,
): () => void {
  const { memtable, counts, lsm } = parts;
  const { offset, sequence, startSlot, endSlot } = record;
  const position = memtable.positionOf(segmentNumber, offset);
  const isOfAll = startSlot === 0 && endSlot === SLOT_COUNT;
  const unhide = isOfAll
    ? memtable.hideBefore(position)
    : memtable.hideSlotsBefore(startSlot, endSlot, position);
  lsm.addRangeDeletion(sequence, startSlot, endSlot);
  const restoreCounts = counts.clear(startSlot, endSlot);
  return () => {
    unhide();
    lsm.removeRangeDeletion(sequence);
    restoreCounts();
  };
}
