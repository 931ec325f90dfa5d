/** Two replica sets of three real processes with a real ZooKeeper, as a client sees them: kill -9, handover, restarts. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Cluster } from "ioredis";
import { type ClusterProcess, DkvCluster, until } from "../support/dkv-cluster.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: clusters with a real ZooKeeper: ${MISSING}`);

const FAILOVER_MS_MAX = 10_000;

setDefaultTimeout(120_000);

/** Writes numbered values one after the other until stopped; what was answered with OK. */
class Writer {
  readonly #client: Cluster;
  readonly #name: string;
  #isStopped = false;
  readonly acknowledged: string[] = [];
  readonly failures: string[] = [];
  longestMs = 0;
  readonly done: Promise<void>;

  constructor(client: Cluster, name: string) {
    this.#client = client;
    this.#name = name;
    this.done = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.done;
  }

  async #run(): Promise<void> {
    for (let count = 0; !this.#isStopped; count++) {
      const key = `${this.#name}:${count}`;
      const startMs = performance.now();
      try {
        await this.#client.set(key, `value ${key}`);
        this.acknowledged.push(key);
      } catch (error) {
        this.failures.push((error as Error).message);
      }
      this.longestMs = Math.max(this.longestMs, performance.now() - startMs);
    }
  }
}

describe.skipIf(MISSING !== "")("a cluster of two sets with three nodes each", () => {
  let cluster: DkvCluster;
  let client: Cluster;

  beforeAll(async () => {
    cluster = await DkvCluster.start({ sets: 2, nodesPerSet: 3, writeQuorum: 2 });
    client = new Cluster(cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })));
    // Of connections, while nodes are down; commands tell of their own.
    client.on("error", () => undefined);
  });

  afterAll(async () => {
    client?.disconnect();
    await cluster?.stop();
  });

  async function writersWhile(action: () => Promise<void>): Promise<Writer[]> {
    const writers = ["a", "b", "c", "d"].map(
      (name) => new Writer(client, `${name}${performance.now()}`),
    );
    try {
      await until("writers write", async () =>
        writers.every((each) => each.acknowledged.length > 20),
      );
      await action();
      const before = writers.map((each) => each.acknowledged.length);
      await until("writers go on", async () =>
        writers.every((each, index) => each.acknowledged.length > before[index]! + 20),
      );
    } finally {
      for (const writer of writers) await writer.stop();
    }
    return writers;
  }

  async function expectAllThere(writers: readonly Writer[]): Promise<void> {
    for (const { acknowledged } of writers) {
      const values = await Promise.all(acknowledged.map((key) => client.get(key)));
      expect(values).toEqual(acknowledged.map((key) => `value ${key}`));
    }
  }

  async function restart(node: ClusterProcess): Promise<void> {
    node.launch();
    await cluster.untilServing();
  }

  test("serves every slot: each node forwards what is not its own", async () => {
    const keys = Array.from({ length: 200 }, (_, index) => `key:${index}`);
    await Promise.all(keys.map((key) => client.set(key, key)));
    for (const node of cluster.nodes) {
      const [hello, ...values] = await node.pipeline([
        ["HELLO", "3"],
        ...keys.map((key) => ["GET", key]),
      ]);
      expect(hello).toBeInstanceOf(Map);
      expect(values).toEqual(keys);
    }
  });

  test("loses nothing and goes on when a writer is killed, which comes back as a replica", async () => {
    const killed = await cluster.writerOf("key:1");
    const writers = await writersWhile(() => killed.kill());
    await expectAllThere(writers);
    const longestMs = Math.max(...writers.map((each) => each.longestMs));
    expect(longestMs).toBeLessThan(FAILOVER_MS_MAX);
    await restart(killed);
    await until("it is a replica that has all", async () => {
      const [, value] = await killed.pipeline([["READONLY"], ["GET", "key:1"]]);
      return value === "key:1";
    });
  });

  test("hands over when a writer is told to stop: no command fails, nothing is lost", async () => {
    const stopped = await cluster.writerOf("key:1");
    const writers = await writersWhile(async () => {
      stopped.signal("SIGTERM");
      expect(await stopped.exited()).toBe(0);
    });
    expect(writers.flatMap(({ failures }) => failures)).toEqual([]);
    await expectAllThere(writers);
    await restart(stopped);
  });

  test("CLUSTER FAILOVER makes a replica the writer: no command fails, nothing is lost", async () => {
    const before = await cluster.writerOf("key:1");
    const writers = await writersWhile(async () => {
      const info = await before.ask("INFO", "replication");
      const [, port] = /slave0:ip=127.0.0.1,port=(\d+),state=online/.exec(`${info}`)!;
      const replica = cluster.nodes.find((node) => `${node.port}` === port)!;
      expect(await replica.ask("CLUSTER", "FAILOVER")).toBe("OK");
      await until("the replica is the writer", async () =>
        `${await replica.ask("INFO", "replication")}`.includes("role:master"),
      );
      expect(await before.ask("INFO", "replication")).toContain("role:slave");
    });
    expect(writers.flatMap(({ failures }) => failures)).toEqual([]);
    await expectAllThere(writers);
  });

  test("a writer that slept longer than its lease answers nothing from before", async () => {
    const sleeper = await cluster.writerOf("key:1");
    const key = "key:1";
    const writers = await writersWhile(async () => {
      sleeper.signal("SIGSTOP");
      await until("another writer", async () => {
        const other = cluster.nodes.find((node) => node !== sleeper)!;
        const [, reply] = await other.pipeline([
          ["HELLO", "3"],
          ["SET", key, "new"],
        ]);
        return reply === "OK";
      });
      sleeper.signal("SIGCONT");
      const [, value] = await sleeper.pipeline([
        ["HELLO", "3"],
        ["GET", key],
      ]);
      expect(value).toBe("new");
    });
    await expectAllThere(writers);
  });

  test("finds every key after all nodes were killed at once", async () => {
    const writers = await writersWhile(() => Promise.resolve());
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    for (const node of cluster.nodes) node.launch();
    await cluster.untilServing();
    await expectAllThere(writers);
  });
});
