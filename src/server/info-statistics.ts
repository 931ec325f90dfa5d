/** INFO stats, commandstats, errorstats and latencystats. What dkv never does (eviction, forks, scripts) counts 0. */
import { COMMANDS, type CommandSpec } from "./command-table.ts";
import type { ServerContext } from "./handler.ts";
import { type InfoField, zeros } from "./info-text.ts";
import type { Statistics } from "./statistics.ts";

function kilobytes(bytes: number): string {
  return (bytes / 1024).toFixed(2);
}

export function statisticsFields({ statistics, store }: ServerContext): InfoField[] {
  return [
    ["total_connections_received", statistics.connections],
    ["total_commands_processed", statistics.commands],
    ["instantaneous_ops_per_sec", statistics.commandsPerSecond],
    ["total_net_input_bytes", statistics.netInputBytes],
    ["total_net_output_bytes", statistics.netOutputBytes],
    ...zeros("total_net_repl_input_bytes total_net_repl_output_bytes"),
    ["instantaneous_input_kbps", kilobytes(statistics.inputBytesPerSecond)],
    ["instantaneous_output_kbps", kilobytes(statistics.outputBytesPerSecond)],
    ["instantaneous_input_repl_kbps", kilobytes(0)],
    ["instantaneous_output_repl_kbps", kilobytes(0)],
    ["rejected_connections", statistics.rejectedConnections],
    ...zeros("sync_full sync_partial_ok sync_partial_err"),
    ["expired_keys", store.expiredKeys],
    ["expired_stale_perc", "0.00"],
    ...zeros("expired_time_cap_reached_count expire_cycle_cpu_milliseconds"),
    ...zeros("evicted_keys evicted_clients"),
    ...zeros("total_eviction_exceeded_time current_eviction_exceeded_time"),
    ["keyspace_hits", statistics.keyspaceHits],
    ["keyspace_misses", statistics.keyspaceMisses],
    ...zeros("pubsub_channels pubsub_patterns pubsubshard_channels latest_fork_usec total_forks"),
    ...zeros("migrate_cached_sockets slave_expires_tracked_keys"),
    ...zeros("active_defrag_hits active_defrag_misses active_defrag_key_hits"),
    ...zeros("active_defrag_key_misses total_active_defrag_time current_active_defrag_time"),
    ...zeros("tracking_total_keys tracking_total_items tracking_total_prefixes"),
    ["unexpected_error_replies", 0],
    ["total_error_replies", statistics.errorReplies],
    ["dump_payload_sanitizations", 0],
    ["total_reads_processed", statistics.reads],
    ["total_writes_processed", statistics.writes],
    ...zeros("io_threaded_reads_processed io_threaded_writes_processed"),
    ...zeros("reply_buffer_shrinks reply_buffer_expands"),
    ["client_query_buffer_limit_disconnections", statistics.queryBufferDisconnections],
    ["client_output_buffer_limit_disconnections", statistics.outputBufferDisconnections],
    ["acl_access_denied_auth", statistics.authFailures],
  ];
}

function commandField(statistics: Statistics, { id, name }: CommandSpec): InfoField | undefined {
  const calls = statistics.calls[id]!;
  const rejected = statistics.rejected[id]!;
  const failed = statistics.failed[id]!;
  if (calls === 0 && rejected === 0 && failed === 0) return undefined;
  const micros = Math.round(statistics.micros[id]!);
  const perCall = calls === 0 ? 0 : micros / calls;
  return [
    `cmdstat_${name}`,
    `calls=${calls},usec=${micros},usec_per_call=${perCall.toFixed(2)},rejected_calls=${rejected},failed_calls=${failed}`,
  ];
}

export function commandStatisticsFields({ statistics }: ServerContext): InfoField[] {
  return COMMANDS.map((spec) => commandField(statistics, spec)).filter(
    (field) => field !== undefined,
  );
}

export function errorStatisticsFields({ statistics }: ServerContext): InfoField[] {
  const codes = [...statistics.errors].sort(([a], [b]) => (a < b ? -1 : 1));
  return codes.map(([code, count]) => [`errorstat_${code}`, `count=${count}`]);
}

export function latencyStatisticsFields({ config, statistics }: ServerContext): InfoField[] {
  if (!config.get("latency-tracking")) return [];
  const percentiles = config.get("latency-tracking-info-percentiles");
  const fields: InfoField[] = [];
  for (const { id, name } of COMMANDS) {
    const durations = statistics.histogram(id);
    if (durations === undefined) continue;
    const shown = percentiles.map(
      (percent) => `p${percent}=${(durations.percentile(percent) / 1000).toFixed(3)}`,
    );
    fields.push([`latency_percentiles_usec_${name}`, shown.join(",")]);
  }
  return fields;
}
