/**
 * Which fields of INFO and CLUSTER INFO become which series. Those under redis_ have redis_exporter's names, so that
 * dashboards and alerts made for it work; what dkv has beyond Redis is under dkv_.
 *
 *     field series [factor]
 */

export interface FieldMetric {
  readonly field: string;
  readonly name: string;
  /** The series is the field times this. */
  readonly factor: number;
}

function table(text: string): FieldMetric[] {
  const lines = text.trim().split("\n");
  return lines.map((line) => {
    const [field, name, factor] = line.trim().split(/\s+/);
    return { field: field!, name: name!, factor: Number(factor ?? 1) };
  });
}

export const REDIS_GAUGES: readonly FieldMetric[] = table(`
  uptime_in_seconds                redis_uptime_in_seconds
  process_id                       redis_process_id
  io_threads_active                redis_io_threads_active
  hz                               redis_hz
  configured_hz                    redis_configured_hz
  connected_clients                redis_connected_clients
  blocked_clients                  redis_blocked_clients
  maxclients                       redis_max_clients
  tracking_clients                 redis_tracking_clients
  clients_in_timeout_table         redis_clients_in_timeout_table
  client_recent_max_output_buffer  redis_client_recent_max_output_buffer_bytes
  client_recent_max_input_buffer   redis_client_recent_max_input_buffer_bytes
  used_memory                      redis_memory_used_bytes
  used_memory_rss                  redis_memory_used_rss_bytes
  used_memory_peak                 redis_memory_used_peak_bytes
  used_memory_lua                  redis_memory_used_lua_bytes
  used_memory_overhead             redis_memory_used_overhead_bytes
  used_memory_startup              redis_memory_used_startup_bytes
  used_memory_dataset              redis_memory_used_dataset_bytes
  number_of_cached_scripts         redis_number_of_cached_scripts
  maxmemory                        redis_memory_max_bytes
  mem_fragmentation_ratio          redis_mem_fragmentation_ratio
  mem_fragmentation_bytes          redis_mem_fragmentation_bytes
  mem_clients_slaves               redis_mem_clients_slaves
  mem_clients_normal               redis_mem_clients_normal
  mem_not_counted_for_evict        redis_mem_not_counted_for_eviction_bytes
  total_system_memory              redis_total_system_memory_bytes
  active_defrag_running            redis_active_defrag_running
  lazyfree_pending_objects         redis_lazyfree_pending_objects
  loading                          redis_loading_dump_file
  async_loading                    redis_async_loading
  rdb_changes_since_last_save      redis_rdb_changes_since_last_save
  rdb_bgsave_in_progress           redis_rdb_bgsave_in_progress
  rdb_last_save_time               redis_rdb_last_save_timestamp_seconds
  rdb_last_bgsave_status           redis_rdb_last_bgsave_status
  rdb_last_bgsave_time_sec         redis_rdb_last_bgsave_duration_sec
  rdb_current_bgsave_time_sec      redis_rdb_current_bgsave_duration_sec
  rdb_saves                        redis_rdb_saves_total
  rdb_last_cow_size                redis_rdb_last_cow_size_bytes
  rdb_last_load_keys_expired       redis_rdb_last_load_expired_keys
  rdb_last_load_keys_loaded        redis_rdb_last_load_loaded_keys
  aof_enabled                      redis_aof_enabled
  aof_rewrite_in_progress          redis_aof_rewrite_in_progress
  aof_rewrite_scheduled            redis_aof_rewrite_scheduled
  aof_last_rewrite_time_sec        redis_aof_last_rewrite_duration_sec
  aof_current_rewrite_time_sec     redis_aof_current_rewrite_duration_sec
  aof_last_cow_size                redis_aof_last_cow_size_bytes
  aof_current_size                 redis_aof_current_size_bytes
  aof_base_size                    redis_aof_base_size_bytes
  aof_pending_rewrite              redis_aof_pending_rewrite
  aof_buffer_length                redis_aof_buffer_length
  aof_pending_bio_fsync            redis_aof_pending_bio_fsync
  aof_delayed_fsync                redis_aof_delayed_fsync
  aof_last_bgrewrite_status        redis_aof_last_bgrewrite_status
  aof_last_write_status            redis_aof_last_write_status
  module_fork_in_progress          redis_module_fork_in_progress
  module_fork_last_cow_size        redis_module_fork_last_cow_size
  current_eviction_exceeded_time   redis_current_eviction_exceeded_time_ms
  pubsub_channels                  redis_pubsub_channels
  pubsub_patterns                  redis_pubsub_patterns
  latest_fork_usec                 redis_latest_fork_usec
  expired_stale_perc               redis_expired_stale_percentage
  tracking_total_keys              redis_tracking_total_keys
  tracking_total_items             redis_tracking_total_items
  tracking_total_prefixes          redis_tracking_total_prefixes
  connected_slaves                 redis_connected_slaves
  repl_backlog_size                redis_replication_backlog_bytes
  repl_backlog_active              redis_repl_backlog_is_active
  repl_backlog_first_byte_offset   redis_repl_backlog_first_byte_offset
  repl_backlog_histlen             redis_repl_backlog_history_bytes
  master_repl_offset               redis_master_repl_offset
  second_repl_offset               redis_second_repl_offset
  slave_expires_tracked_keys       redis_slave_expires_tracked_keys
  slave_priority                   redis_slave_priority
  sync_full                        redis_replica_resyncs_full
  sync_partial_ok                  redis_replica_partial_resync_accepted
  sync_partial_err                 redis_replica_partial_resync_denied
  cluster_enabled                  redis_cluster_enabled
  cluster_state                    redis_cluster_state
  cluster_slots_assigned           redis_cluster_slots_assigned
  cluster_slots_ok                 redis_cluster_slots_ok
  cluster_slots_pfail              redis_cluster_slots_pfail
  cluster_slots_fail               redis_cluster_slots_fail
  cluster_known_nodes              redis_cluster_known_nodes
  cluster_size                     redis_cluster_size
  cluster_current_epoch            redis_cluster_current_epoch
  cluster_my_epoch                 redis_cluster_my_epoch
`);

export const REDIS_COUNTERS: readonly FieldMetric[] = table(`
  total_connections_received       redis_connections_received_total
  total_commands_processed         redis_commands_processed_total
  rejected_connections             redis_rejected_connections_total
  total_net_input_bytes            redis_net_input_bytes_total
  total_net_output_bytes           redis_net_output_bytes_total
  expired_keys                     redis_expired_keys_total
  expired_time_cap_reached_count   redis_expired_time_cap_reached_total
  expire_cycle_cpu_milliseconds    redis_expire_cycle_cpu_time_ms_total
  evicted_keys                     redis_evicted_keys_total
  evicted_clients                  redis_evicted_clients_total
  keyspace_hits                    redis_keyspace_hits_total
  keyspace_misses                  redis_keyspace_misses_total
  total_reads_processed            redis_total_reads_processed
  total_writes_processed           redis_total_writes_processed
  total_error_replies              redis_total_error_replies
  unexpected_error_replies         redis_unexpected_error_replies
  acl_access_denied_auth           redis_acl_access_denied_auth_total
  used_cpu_sys                     redis_cpu_sys_seconds_total
  used_cpu_user                    redis_cpu_user_seconds_total
  used_cpu_sys_children            redis_cpu_sys_children_seconds_total
  used_cpu_user_children           redis_cpu_user_children_seconds_total
  used_cpu_sys_main_thread         redis_cpu_sys_main_thread_seconds_total
  used_cpu_user_main_thread        redis_cpu_user_main_thread_seconds_total
`);

export const DKV_GAUGES: readonly FieldMetric[] = table(`
  flush_running                    dkv_lsm_flush_running
  compaction_running               dkv_lsm_compaction_running
  compaction_pending_bytes         dkv_lsm_compaction_pending_bytes
  range_deletions                  dkv_lsm_range_deletions
  write_pressure                   dkv_lsm_write_pressure
  unresolved_counts                dkv_lsm_unresolved_counts
  writes_refused                   dkv_writes_refused
  log_segments                     dkv_log_segments
  log_bytes                        dkv_log_bytes
  log_last_fsync_usec              dkv_log_last_fsync_seconds   1e-6
  log_last_fsync_ms_ago            dkv_log_last_fsync_age_seconds 1e-3
  log_written_frame                dkv_log_written_frame
  log_durable_frame                dkv_log_durable_frame
  log_committed_frame              dkv_log_committed_frame
  memory_budget                    dkv_memory_budget_bytes
  cluster_epoch                    dkv_replication_epoch
  cluster_members                  dkv_replication_members
  cluster_learners                 dkv_replication_learners
  cluster_write_quorum             dkv_replication_write_quorum
  cluster_replication_factor       dkv_replication_factor
  cluster_commit_frame             dkv_replication_commit_frame
  cluster_durable_frame            dkv_replication_durable_frame
  cluster_last_frame               dkv_replication_last_frame
`);

export const DKV_COUNTERS: readonly FieldMetric[] = table(`
  flushes                          dkv_lsm_flushes_total
  flush_bytes_written              dkv_lsm_flush_written_bytes_total
  compactions                      dkv_lsm_compactions_total
  compaction_bytes_read            dkv_lsm_compaction_read_bytes_total
  compaction_bytes_written         dkv_lsm_compaction_written_bytes_total
  write_stalls                     dkv_write_stalls_total
  log_bytes_written                dkv_log_written_bytes_total
  log_fsyncs                       dkv_log_fsyncs_total
  block_cache_hits                 dkv_block_cache_hits_total
  block_cache_misses               dkv_block_cache_misses_total
  block_cache_evictions            dkv_block_cache_evictions_total
  cluster_handovers                dkv_replication_handovers_total
  cluster_failovers                dkv_replication_failovers_total
  cluster_redirects                dkv_cluster_redirects_total
  cluster_forwards                 dkv_cluster_forwards_total
  cluster_forwards_refused         dkv_cluster_forwards_refused_total
  cluster_scattered_commands       dkv_cluster_scattered_commands_total
`);
