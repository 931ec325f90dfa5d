/**
 * Which sequences are hidden, per slot: the highest range deletion over each slot decides. So one that a newer one
 * covers is needed no more, and goes when that one comes: however often all keys are deleted, one deletion is kept.
 */
import { SLOT_COUNT } from "../base/slot.ts";
import { overlapsSlots, type RangeDeletion, type TableMeta } from "./version-edit.ts";

/** Entry s: records of slot s with a lower sequence are hidden. 0 where no range deletion is. */
export function hiddenBelow(deletions: readonly RangeDeletion[]): Float64Array {
  const below = new Float64Array(SLOT_COUNT);
  for (const deletion of deletions) raise(below, deletion);
  return below;
}

/** Adds one to what hiddenBelow() has answered. */
export function raise(below: Float64Array, { sequence, startSlot, endSlot }: RangeDeletion): void {
  for (let slot = startSlot; slot < endSlot; slot++) {
    if (below[slot]! < sequence) below[slot] = sequence;
  }
}

/** Whether `newer` hides all that `older` does, as each does of itself. */
export function covers(newer: RangeDeletion, older: RangeDeletion): boolean {
  return (
    newer.sequence >= older.sequence &&
    newer.startSlot <= older.startSlot &&
    newer.endSlot >= older.endSlot
  );
}

/** Those of `deletions`, ascending by sequence, that none behind them covers. */
export function uncovered(deletions: readonly RangeDeletion[]): RangeDeletion[] {
  const kept: RangeDeletion[] = [];
  for (let i = deletions.length - 1; i >= 0; i--) {
    const older = deletions[i]!;
    if (!kept.some((newer) => covers(newer, older))) kept.push(older);
  }
  return kept.reverse();
}

/** How an edit adds deletions, ascending by sequence, to those of a state. */
export function deletionEdit(
  current: readonly RangeDeletion[],
  added: readonly RangeDeletion[],
): { readonly rangeDeletions: RangeDeletion[]; readonly retired: number[] } {
  const rangeDeletions = uncovered(added).filter(
    (deletion) => !current.some((other) => covers(other, deletion)),
  );
  const retired = current.filter((older) => rangeDeletions.some((newer) => covers(newer, older)));
  return { rangeDeletions, retired: retired.map(({ sequence }) => sequence) };
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
 * hide; `pending`, the oldest one that is not committed yet, may lie below some of them.
 */
export function cleanAfterMerge(
  committed: readonly RangeDeletion[],
  pending: RangeDeletion | undefined,
  inputs: readonly TableMeta[],
): number {
  const bound = pending?.sequence ?? Number.POSITIVE_INFINITY;
  const applied = committed.findLast(({ sequence }) => sequence < bound)?.sequence ?? 0;
  let before = Number.POSITIVE_INFINITY;
  for (const table of inputs) before = Math.min(before, table.cleanSequence);
  return Math.max(Number.isFinite(before) ? before : 0, applied);
}
