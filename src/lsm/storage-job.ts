/**
 * Storage jobs: what the event loop asks of the thread that writes tables. Plain data that postMessage copies;
 * arenas inside are shared memory.
 *
 *   flush     frozen memtables → tables of level 0, and the count deltas of marked records
 *   resolve   the count deltas alone
 *   compact   tables of one or two levels → tables of one level
 *   sweep     reads one table and reports what has expired
 *   forget    closes tables that are about to be deleted
 *
 * A job changes nothing but files with ids that it was given; what becomes of them the caller decides.
 */
import type { FlushSource } from "./flush.ts";
import type { Compression } from "./table-format.ts";
import type { RangeDeletion, TableMeta } from "./version-edit.ts";

/** Where and how a job writes tables. */
export interface OutputOptions {
  readonly directory: string;
  /** Ids firstTableId … firstTableId + tableIdCount − 1 are the job's own. */
  readonly firstTableId: number;
  readonly tableIdCount: number;
  readonly targetTableBytes: number;
  /** Tables are also cut where slots pass a multiple of SLOT_COUNT / partitions. */
  readonly partitions: number;
  readonly blockBytes: number;
  readonly filterBitsPerKey: number;
  readonly compression: Compression;
  readonly level: number;
  readonly clockMs: number;
}

export interface FlushJob {
  readonly kind: "flush";
  /** Oldest first. */
  readonly sources: readonly FlushSource[];
  /** All tables, by level. */
  readonly levels: readonly (readonly TableMeta[])[];
  /** Committed ones. */
  readonly rangeDeletions: readonly RangeDeletion[];
  readonly output: OutputOptions;
  readonly expiredMax: number;
}

export interface ResolveJob {
  readonly kind: "resolve";
  readonly directory: string;
  readonly sources: readonly FlushSource[];
  readonly levels: readonly (readonly TableMeta[])[];
  readonly rangeDeletions: readonly RangeDeletion[];
}

export interface CompactionJob {
  readonly kind: "compact";
  /** Newest first; the tables of one run do not overlap and are ordered. */
  readonly runs: readonly (readonly TableMeta[])[];
  /** Tables below the output level that overlap the inputs: what is in their reach keeps its tombstones. */
  readonly below: readonly TableMeta[];
  /** Committed ones: what they hide is dropped. */
  readonly rangeDeletions: readonly RangeDeletion[];
  /** Of the outputs: see TableMeta. */
  readonly cleanSequence: number;
  /** Per slot 1 where a range deletion is in force, committed or not: sequences are kept there. */
  readonly keepSequences: Uint8Array;
  readonly output: OutputOptions;
  readonly bytesPerSecond: number;
  readonly expiredMax: number;
}

export interface SweepJob {
  readonly kind: "sweep";
  readonly directory: string;
  readonly table: TableMeta;
  readonly fromPosition: number;
  readonly clockMs: number;
  readonly expiredMax: number;
  readonly bytesPerSecond: number;
}

export interface ForgetJob {
  readonly kind: "forget";
  readonly tableIds: readonly number[];
}

export type StorageJob = FlushJob | ResolveJob | CompactionJob | SweepJob | ForgetJob;

/** Keys that have expired, packed: key i is keys[keyEnds[i − 1] ?? 0, keyEnds[i]). */
export interface ExpiredBatch {
  readonly count: number;
  readonly slots: Uint16Array;
  readonly hashes: Uint32Array;
  /** Sequence of the record that was seen; a newer one may exist. */
  readonly sequences: Float64Array;
  readonly expiries: Float64Array;
  readonly keyEnds: Uint32Array;
  readonly keys: Uint8Array;
}

/** One shape for all jobs; fields that a job does not have are empty. */
export interface StorageResult {
  /** The tables written, in position order. */
  readonly tables: readonly TableMeta[];
  /** Per slot, of marked records; length 0 when the job has none. */
  readonly deltas: Float64Array;
  /** Those found in the sources. */
  readonly rangeDeletions: readonly RangeDeletion[];
  readonly expired: ExpiredBatch | undefined;
  /** Where expired keys stopped being collected because there were too many; -1 when all were. */
  readonly resumePosition: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Input records that are in no output. */
  readonly droppedCount: number;
}

export const EMPTY_RESULT: StorageResult = {
  tables: [],
  deltas: new Float64Array(0),
  rangeDeletions: [],
  expired: undefined,
  resumePosition: -1,
  bytesRead: 0,
  bytesWritten: 0,
  droppedCount: 0,
};

/** A job in progress: each step does a bounded piece of work and yields the bytes it handled. */
export type JobSteps = Generator<number, StorageResult, void>;
