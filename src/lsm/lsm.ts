/**
 * The tables of one directory: point reads, scans, flushes of frozen memtables, compaction behind them.
 *
 *   find, iterator ──► Version (version.ts) ──► TableReader … BlockCache
 *   flush ──► StorageExecutor: tables of level 0, count deltas ──► edit (table-store.ts) ──► new Version
 *   after each edit: pick (compaction-picker.ts) ──► StorageExecutor ──► edit ──► …   (compactor.ts)
 *
 * Everything here runs on the event loop and never waits for the disk but in open(); jobs run in the executor.
 * Reads are synchronous and see one version per turn.
 */
import { assert } from "../base/assert.ts";
import type { BlockCache } from "./block-cache.ts";
import { Compactor } from "./compactor.ts";
import { runIfRoom } from "./disk-room.ts";
import { type ExpirySummary, summarizeExpiry } from "./expiry-summary.ts";
import type { FlushSource } from "./flush.ts";
import type { RecordIterator } from "./iterator.ts";
import { completeTuning, type LsmOptions, type LsmTuning } from "./lsm-options.ts";
import type { KeyQuery, RecordView } from "./order-key.ts";
import { RangeDeletionSet } from "./range-deletion-set.ts";
import { covers, deletionEdit, hidesAll, uncovered } from "./range-deletions.ts";
import type { ExpiredBatch, OutputOptions, StorageResult } from "./storage-job.ts";
import { FindStatus } from "./table-reader.ts";
import { TableStore } from "./table-store.ts";
import {
  LEVEL_COUNT,
  type RangeDeletion,
  type TableMeta,
  type VersionEdit,
  type VersionState,
} from "./version-edit.ts";
import { VisibleIterator } from "./visible-iterator.ts";

/** Table ids that a job may use beyond what its bytes suggest. */
const SPARE_TABLE_IDS = 8;

export interface LevelInfo {
  readonly tables: number;
  readonly bytes: number;
  readonly records: number;
}

export interface LsmInfo {
  readonly levels: readonly LevelInfo[];
  readonly isCompacting: boolean;
  readonly pendingCompactionBytes: number;
  readonly flushBytesWritten: number;
  readonly compactionBytesRead: number;
  readonly compactionBytesWritten: number;
  readonly flushCount: number;
  readonly compactionCount: number;
  readonly level0Depth: number;
  readonly rangeDeletions: number;
  /** Filters and indexes of open tables. */
  readonly tableMemoryBytes: number;
  readonly cache: {
    readonly hits: number;
    readonly misses: number;
    readonly evictions: number;
    readonly slabBytes: number;
  };
}

export class Lsm {
  readonly #options: LsmOptions;
  readonly #tuning: LsmTuning;
  readonly #tables: TableStore;
  readonly #deletions = new RangeDeletionSet();
  readonly #compactor: Compactor;
  #baseCounts: Float64Array;
  /** Range deletions that the next edit makes durable, ascending by sequence. */
  #committing: RangeDeletion[] = [];
  #flushing = false;
  #flushCount = 0;
  #flushBytesWritten = 0;
  #closing = false;

  private constructor(options: LsmOptions) {
    this.#options = options;
    this.#tuning = completeTuning(options.tuning);
    this.#tables = new TableStore({
      fileSystem: options.fileSystem,
      directory: options.directory,
      tuning: this.#tuning,
      nowMicros: () => options.nowMicros(),
      onError: (error) => options.onError(error),
      onInstalled: () => this.#onInstalled(),
    });
    this.#baseCounts = Float64Array.from(this.#tables.state.counts);
    this.#deletions.setCommitted(this.#tables.state.rangeDeletions);
    this.#compactor = new Compactor({
      tables: this.#tables,
      deletions: this.#deletions,
      ...options,
      tuning: this.#tuning,
      outputOptions: (level, bytes) => this.#outputOptions(level, bytes),
      clockMs: () => options.clockMs(),
      onError: (error) => this.#onError(error),
      onExpired: (batch) => this.#reportExpired(batch),
    });
    this.#compactor.schedule();
  }

  /** Reads the directory synchronously. Throws CorruptionError or DiskError. */
  static open(options: LsmOptions): Lsm {
    return new Lsm(options);
  }

  /** Everything with a lower sequence is in tables. */
  get flushedSequence(): number {
    return this.#tables.state.flushedSequence;
  }

  /** Everything with a lower sequence is known to be committed: tables hold it, or a deletion that has taken tables. */
  get committedSequence(): number {
    const { flushedSequence, rangeDeletions } = this.#tables.state;
    return Math.max(flushedSequence, ...rangeDeletions.map(({ sequence }) => sequence + 1));
  }

  /** Per slot the exact number of live keys as of flushedSequence. Replaced by each flush, never changed. */
  get baseCounts(): Float64Array {
    return this.#baseCounts;
  }

  /**
   * 0 … 1: how much writers must be slowed so that merges keep up; 1 stops them. Changes with each version.
   */
  get writePressure(): number {
    return this.#compactor.writePressure;
  }

  get info(): LsmInfo {
    const { levels } = this.#tables.state;
    const cache = this.#tables.cache.counters;
    let tableMemoryBytes = cache.locationBytes;
    for (const handle of this.#tables.version.handles.values()) {
      tableMemoryBytes += handle.reader.memoryBytes;
    }
    return {
      levels: levels.map((tables) => ({
        tables: tables.length,
        bytes: tables.reduce((sum, table) => sum + table.bytes, 0),
        records: tables.reduce((sum, table) => sum + table.recordCount, 0),
      })),
      ...this.#compactor.counters,
      flushBytesWritten: this.#flushBytesWritten,
      flushCount: this.#flushCount,
      rangeDeletions: this.#tables.state.rangeDeletions.length + this.#deletions.pending.length,
      tableMemoryBytes,
      cache: {
        hits: cache.hits,
        misses: cache.misses,
        evictions: cache.evictions,
        slabBytes: cache.slabBytes,
      },
    };
  }

  /** Records in tables that carry an expiry, for statistics. O(tables). */
  expiring(nowMs: number): ExpirySummary {
    return summarizeExpiry(this.#tables.state.levels, nowMs);
  }

  /**
   * Hot. The newest record of the query's (key, sub-key): a tombstone is FOUND, a record that a range deletion
   * hides is ABSENT, COLD asks for prefetch(). When FOUND, `into` points into the block cache: valid until the
   * next read of tables.
   */
  find(query: KeyQuery, into: RecordView): FindStatus {
    const status = this.#tables.version.find(query, into);
    // The newest record is hidden, so all older ones are.
    if (status === FindStatus.FOUND && into.sequence < this.#deletions.hidden[query.slot]!) {
      return FindStatus.ABSENT;
    }
    return status;
  }

  /**
   * Loads and pins what find() of these queries needs. Borrows the queries until it settles. Whatever version
   * is current then, the caller runs its command again from the start.
   */
  async prefetch(queries: readonly KeyQuery[]): Promise<void> {
    const { version } = this.#tables;
    const release = this.#tables.retain(version.state.levels.flat());
    try {
      const loads: Promise<void>[] = [];
      for (const query of queries) {
        for (const reader of version.candidates(query)) loads.push(reader.prefetch(query));
      }
      await Promise.all(loads);
    } finally {
      release();
    }
  }

  /** The cache of blocks. It may be resized between two units. */
  get cache(): BlockCache {
    return this.#tables.cache;
  }

  /** Lets go of all blocks that prefetch() pinned. */
  unpin(): void {
    this.#tables.cache.unpinAll();
  }

  /**
   * The newest version of every (key, sub-key) in the tables, tombstones included, hidden ones not. Not positioned
   * before seek(). Valid for this turn only; any call may throw ColdReadError.
   */
  iterator(): RecordIterator {
    const { version } = this.#tables;
    const deletions = this.#deletions.inForce;
    // A deletion of all keys hides whole tables until its frame is durable: passing over every record would take long.
    const isHidden = (table: TableMeta) => deletions.some((deletion) => hidesAll(deletion, table));
    const source = version.iterator(deletions.length === 0 ? undefined : isHidden);
    return new VisibleIterator(source, this.#deletions.hidden, async (cold) => {
      // Another version has other blocks: the caller starts again and finds out which.
      if (this.#tables.version !== version) return;
      const release = this.#tables.retain(version.state.levels.flat());
      try {
        await cold.load();
      } finally {
        release();
      }
    });
  }

  /** The tables as the manifest names them now; their files stay until release(). REQUIRES: that is before close(). */
  snapshot(): { readonly state: VersionState; release(): void } {
    const { state } = this.#tables;
    return { state, release: this.#tables.retain(state.levels.flat()) };
  }

  /** Hides lower sequences of slots [startSlot, endSlot) from reads at once. */
  addRangeDeletion(sequence: number, startSlot: number, endSlot: number): void {
    assert(startSlot < endSlot, "a range deletion covers a slot");
    const deletion = { sequence, startSlot, endSlot };
    // Recovery meets in the log what the manifest has, or has something newer in place of.
    if (this.#tables.state.rangeDeletions.some((committed) => covers(committed, deletion))) return;
    this.#deletions.add(deletion);
  }

  /** Undoes the last addRangeDeletion. REQUIRES: not committed. */
  removeRangeDeletion(sequence: number): void {
    this.#deletions.remove(sequence);
  }

  /**
   * Their frames are committed (ascending by sequence): makes them durable, and deletes the tables that they cover. While
   * an edit is being written, the next one gathers.
   */
  commitRangeDeletions(sequences: readonly number[]): void {
    if (sequences.length === 0) return;
    const asked = new Set(sequences);
    const committed = this.#deletions.pending.filter(({ sequence }) => asked.has(sequence));
    if (committed.length < asked.size) {
      const { rangeDeletions } = this.#tables.state;
      const isCommitted = rangeDeletions.some((other) => other.sequence >= sequences[0]!);
      assert(isCommitted, "a committed deletion was added");
    }
    if (committed.length === 0) return;
    const isAsked = this.#committing.length > 0;
    this.#committing = uncovered([...this.#committing, ...committed]);
    if (isAsked) return;
    const applied = this.#tables.apply((state) => {
      const change = deletionEdit(state.rangeDeletions, this.#committing.splice(0));
      if (change.rangeDeletions.length === 0) return undefined;
      const removed = coveredTables(state, change.rangeDeletions);
      if (removed.length > 0) this.#compactor.forget(removed);
      return { added: [], removed, ...change };
    });
    // The failure has been reported by the table store.
    applied.catch(() => undefined);
  }

  /**
   * Writes the sources (oldest first, all committed) as tables of level 0. Adds knownDeltas and what the tables
   * say about marked records to the counts. One at a time. Borrows the sources until it settles. False: there is no
   * room for the tables, and nothing has changed.
   */
  async flush(sources: readonly FlushSource[], knownDeltas: Float64Array): Promise<boolean> {
    assert(!this.#flushing, "one flush at a time");
    assert(sources.length > 0, "a flush has sources");
    const flushedSequence = this.#endOf(sources);
    const { state } = this.#tables;
    const release = this.#tables.retain(state.levels.flat());
    this.#flushing = true;
    try {
      const bytes = sources.reduce((sum, source) => sum + source.bytes.byteLength, 0);
      const output = this.#outputOptions(0, bytes);
      const result = await runIfRoom(this.#options, {
        kind: "flush",
        sources,
        levels: state.levels,
        rangeDeletions: state.rangeDeletions,
        output,
        expiredMax: this.#tuning.expiredPerJob,
      });
      if (result === undefined) return false;
      await this.#tables.apply((current) =>
        this.#flushEdit(current, result, { knownDeltas, flushedSequence }),
      );
      this.#flushCount++;
      this.#flushBytesWritten += result.bytesWritten;
      this.#compactor.noteSwept(result.tables, result, output.clockMs);
      if (result.expired !== undefined) this.#reportExpired(result.expired);
      return true;
    } catch (error) {
      this.#onError(error as Error);
      throw error;
    } finally {
      this.#flushing = false;
      release();
    }
  }

  /** Per-slot deltas of the marked records in the sources, as a flush of them would find. Writes nothing. */
  async resolveCounts(sources: readonly FlushSource[]): Promise<Float64Array> {
    const { state } = this.#tables;
    const release = this.#tables.retain(state.levels.flat());
    try {
      const result = await this.#options.executor.run({
        kind: "resolve",
        directory: this.#options.directory,
        sources,
        levels: state.levels,
        // The record of one whose frame is not committed may lie before the sources' first record.
        rangeDeletions: this.#deletions.inForce,
      });
      return result.deltas;
    } finally {
      release();
    }
  }

  /**
   * Starts what has become due by the clock alone (reports of expired records), or has found no room on the disk.
   * Cheap: call it every second or so.
   */
  maintain(): void {
    this.#compactor.maintain();
  }

  /** Whether a merge is due that the disk has no room for. */
  get lacksRoom(): boolean {
    return this.#compactor.lacksRoom;
  }

  /** Merges all levels into the last one that holds data, dropping all that can go. */
  compactAll(): Promise<void> {
    return this.#compactor.compactAll();
  }

  /** Resolves when no merge is due, and all edits and removals of files are done. */
  async waitIdle(): Promise<void> {
    await this.#compactor.idle();
    await this.#tables.settled();
  }

  /** REQUIRES: no flush in progress. Waits for the job in progress; starts none. */
  async close(): Promise<void> {
    assert(!this.#flushing, "no flush is in progress at close");
    if (this.#closing) return;
    this.#closing = true;
    await this.#compactor.close();
    await this.#options.executor.close();
    await this.#tables.close();
  }

  #endOf(sources: readonly FlushSource[]): number {
    let end = this.flushedSequence;
    for (const source of sources) {
      assert(source.firstSequence + source.firstRecord >= end, "sources follow what is flushed");
      end = source.firstSequence + source.recordCount;
    }
    return end;
  }

  #flushEdit(
    state: VersionState,
    result: StorageResult,
    flush: { readonly knownDeltas: Float64Array; readonly flushedSequence: number },
  ): VersionEdit {
    const counts = state.counts.map(
      (count, slot) => count + flush.knownDeltas[slot]! + result.deltas[slot]!,
    );
    assert(counts.every(Number.isSafeInteger), "counts are integers");
    const change = deletionEdit(state.rangeDeletions, result.rangeDeletions);
    const removed = coveredTables(state, change.rangeDeletions);
    if (removed.length > 0) this.#compactor.forget(removed);
    return {
      added: result.tables.map((table) => ({ level: 0, table })),
      removed,
      flushedSequence: flush.flushedSequence,
      counts,
      ...change,
    };
  }

  #onInstalled(): void {
    const { state } = this.#tables;
    this.#baseCounts = Float64Array.from(state.counts);
    this.#deletions.setCommitted(state.rangeDeletions);
    this.#compactor.schedule();
  }

  #onError(error: Error): void {
    if (this.#tables.failure === undefined) this.#options.onError(error);
  }

  #reportExpired(batch: ExpiredBatch): void {
    if (!this.#closing) this.#options.onExpired(batch);
  }

  #outputOptions(level: number, inputBytes: number): OutputOptions {
    const { targetTableBytes, partitions, blockBytes, filterBitsPerKey, compression } =
      this.#tuning;
    const tableIdCount =
      Math.ceil(inputBytes / targetTableBytes) * 2 + partitions + SPARE_TABLE_IDS;
    return {
      directory: this.#options.directory,
      firstTableId: this.#tables.reserveIds(tableIdCount),
      tableIdCount,
      targetTableBytes,
      partitions: level === 0 ? partitions : 1,
      blockBytes,
      filterBitsPerKey,
      // Data above the last level is rewritten soon: only there does packing pay.
      compression: level === LEVEL_COUNT - 1 ? compression : "none",
      level,
      clockMs: this.#options.clockMs(),
    };
  }
}

function coveredTables(state: VersionState, deletions: readonly RangeDeletion[]): number[] {
  const tables = state.levels.flat();
  return tables
    .filter((table) => deletions.some((deletion) => hidesAll(deletion, table)))
    .map((table) => table.id);
}
