/**
 * The clients that people use, unchanged, against a dkv process: ioredis, node-redis and Bun's own. Each connects with a
 * password, pipelines, runs transactions, carries binary values, reads times to live, iterates over all keys, and goes
 * on after the server was killed and started again.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { RedisClient } from "bun";
import { Redis } from "ioredis";
import { createClient, RESP_TYPES } from "redis";
import { ManagedDkv } from "../support/managed-dkv.ts";

const TIMEOUT_MS = 150_000;
const PASSWORD = "open sesame";
const BINARY = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) & 0xff));

let dkv: ManagedDkv;

beforeAll(async () => {
  dkv = await ManagedDkv.start(["--maxmemory", "256mb", "--requirepass", PASSWORD]);
}, TIMEOUT_MS);
afterAll(() => dkv.dispose());

/** Calls `attempt` until it succeeds: a client reconnects in its own time. */
async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await Bun.sleep(50);
    }
  }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

describe("ioredis", () => {
  const options = () => ({
    port: dkv.port,
    host: "127.0.0.1",
    password: PASSWORD,
    lazyConnect: true,
  });

  test(
    "pipelines, transactions, binary values, times to live and scans",
    async () => {
      const redis = new Redis(options());
      await redis.connect();
      await redis.flushall();
      const pipeline = redis.pipeline();
      for (const i of range(500)) pipeline.set(`i:${i}`, i);
      expect(
        (await pipeline.exec())!.every(([error, reply]) => error === null && reply === "OK"),
      ).toBe(true);
      const replies = await redis.multi().incr("n").incrby("n", 4).get("n").exec();
      expect(replies).toEqual([
        [null, 1],
        [null, 5],
        [null, "5"],
      ]);
      await redis.set("binary", BINARY);
      expect((await redis.getBuffer("binary"))!.equals(BINARY)).toBe(true);
      await redis.set("t", "v", "EX", 100);
      expect(await redis.ttl("t")).toBeGreaterThan(90);
      const seen = new Set<string>();
      for await (const keys of redis.scanStream({ match: "i:*", count: 50 })) {
        for (const key of keys as string[]) seen.add(key);
      }
      expect(seen.size).toBe(500);
      redis.disconnect();
    },
    TIMEOUT_MS,
  );

  test(
    "auto-pipelining keeps answers with their questions",
    async () => {
      const redis = new Redis({ ...options(), enableAutoPipelining: true });
      await redis.connect();
      await Promise.all(range(300).map((i) => redis.set(`auto:${i}`, `v${i}`)));
      const values = await Promise.all(range(300).map((i) => redis.get(`auto:${i}`)));
      expect(values).toEqual(range(300).map((i) => `v${i}`));
      redis.disconnect();
    },
    TIMEOUT_MS,
  );

  test(
    "a wrong password is refused",
    async () => {
      const redis = new Redis({ ...options(), password: "wrong", retryStrategy: () => null });
      redis.on("error", () => undefined);
      const failure = await redis
        .connect()
        .then(() => redis.get("k"))
        .then(
          () => undefined,
          (error: Error) => error,
        );
      expect(failure?.message).toMatch(/WRONGPASS|NOAUTH|closed/);
      redis.disconnect();
    },
    TIMEOUT_MS,
  );

  test(
    "goes on after kill -9, with everything that was answered",
    async () => {
      const redis = new Redis(options());
      redis.on("error", () => undefined);
      await redis.connect();
      await Promise.all(range(200).map((i) => redis.set(`kept:${i}`, i)));
      await dkv.kill();
      await dkv.restart();
      const values = await eventually(() => redis.mget(range(200).map((i) => `kept:${i}`)));
      expect(values).toEqual(range(200).map(String));
      redis.disconnect();
    },
    TIMEOUT_MS,
  );
});

describe("node-redis", () => {
  const open = async (protocol: 2 | 3) => {
    const client = createClient({
      url: `redis://127.0.0.1:${dkv.port}`,
      password: PASSWORD,
      RESP: protocol,
    });
    client.on("error", () => undefined);
    await client.connect();
    return client;
  };

  for (const protocol of [2, 3] as const) {
    test(
      `RESP${protocol}: pipelines, transactions, binary values, times to live and scans`,
      async () => {
        const client = await open(protocol);
        await client.flushAll();
        await Promise.all(range(500).map((i) => client.set(`i:${i}`, `${i}`)));
        expect(await client.mGet(["i:1", "none", "i:499"])).toEqual(["1", null, "499"]);
        const replies = await client.multi().incr("n").incrBy("n", 4).get("n").exec();
        expect(replies as unknown).toEqual([1, 5, "5"]);
        await client.set("binary", BINARY);
        const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
        expect(((await buffers.get("binary")) as unknown as Buffer).equals(BINARY)).toBe(true);
        await client.set("t", "v", { expiration: { type: "PX", value: 100_000 } });
        expect(await client.pTTL("t")).toBeGreaterThan(90_000);
        let seen = 0;
        for await (const keys of client.scanIterator({ MATCH: "i:*", COUNT: 70 }))
          seen += keys.length;
        expect(seen).toBe(500);
        client.destroy();
      },
      TIMEOUT_MS,
    );
  }

  test(
    "goes on after kill -9, with everything that was answered",
    async () => {
      const client = await open(3);
      await Promise.all(range(200).map((i) => client.set(`kept:${i}`, `${i}`)));
      await dkv.kill();
      await dkv.restart();
      const values = await eventually(() => client.mGet(range(200).map((i) => `kept:${i}`)));
      expect(values as unknown).toEqual(range(200).map(String));
      client.destroy();
    },
    TIMEOUT_MS,
  );
});

describe("Bun.RedisClient", () => {
  const url = () => `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${dkv.port}`;

  test(
    "pipelines, binary values, times to live and scans",
    async () => {
      const client = new RedisClient(url());
      await client.connect();
      await client.send("FLUSHALL", []);
      await Promise.all(range(500).map((i) => client.set(`i:${i}`, `${i}`)));
      expect(await client.get("i:77")).toBe("77");
      expect(await client.incr("n")).toBe(1);
      await client.set("binary", BINARY);
      expect(Buffer.from((await client.getBuffer("binary"))!).equals(BINARY)).toBe(true);
      await client.expire("binary", 100);
      expect(await client.ttl("binary")).toBeGreaterThan(90);
      let cursor = "0";
      let seen = 0;
      do {
        const page = (await client.send("SCAN", [cursor, "MATCH", "i:*"])) as [string, string[]];
        cursor = page[0];
        seen += page[1].length;
      } while (cursor !== "0");
      expect(seen).toBe(500);
      client.close();
    },
    TIMEOUT_MS,
  );

  test(
    "goes on after kill -9, with everything that was answered",
    async () => {
      const client = new RedisClient(url());
      await client.connect();
      await Promise.all(range(200).map((i) => client.set(`kept:${i}`, `${i}`)));
      await dkv.kill();
      await dkv.restart();
      const value = await eventually(() => client.get("kept:199"));
      expect(value).toBe("199");
      client.close();
    },
    TIMEOUT_MS,
  );
});
