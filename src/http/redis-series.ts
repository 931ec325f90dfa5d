/** Series with labels that redis_exporter makes of INFO, SLOWLOG and CONFIG, under its names. */
import { COMMANDS } from "../server/command-table.ts";
import type { ServerContext } from "../server/handler.ts";
import type { Scrape } from "./scrape.ts";
import type { Sample, SeriesRegistrar } from "./series.ts";

const INSTANCE_LABELS = [
  ...["role", "redis_version", "redis_build_id", "redis_mode", "os", "maxmemory_policy"],
  ...["tcp_port", "run_id", "process_id", "master_replid"],
];
const MASTER_LABELS = ["master_host", "master_port"];
const REPLICA_LABELS = ["slave_ip", "slave_port", "slave_state"];
const REPLICAS_SHOWN_MAX = 64;

export function registerRedisSeries(registrar: SeriesRegistrar): void {
  registerInstance(registrar);
  registerCommands(registrar);
  registerKeyspace(registrar);
  registerReplication(registrar);
  registerSlowLog(registrar);
}

function registerInstance({ gauge }: SeriesRegistrar): void {
  gauge("redis_up", "Whether the server answers.", [], () => [{ value: 1 }]);
  gauge("redis_instance_info", "What the instance is.", INSTANCE_LABELS, (scrape) => [
    { value: 1, labels: labelsOf(scrape, INSTANCE_LABELS) },
  ]);
  gauge("redis_start_time_seconds", "Start of the server, since the epoch.", [], (scrape) => [
    {
      value: Math.round(scrape.context.clock.wallMs() / 1000) - scrape.number("uptime_in_seconds")!,
    },
  ]);
  gauge("redis_config_maxmemory", "maxmemory, as it is in effect.", [], ({ context }) => [
    { value: context.config.memoryBytes },
  ]);
  gauge("redis_config_maxclients", "maxclients of CONFIG.", [], ({ context }) => [
    { value: context.config.get("maxclients") },
  ]);
}

function labelsOf(scrape: Scrape, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, scrape.text(name)]));
}

/** One sample for each command that has been asked for. */
function ofCommands(read: (context: ServerContext, id: number) => number) {
  return ({ context }: Scrape): Sample[] => {
    const { calls, rejected, failed } = context.statistics;
    const seen = COMMANDS.filter(({ id }) => calls[id]! + rejected[id]! + failed[id]! > 0);
    return seen.map(({ id, name }) => ({ labels: { cmd: name }, value: read(context, id) }));
  };
}

function registerCommands({ counter, gauge }: SeriesRegistrar): void {
  const labels = ["cmd"];
  counter(
    "redis_commands_total",
    "Calls by command.",
    labels,
    ofCommands(({ statistics }, id) => statistics.calls[id]!),
  );
  counter(
    "redis_commands_duration_seconds_total",
    "Time spent by command.",
    labels,
    ofCommands(({ statistics }, id) => statistics.micros[id]! / 1e6),
  );
  counter(
    "redis_commands_rejected_calls_total",
    "Calls that were refused before they ran, by command.",
    labels,
    ofCommands(({ statistics }, id) => statistics.rejected[id]!),
  );
  counter(
    "redis_commands_failed_calls_total",
    "Calls that ran and answered an error, by command.",
    labels,
    ofCommands(({ statistics }, id) => statistics.failed[id]!),
  );
  counter("redis_errors_total", "Error replies by their first word.", ["err"], ({ context }) =>
    [...context.statistics.errors].map(([err, value]) => ({ labels: { err }, value })),
  );
  gauge(
    "redis_latency_percentiles_usec",
    "Microseconds that a share of the command's calls took at most.",
    ["cmd", "quantile"],
    latencies,
  );
}

function latencies({ context }: Scrape): Sample[] {
  const { config, statistics } = context;
  const percentiles = config.get("latency-tracking-info-percentiles");
  if (!config.get("latency-tracking")) return [];
  return COMMANDS.flatMap(({ id, name }) => {
    const durations = statistics.histogram(id);
    if (durations === undefined) return [];
    return percentiles.map((percent) => ({
      labels: { cmd: name, quantile: `${percent}` },
      value: durations.percentile(percent) / 1000,
    }));
  });
}

function registerKeyspace({ gauge }: SeriesRegistrar): void {
  const ofDatabase = (part: string, factor: number) => (scrape: Scrape) => [
    { labels: { db: "db0" }, value: Number(scrape.parts("db0").get(part) ?? 0) * factor },
  ];
  gauge("redis_db_keys", "Keys.", ["db"], ofDatabase("keys", 1));
  gauge("redis_db_keys_expiring", "Keys that expire, estimated.", ["db"], ofDatabase("expires", 1));
  gauge(
    "redis_db_avg_ttl_seconds",
    "Mean time that is left to keys that expire, estimated.",
    ["db"],
    ofDatabase("avg_ttl", 1e-3),
  );
}

/** One sample with the master's address, on a replica. */
function ofMaster(field: string) {
  return (scrape: Scrape): Sample[] => {
    const text = scrape.text(field);
    if (scrape.text("role") !== "slave" || text === "") return [];
    const value = text === "up" ? 1 : text === "down" ? 0 : Number(text);
    return [{ labels: labelsOf(scrape, MASTER_LABELS), value }];
  };
}

/** One sample for each replica, on a writer. */
function ofReplicas(part: string) {
  return (scrape: Scrape): Sample[] => {
    const samples: Sample[] = [];
    for (let at = 0; at < REPLICAS_SHOWN_MAX; at++) {
      if (scrape.text(`slave${at}`) === "") break;
      const parts = scrape.parts(`slave${at}`);
      const labels = {
        slave_ip: parts.get("ip")!,
        slave_port: parts.get("port")!,
        slave_state: parts.get("state")!,
      };
      samples.push({ labels, value: Number(parts.get(part)) });
    }
    return samples;
  };
}

function registerReplication({ gauge }: SeriesRegistrar): void {
  gauge(
    "redis_connected_slave_offset_bytes",
    "What a replica durably has, as the index of a frame.",
    REPLICA_LABELS,
    ofReplicas("offset"),
  );
  gauge(
    "redis_connected_slave_lag_seconds",
    "Seconds since a replica was heard.",
    REPLICA_LABELS,
    ofReplicas("lag"),
  );
  gauge("redis_slave_info", "What the replica is.", [...MASTER_LABELS, "read_only"], (scrape) =>
    ofMaster("slave_read_only")(scrape).map(({ labels, value }) => ({
      labels: { ...labels, read_only: `${value}` },
      value: 1,
    })),
  );
  const ofLink: [string, string, string][] = [
    ["redis_master_link_up", "master_link_status", "Whether the replica hears its writer."],
    ["redis_master_last_io_seconds_ago", "master_last_io_seconds_ago", "Since it was heard."],
    ["redis_master_sync_in_progress", "master_sync_in_progress", "Whether tables are copied."],
    ["redis_slave_repl_offset", "slave_repl_offset", "What readers of the replica see."],
  ];
  for (const [name, field, help] of ofLink) gauge(name, help, MASTER_LABELS, ofMaster(field));
}

function registerSlowLog({ gauge }: SeriesRegistrar): void {
  gauge("redis_slowlog_length", "Entries of the SLOWLOG.", [], ({ context }) => [
    { value: context.slowLog.entries.length },
  ]);
  gauge("redis_slowlog_last_id", "Newest entry of the SLOWLOG.", [], ({ context }) =>
    context.slowLog.entries.slice(0, 1).map(({ id }) => ({ value: id })),
  );
  gauge(
    "redis_last_slow_execution_duration_seconds",
    "Duration of the newest entry of the SLOWLOG.",
    [],
    ({ context }) =>
      context.slowLog.entries.slice(0, 1).map(({ micros }) => ({ value: micros / 1e6 })),
  );
}
