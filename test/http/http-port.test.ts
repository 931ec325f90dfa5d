/** The HTTP port around the values: metrics under redis_exporter's names, probes, who may come in, and its end. */
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { networkInterfaces } from "node:os";
import { HttpServer } from "./http-server.ts";

setDefaultTimeout(60_000);

/** Series with their labels, as Prometheus reads them. Throws at what it would not understand. */
function parseMetrics(text: string): Map<string, number> {
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of text.split("\n")) {
    const type = /^# TYPE (\S+) (gauge|counter)$/.exec(line);
    if (type !== null) types.set(type[1]!, type[2]!);
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([a-z_]+)(\{(?:[a-z_]+="[^"]*",?)*\})? (-?[0-9.e+-]+)$/.exec(line);
    if (match === null || !types.has(match[1]!)) throw new Error(`not a sample: ${line}`);
    const key = `${match[1]}${match[2] ?? ""}`;
    if (series.has(key)) throw new Error(`twice: ${key}`);
    series.set(key, Number(match[3]));
  }
  return series;
}

/** Those of Grafana's dashboard 763, the Redis mixin and its alerts. */
const EXPORTER_SERIES = [
  ...["redis_up", "redis_uptime_in_seconds", "redis_start_time_seconds"],
  ...["redis_connected_clients", "redis_blocked_clients", "redis_connected_slaves"],
  ...["redis_memory_used_bytes", "redis_memory_max_bytes", "redis_memory_used_rss_bytes"],
  ...["redis_mem_fragmentation_ratio", "redis_total_system_memory_bytes"],
  ...["redis_commands_processed_total", "redis_connections_received_total"],
  ...["redis_keyspace_hits_total", "redis_keyspace_misses_total"],
  ...["redis_net_input_bytes_total", "redis_net_output_bytes_total"],
  ...["redis_expired_keys_total", "redis_evicted_keys_total", "redis_rejected_connections_total"],
  ...["redis_cpu_sys_seconds_total", "redis_cpu_user_seconds_total", "redis_config_maxclients"],
  ...["redis_rdb_last_bgsave_status", "redis_rdb_last_save_timestamp_seconds"],
  ...["redis_slowlog_length", "redis_master_repl_offset", "redis_cluster_enabled"],
];
const OWN_SERIES = [
  ...["dkv_ready", "dkv_log_durable_frame", "dkv_log_fsyncs_total", "dkv_log_bytes"],
  ...["dkv_lsm_flushes_total", "dkv_lsm_compaction_pending_bytes", "dkv_write_stalls_total"],
  ...['dkv_lsm_tables{level="0"}', 'dkv_memory_bytes{part="segments"}', "dkv_memory_budget_bytes"],
];

describe("GET /metrics", () => {
  let server: HttpServer;
  beforeAll(async () => {
    server = await HttpServer.start();
  });
  afterAll(() => server?.stop());

  test("has redis_exporter's series and dkv's own, with the figures of INFO", async () => {
    await server.ask("SET", "a", "1");
    await server.ask("SET", "b", "1", "EX", "100");
    await server.ask("GET", "a");
    await server.ask("GET", "missing");
    await server.ask("INCR", "a", "too many");
    const response = await server.fetch("/metrics");
    expect(response.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
    const series = parseMetrics(await response.text());
    const missing = [...EXPORTER_SERIES, ...OWN_SERIES].filter((name) => !series.has(name));
    expect(missing).toEqual([]);
    expect(series.get("redis_up")).toBe(1);
    expect(series.get("dkv_ready")).toBe(1);
    expect(series.get('redis_commands_total{cmd="set"}')).toBe(2);
    expect(series.get('redis_commands_total{cmd="get"}')).toBe(2);
    expect(series.get('redis_commands_duration_seconds_total{cmd="set"}')).toBeGreaterThan(0);
    expect(series.get('redis_commands_rejected_calls_total{cmd="incr"}')).toBe(1);
    expect(series.get('redis_errors_total{err="ERR"}')).toBe(1);
    expect(series.get('redis_latency_percentiles_usec{cmd="set",quantile="50"}')).toBeGreaterThan(
      0,
    );
    expect(series.get("redis_keyspace_hits_total")).toBe(1);
    expect(series.get("redis_keyspace_misses_total")).toBe(1);
    expect(series.get('redis_db_keys{db="db0"}')).toBe(2);
    expect(series.get('redis_db_keys_expiring{db="db0"}')).toBe(1);
    expect(series.get("redis_memory_max_bytes")).toBe(256 * 1024 * 1024);
    const info = [...series.keys()].find((name) => name.startsWith("redis_instance_info{"))!;
    expect(info).toContain('role="master"');
    expect(info).toContain(`tcp_port="${server.port}"`);
    expect(info).toContain('redis_mode="standalone"');
  });

  test("counters grow from scrape to scrape, by what has happened", async () => {
    const read = async () => parseMetrics(await server.text("/metrics"));
    const before = await read();
    await server.ask("SET", "c", "1");
    const after = await read();
    const name = 'redis_commands_total{cmd="set"}';
    expect(after.get(name)).toBe(before.get(name)! + 1);
    expect(after.size).toBeGreaterThanOrEqual(before.size);
  });

  test("GET /cluster of a node by itself says so", async () => {
    const response = await server.fetch("/cluster");
    expect(await response.json()).toMatchObject({ clusterEnabled: false });
  });

  test("requests over HTTP are commands: MONITOR's clients and the counters see them", async () => {
    const before = Number(
      /cmdstat_getdel:calls=(\d+)|$/.exec(`${await server.ask("INFO", "commandstats")}`)![1] ?? 0,
    );
    await server.fetch("/kv/counted", { method: "PUT", body: "1" });
    await server.fetch("/kv/counted", { method: "DELETE" });
    const stats = `${await server.ask("INFO", "commandstats")}`;
    expect(stats).toContain("cmdstat_del:calls=1,");
    expect(before).toBe(0);
    expect(await server.ask("INFO", "clients")).toContain("connected_clients:1\r\n");
  });
});

describe("who may use the port", () => {
  let server: HttpServer | undefined;
  afterEach(async () => {
    await server?.stop();
    server = undefined;
  });

  test("with requirepass only who gives it, as default or without a name; probes are open", async () => {
    server = await HttpServer.start("--requirepass", "sesame: öffne");
    const as = (user: string, password: string) => ({
      headers: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` },
    });
    for (const path of ["/metrics", "/cluster", "/kv/a", "/nowhere"]) {
      const anonymous = await server.fetch(path);
      expect([path, anonymous.status]).toEqual([path, 401]);
      expect(anonymous.headers.get("www-authenticate")).toStartWith("Basic ");
      expect(await anonymous.text()).toBe("NOAUTH Authentication required.\n");
      expect((await server.fetch(path, as("default", "wrong"))).status).toBe(401);
      expect((await server.fetch(path, as("other", "sesame: öffne"))).status).toBe(401);
      expect((await server.fetch(path, { headers: { authorization: "Bearer x" } })).status).toBe(
        401,
      );
      expect((await server.fetch(path, as("default", "sesame: öffne"))).status).not.toBe(401);
      expect((await server.fetch(path, as("", "sesame: öffne"))).status).not.toBe(401);
    }
    expect(await server.text("/livez")).toBe("ok\n");
    expect(await server.text("/readyz")).toBe("ok\n");
    expect(await server.text("/healthz")).toBe("ok\n");
  });

  const outside = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

  test.skipIf(outside === undefined)(
    "without a password protected mode keeps other addresses out, but for probes",
    async () => {
      server = await HttpServer.start("--http-bind", "0.0.0.0");
      const base = `http://${outside}:${server.httpPort}`;
      const refused = await fetch(`${base}/kv/a`);
      expect([refused.status, (await refused.text()).slice(0, 7)]).toEqual([403, "DENIED "]);
      expect((await fetch(`${base}/metrics`)).status).toBe(403);
      expect((await fetch(`${base}/readyz`)).status).toBe(200);
      expect((await server.fetch("/metrics")).status).toBe(200);
      await server.ask("CONFIG", "SET", "protected-mode", "no");
      expect((await fetch(`${base}/metrics`)).status).toBe(200);
    },
  );

  test("a request that waits is answered before the process ends, and probes say that it is ending", async () => {
    server = await HttpServer.start();
    await server.ask("CLIENT", "PAUSE", "600", "WRITE");
    const put = server.fetch("/kv/late", { method: "PUT", body: "x" });
    await Bun.sleep(100);
    const pid = Number(/process_id:(\d+)/.exec(`${await server.ask("INFO", "server")}`)![1]);
    process.kill(pid, "SIGTERM");
    await Bun.sleep(100);
    const ready = await server.fetch("/readyz");
    expect([ready.status, await ready.text()]).toEqual([503, "stopping\n"]);
    expect((await server.fetch("/kv/late")).status).toBe(503);
    expect((await put).status).toBe(204);
  });
});
