/**
 * The exact number of keys, from content alone: the tables' records and the log's, merged in order and side by
 * side, so that one pass tells what the tables hold as of the last flush and what both hold together.
 */
import { SLOT_COUNT } from "../../base/slot.ts";
import type { FlushSource } from "../../lsm/flush.ts";
import type { RecordIterator } from "../../lsm/iterator.ts";
import { MergingIterator } from "../../lsm/merging-iterator.ts";
import { compareRecords, isLiveType, type RecordView } from "../../lsm/order-key.ts";
import { hiddenBelow } from "../../lsm/range-deletions.ts";
import type { RangeDeletion } from "../../lsm/version-edit.ts";
import { SortedRun } from "./sorted-run.ts";

export interface KeyCountInputs {
  /** Runs of tables, newest first. */
  readonly tables: readonly RecordIterator[];
  /** What the manifest says is deleted. */
  readonly rangeDeletions: readonly RangeDeletion[];
  /** Records that are not in tables, oldest first. */
  readonly log: readonly FlushSource[];
}

export interface CountedKeys {
  /** Per slot: live keys of the tables alone. */
  readonly tables: Float64Array;
  /** Live keys of tables and log together. */
  readonly total: number;
}

/** Sources sorted at once: what a sort needs beside them stays small. */
const SOURCES_PER_RUN = 8;

/** Passes over all records, also when nobody needs the count: that is what checks the tables. */
export function countKeys(inputs: KeyCountInputs): CountedKeys {
  const runs: SortedRun[] = [];
  for (let start = 0; start < inputs.log.length; start += SOURCES_PER_RUN) {
    runs.unshift(new SortedRun(inputs.log.slice(start, start + SOURCES_PER_RUN)));
  }
  const hidden = hiddenBelow(inputs.rangeDeletions);
  const deletions = runs.flatMap((run) => run.rangeDeletions);
  const hiddenNow = hiddenBelow([...inputs.rangeDeletions, ...deletions]);
  const tables = new MergingIterator(inputs.tables);
  const log = new MergingIterator(runs);
  const counts = new Float64Array(SLOT_COUNT);
  let total = 0;
  tables.seek(0);
  log.seek(0);
  while (tables.isValid() || log.isValid()) {
    const order = compareHeads(tables, log);
    if (order <= 0) {
      const record = tables.current;
      if (isLive(record, hidden)) {
        counts[record.slot]!++;
        if (order < 0 && record.sequence >= hiddenNow[record.slot]!) total++;
      }
    }
    if (order >= 0) {
      if (isLive(log.current, hiddenNow)) total++;
      log.next();
    }
    if (order <= 0) tables.next();
  }
  return { tables: counts, total };
}

/** Negative: the tables' record comes first; 0: both have one of the same key. */
function compareHeads(tables: RecordIterator, log: RecordIterator): number {
  if (!log.isValid()) return -1;
  if (!tables.isValid()) return 1;
  return compareRecords(tables.current, log.current);
}

function isLive(record: RecordView, hidden: Float64Array): boolean {
  return (
    record.subKeyStart === record.subKeyEnd &&
    isLiveType(record.type) &&
    record.sequence >= hidden[record.slot]!
  );
}
