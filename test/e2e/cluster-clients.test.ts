/**
 * Stock cluster clients against servers of a static cluster: two sets, a writer and a replica each. What cannot work
 * with MOVED alone is not asked of it: node-redis ignores the address in MOVED, and ioredis hands a MOVED within a
 * pipeline to its caller.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Cluster } from "ioredis";
import { createCluster } from "redis";
import { runCommand } from "../support/managed-dkv.ts";
import { StaticCluster } from "../support/static-cluster.ts";

const TIMEOUT_MS = 150_000;
const KEYS = 300;

let cluster: StaticCluster;
beforeAll(async () => {
  cluster = await StaticCluster.start({ sets: [2, 2] });
  // Nothing is replicated here: replicas get what a test reads from them.
  for (const member of cluster.members) {
    await member.store.runUnit(() => {
      for (let i = 0; i < KEYS; i++) {
        const key = Buffer.from(`replica:${i}`);
        member.store.select(key, 0, key.length);
        member.store.put(Buffer.from(`r${i}`), 0, Buffer.from(`r${i}`).length, 0);
      }
    });
  }
}, TIMEOUT_MS);
afterAll(() => cluster.stop(), TIMEOUT_MS);

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

function redirect(mode: string): void {
  for (const member of cluster.members) member.config.set([["cluster-redirect", mode]]);
}

function counts(): { redirects: number; forwards: number } {
  let redirects = 0;
  let forwards = 0;
  for (const { server } of cluster.members) {
    redirects += server.context.cluster!.router.counts.redirects;
    forwards += server.context.cluster!.router.counts.forwards;
  }
  return { redirects, forwards };
}

function openIoredis(options: ConstructorParameters<typeof Cluster>[1] = {}): Cluster {
  const nodes = cluster.members.map(({ port }) => ({ host: "127.0.0.1", port }));
  return new Cluster(nodes, { lazyConnect: false, ...options });
}

for (const mode of ["auto", "forward"]) {
  describe(`cluster-redirect ${mode}`, () => {
    test(
      "ioredis: single commands, pipelines, transactions, several keys, replica reads, without a MOVED",
      async () => {
        redirect(mode);
        const before = counts();
        const client = openIoredis();
        for (const i of range(KEYS)) expect(await client.set(`${mode}:i:${i}`, `${i}`)).toBe("OK");
        const values = await Promise.all(range(KEYS).map((i) => client.get(`${mode}:i:${i}`)));
        expect(values).toEqual(range(KEYS).map(String));
        const pipeline = client.pipeline();
        for (const i of range(50)) pipeline.set(`{${mode}}:${i}`, i).incr(`{${mode}}:${i}`);
        const replies = await pipeline.exec();
        expect(replies?.map(([error]) => error)).toEqual(range(100).map(() => null));
        for (const i of range(20)) {
          const key = `${mode}:m${i}`;
          const results = await client.multi().set(key, "1").incr(key).get(key).exec();
          expect(results?.map(([, value]) => value)).toEqual(["OK", 2, "2"]);
        }
        await client.mset(`a{${mode}}`, "1", `b{${mode}}`, "2");
        expect(await client.mget(`b{${mode}}`, `a{${mode}}`, `c{${mode}}`)).toEqual([
          "2",
          "1",
          null,
        ]);
        client.disconnect();
        const after = counts();
        expect(after.redirects - before.redirects).toBe(0);
        expect(after.forwards - before.forwards).toBeGreaterThan(KEYS / 2);
      },
      TIMEOUT_MS,
    );

    test(
      "ioredis: automatic pipelining",
      async () => {
        redirect(mode);
        const client = openIoredis({ enableAutoPipelining: true });
        await Promise.all(range(KEYS).map((i) => client.set(`${mode}:a:${i}`, `${i}`)));
        const values = await Promise.all(range(KEYS).map((i) => client.get(`${mode}:a:${i}`)));
        expect(values).toEqual(range(KEYS).map(String));
        client.disconnect();
      },
      TIMEOUT_MS,
    );

    test(
      "ioredis: reads at replicas",
      async () => {
        redirect(mode);
        const client = openIoredis({ scaleReads: "slave" });
        for (const i of range(KEYS)) expect(await client.get(`replica:${i}`)).toBe(`r${i}`);
        client.disconnect();
      },
      TIMEOUT_MS,
    );

    test(
      "node-redis: single commands, pipelines, transactions, several keys, replica reads, without a MOVED",
      async () => {
        redirect(mode);
        const before = counts();
        const rootNodes = cluster.members.map(({ port }) => ({ url: `redis://127.0.0.1:${port}` }));
        const client = createCluster({ rootNodes, useReplicas: true });
        client.on("error", () => undefined);
        await client.connect();
        for (const i of range(KEYS)) await client.set(`${mode}:n:${i}`, `${i}`);
        for (const i of range(KEYS)) expect(await client.get(`replica:${i}`)).toBe(`r${i}`);
        await Promise.all(range(KEYS).map((i) => client.incr(`${mode}:n:${i}`)));
        const values = await Promise.all(
          range(KEYS).map((i) => client.getEx(`${mode}:n:${i}`, { type: "PERSIST" })),
        );
        expect(values).toEqual(range(KEYS).map((i) => `${i + 1}`));
        for (const i of range(20)) {
          const key = `${mode}:nm${i}`;
          const replies = await client.multi().set(key, "1").incr(key).exec();
          expect(replies as unknown).toEqual(["OK", 2]);
        }
        await client.mSet([
          [`na{${mode}}`, "1"],
          [`nb{${mode}}`, "2"],
        ]);
        expect(await client.del([`na{${mode}}`, `nb{${mode}}`])).toBe(2);
        await client.close();
        expect(counts().redirects).toBe(before.redirects);
      },
      TIMEOUT_MS,
    );
  });
}

describe("cluster-redirect moved", () => {
  test(
    "ioredis follows it with single commands",
    async () => {
      redirect("moved");
      const before = counts();
      const client = openIoredis();
      for (const i of range(40)) await client.set(`moved:${i}`, `${i}`);
      for (const i of range(40)) expect(await client.get(`moved:${i}`)).toBe(`${i}`);
      client.disconnect();
      const after = counts();
      expect(after.redirects).toBeGreaterThan(before.redirects);
      expect(after.forwards).toBe(before.forwards);
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(Bun.which("redis-cli") === null)("redis-cli", () => {
  const port = () => `${cluster.writer(0).port}`;
  const cli = async (...args: string[]) => {
    const words = ["timeout", "20", "redis-cli", "-p", port(), ...args];
    return (await runCommand(words)).stdout.trim();
  };

  test(
    "shows the MOVED, and follows it with -c; with -3 it is forwarded",
    async () => {
      for (const mode of ["auto", "moved"]) {
        redirect(mode);
        for (const i of range(10)) {
          const key = cluster.keyOf(1, i, `cli:${mode}:`);
          expect(await cli("SET", key, "v")).toStartWith("MOVED ");
          expect(await cli("-c", "SET", key, `v${i}`)).toBe("OK");
          expect(await cli("-c", "GET", key)).toBe(`v${i}`);
        }
      }
      redirect("auto");
      expect(await cli("-3", "GET", cluster.keyOf(1, 3, "cli:auto:"))).toBe("v3");
      redirect("forward");
      expect(await cli("GET", cluster.keyOf(1, 3, "cli:auto:"))).toBe("v3");
    },
    TIMEOUT_MS,
  );

  test(
    "redis-cli --cluster check finds all slots covered",
    async () => {
      const target = `127.0.0.1:${port()}`;
      const words = ["timeout", "20", "redis-cli", "--cluster", "check", target];
      const { stdout } = await runCommand(words);
      expect(stdout).toContain("[OK] All 16384 slots covered.");
      expect(stdout).toContain("[OK] All nodes agree about slots configuration.");
    },
    TIMEOUT_MS,
  );
});
