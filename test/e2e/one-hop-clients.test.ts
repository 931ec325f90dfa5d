/** The clients that dkv brings, against two replica sets of real processes: no redirect, no forward, also after a failover. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Cluster } from "dkv/clients/ioredis";
import { createCluster } from "dkv/clients/node-redis";
import { DkvCluster, until } from "../support/dkv-cluster.ts";
import { runCommand } from "../support/managed-dkv.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: one-hop clients: ${MISSING}`);

const KEYS = 200;

setDefaultTimeout(120_000);

const range = (count: number) => Array.from({ length: count }, (_, index) => index);
const VALUES = range(KEYS).map((index) => `value ${index}`);

describe.skipIf(MISSING !== "")("clients that compute dkv's slots", () => {
  let cluster: DkvCluster;

  beforeAll(async () => {
    cluster = await DkvCluster.start({ sets: 2, nodesPerSet: 3, writeQuorum: 2 });
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  /** Sums of all running nodes. */
  async function detours(): Promise<{ redirects: number; forwards: number }> {
    const sums = { redirects: 0, forwards: 0 };
    for (const node of cluster.nodes.filter(({ isRunning }) => isRunning)) {
      const info = `${await node.ask("INFO", "dkv")}`;
      sums.redirects += Number(/cluster_redirects:(\d+)/.exec(info)![1]);
      sums.forwards += Number(/cluster_forwards:(\d+)/.exec(info)![1]);
    }
    return sums;
  }

  async function expectNoDetours(action: () => Promise<void>): Promise<void> {
    const before = await detours();
    await action();
    expect(await detours()).toEqual(before);
  }

  function openIoredis(options: ConstructorParameters<typeof Cluster>[1] = {}): Cluster {
    const nodes = cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port }));
    const client = new Cluster(nodes, options);
    // Of connections, while nodes are down; commands tell of their own.
    client.on("error", () => undefined);
    return client;
  }

  async function openNodeRedis(useReplicas = false) {
    const rootNodes = cluster.nodes.map(({ port }) => ({ url: `redis://127.0.0.1:${port}` }));
    const client = createCluster({ rootNodes, useReplicas });
    client.on("error", () => undefined);
    await client.connect();
    return client;
  }

  async function isServing(): Promise<boolean> {
    const running = cluster.nodes.filter(({ isRunning }) => isRunning);
    const infos = await Promise.all(running.map((node) => node.ask("CLUSTER", "INFO")));
    return infos.every((info) => `${info}`.includes("cluster_state:ok"));
  }

  /** The writer of a set becomes a replica that lives on: who still believes in it is told so, and told once. */
  async function expectToFollowHandover(write: () => Promise<void>): Promise<void> {
    await write();
    const before = await cluster.writerOf("key:1");
    const info = `${await before.ask("INFO", "replication")}`;
    const [, port] = /slave0:ip=127.0.0.1,port=(\d+),state=online/.exec(info)!;
    const replica = cluster.nodes.find((node) => `${node.port}` === port)!;
    expect(await replica.ask("CLUSTER", "FAILOVER")).toBe("OK");
    await until("every node knows another writer", async () => {
      const maps = await Promise.all(cluster.nodes.map((node) => node.ask("CLUSTER", "SLOTS")));
      return maps.every((slots) => !isFirst(slots, before.port)) && (await isServing());
    });
    const { redirects, forwards } = await detours();
    await write();
    const after = await detours();
    expect(after.redirects).toBeGreaterThan(redirects);
    expect(after.forwards).toBe(forwards);
    await until("no redirects any more", async () => {
      const last = await detours();
      await write();
      return (await detours()).redirects === last.redirects;
    });
  }

  function isFirst(slots: unknown, port: number): boolean {
    const entries = slots as [number, number, [string, number]][];
    return entries.some(([, , node]) => node[1] === port);
  }

  /** Kills a writer under load: what was acknowledged is there, and soon nothing takes a detour any more. */
  async function expectOneHopAfterFailover(
    set: (key: string, value: string) => Promise<unknown>,
    get: (key: string) => Promise<string | null>,
  ): Promise<void> {
    const killed = await cluster.writerOf("key:1");
    const acknowledged: string[] = [];
    let isOver = false;
    const load = range(4).map(async (writer) => {
      for (let count = 0; !isOver; count++) {
        const key = `load:${performance.now()}:${writer}:${count}`;
        const isSet = await set(key, key).then(
          () => true,
          () => false,
        );
        if (isSet) acknowledged.push(key);
      }
    });
    try {
      await until("writes", () => Promise.resolve(acknowledged.length > 50));
      await killed.kill();
      await until("all slots have writers again", isServing);
      // Commands that waited for the new writer are forwarded.
      await until("neither redirects nor forwards any more", async () => {
        const before = await detours();
        const count = acknowledged.length;
        await until("writes go on", () => Promise.resolve(acknowledged.length > count + 50));
        return Bun.deepEquals(before, await detours());
      });
    } finally {
      isOver = true;
      await Promise.all(load);
      killed.launch();
    }
    expect(await Promise.all(acknowledged.map(get))).toEqual(acknowledged);
    await cluster.untilServing();
  }

  describe("dkv/clients/ioredis", () => {
    test("single commands, one after the other and together", async () => {
      const client = openIoredis();
      await client.ping();
      await expectNoDetours(async () => {
        for (const index of range(KEYS)) await client.set(`i:${index}`, VALUES[index]!);
        const values = await Promise.all(range(KEYS).map((index) => client.get(`i:${index}`)));
        expect(values).toEqual(VALUES);
      });
      client.disconnect();
    });

    test("before it is connected, with a prefix, with bytes for keys, and as a duplicate", async () => {
      const client = openIoredis({ lazyConnect: true, keyPrefix: "prefix:" });
      await expectNoDetours(async () => {
        await Promise.all(range(KEYS).map((index) => client.set(`é${index}`, VALUES[index]!)));
        const twin = client.duplicate();
        const keys = range(KEYS).map((index) => Buffer.from(`é${index}`));
        expect(await Promise.all(keys.map((key) => twin.get(key)))).toEqual(VALUES);
        twin.disconnect();
      });
      client.disconnect();
    });

    test("pipelines over all nodes, with callbacks too, and empty ones", async () => {
      const client = openIoredis({ enableAutoPipelining: true });
      await client.ping();
      await expectNoDetours(async () => {
        const pipeline = client.pipeline();
        for (const index of range(KEYS)) pipeline.set(`p:${index}`, index).incr(`p:${index}`);
        const replies = await pipeline.exec();
        const expected = range(KEYS).flatMap((index) => [
          [null, "OK"],
          [null, index + 1],
        ]);
        expect(replies).toEqual(expected as [null, string | number][]);
        const { promise, resolve } = Promise.withResolvers<unknown>();
        void client.pipeline([["get", "p:1"]]).exec((error, result) => resolve([error, result]));
        expect(await promise).toEqual([null, [[null, "2"]]]);
        expect(await client.pipeline().exec()).toEqual([]);
      });
      client.disconnect();
    });

    test("transactions, and commands of several keys with a tag", async () => {
      const client = openIoredis();
      await client.ping();
      await expectNoDetours(async () => {
        for (const index of range(20)) {
          const key = `m:${index}`;
          const results = await client.multi().set(key, 1).incr(key).exec();
          expect(results).toEqual([
            [null, "OK"],
            [null, 2],
          ]);
          const batch = [["multi"], ["incr", key], ["get", key], ["exec"]];
          const replies = await client.pipeline(batch).exec();
          expect(replies!.at(-1)).toEqual([null, [3, "3"]]);
        }
        await client.mset("a{t}", 1, "b{t}", 2);
        expect(await client.mget("a{t}", "b{t}", "c{t}")).toEqual(["1", "2", null]);
      });
      client.disconnect();
    });

    test("reads at replicas", async () => {
      const client = openIoredis({ scaleReads: "slave" });
      await client.ping();
      await expectNoDetours(async () => {
        await Promise.all(range(KEYS).map((index) => client.set(`r:${index}`, VALUES[index]!)));
        await until("replicas have all", async () => {
          const values = await Promise.all(range(KEYS).map((index) => client.get(`r:${index}`)));
          return Bun.deepEquals(values, VALUES);
        });
      });
      client.disconnect();
    });

    // A client of its own each, that reads no map behind its back: it has to be told.
    test("follows a handover", async () => {
      const client = openIoredis({ slotsRefreshInterval: 0 });
      await expectToFollowHandover(async () => {
        const values = await Promise.all(range(KEYS).map((index) => client.set(`h:${index}`, "1")));
        expect(values).toEqual(range(KEYS).map(() => "OK"));
      });
      client.disconnect();
    });

    test("follows a handover in pipelines", async () => {
      const client = openIoredis({ slotsRefreshInterval: 0 });
      await expectToFollowHandover(async () => {
        const pipeline = client.pipeline();
        for (const index of range(KEYS)) pipeline.set(`h:${index}`, index).incr(`h:${index}`);
        const values = (await pipeline.exec())!.filter((_, at) => at % 2 === 1);
        expect(values).toEqual(range(KEYS).map((index) => [null, index + 1]));
      });
      client.disconnect();
    });

    test("follows a failover", async () => {
      const client = openIoredis();
      await expectOneHopAfterFailover(
        (key, value) => client.set(key, value),
        (key) => client.get(key),
      );
      const values = await client
        .pipeline(range(KEYS).map((index) => ["get", `i:${index}`]))
        .exec();
      expect(values!.map(([, value]) => value)).toEqual(VALUES);
      client.disconnect();
    });
  });

  describe("dkv/clients/node-redis", () => {
    test("single commands, and those of several keys that it splits", async () => {
      const client = await openNodeRedis();
      await expectNoDetours(async () => {
        for (const index of range(KEYS)) await client.set(`n:${index}`, VALUES[index]!);
        const keys = range(KEYS).map((index) => `n:${index}`);
        expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(VALUES);
        expect(await client.mGet(keys)).toEqual(VALUES);
        await client.mSet(Object.fromEntries(range(KEYS).map((index) => [`n2:${index}`, "x"])));
        expect(await client.del(range(KEYS).map((index) => `n2:${index}`))).toBe(KEYS);
        const twin = client.duplicate();
        await twin.connect();
        expect(await Promise.all(keys.map((key) => twin.get(key)))).toEqual(VALUES);
        await twin.close();
      });
      await client.close();
    });

    test("pipelines over all nodes, and transactions", async () => {
      const client = await openNodeRedis();
      await expectNoDetours(async () => {
        const pipeline = client.multi();
        for (const index of range(KEYS))
          pipeline.set(`np:${index}`, `${index}`).incr(`np:${index}`);
        const expected = range(KEYS).flatMap((index) => ["OK", index + 1]);
        expect((await pipeline.execAsPipeline()) as unknown[]).toEqual(expected);
        for (const index of range(20)) {
          const key = `nm:${index}`;
          const replies = await client.multi().set(key, "1").incr(key).exec();
          expect(replies as unknown[]).toEqual(["OK", 2]);
        }
      });
      await client.close();
    });

    test("reads at replicas", async () => {
      const client = await openNodeRedis(true);
      await expectNoDetours(async () => {
        await Promise.all(range(KEYS).map((index) => client.set(`nr:${index}`, VALUES[index]!)));
        await until("replicas have all", async () => {
          const values = await Promise.all(range(KEYS).map((index) => client.get(`nr:${index}`)));
          return Bun.deepEquals(values, VALUES);
        });
      });
      await client.close();
    });

    test("follows a handover", async () => {
      const client = await openNodeRedis();
      await expectToFollowHandover(async () => {
        const values = await Promise.all(range(KEYS).map((index) => client.set(`h:${index}`, "1")));
        expect(values).toEqual(range(KEYS).map(() => "OK"));
      });
      await client.close();
    });

    test("follows a handover in pipelines", async () => {
      const client = await openNodeRedis();
      await expectToFollowHandover(async () => {
        const pipeline = client.multi();
        for (const index of range(KEYS)) pipeline.set(`h:${index}`, `${index}`).incr(`h:${index}`);
        const replies = (await pipeline.execAsPipeline()) as unknown[];
        const values = replies.filter((_, at) => at % 2 === 1);
        expect(values).toEqual(range(KEYS).map((index) => index + 1));
      });
      await client.close();
    });

    test("follows a failover", async () => {
      const client = await openNodeRedis();
      await expectOneHopAfterFailover(
        (key, value) => client.set(key, value),
        (key) => client.get(key),
      );
      await client.close();
    });
  });

  test("both under Node", async () => {
    const nodes = cluster.nodes.map(({ port }) => port);
    const script = `
      import { Cluster } from "dkv/clients/ioredis";
      import { createCluster } from "dkv/clients/node-redis";
      const redis = new Cluster(${JSON.stringify(nodes)}.map((port) => ({ host: "127.0.0.1", port })));
      const keys = Array.from({ length: 200 }, (_, index) => "node:" + index);
      await redis.pipeline(keys.map((key) => ["set", key, key])).exec();
      const client = createCluster({ rootNodes: [{ url: "redis://127.0.0.1:${nodes[0]}" }] });
      await client.connect();
      const values = await client.mGet(keys);
      console.log(values.filter((value, index) => value === keys[index]).length);
      await client.close();
      redis.disconnect();`;
    await expectNoDetours(async () => {
      const result = await runCommand(["node", "--input-type=module", "-e", script]);
      expect(result.stderr).toBe("");
      expect(result.stdout).toBe("200\n");
    });
  });
});
