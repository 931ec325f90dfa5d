/**
 * Which sequences are hidden, per slot: the highest range deletion over each slot decides.
 */
import { SLOT_COUNT } from "../base/slot.ts";
import { overlapsSlots, type RangeDeletion, type TableMeta } from "./version-edit.ts";

/** Entry s: records of slot s with a lower sequence are hidden. 0 where no range deletion is. */
export function hiddenBelow(deletions: readonly RangeDeletion[]): Float64Array {
  const below = new Float64Array(SLOT_COUNT);
  for (const { sequence, startSlot, endSlot } of deletions) {
    for (let slot = startSlot; slot < endSlot; slot++) {
      if (below[slot]! < sequence) below[slot] = sequence;
    }
  }
  return below;
}

/** Whether a range deletion may hide records of a table. */
export function mayHide(deletion: RangeDeletion, table: TableMeta): boolean {
  if (table.cleanSequence >= deletion.sequence) return false;
  // A sequence of 0 stands for one older than any deletion that came later, and never has a slot of an earlier one.
  if (table.minSequence > deletion.sequence) return false;
  return overlapsSlots(table, deletion.startSlot, deletion.endSlot);
}

/** Whether a range deletion hides a table as a whole. */
export function hidesAll(deletion: RangeDeletion, table: TableMeta): boolean {
  return (
    table.maxSequence < deletion.sequence &&
    table.cleanSequence < deletion.sequence &&
    table.minPosition >= deletion.startSlot * 2 ** 32 &&
    table.maxPosition < deletion.endSlot * 2 ** 32
  );
}

/**
 * The sequence up to which the output of a merge is clean (TableMeta) when it drops what `committed` (ascending)
 * hide; a deletion that is not committed yet may lie below some of them.
 */
export function cleanAfterMerge(
  committed: readonly RangeDeletion[],
  pending: Iterable<number>,
  inputs: readonly TableMeta[],
): number {
  let bound = Number.POSITIVE_INFINITY;
  for (const sequence of pending) bound = Math.min(bound, sequence);
  const applied = committed.findLast(({ sequence }) => sequence < bound)?.sequence ?? 0;
  let before = Number.POSITIVE_INFINITY;
  for (const table of inputs) before = Math.min(before, table.cleanSequence);
  return Math.max(Number.isFinite(before) ? before : 0, applied);
}
