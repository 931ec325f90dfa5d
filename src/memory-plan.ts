/**
 * How the memory budget (maxmemory, the whole process) is divided.
 *
 *   runtime, heaps, thread     fixed + a little per byte
 *   segments                   arenas of the log with their index arrays
 *   block cache                blocks of tables
 *   filters and indexes        grow with the data, twice: the Worker keeps its own
 *   clients                    requests being received, replies that wait
 */
import type { Config } from "./config/config.ts";
import { DEFAULT_TUNING, type LsmTuning } from "./lsm/lsm-options.ts";

export interface MemoryPlan {
  readonly segmentBytes: number;
  readonly segmentPoolBytes: number;
  readonly valueBytesMax: number;
  readonly clientBytes: number;
  readonly tuning: Partial<LsmTuning>;
}

const MIB = 1024 * 1024;
const SEGMENT_BYTES_MIN = 4 * MIB;
const SEGMENT_BYTES_MAX = 64 * MIB;
/** A pool of at least this many segments: one fills while others are flushed. */
const SEGMENTS_WANTED = 8;
const SEGMENT_SHARE = 0.16;
const SEGMENT_POOL_MAX = 4096 * MIB;
const CACHE_SHARE = 0.08;
const CLIENT_SHARE = 0.125;
const VALUE_SHARE = 0.125;

export function divideMemory(config: Config): MemoryPlan {
  const budget = config.memoryBytes;
  const poolShare = config.get("engine-segment-pool-percent") / 100 || SEGMENT_SHARE;
  const segmentPoolBytes = Math.min(SEGMENT_POOL_MAX, budget * poolShare);
  const segmentBytes =
    config.get("engine-segment-bytes") ||
    Math.max(SEGMENT_BYTES_MIN, Math.min(SEGMENT_BYTES_MAX, segmentPoolBytes / SEGMENTS_WANTED));
  return {
    segmentBytes: 2 ** Math.floor(Math.log2(segmentBytes)),
    segmentPoolBytes,
    valueBytesMax: Math.floor(budget * VALUE_SHARE),
    clientBytes: Math.floor(budget * CLIENT_SHARE),
    tuning: engineTuning(config, budget),
  };
}

function engineTuning(config: Config, budget: number): Partial<LsmTuning> {
  const cacheShare = config.get("engine-block-cache-percent") / 100 || CACHE_SHARE;
  return {
    cacheBytes: Math.floor(budget * cacheShare),
    blockBytes: config.get("engine-block-bytes"),
    filterBitsPerKey: config.get("engine-bloom-bits"),
    compression: config.get("engine-compression"),
    level0Trigger: config.get("engine-level0-trigger"),
    levelBaseBytes: config.get("engine-level-base-bytes") || DEFAULT_TUNING.levelBaseBytes,
    targetTableBytes: config.get("engine-table-bytes") || DEFAULT_TUNING.targetTableBytes,
    compactionBytesPerSecond: config.get("engine-compaction-rate"),
    slowReadMicros: config.get("engine-slow-read-micros"),
  };
}
