/**
 * A set of real processes that joins, is drained and retired: its document is gone, its node passes commands on, also after
 * a start, and takes part again only with an empty directory. And one that is gone for good before it has any slots.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { SystemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/logger.ts";
import { SETS_PATH } from "../../src/cluster/coordination/paths.ts";
import { parseZookeeperAddress } from "../../src/cluster/coordination/zookeeper-address.ts";
import { ZookeeperCoordinator } from "../../src/cluster/coordination/zookeeper-coordinator.ts";
import { type ClusterProcess, DkvCluster, until } from "../support/dkv-cluster.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: clusters with a real ZooKeeper: ${MISSING}`);

setDefaultTimeout(180_000);

const KEYS = 200;
/** Spares are looked at every second. */
const LOOKS_MS = 3000;
const ALL = "0-16383";

/** Ids of the sets that have a document. */
async function setIds({ zookeeper }: DkvCluster): Promise<readonly string[]> {
  const [server] = zookeeper.servers;
  const coordinator = new ZookeeperCoordinator({
    ...{ address: parseZookeeperAddress(`127.0.0.1:${server!.clientPort}/dkv`), random: () => 0.5 },
    ...{ sessionTimeoutMs: 10_000, clock: new SystemClock() },
    logger: createLogger({ level: "nothing", file: "" }),
  });
  try {
    for (;;) {
      const listed = await coordinator.list(SETS_PATH, { fresh: true });
      if (listed.kind === "ok") return listed.names;
      await Bun.sleep(20);
    }
  } finally {
    await coordinator.close();
  }
}

/** Slots of the masters that a node lists, empty: a master without any. */
async function masters(node: ClusterProcess): Promise<string[]> {
  const lines = `${await node.ask("CLUSTER", "NODES")}`.split("\n");
  return lines
    .filter((line) => line.split(" ")[2]?.includes("master"))
    .map((line) => line.split(" ").slice(8).join(" "));
}

async function readAll(node: ClusterProcess): Promise<unknown[]> {
  const keys = Array.from({ length: KEYS }, (_, at) => ["GET", `key:${at}`]);
  const [, ...values] = await node.pipeline([["CLIENT", "SETINFO", "LIB-NAME", "test"], ...keys]);
  return values;
}

test.skipIf(MISSING !== "")("a set that joined is retired, and its node used again", async () => {
  const cluster = await DkvCluster.start({
    ...{ sets: 1, nodesPerSet: 1, writeQuorum: 1, spares: 1 },
    flags: ["--cluster-auto-rebalance", "yes"],
  });
  const words = () => cluster.nodes.map(({ output }) => output.slice(-1500)).join("\n---\n");
  const untilMasters = (count: number, isDone = (_: string[]) => true) =>
    until(
      `${count} masters`,
      async () => {
        const seen = await Promise.all(cluster.nodes.map(masters));
        return seen.every((each) => each.length === count && isDone(each));
      },
      words,
    );
  const haveSlots = (each: string[]) => each.every((slots) => slots !== "");
  try {
    const values = Array.from({ length: KEYS }, (_, at) => `${at}`);
    const writes = values.map((value, at) => ["SET", `key:${at}`, value]);
    const [first, second] = cluster.nodes as [ClusterProcess, ClusterProcess];
    await untilMasters(2, haveSlots);
    // Some will do.
    await first.ask("CLUSTER", "ABORT", "ALL");
    await first.pipeline([["CLIENT", "SETINFO", "LIB-NAME", "test"], ...writes]);

    const drained = `${await second.ask("CLUSTER", "MYSHARDID")}`;
    await first.ask("CLUSTER", "DRAIN", drained);
    await untilMasters(1, ([slots]) => slots === ALL);
    expect(await setIds(cluster)).not.toContain(drained);
    expect(second.output).toContain("its replica set has been retired");
    expect(await readAll(second)).toEqual(values);
    expect(await readAll(first)).toEqual(values);

    // Its data is nobody's: it is left alone, now and after a start.
    await second.kill();
    second.launch();
    await until("it is there", async () => (await second.ask("PING")) === "PONG");
    await untilMasters(1, ([slots]) => slots === ALL);
    await Bun.sleep(LOOKS_MS);
    expect(await setIds(cluster)).toHaveLength(1);
    expect(second.output).toContain("data of a replica set that this node has no place in");
    expect(await readAll(second)).toEqual(values);

    await second.kill();
    rmSync(second.directory, { recursive: true });
    mkdirSync(second.directory);
    second.launch();
    await untilMasters(2, haveSlots);
    const ids = await setIds(cluster);
    expect(ids).toHaveLength(2);
    expect(ids).not.toContain(drained);
    expect(await readAll(second)).toEqual(values);
  } finally {
    await cluster.stop();
  }
});

test.skipIf(MISSING !== "")(
  "a set whose nodes are gone keeps no other moves back, and is retired without them",
  async () => {
    const cluster = await DkvCluster.start({
      ...{ sets: 2, nodesPerSet: 1, writeQuorum: 1 },
      flags: ["--cluster-auto-rebalance", "yes"],
    });
    const words = () => cluster.nodes.map(({ output }) => output.slice(-1500)).join("\n---\n");
    const movesOf = async (node: ClusterProcess) =>
      (await node.ask("CLUSTER", "MOVES")) as unknown[];
    try {
      const [first, second] = cluster.nodes as [ClusterProcess, ClusterProcess];
      const third = cluster.add();
      await until("it serves", async () => third.output.includes("the writer of its replica set"));
      const dead = `${await third.ask("CLUSTER", "MYSHARDID")}`;
      // It would ask for its share after two seconds.
      await third.kill();
      const other = `${await second.ask("CLUSTER", "MYSHARDID")}`;
      const [[, , slots]] = (await first.ask(
        "CLUSTER",
        "REBALANCE",
        "WEIGHT",
        other,
        "0",
        "DRYRUN",
      )) as [[string, string, string]];
      const ofSecond = Number(slots.split("-")[0]);
      const ofFirst = ofSecond === 0 ? 1000 : 0;
      const range = (at: number) => `${at}-${at + 9}`;
      await first.ask("CLUSTER", "MOVE", range(ofFirst), "TO", dead);
      await first.ask("CLUSTER", "MOVE", range(ofFirst + 10), "TO", other);
      await until(
        "the other moves are over",
        async () => (await movesOf(first)).length === 10,
        words,
      );
      expect(await first.ask("CLUSTER", "ABORT", "ALL")).toBe(10);
      await until("all moves are over", async () => (await movesOf(first)).length === 0, words);
      await first.ask("CLUSTER", "DRAIN", dead);
      expect(await setIds(cluster)).not.toContain(dead);
    } finally {
      await cluster.stop();
    }
  },
);
