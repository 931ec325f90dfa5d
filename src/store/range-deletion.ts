/**
 * A deletion of all keys, as memory sees it: everything before it is hidden, in the memtable by position and in
 * tables by sequence, and every count starts again from zero.
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

/** Applies the RANGE_DELETION record at `offset` of a segment. Returns what takes it back. */
export function applyRangeDeletion(
  parts: RangeDeletionParts,
  segmentNumber: number,
  record: { readonly offset: number; readonly sequence: number },
): () => void {
  const { memtable, counts, lsm } = parts;
  const unhide = memtable.hideBefore(memtable.positionOf(segmentNumber, record.offset));
  lsm.addRangeDeletion(record.sequence, 0, SLOT_COUNT);
  const restoreCounts = counts.clear();
  return () => {
    unhide();
    lsm.removeRangeDeletion(record.sequence);
    restoreCounts();
  };
}
