/**
 * What a cluster is for, one scenario each, with real processes and a real ZooKeeper: sets form, writes reach their
 * copies, writers and replicas die by kill -9, come back, or are replaced by nodes that know nothing.
 */
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { rmSync } from "node:fs";
import {
  field,
  identityOf,
  nodeAt,
  range,
  readAt,
  replicasOf,
  setAll,
  slotOfKey,
  slotsAt,
  untilAllRead,
  untilOffsetsAgree,
  writerOf,
} from "../support/cluster-view.ts";
import { askAll, type ClusterProcess, DkvCluster, until } from "../support/dkv-cluster.ts";
import { freePort, whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: clusters with a real ZooKeeper: ${MISSING}`);

/** Keys and values that a format, a path or a command line could trip over. */
const ODD: readonly (readonly [key: string, value: string])[] = [
  ["empty", ""],
  ["zeros", "\0\0\0"],
  ["shutdown", "a key like any other"],
  ["a/b?c#d e\r\n", "\r\n$-1\r\n"],
  ["\0\xff", "\xff"],
  ["k".repeat(65_535), "long key"],
  ["large", "L".repeat(3_000_000)],
];
const ODD_KEYS = ODD.map(([key]) => key);
const ODD_VALUES = ODD.map(([, value]) => value);

/** Far less than it takes to notice that a node is gone, let alone to give up. */
const HANGING_MS_MAX = 3000;

setDefaultTimeout(180_000);

function keysNamed(name: string, count: number): string[] {
  return range(count).map((index) => `${name}:${index}`);
}

async function setOdd(node: ClusterProcess): Promise<void> {
  const commands = ODD.map(([key, value]) => ["SET", key, value]);
  expect(await node.pipeline(commands)).toEqual(ODD.map(() => "OK"));
}

/** Kills a node, and takes its disk away. */
async function destroy(node: ClusterProcess): Promise<void> {
  await node.kill();
  rmSync(node.directory, { recursive: true });
}

/** The other `nodes` count, and nobody who is lost does. */
async function untilMembers(cluster: DkvCluster, nodes: readonly ClusterProcess[]): Promise<void> {
  const ports = nodes.map(({ port }) => port).sort();
  await until(`${ports} are the members`, async () => {
    const writer = await writerOf(cluster);
    const info = `${await writer.ask("INFO", "dkv")}`;
    const found = [...info.matchAll(/port=(\d+),kind=member,state=online/g)].map(
      ([, port]) => +port!,
    );
    const count = await field(writer, "dkv", "cluster_members");
    return Bun.deepEquals([writer.port, ...found].sort(), ports) && count === `${ports.length}`;
  });
}

/** Writes one key after the other while `action` goes on, all of them answered with OK; their keys. */
async function writtenWhile(node: ClusterProcess, action: () => Promise<void>): Promise<string[]> {
  const keys: string[] = [];
  let isOver = false;
  const done = (async () => {
    while (!isOver) {
      const batch = range(20).map((index) => `load:${keys.length + index}`);
      await setAll(node, batch, "v");
      keys.push(...batch);
    }
  })();
  try {
    await Promise.race([action(), done]);
  } finally {
    isOver = true;
    await done;
  }
  return keys;
}

describe.skipIf(MISSING !== "")("acceptance", () => {
  let cluster: DkvCluster;
  afterEach(async () => {
    await cluster?.stop();
  });

  test("one node, one copy: set, get, delete, get", async () => {
    cluster = await DkvCluster.start({ sets: 1, nodesPerSet: 1, writeQuorum: 1 });
    const [node] = cluster.nodes;
    const commands = [
      ["SET", "k", "v"],
      ["GET", "k"],
      ["DEL", "k"],
      ["GET", "k"],
      ["DEL", "k"],
    ];
    expect(await node!.pipeline(commands)).toEqual(["OK", "v", 1, null, 0]);
  });

  test("five nodes, five sets, one copy: ranges without gap or overlap, owners write in parallel, and kill -9 of all changes neither id, ports, role, range nor data", async () => {
    cluster = await DkvCluster.start({ sets: 5, nodesPerSet: 1, writeQuorum: 1 });
    const entries = await slotsAt(cluster.nodes[0]!);
    const firsts = entries.map(({ start }) => start);
    expect(firsts).toEqual([0, ...entries.slice(0, 4).map(({ end }) => end + 1)]);
    expect(entries.at(-1)!.end).toBe(1023);
    const owners = entries.map(({ ports }) => nodeAt(cluster, ports[0]!));
    expect(new Set(owners).size).toBe(5);
    for (const node of cluster.nodes) {
      expect(await slotsAt(node)).toEqual(entries);
      expect(await field(node, "replication", "role")).toBe("master");
    }
    const keys = keysNamed("key", 1000);
    const ownKeys = entries.map(({ start, end }) =>
      keys.filter((key) => slotOfKey(key) >= start && slotOfKey(key) <= end),
    );
    await Promise.all(owners.map((owner, at) => setAll(owner, ownKeys[at]!, "v")));
    for (const [at, owner] of owners.entries())
      expect(await owner.ask("DBSIZE")).toBe(ownKeys[at]!.length);
    const before = await Promise.all(cluster.nodes.map(identityOf));
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    for (const node of cluster.nodes) node.launch();
    await cluster.untilServing();
    expect(await Promise.all(cluster.nodes.map(identityOf))).toEqual(before);
    for (const [at, owner] of owners.entries())
      expect(await readAt(owner, ownKeys[at]!)).toEqual(ownKeys[at]!.map(() => "v"));
  });

  test("five copies that must all have a write: what was answered is readable at every node", async () => {
    cluster = await DkvCluster.start({ sets: 1, nodesPerSet: 5, writeQuorum: 5 });
    const keys = keysNamed("key", 10);
    await setAll(await writerOf(cluster), keys, "v");
    await untilAllRead(cluster.nodes, keys, "v");
    for (const node of await replicasOf(cluster))
      expect(await node.pipeline([["READONLY"], ["SET", "k", "v"]])).toEqual([
        "OK",
        expect.stringMatching(/^-MOVED /),
      ]);
    expect(await untilOffsetsAgree(cluster)).toBeGreaterThan(0);
  });

  test("four copies but two nodes: nothing is served, nor with three; the fourth makes the set", async () => {
    cluster = await DkvCluster.start({ sets: 1, nodesPerSet: 4, writeQuorum: 2, absent: 2 });
    const refusesWrites = async (node: ClusterProcess) => {
      await until("it answers", async () => (await node.ask("PING")) === "PONG");
      expect(await node.ask("SET", "k", "v")).toMatch(/^-CLUSTERDOWN /);
    };
    for (const node of cluster.nodes) await refusesWrites(node);
    const third = cluster.add();
    await refusesWrites(third);
    // Longer than whoever forms sets looks again.
    await Bun.sleep(1500);
    await refusesWrites(third);
    cluster.add();
    await cluster.untilServing();
    await setAll(await writerOf(cluster), ["k"], "v");
    await untilAllRead(cluster.nodes, ["k"], "v");
  });

  test("three copies, one asked for, both replicas lost with their disks: two empty nodes that come at once under load get everything, and one of them takes the role over", async () => {
    cluster = await DkvCluster.start({ sets: 1, nodesPerSet: 3, writeQuorum: 1 });
    const before = keysNamed("before", 500);
    const writer = await writerOf(cluster);
    await setAll(writer, before, "v");
    await setOdd(writer);
    for (const replica of await replicasOf(cluster)) await destroy(replica);
    const joined: ClusterProcess[] = [];
    const during = await writtenWhile(writer, async () => {
      joined.push(cluster.add(), cluster.add());
      await untilMembers(cluster, [writer, ...joined]);
    });
    expect(during.length).toBeGreaterThan(100);
    await untilAllRead(joined, [...before, ...during], "v");
    for (const node of joined) expect(await readAt(node, ODD_KEYS)).toEqual(ODD_VALUES);
    writer.signal("SIGTERM");
    expect(await writer.exited()).toBe(0);
    const successor = await writerOf(cluster);
    expect(joined).toContain(successor);
    expect(await readAt(successor, during)).toEqual(during.map(() => "v"));
    await setAll(successor, ["after"], "v");
    await untilAllRead(joined, ["after"], "v");
  });
});

describe.skipIf(MISSING !== "")("acceptance: three copies, two asked for", () => {
  let cluster: DkvCluster;
  beforeAll(async () => {
    cluster = await DkvCluster.start({ sets: 1, nodesPerSet: 3, writeQuorum: 2 });
  });
  afterAll(async () => {
    await cluster?.stop();
  });

  test("a replica lost with its disk: an empty node takes its place, and counts", async () => {
    const [lost, other] = await replicasOf(cluster);
    await setAll(await writerOf(cluster), keysNamed("before", 100), "v");
    await destroy(lost!);
    cluster.nodes.splice(cluster.nodes.indexOf(lost!), 1);
    await setAll(await writerOf(cluster), keysNamed("lost", 100), "v");
    const joined = cluster.add();
    await untilAllRead([joined], [...keysNamed("before", 100), ...keysNamed("lost", 100)], "v");
    await untilMembers(cluster, cluster.nodes);
    await other!.kill();
    await setAll(await writerOf(cluster), keysNamed("after", 100), "v");
    await untilAllRead([joined], keysNamed("after", 100), "v");
    other!.launch();
    await untilMembers(cluster, cluster.nodes);
  });

  test("a replica takes over from a writer killed with kill -9, three times in a row: all that was answered is there, new writes reach the other replica, and whoever died comes back as who it was", async () => {
    for (const round of range(3)) {
      const keys = keysNamed(`round ${round}`, 100);
      const killed = await writerOf(cluster);
      await setAll(killed, keys, "v");
      await setOdd(killed);
      await untilAllRead(await replicasOf(cluster), keys, "v");
      const before = (await identityOf(killed)) as object;
      await killed.kill();
      const successor = await writerOf(cluster);
      expect(successor).not.toBe(killed);
      expect(await readAt(successor, keys)).toEqual(keys.map(() => "v"));
      await setAll(successor, [`new ${round}`], "v");
      await untilAllRead(await replicasOf(cluster), [`new ${round}`], "v");
      killed.launch();
      await untilAllRead([killed], [...keys, `new ${round}`], "v");
      expect(await readAt(killed, ODD_KEYS)).toEqual(ODD_VALUES);
      expect(await identityOf(killed)).toEqual({ ...before, flags: "myself,slave", slots: [] });
      await untilMembers(cluster, cluster.nodes);
    }
  });

  test("either replica may hang: every write is answered, without a wait for it, and it gets what it missed without any further write", async () => {
    const writer = await writerOf(cluster);
    for (const [at, hanging] of (await replicasOf(cluster)).entries()) {
      const keys = keysNamed(`hang ${at}`, 50);
      hanging.signal("SIGSTOP");
      const startMs = performance.now();
      await setAll(writer, keys, "v");
      expect(performance.now() - startMs).toBeLessThan(HANGING_MS_MAX);
      hanging.signal("SIGCONT");
      await untilAllRead([hanging], keys, "v");
      await untilMembers(cluster, cluster.nodes);
    }
  });

  test("all nodes told to stop at once, and started again: nothing is missing, and all three are members", async () => {
    await setAll(await writerOf(cluster), ["before the stop"], "v");
    for (const node of cluster.nodes) node.signal("SIGTERM");
    expect(await Promise.all(cluster.nodes.map((node) => node.exited()))).toEqual([0, 0, 0]);
    for (const node of cluster.nodes) node.launch();
    await cluster.untilServing();
    await untilAllRead(cluster.nodes, ["before the stop"], "v");
    await untilMembers(cluster, cluster.nodes);
  });

  test("a replica that comes back on other ports is found there, by nodes and by clients", async () => {
    const [moved] = await replicasOf(cluster);
    await moved!.kill();
    const [port, peerPort] = [freePort(), freePort()];
    moved!.launch(["--port", `${port}`, "--peer-port", `${peerPort}`]);
    await setAll(await writerOf(cluster), ["moved"], "v");
    await until("it has what was written meanwhile", async () => {
      const replies = await askAll(port, [["READONLY"], ["GET", "moved"]]);
      return replies[1] === "v";
    });
    for (const node of cluster.nodes.filter((each) => each !== moved))
      await until("clients are told", async () =>
        `${await node.ask("CLUSTER", "NODES")}`.includes(`127.0.0.1:${port}@${peerPort}`),
      );
    await moved!.kill();
    moved!.launch();
    await untilAllRead([moved!], ["moved"], "v");
  });
});
