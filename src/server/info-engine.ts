/**
 * INFO persistence, keyspace and dkv: what the store does.
 *
 * persistence speaks Redis's words for tools that watch them: the log is the append-only file, "changes since the last
 * save" are frames that are not synced yet, and saving never fails, since a failed write ends the process.
 */
import { estimateExpiring } from "../store/expiry-estimate.ts";
import type { ServerContext } from "./handler.ts";
import { memoryParts } from "./info-memory.ts";
import { clusterNodeFields } from "./info-replication.ts";
import { type InfoField, zeros } from "./info-text.ts";
import { DKV_VERSION } from "./version.ts";

export function persistenceFields({ store, statistics }: ServerContext): InfoField[] {
  const { log, pipeline } = store.internals;
  return [
    ["loading", 0],
    ["async_loading", 0],
    ...zeros("current_cow_peak current_cow_size current_cow_size_age"),
    ["current_fork_perc", "0.00"],
    ...zeros("current_save_keys_processed current_save_keys_total"),
    ["rdb_changes_since_last_save", log.openIndex - 1 - log.durableIndex],
    ["rdb_bgsave_in_progress", 0],
    ["rdb_last_save_time", Math.floor(statistics.lastSaveMs / 1000)],
    ["rdb_last_bgsave_status", "ok"],
    ["rdb_last_bgsave_time_sec", statistics.saves === 0 ? -1 : 0],
    ["rdb_current_bgsave_time_sec", -1],
    ["rdb_saves", statistics.saves],
    ["rdb_last_cow_size", 0],
    ["rdb_last_load_keys_expired", 0],
    ["rdb_last_load_keys_loaded", 0],
    ["aof_enabled", 1],
    ["aof_rewrite_in_progress", 0],
    ["aof_rewrite_scheduled", 0],
    ["aof_last_rewrite_time_sec", -1],
    ["aof_current_rewrite_time_sec", -1],
    ["aof_last_bgrewrite_status", "ok"],
    ...zeros("aof_rewrites aof_rewrites_consecutive_failures"),
    ["aof_last_write_status", store.housekeeping.refusal === undefined ? "ok" : "err"],
    ["aof_last_cow_size", 0],
    ...zeros("module_fork_in_progress module_fork_last_cow_size"),
    ["aof_current_size", logBytes(log.segments)],
    ["aof_base_size", 0],
    ["aof_pending_rewrite", 0],
    ["aof_buffer_length", 0],
    ["aof_pending_bio_fsync", pipeline.isSyncing ? 1 : 0],
    ["aof_delayed_fsync", 0],
  ];
}

function logBytes(segments: readonly { readonly writtenEnd: number }[]): number {
  return segments.reduce((sum, segment) => sum + segment.writtenEnd, 0);
}

export function keyspaceFields({ store }: ServerContext): InfoField[] {
  const keys = store.approximateSize;
  if (keys === 0) return [];
  const { keys: expires, averageMs } = estimateExpiring(store.internals, keys, store.nowMs);
  return [["db0", `keys=${keys},expires=${expires},avg_ttl=${averageMs}`]];
}

function tableFields({ store }: ServerContext): InfoField[] {
  const { segments, lsm } = store.internals;
  const { info } = lsm;
  const levels = info.levels.flatMap(({ tables, bytes, records }, level): InfoField[] => [
    [`level${level}_tables`, tables],
    [`level${level}_bytes`, bytes],
    [`level${level}_records`, records],
  ]);
  return [
    ["table_files", info.levels.reduce((sum, level) => sum + level.tables, 0)],
    ["table_bytes", info.levels.reduce((sum, level) => sum + level.bytes, 0)],
    ...levels,
    ["flushes", segments.flushCount],
    ["flush_running", segments.isFlushing ? 1 : 0],
    ["flush_bytes_written", info.flushBytesWritten],
    ["compactions", info.compactionCount],
    ["compaction_running", info.isCompacting ? 1 : 0],
    ["compaction_pending_bytes", info.pendingCompactionBytes],
    ["compaction_bytes_read", info.compactionBytesRead],
    ["compaction_bytes_written", info.compactionBytesWritten],
    ["range_deletions", info.rangeDeletions],
    ["write_pressure", store.internals.lsm.writePressure.toFixed(3)],
    ["write_stalls", segments.stallCount],
    ["writes_refused", store.housekeeping.refusal === undefined ? 0 : 1],
  ];
}

function logFields({ clock, config, store }: ServerContext): InfoField[] {
  const { log, pipeline } = store.internals;
  const { lastSyncMs } = pipeline;
  const sinceMs = lastSyncMs === 0 ? -1 : Math.round(clock.monotonicMs() - lastSyncMs);
  return [
    ["log_fsync_policy", config.get("appendfsync")],
    ["log_segments", log.segments.length],
    ["log_bytes", logBytes(log.segments)],
    ["log_bytes_written", log.writtenBytes],
    ["log_fsyncs", log.syncCount],
    ["log_last_fsync_usec", Math.round(pipeline.lastSyncDurationMs * 1000)],
    ["log_last_fsync_ms_ago", sinceMs],
    ["log_written_frame", log.writtenIndex],
    ["log_durable_frame", log.durableIndex],
    ["log_committed_frame", pipeline.committed],
  ];
}

export function dkvFields(server: ServerContext): InfoField[] {
  const { counts, lsm } = server.store.internals;
  const { cache } = lsm.info;
  const memory = memoryParts(server);
  return [
    ["dkv_version", DKV_VERSION],
    ...tableFields(server),
    ...logFields(server),
    ["memory_budget", server.config.memoryBytes],
    ["memory_segments", memory.segments],
    ["memory_memtable", memory.memtable],
    ["memory_block_cache", memory.blockCache],
    ["memory_tables", memory.tables],
    ["memory_clients", memory.clients],
    ["memory_heap", server.memory.read().heapUsedBytes],
    ["block_cache_hits", cache.hits],
    ["block_cache_misses", cache.misses],
    ["block_cache_evictions", cache.evictions],
    ["unresolved_counts", counts.unresolved],
    ...clusterNodeFields(server),
  ];
}
