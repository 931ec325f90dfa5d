/**
 * INFO as redis_exporter reads it: sections by the exact case of their heads, `name:value` lines, the forms of
 * cmdstat_, latency_percentiles_usec_, errorstat_ and dbN. The series asserted are those of the Grafana dashboard 763
 * and of the exporter's usual alerts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { decodeReply, encodeRequest, RawConnection } from "../support/raw-connection.ts";
import { type ServerProcess, START_TIMEOUT_MS, startServer } from "../support/server-process.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const MAXMEMORY = 512 * 1024 * 1024;

/** What the exporter makes of INFO ALL: series by name, labels in braces. */
function parseInfo(text: string): { values: Map<string, string>; series: Map<string, number> } {
  const values = new Map<string, string>();
  const series = new Map<string, number>();
  let section = "";
  for (const each of text.split("\n")) {
    const line = each.trim();
    if (line.startsWith("# ")) {
      section = line.slice(2);
      continue;
    }
    const colon = line.indexOf(":");
    if (line.length < 2 || colon < 0) continue;
    const key = line.slice(0, colon);
    const value = line.slice(colon + 1);
    values.set(key, value);
    if (section === "Commandstats") addCommand(series, key, value);
    else if (section === "Latencystats") addLatency(series, key, value);
    else if (section === "Errorstats") addError(series, key, value);
    else if (section === "Keyspace" && addKeyspace(series, key, value)) continue;
    else if (value !== "" && !Number.isNaN(Number(value))) series.set(key, Number(value));
  }
  return { values, series };
}

/** `name=number`, or NaN as the exporter would refuse it. */
function numberIn(part: string | undefined, name: string): number {
  const [key, value, ...rest] = (part ?? "").split("=");
  return key === name && rest.length === 0 && value !== "" ? Number(value) : Number.NaN;
}

function addCommand(series: Map<string, number>, key: string, value: string): void {
  const command = key.replace(/^cmdstat_/, "");
  const parts = value.split(",");
  series.set(`commands_total{${command}}`, numberIn(parts[0], "calls"));
  series.set(`commands_duration_usec{${command}}`, numberIn(parts[1], "usec"));
  series.set(`commands_rejected_calls_total{${command}}`, numberIn(parts[3], "rejected_calls"));
  series.set(`commands_failed_calls_total{${command}}`, numberIn(parts[4], "failed_calls"));
}

function addLatency(series: Map<string, number>, key: string, value: string): void {
  const command = key.replace(/^latency_percentiles_usec_/, "");
  for (const part of value.split(",")) {
    const match = /^p(\d+(?:\.\d+)?)=(\d+\.\d+)$/.exec(part);
    series.set(`latency_percentiles_usec{${command},${match?.[1]}}`, Number(match?.[2]));
  }
}

function addError(series: Map<string, number>, key: string, value: string): void {
  series.set(`errors_total{${key.replace(/^errorstat_/, "")}}`, numberIn(value, "count"));
}

function addKeyspace(series: Map<string, number>, key: string, value: string): boolean {
  const parts = value.split(",");
  if (!/^db\d+$/.test(key)) return false;
  series.set(`db_keys{${key}}`, numberIn(parts[0], "keys"));
  series.set(`db_keys_expiring{${key}}`, numberIn(parts[1], "expires"));
  series.set(`db_avg_ttl_seconds{${key}}`, numberIn(parts[2], "avg_ttl") / 1000);
  return true;
}

let server: ServerProcess;
let connection: RawConnection;

async function ask(...words: string[]) {
  connection.send(encodeRequest(words));
  return decodeReply((await connection.reply())!, 0)[0];
}

async function info(...sections: string[]) {
  return parseInfo((await ask("INFO", ...sections)) as string);
}

beforeAll(async () => {
  server = await startServer((port, directory) => [
    ...["bun", MAIN, "--port", `${port}`, "--dir", directory],
    ...["--maxmemory", `${MAXMEMORY}`],
  ]);
  connection = await RawConnection.open(server.port);
}, START_TIMEOUT_MS + 1000);

afterAll(async () => {
  connection.close();
  await server.stop();
});

describe("INFO all for redis_exporter", () => {
  test("has every series of dashboard 763, and they follow what happens", async () => {
    await ask("FLUSHALL");
    await ask("CONFIG", "RESETSTAT");
    for (let i = 0; i < 8; i++) await ask("SET", `key:${i}`, "v");
    await ask("SET", "fleeting", "v", "PX", "100000");
    await ask("GET", "key:0");
    await ask("GET", "absent");
    await ask("INCR", "key:0");
    await ask("GET");
    const { series } = await info("all");
    expect(series.get("uptime_in_seconds")).toBeLessThan(600);
    expect(series.get("connected_clients")).toBe(1);
    expect(series.get("blocked_clients")).toBe(0);
    expect(series.get("used_memory")).toBeGreaterThan(1024 * 1024);
    expect(series.get("used_memory")).toBeLessThan(MAXMEMORY);
    expect(series.get("maxmemory")).toBe(MAXMEMORY);
    expect(series.get("total_commands_processed")).toBe(13);
    expect(series.get("commands_total{set}")).toBe(9);
    expect(series.get("commands_duration_usec{set}")).toBeGreaterThan(0);
    expect(series.get("commands_failed_calls_total{incr}")).toBe(1);
    expect(series.get("commands_rejected_calls_total{get}")).toBe(1);
    expect(series.get("errors_total{ERR}")).toBe(2);
    expect(series.get("keyspace_hits")).toBe(1);
    expect(series.get("keyspace_misses")).toBe(1);
    expect(series.get("total_net_input_bytes")).toBeGreaterThan(300);
    expect(series.get("total_net_output_bytes")).toBeGreaterThan(50);
    expect(series.get("db_keys{db0}")).toBe(9);
    expect(series.get("db_keys_expiring{db0}")).toBe(1);
    expect(series.get("db_avg_ttl_seconds{db0}")).toBeWithin(90, 101);
    expect(series.get("expired_keys")).toBe(0);
    expect(series.get("evicted_keys")).toBe(0);
    expect(series.get("latency_percentiles_usec{set,99.9}")).toBeGreaterThan(0);
  });

  test("has what the usual alerts read", async () => {
    const { series, values } = await info("ALL");
    expect(series.get("used_memory_rss")).toBeGreaterThan(1024 * 1024);
    expect(series.get("mem_fragmentation_ratio")).toBeGreaterThan(0.5);
    expect(series.get("total_system_memory")).toBeGreaterThan(MAXMEMORY);
    expect(series.get("connected_slaves")).toBe(0);
    expect(series.get("rejected_connections")).toBe(0);
    expect(series.get("loading")).toBe(0);
    expect(series.get("aof_enabled")).toBe(1);
    expect(values.get("rdb_last_bgsave_status")).toBe("ok");
    expect(values.get("aof_last_bgrewrite_status")).toBe("ok");
    expect(series.get("cluster_enabled")).toBe(0);
    expect(series.get("used_cpu_user")).toBeGreaterThan(0);
  });

  test("has the labels of instance_info", async () => {
    const { values } = await info("all");
    expect(values.get("role")).toBe("master");
    expect(values.get("redis_version")).toMatch(/^\d+\.\d+\.\d+$/);
    expect(values.get("redis_mode")).toBe("standalone");
    expect(values.get("os")).not.toBe("");
    expect(values.get("maxmemory_policy")).toBe("noeviction");
    expect(values.get("tcp_port")).toBe(`${server.port}`);
    expect(values.get("run_id")).toMatch(/^[0-9a-f]{40}$/);
    expect(values.get("master_replid")).toMatch(/^[0-9a-f]{40}$/);
    expect(Number(values.get("process_id"))).toBeGreaterThan(0);
  });

  test("shows the engine in a section of its own", async () => {
    const { series } = await info("dkv");
    for (const name of ["level0_bytes", "level6_tables", "flushes", "compaction_pending_bytes"])
      expect(series.get(name)).toBeGreaterThanOrEqual(0);
    expect(series.get("log_segments")).toBeGreaterThan(0);
    expect(series.get("log_fsyncs")).toBeGreaterThan(0);
    expect(series.get("log_durable_frame")).toBe(series.get("log_committed_frame")!);
    expect(series.get("memory_budget")).toBe(MAXMEMORY);
    expect(series.get("memory_segments")).toBeGreaterThan(0);
    expect(series.get("unresolved_counts")).toBe(0);
  });

  test("shows sections by name in Redis's order, each once", async () => {
    const heads = (text: unknown) =>
      String(text)
        .match(/^# .*$/gm)
        ?.map((line) => line.trim());
    expect(heads(await ask("INFO", "keyspace", "SERVER", "keyspace"))).toEqual([
      "# Server",
      "# Keyspace",
    ]);
    const defaults = heads(await ask("INFO"))!;
    expect(defaults).not.toContain("# Commandstats");
    expect(defaults).toEqual(heads(await ask("INFO", "default"))!);
    const all = heads(await ask("INFO", "everything"))!;
    expect(all).toContain("# Commandstats");
    expect(all).toContain("# Latencystats");
    expect(all).toEqual(heads(await ask("INFO", "all"))!);
  });
});

describe("the exporter's other requests", () => {
  test("CONFIG GET *, LATENCY and SLOWLOG answer in their shapes", async () => {
    const config = (await ask("CONFIG", "GET", "*")) as string[];
    expect(config.length % 2).toBe(0);
    expect(config[config.indexOf("maxclients") + 1]).toBe("10000");
    expect(await ask("LATENCY", "LATEST")).toEqual([]);
    const histograms = (await ask("LATENCY", "HISTOGRAM")) as unknown[];
    expect(histograms).toContain("set");
    expect(typeof (await ask("SLOWLOG", "LEN"))).toBe("number");
    expect(await ask("CLIENT", "SETNAME", "redis_exporter")).toBe("OK");
  });
});
