/**
 * Compaction: merges runs of tables into tables of one level. What it leaves out:
 *
 *   1. every version but the newest of a (key, sub-key)                           (the merge itself)
 *   2. records that a committed range deletion hides
 *   3. chunks that the key's newest record hides                                  (chunk-filter.ts)
 *   4. tombstones, where no table below the output level could hold the key
 *
 * Where 4 would apply a kept record's sequence is written as 0: nothing older can ever be compared with it. Not
 * so where a range deletion is in force, which 0 would fall under.
 *
 * An expired record stays (only a logged tombstone may remove a key, or counts would drift); it is reported.
 * Hot: less than 0.5 µs a record for the merge; see bench/micro/flush.bench.ts.
 */
import { RecordType } from "../base/record.ts";
import { ChunkFilter } from "./chunk-filter.ts";
import { ExpiredCollector } from "./expired-collector.ts";
import type { RecordIterator } from "./iterator.ts";
import { MergingIterator } from "./merging-iterator.ts";
import { isLiveType, positionOf, type RecordView } from "./order-key.ts";
import { hiddenBelow } from "./range-deletions.ts";
import { RunIterator } from "./run-iterator.ts";
import { type CompactionJob, EMPTY_RESULT, type JobSteps, type SweepJob } from "./storage-job.ts";
import type { TablePool } from "./table-pool.ts";
import type { TableReader } from "./table-reader.ts";
import { TableWriter } from "./table-writer.ts";
import type { TableMeta } from "./version-edit.ts";

/** Bytes that are read between two yields: a flush that waits starts after a few milliseconds. */
const SLICE_BYTES = 256 * 1024;
const READ_AHEAD_BYTES = 256 * 1024;
/** What a record takes beside its key and value, roughly. */
const RECORD_OVERHEAD_BYTES = 16;

export function* runCompaction(job: CompactionJob, pool: TablePool): JobSteps {
  const inputs = job.runs.flat();
  const readers = new ScanReaders(pool, job.output.directory);
  const expired = new ExpiredCollector(job.expiredMax);
  const writer = new TableWriter(pool.fileSystem, job.output, job.cleanSequence);
  let finished = false;
  try {
    const kept = yield* merge(job, readers, { writer, expired });
    const tables = writer.finish();
    finished = true;
    return {
      ...EMPTY_RESULT,
      tables,
      expired: expired.batch(),
      resumePosition: expired.resumePosition,
      bytesRead: inputs.reduce((sum, table) => sum + table.bytes, 0),
      bytesWritten: tables.reduce((sum, table) => sum + table.bytes, 0),
      droppedCount: inputs.reduce((sum, table) => sum + table.recordCount, 0) - kept,
    };
  } finally {
    if (!finished) writer.abandon();
    readers.close();
    // The inputs are about to be deleted: an open file would keep their space.
    for (const table of inputs) pool.forget(table.id);
  }
}

/** Readers for one pass over each table; the pool's may be closed between two steps of a merge. */
class ScanReaders {
  readonly #pool: TablePool;
  readonly #directory: string;
  readonly #open: TableReader[] = [];

  constructor(pool: TablePool, directory: string) {
    this.#pool = pool;
    this.#directory = directory;
  }

  scan(table: TableMeta): RecordIterator {
    const reader = this.#pool.open(this.#directory, table);
    this.#open.push(reader);
    return reader.iterator({ readAheadBytes: READ_AHEAD_BYTES, useCache: false });
  }

  close(): void {
    for (const reader of this.#open) reader.close();
  }
}

/** Returns the number of records kept. */
function* merge(
  job: CompactionJob,
  readers: ScanReaders,
  sinks: { writer: TableWriter; expired: ExpiredCollector },
): Generator<number, number, void> {
  const runs = job.runs.map((tables) => new RunIterator(tables, (table) => readers.scan(table)));
  const merged = new MergingIterator(runs);
  const hidden = hiddenBelow(job.rangeDeletions);
  const chunks = new ChunkFilter();
  const below = new RangeCursor(job.below);
  const { clockMs } = job.output;
  let kept = 0;
  let sliceBytes = 0;
  for (merged.seek(0); merged.isValid(); merged.next()) {
    const record = merged.current;
    sliceBytes += record.valueEnd - record.keyStart + RECORD_OVERHEAD_BYTES;
    if (sliceBytes >= SLICE_BYTES) {
      yield sliceBytes;
      sliceBytes = 0;
    }
    if (record.sequence < hidden[record.slot]!) continue;
    if (!chunks.keeps(record)) continue;
    const isLowest = !below.covers(record);
    if (isLowest && record.type === RecordType.TOMBSTONE) continue;
    if (record.expiry !== 0 && record.expiry <= clockMs && isLiveType(record.type)) {
      sinks.expired.add(record);
    }
    if (isLowest && job.keepSequences[record.slot] === 0) record.sequence = 0;
    sinks.writer.add(record);
    kept++;
  }
  return kept;
}

/** Answers for ascending records whether one of some tables could hold their key. */
class RangeCursor {
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  #at = 0;

  constructor(tables: readonly TableMeta[]) {
    const sorted = [...tables].sort((a, b) => a.minPosition - b.minPosition);
    const starts: number[] = [];
    const ends: number[] = [];
    for (const table of sorted) {
      // Tables of several levels overlap: their union is what counts.
      if (ends.length > 0 && table.minPosition <= ends.at(-1)!) {
        ends[ends.length - 1] = Math.max(ends.at(-1)!, table.maxPosition);
      } else {
        starts.push(table.minPosition);
        ends.push(table.maxPosition);
      }
    }
    this.#starts = Float64Array.from(starts);
    this.#ends = Float64Array.from(ends);
  }

  covers(record: RecordView): boolean {
    if (this.#at >= this.#ends.length) return false;
    const position = positionOf(record.slot, record.hash);
    while (this.#ends[this.#at]! < position) {
      this.#at++;
      if (this.#at >= this.#ends.length) return false;
    }
    return this.#starts[this.#at]! <= position;
  }
}

/** Reads one table from a position on and reports what has expired. */
export function* runSweep(job: SweepJob, pool: TablePool): JobSteps {
  const expired = new ExpiredCollector(job.expiredMax);
  const readers = new ScanReaders(pool, job.directory);
  let sliceBytes = 0;
  let bytesRead = 0;
  try {
    const iterator = readers.scan(job.table);
    for (iterator.seek(job.fromPosition); iterator.isValid() && !expired.isFull; iterator.next()) {
      const record = iterator.current;
      sliceBytes += record.valueEnd - record.keyStart + RECORD_OVERHEAD_BYTES;
      if (sliceBytes >= SLICE_BYTES) {
        yield sliceBytes;
        bytesRead += sliceBytes;
        sliceBytes = 0;
      }
      if (record.expiry !== 0 && record.expiry <= job.clockMs && isLiveType(record.type)) {
        expired.add(record);
      }
    }
  } finally {
    readers.close();
  }
  return {
    ...EMPTY_RESULT,
    expired: expired.batch(),
    resumePosition: expired.resumePosition,
    bytesRead: bytesRead + sliceBytes,
  };
}
