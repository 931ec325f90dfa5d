/** The tools against a real cluster of two sets, as operators and scripts use them; and the HTTP ports of its nodes. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type ClusterProcess, DkvCluster, until } from "../support/dkv-cluster.ts";
import { MAIN, runTool } from "../support/tool.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: tools with a real cluster: ${MISSING}`);

setDefaultTimeout(180_000);

interface StatusJson {
  readonly state: string;
  readonly slots: { readonly served: number };
  readonly sets: {
    readonly id: string;
    readonly epoch: number;
    readonly slots: [number, number][];
    readonly nodes: Record<string, unknown>[];
  }[];
}

describe.skipIf(MISSING !== "")("the tools and a cluster of two sets with three nodes each", () => {
  let cluster: DkvCluster;

  beforeAll(async () => {
    cluster = await DkvCluster.start({
      ...{ sets: 2, nodesPerSet: 3, writeQuorum: 2, hasHttp: true },
    });
  });
  afterAll(() => cluster?.stop());

  const portOf = (node: ClusterProcess) => ["-p", `${node.port}`];

  async function status(asked: ClusterProcess = cluster.nodes[0]!): Promise<StatusJson> {
    const { stdout } = await runTool(["cluster", "status", "--json", ...portOf(asked)]);
    return JSON.parse(stdout) as StatusJson;
  }

  test("cli follows MOVED from any node, one-shot and by lines", async () => {
    for (const [at, node] of cluster.nodes.entries()) {
      const set = await runTool(["cli", ...portOf(node), "SET", `once:${at}`, `value ${at}`]);
      expect(set).toEqual({ status: 0, stdout: "OK\n", stderr: "" });
    }
    const lines = cluster.nodes.map((_, at) => `GET once:${at}\n`).join("");
    const got = await runTool(["cli", ...portOf(cluster.nodes[0]!)], lines);
    expect(got.stdout).toBe(cluster.nodes.map((_, at) => `value ${at}\n`).join(""));
    const redirected = await Promise.all(
      cluster.nodes.map((node) => runTool(["cli", "--no-raw", ...portOf(node), "GET", "once:0"])),
    );
    expect(redirected.map(({ stdout }) => stdout)).toEqual(redirected.map(() => '"value 0"\n'));
    const writer = await cluster.writerOf("once:0");
    const line = `-> Redirected to slot [${await writer.ask("CLUSTER", "KEYSLOT", "once:0")}] located at 127.0.0.1:${writer.port}\n`;
    // All but the writer itself have sent it there.
    expect(redirected.filter(({ stderr }) => stderr === line)).toHaveLength(5);
  });

  test("cli slot says where a key lies", async () => {
    const writer = await cluster.writerOf("user:1000");
    const { stdout, status: code } = await runTool(["cli", ...portOf(writer), "slot", "user:1000"]);
    const slot = await writer.ask("CLUSTER", "KEYSLOT", "user:1000");
    expect(code).toBe(0);
    expect(stdout).toStartWith(`slot ${slot} of 1024: writer 127.0.0.1:${writer.port}, replicas `);
    expect(stdout.match(/127\.0\.0\.1:\d+/g)).toHaveLength(3);
  });

  test("cluster status --json knows every node, its role and its figures", async () => {
    const json = await status();
    expect(json).toMatchObject({ state: "ok", slots: { served: 1024 } });
    expect(json.sets.map(({ slots }) => slots)).toEqual([[[0, 511]], [[512, 1023]]]);
    for (const set of json.sets) {
      expect(set.id).toMatch(/^[0-9a-f]{40}$/);
      expect(set.epoch).toBeGreaterThan(0);
      expect(set.nodes.map(({ role }) => role)).toEqual(["writer", "replica", "replica"]);
      const common = { health: "online", isReachable: true, kind: "member", version: "0.1.0" };
      for (const node of set.nodes) expect(node).toMatchObject(common);
      for (const replica of set.nodes.slice(1)) expect(replica["lagFrames"]).toBeNumber();
    }
    const ports = json.sets.flatMap(({ nodes }) => nodes.map(({ port }) => port));
    expect(ports.sort()).toEqual(cluster.nodes.map(({ port }) => port).sort());
  });

  test("status, nodes and slots are plain columns when piped", async () => {
    const entry = portOf(cluster.nodes[3]!);
    const shown = await runTool(["cluster", "status", ...entry]);
    expect(shown.status).toBe(0);
    const [head, , columns, ...rows] = shown.stdout.trimEnd().split("\n");
    expect(head).toMatch(
      /^cluster ok: 1024 of 1024 slots served, 2 replica sets, 6 nodes, epoch \d+$/,
    );
    expect(columns!.split(/\s{2,}/).slice(0, 5)).toEqual([
      "SET",
      "SLOTS",
      "NODE",
      "ADDRESS",
      "ROLE",
    ]);
    expect(rows).toHaveLength(6);
    expect(shown.stdout).not.toContain("\u001b");
    expect(shown.stdout).not.toContain("│");
    const words = rows.map((row) => row.split(/\s+/));
    expect(words.map((each) => each[1])).toEqual([
      ...["0-511", "0-511", "0-511", "512-1023", "512-1023", "512-1023"],
    ]);
    const nodes = await runTool(["cluster", "nodes", ...entry]);
    expect(nodes.stdout.match(/^[0-9a-f]{40} /gm)).toHaveLength(6);
    const slots = await runTool(["cluster", "slots", ...entry]);
    expect(slots.stdout).toMatch(/^ *0 +511 +512 +[0-9a-f]{8} +127\.0\.0\.1:\d+/m);
  });

  test("cluster watch prints a line each time when piped, and ends after its count", async () => {
    const watch = ["cluster", "watch", "-n", "2", ...portOf(cluster.nodes[0]!)];
    const { stdout, status: code } = await runTool(watch);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain("cluster ok: 1024 of 1024 slots served");
    expect(lines[1]).toMatch(/commands\/s, .*\/s in, .*\/s out$/);
  });

  test("a reader that has seen enough ends a tool, and that is no error", async () => {
    const watch = [process.execPath, MAIN, "cluster", "watch", "-n", "10"];
    watch.push(...portOf(cluster.nodes[0]!));
    const child = Bun.spawn(["sh", "-c", '"$@" | head -n 1', "sh", ...watch], {
      ...{ stdout: "pipe", stderr: "pipe", timeout: 20_000, killSignal: "SIGKILL" },
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect([stdout.split("\n").length, stderr, child.signalCode]).toEqual([2, "", null]);
  });

  test("bench sends every command to its owner", async () => {
    const forwards = async () => {
      const infos = await Promise.all(cluster.nodes.map((node) => node.ask("INFO", "dkv")));
      return infos.map((info) => /cluster_forwards:(\d+)/.exec(`${info}`)![1]);
    };
    const before = await forwards();
    const load = ["-n", "500", "-c", "4", "-P", "5", "-r", "100", "-t", "set,get,incr,del"];
    const result = await runTool(["bench", "--json", ...load, ...portOf(cluster.nodes[0]!)]);
    expect([result.status, result.stderr]).toEqual([0, ""]);
    const tests = JSON.parse(result.stdout) as {
      test: string;
      errors: number;
      latencyMs: object;
    }[];
    expect(tests.map(({ test: name }) => name)).toEqual(["set", "get", "incr", "del"]);
    for (const each of tests) expect(each).toMatchObject({ requests: 500, errors: 0 });
    expect(await forwards()).toEqual(before);
  });

  test("values over HTTP go through any node, whatever cluster-redirect says", async () => {
    for (const mode of ["auto", "moved"]) {
      for (const [at, node] of cluster.nodes.entries()) {
        await node.ask("CONFIG", "SET", "cluster-redirect", mode);
        const url = `http://127.0.0.1:${node.httpPort}/kv`;
        const put = await fetch(`${url}/http:${at}`, { method: "PUT", body: `${mode} ${at}` });
        expect(put.status).toBe(204);
      }
      for (const [at, node] of cluster.nodes.entries()) {
        const url = `http://127.0.0.1:${node.httpPort}/kv/http:${(at + 3) % 6}`;
        expect(await (await fetch(url)).text()).toBe(`${mode} ${(at + 3) % 6}`);
      }
    }
    for (const node of cluster.nodes) await node.ask("CONFIG", "SET", "cluster-redirect", "auto");
    const large = Buffer.alloc(3 * 1024 * 1024, "large");
    for (const [at, node] of cluster.nodes.entries()) {
      const url = `http://127.0.0.1:${node.httpPort}/kv/large`;
      const put = await fetch(url, { method: "PUT", body: large.subarray(at) });
      expect(put.status).toBe(204);
      const next = cluster.nodes[(at + 1) % 6]!;
      const got = await fetch(`http://127.0.0.1:${next.httpPort}/kv/large`);
      expect(Buffer.from(await got.arrayBuffer()).equals(large.subarray(at))).toBe(true);
    }
  });

  test("/readyz, /cluster and /metrics of every node", async () => {
    const writer = await cluster.writerOf("key");
    for (const node of cluster.nodes) {
      const url = `http://127.0.0.1:${node.httpPort}`;
      expect(await (await fetch(`${url}/readyz`)).text()).toBe("ok\n");
      const view = (await (await fetch(`${url}/cluster`)).json()) as StatusJson;
      expect(view).toMatchObject({ clusterEnabled: true, state: "ok", slots: { served: 1024 } });
      expect(view.sets.flatMap(({ nodes }) => nodes)).toHaveLength(6);
      const metrics = await (await fetch(`${url}/metrics`)).text();
      expect(metrics).toContain("redis_cluster_state 1\n");
      expect(metrics).toContain("dkv_coordination_connected 1\n");
      expect(metrics).toMatch(
        /dkv_replication_info\{node="[0-9a-f]{40}",set="[0-9a-f]{40}",role="/,
      );
      if (node !== writer) continue;
      expect(metrics).toContain("dkv_replication_is_writer 1\n");
      expect(metrics.match(/^dkv_replication_lag_frames\{/gm)).toHaveLength(2);
      expect(metrics.match(/^redis_connected_slave_lag_seconds\{/gm)).toHaveLength(2);
    }
  });

  test("cluster move and rebalance: a plan, progress until all is moved, and back; scripts get JSON", async () => {
    const entry = portOf(cluster.nodes[0]!);
    const load = ["-n", "2000", "-c", "4", "-P", "10", "-d", "1000", "-t", "set"];
    expect((await runTool(["bench", ...load, ...entry])).status).toBe(0);
    const [from, to] = (await status()).sets;
    const replica = `127.0.0.1:${to!.nodes[1]!["port"]}`;
    const move = ["cluster", "move", ...entry, "0-29", "40", "--to", replica];
    const dry = await runTool([...move, "--dry-run"]);
    expect([dry.status, dry.stderr]).toEqual([0, ""]);
    const [, row, last] = dry.stdout.split("\n");
    const writers = [from!, to!].map(({ nodes }) => `127.0.0.1:${nodes[0]!["port"]}`);
    expect(row!.split(/\s{2,}/)).toEqual([
      ...[from!.id.slice(0, 8), writers[0]!, to!.id.slice(0, 8), writers[1]!, "31", "0-29 40"],
    ]);
    expect(last).toBe("31 slots would move.");
    expect((await status()).sets.map(({ slots }) => slots)).toEqual([[[0, 511]], [[512, 1023]]]);

    const watching = runTool(["cluster", "watch", "-n", "3", ...entry]);
    const done = await runTool(move);
    expect([done.status, done.stderr]).toEqual([0, ""]);
    const progress = done.stdout.trimEnd().split("\n").slice(2);
    expect(progress[0]).toMatch(/^\d+ of 31 slots moved, .* sent, .*\/s, .*/);
    expect(progress.at(-1)).toMatch(/^31 slots moved in \d+s, [\d.]+ KiB sent$/);
    expect((await watching).stdout).toMatch(/; \d+ slots on the move, .* sent, /);
    const after = (await status()).sets.find(({ id }) => id === to!.id)!;
    expect(after.slots).toEqual([
      ...([
        [0, 29],
        [40, 40],
        [512, 1023],
      ] as [number, number][]),
    ]);
    const again = await runTool(move);
    expect([again.status, again.stdout.split(":")[0]]).toEqual([0, "Nothing to move"]);

    const back = await runTool(["cluster", "rebalance", "--json", ...entry]);
    expect([back.status, back.stderr]).toEqual([0, ""]);
    expect(JSON.parse(back.stdout)).toMatchObject({
      plan: [{ source: to!.id, destination: from!.id, count: 31, slots: [[993, 1023]] }],
      outcome: { state: "done", count: 31, left: [] },
    });
    const counts = (await status()).sets.map(({ slots }) =>
      slots.reduce((sum, [first, end]) => sum + end - first + 1, 0),
    );
    expect(counts).toEqual([512, 512]);
    expect((await runTool(["cluster", "moves", ...entry])).stdout).toBe(
      "no slots are on the move\n",
    );
  });

  test("cluster abort ends what has not been decided, and the slots stay", async () => {
    const entry = portOf(cluster.nodes[1]!);
    const [from, to] = (await status()).sets;
    const share = ["--weight", `${from!.id.slice(0, 6)}=3`];
    const begun = await runTool(["cluster", "rebalance", "--no-wait", ...share, ...entry]);
    expect([begun.status, begun.stdout]).toEqual([0, expect.stringContaining("256 slots begin")]);
    const open = await runTool(["cluster", "moves", "--json", ...entry]);
    const moves = JSON.parse(open.stdout) as { id: string; source: string; slots: number[][] }[];
    expect(moves.length).toBeGreaterThan(100);
    expect(moves.every(({ source }) => source === to!.id)).toBe(true);
    const nothing = await runTool(["cluster", "abort", "0000", ...entry]);
    expect([nothing.status, nothing.stderr.split("\n")[0]]).toEqual([
      ...[2, "dkv: there is no move 0000"],
    ]);
    // The last in the order of slots has not had its turn.
    const last = moves.toSorted((a, b) => b.slots[0]![0]! - a.slots[0]![0]!);
    const one = await runTool(["cluster", "abort", last[0]!.id, ...entry]);
    expect([one.status, one.stdout]).toEqual([0, "1 move is off: the slots stay where they are\n"]);
    const all = await runTool(["cluster", "abort", "all", ...entry]);
    expect(all.stdout).toMatch(/^\d+ moves are off: /);
    await until("no move is open", async () => {
      const { stdout } = await runTool(["cluster", "moves", ...entry]);
      return stdout === "no slots are on the move\n";
    });
    const planned = await runTool(["cluster", "rebalance", "--dry-run", ...share, ...entry]);
    expect(planned.stdout).toMatch(/\n\d+ slots would move\.\n$/);
    expect((await runTool(["cluster", "rebalance", ...entry])).status).toBe(0);
  });

  test("cluster failover makes the named replica the writer", async () => {
    const [set] = (await status()).sets;
    const [writer, replica] = set!.nodes;
    const entry = portOf(cluster.nodes[0]!);
    const refused = await runTool([
      "cluster",
      "failover",
      ...entry,
      `127.0.0.1:${writer!["port"]}`,
    ]);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain("is the writer of its set already");
    const name = `127.0.0.1:${replica!["port"]}`;
    const done = await runTool(["cluster", "failover", ...entry, name]);
    expect([done.status, done.stderr]).toEqual([0, ""]);
    expect(done.stdout).toMatch(/^[0-9a-f]{8} \(127\.0\.0\.1:\d+\) is the writer of its set now/);
    const [after] = (await status()).sets;
    expect(after!.nodes[0]!["id"]).toBe(replica!["id"]);
    expect(after!.epoch).toBeGreaterThan(set!.epoch);
    const nobody = await runTool(["cluster", "failover", ...entry, "nobody"]);
    expect([nobody.status, nobody.stderr.split("\n")[0]]).toEqual([
      2,
      "dkv: there is no node nobody",
    ]);
    expect(nobody.stderr).toContain(name);
  });

  test("cluster forget takes a node that is gone out of its set, and refuses one that is there", async () => {
    const [set] = (await status()).sets;
    const gone = set!.nodes[2]!;
    const node = cluster.nodes.find(({ port }) => port === gone["port"])!;
    const witness = cluster.nodes.find((each) => each !== node)!;
    const other = portOf(witness);
    const forget = () => runTool(["cluster", "forget", ...other, `${gone["id"]}`]);
    const refused = await forget();
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("the node is there");
    await node.kill();
    // Its session has to end, and its writer to drop it.
    await until("it is forgotten", async () => (await forget()).status === 0);
    await until("nobody shows it any more", async () => {
      const { stdout } = await runTool(["cluster", "nodes", ...other]);
      return !stdout.includes(`${gone["id"]}`);
    });
    node.launch();
    await until("it is back in its set, which lacked a node", async () => {
      const [now] = (await status(witness)).sets;
      return now!.nodes.some(({ id, health }) => id === gone["id"] && health === "online");
    });
  });

  test("with a node that hangs it says so, and where nobody answers, too", async () => {
    const [set] = (await status()).sets;
    const down = cluster.nodes.find(({ port }) => port === set!.nodes[0]!["port"])!;
    const other = cluster.nodes.find((each) => each !== down)!;
    down.signal("SIGSTOP");
    try {
      const shown = await runTool(["cluster", "status", ...portOf(other)]);
      expect(shown.stdout).toMatch(
        /^cluster (ok|fail): .* 6 nodes, 1 of them missing, epoch \d+$/m,
      );
      const row = shown.stdout.split("\n").find((line) => line.includes(`:${down.port} `));
      expect(row).toMatch(/ (no answer|fail) /);
    } finally {
      down.signal("SIGCONT");
    }
    await cluster.untilServing();
    const none = await runTool(["cluster", "status", "-p", "1"]);
    expect(none.status).toBe(2);
    expect(none.stderr).toStartWith("dkv: cannot connect to 127.0.0.1:1\n");
  });
});
