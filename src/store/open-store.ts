/**
 * Opens the store of a data directory: identity, tables, then the log behind them.
 *
 *   <dir>/IDENTITY     what the directory is (identity.ts)
 *   <dir>/wal/         segments of the log (wal/segment.ts)
 *   <dir>/tables/      tables, manifests and CURRENT (lsm/)
 */
import type { ByteBudget } from "../base/byte-budget.ts";
import type { Clock } from "../base/clock.ts";
import { StartupError } from "../base/errors.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { HashSeed } from "../base/order-hash.ts";
import { Lsm } from "../lsm/lsm.ts";
import type { LsmTuning } from "../lsm/lsm-options.ts";
import { RECORD_BYTES_EXPECTED_MIN } from "../lsm/memory-segment.ts";
import { Memtable } from "../lsm/memtable.ts";
import type { StorageExecutor } from "../lsm/storage-executor.ts";
import { Log } from "../wal/log.ts";
import { type Arena, ArenaPool } from "../wal/segment.ts";
import { CommitPipeline, type SyncPolicy } from "./commit-pipeline.ts";
import { openIdentity } from "./identity.ts";
import { KeyCounts } from "./key-counts.ts";
import { largestSegmentBytes, logBytes, recover } from "./recovery.ts";
import { Replay } from "./replay.ts";
import { Segments } from "./segments.ts";
import { Store } from "./store.ts";

export interface StoreOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  readonly executor: StorageExecutor;
  /** At least 24 random bytes, used when the directory is new. */
  readonly random: Uint8Array;
  readonly syncPolicy: SyncPolicy;
  /** A power of two. */
  readonly segmentBytes: number;
  /** Memory for segments; at least three are kept whatever their size. */
  readonly segmentPoolBytes: number;
  readonly tuning: Partial<LsmTuning>;
  /** Free disk space below which writes are refused. */
  readonly minFreeDiskBytes: () => number;
  /** Memory for requests and replies too large to be copied. */
  readonly largeBytes: ByteBudget;
  /** Longest value in bytes. */
  readonly valueBytesMax: number;
  /** The log or the tables can no longer be trusted: the process must end. */
  onFatal(error: Error): void;
  /** Flushes or merges find no room. They are tried again, and nothing is lost; writes may be refused until then. */
  onDiskFull?(error: Error): void;
  /** Replies whose tag is at most Store.committed may leave. */
  onCommitted(): void;
  onRecovering(doneBytes: number, totalBytes: number): void;
}

export interface RecoverySummary {
  readonly replayedBytes: number;
  readonly cutBytes: number;
  readonly records: number;
}

const SEGMENTS_MIN = 3;
/** Of the disk space that writes leave free merges may use the rest: they are what gives space back. */
const SPARE_SHARE = 0.5;
/** Bytes of arena per bucket of the memtable at its largest. */
const ARENA_BYTES_PER_BUCKET = 64;

export async function openStore(
  options: StoreOptions,
): Promise<{ store: Store; recovery: RecoverySummary }> {
  const { fileSystem, directory, clock } = options;
  const walDirectory = `${directory}/wal`;
  const seed = prepareDirectory(fileSystem, directory, options.random);

  let log: Log | undefined;
  let pipeline: CommitPipeline | undefined;
  let store: Store | undefined;
  const lsm = Lsm.open({
    fileSystem,
    directory: `${directory}/tables`,
    executor: options.executor,
    nowMicros: () => clock.monotonicMicros(),
    clockMs: () => Math.max(clock.wallMs(), log?.clockMs ?? 0),
    hashSeed: seed,
    tuning: options.tuning,
    onError: (error) => options.onFatal(error),
    spareDiskBytes: () => options.minFreeDiskBytes() * SPARE_SHARE,
    onDiskFull: (error) => options.onDiskFull?.(error),
    onExpired: (batch) => store?.housekeeping.expireBatch(batch),
  });
  const segmentBytes = Math.max(
    options.segmentBytes,
    powerOfTwo(largestSegmentBytes(fileSystem, walDirectory)),
  );
  const segmentCount = Math.max(SEGMENTS_MIN, Math.floor(options.segmentPoolBytes / segmentBytes));
  const pool = new ArenaPool(segmentBytes, segmentCount);
  const memtable = new Memtable(
    segmentBytes,
    powerOfTwo((segmentBytes * segmentCount) / ARENA_BYTES_PER_BUCKET),
  );
  const counts = new KeyCounts(memtable);
  counts.load(lsm.baseCounts);
  const segments = new Segments({
    deleteLogsBefore: (segment) => {
      log?.deleteBefore(segment);
      pipeline?.requestSync();
    },
    counts,
    lsm,
    memtable,
    pool,
    segmentCount,
    onFatal: (error) => options.onFatal(error),
    onFlushed: (hadRoom) => store?.onFlushed(hadRoom),
  });
  const replay = new Replay({ lsm, memtable, counts, seed });
  memtable.reserve(logBytes(fileSystem, walDirectory) / RECORD_BYTES_EXPECTED_MIN);
  const recovered = await recover({
    fileSystem,
    directory: walDirectory,
    seed,
    flushedSequence: lsm.flushedSequence,
    takeArena: () => takeArena(segments, lsm),
    giveArena: (arena) => pool.give(arena),
    beginSegment: (segment, firstSequence) => segments.adopt(segment, firstSequence),
    replay: (segment, start, end, fields) => replay.frame(segment, start, end, fields),
    onProgress: (done, total) => options.onRecovering(done, total),
  });
  log = new Log(fileSystem, walDirectory, {
    seed,
    position: recovered.position,
    segments: recovered.segments,
  });
  await start(log, segments, lsm, replay.deletion);
  // Recovery relies on the name of a log's first file.
  if (recovered.segments.length === 0) fileSystem.syncDirectory(walDirectory);
  pipeline = new CommitPipeline(log, options.syncPolicy, {
    clock,
    onCommitted: () => {
      store?.onCommitted();
      segments.onCommitted();
      options.onCommitted();
    },
    onFatal: (error) => options.onFatal(error),
  });
  segments.bind(log, pipeline);
  store = new Store({ log, lsm, memtable, pipeline, counts, segments, seed, options });
  const { replayedBytes, cutBytes } = recovered;
  return { store, recovery: { replayedBytes, cutBytes, records: replay.records } };
}

/** Makes what is missing of the directory, durably; returns its seed. */
function prepareDirectory(fileSystem: FileSystem, directory: string, random: Uint8Array): HashSeed {
  for (const path of [directory, `${directory}/wal`, `${directory}/tables`])
    fileSystem.makeDirectory(path);
  const { hashSeed } = openIdentity(fileSystem, directory, random);
  fileSystem.syncDirectory(directory);
  return { low: hashSeed[0], high: hashSeed[1] };
}

/**
 * What follows recovery, which has synced the log: its newest deletion of all keys is committed, and the last segment
 * goes on when it has room, else a new one does.
 */
async function start(
  log: Log,
  segments: Segments,
  lsm: Lsm,
  deletion: number | undefined,
): Promise<void> {
  // A flush that recovery needed has committed what it put into tables.
  if (deletion !== undefined && deletion >= lsm.flushedSequence) lsm.commitRangeDeletion(deletion);
  segments.markFlushedBefore(lsm.flushedSequence);
  const last = log.segments.at(-1);
  if (last !== undefined && segments.canResume(last)) {
    log.resume(last);
    return;
  }
  segments.adopt(log.roll(await takeArena(segments, lsm)), log.nextSequence);
}

async function takeArena(segments: Segments, lsm: Lsm): Promise<Arena> {
  for (;;) {
    // More files than arenas may be left of what is in tables: they need no flush.
    segments.markFlushedBefore(lsm.flushedSequence);
    const arena = segments.takeArena();
    if (arena !== undefined) return arena;
    await segments.flush();
    if (segments.isDiskFull) {
      throw new StartupError(
        "the log does not fit memory, and the disk has no room for tables of it",
      );
    }
  }
}

/** The smallest power of two that is at least `value`. */
function powerOfTwo(value: number): number {
  let power = 1;
  while (power < value) power *= 2;
  return power;
}
