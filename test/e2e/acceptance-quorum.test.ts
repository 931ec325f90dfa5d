/**
 * Writes that cannot reach their quorum, at every point where they can be stopped: what a client was told, and what all
 * copies then have. A write without an answer may have happened or not; on all copies, the same.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  field,
  nodeAt,
  range,
  readAt,
  replicasOf,
  type SlotsEntry,
  setAll,
  slotOfKey,
  slotsAt,
  untilAllRead,
  untilOffsetsAgree,
  writerOf,
} from "../support/cluster-view.ts";
import { type ClusterProcess, DkvCluster, until } from "../support/dkv-cluster.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: clusters with a real ZooKeeper: ${MISSING}`);

const QUORUM_TIMEOUT = ["--cluster-quorum-timeout", "1000"];
const UNANSWERED = /^-(UNKNOWN|NOREPLICAS) /;

setDefaultTimeout(180_000);

let cluster: DkvCluster;

/** The writer, the replicas, and "key" with the value "old" on all. */
async function begin(): Promise<{ leading: ClusterProcess; others: ClusterProcess[] }> {
  const leading = await writerOf(cluster);
  await setAll(leading, ["key"], "old");
  await untilAllRead(cluster.nodes, ["key"], "old");
  return { leading, others: await replicasOf(cluster) };
}

/** All copies have the same one of the values, equal logs, and take writes again. */
async function expectOneState(legal: readonly string[]): Promise<void> {
  await cluster.untilServing();
  await untilOffsetsAgree(cluster);
  const values = await Promise.all(
    cluster.nodes.map(async (node) => (await readAt(node, ["key"]))[0]),
  );
  expect(new Set(values).size).toBe(1);
  expect(legal).toContain(`${values[0]}`);
  await until("it is written again", async () => {
    const reply = await (await writerOf(cluster)).ask("SET", "key", "newest");
    return reply === "OK";
  });
  await untilAllRead(cluster.nodes, ["key"], "newest");
}

describe.skipIf(MISSING !== "")("acceptance: three copies that must all have a write", () => {
  beforeAll(async () => {
    const shape = { sets: 1, nodesPerSet: 3, writeQuorum: 3 };
    cluster = await DkvCluster.start({ ...shape, flags: QUORUM_TIMEOUT });
  });
  afterAll(async () => {
    await cluster?.stop();
  });

  test("a replica that hangs: the write is not answered with OK, reads show no new value, and all copies agree once it is back", async () => {
    const { leading, others } = await begin();
    others[0]!.signal("SIGSTOP");
    const reply = await leading.ask("SET", "key", "new");
    expect(reply).toMatch(UNANSWERED);
    // Not committed: nobody may see it, not even who is only read from.
    expect(await readAt(others[1]!, ["key"])).toEqual(["old"]);
    const read = await leading.ask("GET", "key");
    expect(read === "old" || `${read}`.startsWith("-TRYAGAIN")).toBe(true);
    others[0]!.signal("SIGCONT");
    await expectOneState(["old", "new"]);
  });

  test("both replicas killed while a write waits for them: no OK, and all copies agree after their restart", async () => {
    const { leading, others } = await begin();
    for (const each of others) each.signal("SIGSTOP");
    const pending = leading.ask("SET", "key", "new");
    await Bun.sleep(200);
    for (const each of others) await each.kill();
    expect(await pending).toMatch(UNANSWERED);
    for (const each of others) each.launch();
    await expectOneState(["old", "new"]);
  });

  test("a writer killed with a write that only its own log has: the write is gone or everywhere, and the writer's log follows the others", async () => {
    const { leading, others } = await begin();
    for (const each of others) each.signal("SIGSTOP");
    const last = Number(await field(leading, "dkv", "cluster_last_frame"));
    const pending = leading.ask("SET", "key", "new");
    await until("the write is in the writer's log", async () => {
      return Number(await field(leading, "dkv", "cluster_durable_frame")) > last;
    });
    await leading.kill();
    expect(await pending).toBeUndefined();
    for (const each of others) each.signal("SIGCONT");
    leading.launch();
    await expectOneState(["old", "new"]);
  });

  test("a replica that is away for several writes: none is answered with OK, copies show the old value, and with it back writes go on", async () => {
    const { leading, others } = await begin();
    await others[0]!.kill();
    for (let round = 0; round < 3; round++)
      expect(await leading.ask("SET", "key", `lost ${round}`)).toMatch(UNANSWERED);
    expect(await readAt(others[1]!, ["key"])).toEqual(["old"]);
    others[0]!.launch();
    await expectOneState(["old", "lost 0", "lost 1", "lost 2"]);
  });
});

describe.skipIf(MISSING !== "")("acceptance: nine nodes, three sets, two copies asked for", () => {
  beforeAll(async () => {
    cluster = await DkvCluster.start({ sets: 3, nodesPerSet: 3, writeQuorum: 2 });
  });
  afterAll(async () => {
    await cluster?.stop();
  });

  const keys = range(1000).map((index) => `key:${index}`);
  const writtenTo = (key: string) => `value of ${key}`;

  async function expectAllKeys(): Promise<void> {
    let entries: SlotsEntry[] = [];
    await until("all nine nodes are shown", async () => {
      entries = await slotsAt(cluster.nodes[0]!);
      return entries.flatMap(({ ports }) => ports).length === 9;
    });
    for (const { start, end, ports } of entries) {
      const own = keys.filter((key) => slotOfKey(key) >= start && slotOfKey(key) <= end);
      expect(own.length).toBeGreaterThan(200);
      for (const node of cluster.nodes.filter(({ port }) => ports.includes(port)))
        await until(`every key at ${node.port}`, async () =>
          Bun.deepEquals(await readAt(node, own), own.map(writtenTo)),
        );
    }
  }

  test("ten workers write and read back a thousand keys, through any node; every copy has them all", async () => {
    const workers = range(10).map(async (worker) => {
      const node = cluster.nodes[worker % cluster.nodes.length]!;
      for (const key of keys.filter((_, index) => index % 10 === worker)) {
        const commands = [
          ["HELLO", "3"],
          ["SET", key, writtenTo(key)],
          ["GET", key],
        ];
        const [, set, get] = await node.pipeline(commands);
        expect([set, get]).toEqual(["OK", writtenTo(key)]);
      }
    });
    await Promise.all(workers);
    await expectAllKeys();
  });

  test("all three writers killed at once: each set has another one, and every key", async () => {
    const before = await slotsAt(cluster.nodes[0]!);
    const killed = before.map(({ ports }) => nodeAt(cluster, ports[0]!));
    await Promise.all(killed.map((node) => node.kill()));
    const [survivor] = cluster.nodes.filter(({ isRunning }) => isRunning);
    const writes = keys.map((key) => ["SET", key, writtenTo(key)]);
    await until("every slot takes writes", async () => {
      const replies = await survivor!.pipeline([["HELLO", "3"], ...writes]);
      return replies.filter((reply) => reply === "OK").length === writes.length;
    });
    const after = await slotsAt(survivor!);
    for (const [at, { ports }] of after.entries()) {
      expect(killed).not.toContain(nodeAt(cluster, ports[0]!));
      expect(before[at]!.ports).toContain(ports[0]!);
    }
    for (const node of killed) node.launch();
    await cluster.untilServing();
    await expectAllKeys();
  });
});
