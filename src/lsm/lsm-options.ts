/**
 * What an Lsm is given, and its tuning: every number has a default and bounds.
 */
import { assert } from "../base/assert.ts";
import type { HashSeed } from "../base/order-hash.ts";
import type { DiskRoomOptions } from "./disk-room.ts";
import type { StorageExecutor } from "./storage-executor.ts";
import type { ExpiredBatch } from "./storage-job.ts";
import type { Compression } from "./table-format.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

export interface LsmTuning {
  readonly blockBytes: number;
  readonly filterBitsPerKey: number;
  readonly compression: Compression;
  /** Blocks cached in memory. */
  readonly cacheBytes: number;
  /** Overlapping flushes in level 0 that are worth merging … */
  readonly level0Trigger: number;
  /** … and that are merged at any price. */
  readonly level0DepthMax: number;
  /** Depth of level 0 from which writers are slowed, and at which they must stop. */
  readonly level0SlowDepth: number;
  readonly level0StopDepth: number;
  /** Bytes of pending merges from which writers are slowed, and at which they must stop. */
  readonly pendingSlowBytes: number;
  readonly pendingStopBytes: number;
  /** The last level is the only one below level 0 until it is larger than this. */
  readonly levelBaseBytes: number;
  readonly levelMultiplier: number;
  readonly targetTableBytes: number;
  /** Parts of the key space that level 0 is merged in: a power of two. */
  readonly partitions: number;
  /** Input of merges and sweeps a second; 0: no limit. */
  readonly compactionBytesPerSecond: number;
  /** Expired keys that one job reports. */
  readonly expiredPerJob: number;
  readonly manifestBytes: number;
  readonly slowReadMicros: number;
  readonly asyncForMs: number;
  /** For tests: every block that is not cached is cold. */
  readonly forceAsync: boolean;
}

export const DEFAULT_TUNING: LsmTuning = {
  blockBytes: 4 * KIB,
  filterBitsPerKey: 10,
  compression: "none",
  cacheBytes: 64 * MIB,
  level0Trigger: 4,
  level0DepthMax: 12,
  level0SlowDepth: 16,
  level0StopDepth: 32,
  pendingSlowBytes: 8 * 1024 * MIB,
  pendingStopBytes: 32 * 1024 * MIB,
  levelBaseBytes: 1536 * MIB,
  levelMultiplier: 10,
  targetTableBytes: 32 * MIB,
  partitions: 4,
  compactionBytesPerSecond: 0,
  expiredPerJob: 16_384,
  manifestBytes: 4 * MIB,
  slowReadMicros: 1000,
  asyncForMs: 100,
  forceAsync: false,
};

type NumberName = {
  [K in keyof LsmTuning]: LsmTuning[K] extends number ? K : never;
}[keyof LsmTuning];

/** Inclusive bounds. */
export const TUNING_BOUNDS: Readonly<Record<NumberName, readonly [number, number]>> = {
  blockBytes: [256, 32 * KIB],
  filterBitsPerKey: [0, 20],
  cacheBytes: [0, 2 ** 40],
  level0Trigger: [1, 64],
  level0DepthMax: [1, 256],
  level0SlowDepth: [1, 512],
  level0StopDepth: [2, 1024],
  pendingSlowBytes: [KIB, 2 ** 50],
  pendingStopBytes: [2 * KIB, 2 ** 50],
  levelBaseBytes: [KIB, 2 ** 45],
  levelMultiplier: [2, 100],
  targetTableBytes: [KIB, 1024 * MIB],
  partitions: [1, 64],
  compactionBytesPerSecond: [0, 2 ** 40],
  expiredPerJob: [1, 1_000_000],
  manifestBytes: [KIB, 1024 * MIB],
  slowReadMicros: [1, 1e9],
  asyncForMs: [0, 1e6],
};

export interface LsmOptions extends DiskRoomOptions {
  /** Owned: close() closes it. */
  readonly executor: StorageExecutor;
  nowMicros(): number;
  /** What has expired is reported by it, also while nothing is written: it must not stand still then. */
  clockMs(): number;
  readonly hashSeed: HashSeed;
  readonly tuning?: Partial<LsmTuning>;
  /** A failure outside any call, or one that a call rejects with too: nothing works after it. */
  onError(error: Error): void;
  /** Keys whose time has come, as tables saw them: a newer record may exist. */
  onExpired(batch: ExpiredBatch): void;
}

export function completeTuning(tuning: Partial<LsmTuning> | undefined): LsmTuning {
  const complete = { ...DEFAULT_TUNING, ...tuning };
  for (const name of Object.keys(TUNING_BOUNDS) as NumberName[]) {
    const [min, max] = TUNING_BOUNDS[name];
    const value = complete[name];
    assert(value >= min && value <= max, "a tuning value is outside its bounds");
  }
  assert(complete.level0SlowDepth < complete.level0StopDepth, "slow depth is below stop depth");
  assert(complete.pendingSlowBytes < complete.pendingStopBytes, "slow bytes are below stop bytes");
  assert(1024 % complete.partitions === 0, "partitions is a power of two");
  return complete;
}
