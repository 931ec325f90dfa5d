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
import { type HashSeed, orderHash } from "../base/order-hash.ts";
import { SLOT_MOVES_SUB_KEY } from "../base/record.ts";
import { slotOf } from "../base/slot.ts";
import { Lsm } from "../lsm/lsm.ts";
import type { LsmTuning } from "../lsm/lsm-options.ts";
import { RECORD_BYTES_EXPECTED_MIN } from "../lsm/memory-segment.ts";
import { Memtable } from "../lsm/memtable.ts";
import { emptyQuery, prefixOf, RecordView } from "../lsm/order-key.ts";
import type { StorageExecutor } from "../lsm/storage-executor.ts";
import { FindStatus } from "../lsm/table-reader.ts";
import { Log } from "../wal/log.ts";
import { type Arena, ArenaPool } from "../wal/segment.ts";
import { finishInstallation } from "./checkpoint-staging.ts";
import { CommitPipeline, type SyncPolicy } from "./commit-pipeline.ts";
import { openIdentity } from "./identity.ts";
import { KeyCounts } from "./key-counts.ts";
import {
  largestSegmentBytes,
  logBytes,
  type Recovered,
  type RecoveryEffects,
  recover,
} from "./recovery.ts";
import { Replay } from "./replay.ts";
import { ReplicaLog } from "./replica-log.ts";
import { Segments } from "./segments.ts";
import { decodeSlotMoves, SlotMoves } from "./slot-moves.ts";
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
  /** Of a store that has been abandoned: its memory is used again. */
  readonly arenas?: ArenaPool | undefined;
  /** See RecoveryEffects; 0 unless told. */
  readonly marksFrom?: number;
  /** The node is one of several: it opens as a replica, and what another node commits is told it. */
  readonly replication?: ReplicationStart;
  /** The log or the tables can no longer be trusted: the process must end. */
  onFatal(error: Error): void;
  /** Flushes or merges find no room. They are tried again, and nothing is lost; writes may be refused until then. */
  onDiskFull?(error: Error): void;
  /** Replies whose tag is at most Store.committed may leave. */
  onCommitted(): void;
  onRecovering(doneBytes: number, totalBytes: number): void;
}

export interface ReplicationStart {
  /** Known to be committed, beyond what the directory itself shows. */
  readonly commitIndex: number;
  /** Most bytes of log that are kept for other nodes. */
  readonly retainBytesMax: number;
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
  const isReplica = () => (store === undefined ? options.replication : store.replica) !== undefined;
  const lsm = Lsm.open({
    fileSystem,
    directory: `${directory}/tables`,
    executor: options.executor,
    nowMicros: () => clock.monotonicMicros(),
    // What has expired is only looked for where it can be removed.
    clockMs: () => (isReplica() ? 0 : Math.max(clock.wallMs(), log?.clockMs ?? 0)),
    hashSeed: seed,
    tuning: options.tuning,
    onError: (error) => options.onFatal(error),
    spareDiskBytes: () => options.minFreeDiskBytes() * SPARE_SHARE,
    onDiskFull: (error) => options.onDiskFull?.(error),
    onExpired: (batch) => store?.housekeeping.expireBatch(batch),
  });
  const memory = makeMemory(options, walDirectory, lsm.baseCounts);
  const { segmentBytes, segmentCount, pool, memtable, counts } = memory;
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
    onExtended: (count) => memtable.allow(bucketsFor(segmentBytes, count)),
    onFlushed: (hadRoom) => store?.onFlushed(hadRoom),
  });
  const parts = { lsm, memtable, counts, seed, slotMoves: await slotMovesOf(lsm, seed) };
  const replay = new Replay(parts);
  const deletions: number[] = [];
  const replica =
    options.replication &&
    new ReplicaLog(segments, replay, (deletion) =>
      store === undefined ? deletions.push(deletion.sequence) : store.noteDeletion(deletion),
    );
  const recovered = await recover({
    ...{ fileSystem, directory: walDirectory, seed, marksFrom: options.marksFrom ?? 0 },
    flushedSequence: lsm.flushedSequence,
    takeArena: () => takeArena(segments, lsm, replica),
    giveArena: (arena) => pool.give(arena),
    ...recoveryTarget({ segments, lsm, replay }, replica, options.replication),
    onProgress: (done, total) => options.onRecovering(done, total),
  });
  log = new Log(fileSystem, walDirectory, {
    seed,
    position: recovered.position,
    segments: recovered.segments,
    epochs: recovered.epochs,
    segmentRecordsMax: Math.ceil(segmentBytes / RECORD_BYTES_EXPECTED_MIN),
  });
  commitDeletions(lsm, [...deletions, ...replay.takeDeletions()]);
  await goOn(log, segments, lsm, replica);
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
  replica?.bind(pipeline, options.replication!.retainBytesMax);
  store = new Store({ ...parts, log, pipeline, segments, options, replica });
  return { store, recovery: summaryOf(recovered, replay.records) };
}

/** Slots on the move as tables have them; the log behind them may know better. */
async function slotMovesOf(lsm: Lsm, seed: HashSeed): Promise<SlotMoves> {
  const moves = new SlotMoves();
  const query = emptyQuery();
  query.hash = orderHash(query.bytes, 0, 0, seed.low, seed.high);
  query.slot = slotOf(query.bytes, 0, 0);
  query.prefix = prefixOf(query.slot, query.hash);
  query.subBytes = SLOT_MOVES_SUB_KEY;
  query.subKeyEnd = SLOT_MOVES_SUB_KEY.length;
  await lsm.prefetch([query]);
  const view = new RecordView();
  const isThere = lsm.find(query, view) === FindStatus.FOUND;
  lsm.unpin();
  if (!isThere) return moves;
  const value = view.bytes.subarray(view.valueStart, view.valueEnd);
  moves.set(decodeSlotMoves(value, "tables"));
  return moves;
}

/** Numbers alone: what was recovered has the arenas in it. */
function summaryOf({ replayedBytes, cutBytes }: Recovered, records: number): RecoverySummary {
  return { replayedBytes, cutBytes, records };
}

function makeMemory(options: StoreOptions, walDirectory: string, baseCounts: Float64Array) {
  const segmentBytes = Math.max(
    options.segmentBytes,
    powerOfTwo(largestSegmentBytes(options.fileSystem, walDirectory)),
  );
  const segmentCount = Math.max(SEGMENTS_MIN, Math.floor(options.segmentPoolBytes / segmentBytes));
  const { arenas } = options;
  const pool =
    arenas?.segmentBytes === segmentBytes ? arenas : new ArenaPool(segmentBytes, segmentCount);
  const memtable = new Memtable(segmentBytes, bucketsFor(segmentBytes, segmentCount));
  memtable.reserve(logBytes(options.fileSystem, walDirectory) / RECORD_BYTES_EXPECTED_MIN);
  const counts = new KeyCounts(memtable);
  counts.load(baseCounts);
  return { segmentBytes, segmentCount, pool, memtable, counts };
}

interface RecoveryParts {
  readonly segments: Segments;
  readonly lsm: Lsm;
  readonly replay: Replay;
}

/** Where recovery puts what it reads: all of it at once, or into a replica, as far as it is known to be committed. */
function recoveryTarget(
  { segments, lsm, replay }: RecoveryParts,
  replica: ReplicaLog | undefined,
  start: ReplicationStart | undefined,
): Pick<RecoveryEffects, "beginSegment" | "replay"> {
  if (replica === undefined) {
    return {
      beginSegment: (segment, firstSequence) => segments.adopt(segment, firstSequence),
      replay: (segment, from, end, fields) => replay.frame(segment, from, end, fields),
    };
  }
  const { committedSequence } = lsm;
  let committed = start?.commitIndex ?? 0;
  let isFirst = true;
  return {
    beginSegment: (segment) => replica.onSegment(segment),
    replay: (segment, from, end, fields) => {
      // What tables show was committed, what a frame calls durable is so everywhere, and of what is deleted the next one
      // was committed.
      const isCommitted = fields.firstSequence < committedSequence || (isFirst && fields.index > 1);
      isFirst = false;
      committed = Math.max(committed, fields.durableIndex, isCommitted ? fields.index : 0);
      replica.recover({ segment, start: from, end, fields }, committed);
    },
  };
}

/** Makes what is missing of the directory, durably; returns its seed. */
function prepareDirectory(fileSystem: FileSystem, directory: string, random: Uint8Array): HashSeed {
  for (const path of [directory, `${directory}/wal`, `${directory}/tables`])
    fileSystem.makeDirectory(path);
  finishInstallation(fileSystem, directory);
  const { hashSeed } = openIdentity(fileSystem, directory, random);
  fileSystem.syncDirectory(directory);
  return { low: hashSeed[0], high: hashSeed[1] };
}

/** Recovery has synced the log, and so the deletions that it found. */
function commitDeletions(lsm: Lsm, sequences: readonly number[]): void {
  // A flush that recovery needed has committed what it put into tables.
  lsm.commitRangeDeletions(sequences.filter((sequence) => sequence >= lsm.flushedSequence));
}

/** The last segment goes on when it has room, else a new one does. */
async function goOn(
  log: Log,
  segments: Segments,
  lsm: Lsm,
  replica: ReplicaLog | undefined,
): Promise<void> {
  segments.markFlushedBefore(lsm.flushedSequence, replica?.partlyApplied);
  if (replica !== undefined) {
    await replica.start(log, () => takeArena(segments, lsm, replica));
    return;
  }
  const last = log.segments.at(-1);
  if (last !== undefined && segments.canResume(last)) {
    log.resume(last);
    return;
  }
  segments.adopt(log.roll(await takeArena(segments, lsm, undefined)), log.nextSequence);
}

async function takeArena(
  segments: Segments,
  lsm: Lsm,
  replica: ReplicaLog | undefined,
): Promise<Arena> {
  for (;;) {
    // More files than arenas may be left of what is in tables: they need no flush.
    segments.markFlushedBefore(lsm.flushedSequence, replica?.partlyApplied);
    const arena = segments.takeArena();
    if (arena !== undefined) return arena;
    const { flushCount } = segments;
    await segments.flush();
    if (segments.isDiskFull) {
      throw new StartupError(
        "the log does not fit memory, and the disk has no room for tables of it",
      );
    }
    // All arenas wait for somebody to say that their frames are committed.
    if (replica !== undefined && segments.flushCount === flushCount) return segments.extend();
  }
}

/** Most buckets that segments of these sizes need. A power of two. */
function bucketsFor(segmentBytes: number, segmentCount: number): number {
  return powerOfTwo((segmentBytes * segmentCount) / ARENA_BYTES_PER_BUCKET);
}

/** The smallest power of two that is at least `value`. */
function powerOfTwo(value: number): number {
  let power = 1;
  while (power < value) power *= 2;
  return power;
}
