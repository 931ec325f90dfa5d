/** INFO server, clients and cpu. */
import type { ServerContext } from "./handler.ts";
import { type InfoField, zeros } from "./info-text.ts";
import { DKV_VERSION, REDIS_VERSION } from "./version.ts";

const SECONDS_PER_DAY = 86_400;
/** Redis's clock of 24 bits in seconds, which it compares object ages by. */
const LRU_CLOCK_MASK = 0xffffff;

export function serverFields({
  cluster,
  clock,
  config,
  host,
  runId,
  startedMs,
}: ServerContext): InfoField[] {
  const uptime = Math.floor((clock.monotonicMs() - startedMs) / 1000);
  const nowMs = clock.wallMs();
  return [
    ["redis_version", REDIS_VERSION],
    ["dkv_version", DKV_VERSION],
    ["redis_git_sha1", "00000000"],
    ["redis_git_dirty", 0],
    ["redis_build_id", `dkv-${DKV_VERSION}`],
    ["redis_mode", cluster === undefined ? "standalone" : "cluster"],
    ["os", host.system],
    ["arch_bits", 64],
    ["monotonic_clock", "POSIX clock_gettime"],
    ["multiplexing_api", "epoll"],
    ["process_id", host.pid],
    ["process_supervised", "no"],
    ["run_id", runId],
    ["tcp_port", config.get("port")],
    ["server_time_usec", Math.floor(nowMs * 1000)],
    ["uptime_in_seconds", uptime],
    ["uptime_in_days", Math.floor(uptime / SECONDS_PER_DAY)],
    ["hz", 10],
    ["configured_hz", 10],
    ["lru_clock", Math.floor(nowMs / 1000) & LRU_CLOCK_MASK],
    ["executable", host.executable],
    ["config_file", config.file ?? ""],
    ["io_threads_active", 0],
  ];
}

export function clientFields({ clients, config }: ServerContext): InfoField[] {
  let blocked = 0;
  let inputMax = 0;
  let outputMax = 0;
  for (const session of clients.all()) {
    if (session.unblock !== undefined) blocked++;
    inputMax = Math.max(inputMax, session.parser.bufferedBytes);
    outputMax = Math.max(outputMax, session.pendingBytes);
  }
  return [
    ["connected_clients", clients.count],
    ["cluster_connections", 0],
    ["maxclients", config.get("maxclients")],
    ["client_recent_max_input_buffer", inputMax],
    ["client_recent_max_output_buffer", outputMax],
    ["blocked_clients", blocked],
    ...zeros("tracking_clients clients_in_timeout_table"),
  ];
}

function seconds(micros: number): string {
  return (micros / 1e6).toFixed(6);
}

export function cpuFields({ host }: ServerContext): InfoField[] {
  const cpu = host.cpu();
  return [
    ["used_cpu_sys", seconds(cpu.systemMicros)],
    ["used_cpu_user", seconds(cpu.userMicros)],
    ["used_cpu_sys_children", seconds(0)],
    ["used_cpu_user_children", seconds(0)],
    ["used_cpu_sys_main_thread", seconds(cpu.mainSystemMicros)],
    ["used_cpu_user_main_thread", seconds(cpu.mainUserMicros)],
  ];
}
