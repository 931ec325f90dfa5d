/** node-redis, and dkv's own createCluster of it. */
import { createCluster as createDkvCluster } from "dkv/clients/node-redis";
import { createCluster as createStockCluster } from "redis";
import {
  type Context,
  closeSoon,
  equal,
  type Outcomes,
  present,
  runFeatures,
  type Subject,
  writeUntilStopped,
} from "./subject.ts";

type Create = typeof createStockCluster;

const subject = (name: string, create: Create): Subject => ({
  name,
  whyMissing: present,
  run: (context) => run(create, context),
  write: async (load) => {
    const client = await open(create, load.ports);
    await writeUntilStopped(load, (key) => client.set(key, key));
    await closeSoon(() => client.destroy());
  },
});

export const nodeRedisFamily: readonly Subject[] = [
  subject("node-redis", createStockCluster),
  subject("dkv/clients/node-redis", createDkvCluster),
];

async function open(create: Create, ports: readonly number[], useReplicas = false) {
  const rootNodes = ports.map((port) => ({ url: `redis://127.0.0.1:${port}` }));
  const client = create({ rootNodes, useReplicas });
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

async function run(create: Create, context: Context): Promise<Outcomes> {
  const { ports, keys, tags } = context;
  const client = await open(create, ports);
  const outcomes = await runFeatures({
    singles: async () => {
      for (const key of keys) equal(await client.set(key, key), "OK");
      for (const key of keys) equal(await client.get(key), key);
    },
    pipelines: async () => {
      for (const tag of tags) {
        const pipeline = client.multi();
        for (let i = 0; i < 10; i++) pipeline.set(`p{${tag}}${i}`, `${i}`).incr(`p{${tag}}${i}`);
        equal(((await pipeline.execAsPipeline()) as unknown[]).at(-1), 10);
      }
    },
    "mixed pipelines": async () => {
      const pipeline = client.multi();
      for (const key of keys) pipeline.set(`mixed:${key}`, key);
      equal(
        await pipeline.execAsPipeline(),
        keys.map(() => "OK"),
      );
    },
    "at once": async () => {
      const values = await Promise.all(context.present.map((key) => client.get(key)));
      equal(values, context.present);
    },
    MULTI: async () => {
      for (const tag of tags) {
        const key = `m{${tag}}`;
        equal(await client.multi().set(key, "1").incr(key).get(key).exec(), ["OK", 2, "2"]);
      }
    },
    "tagged keys": async () => {
      for (const tag of tags) {
        equal(await client.mSet({ [`a{${tag}}`]: "1", [`b{${tag}}`]: "2" }), "OK");
        equal(await client.mGet([`b{${tag}}`, `a{${tag}}`]), ["2", "1"]);
        equal(await client.del([`b{${tag}}`, `a{${tag}}`]), 2);
      }
    },
    "untagged keys": async () => {
      equal(await client.mGet([...context.present]), context.present);
    },
    "replica reads": async () => {
      const replicas = await open(create, ports, true);
      try {
        for (const key of context.present) equal(await replicas.get(key), key);
      } finally {
        await closeSoon(() => replicas.destroy());
      }
    },
    SCAN: async () => {
      const found = new Set<string>();
      const options = { MATCH: `${context.presentPrefix}*`, COUNT: 100 };
      let cursor = "0";
      do {
        const reply = await client.scan(cursor, options);
        for (const key of reply.keys) found.add(key);
        cursor = reply.cursor;
      } while (cursor !== "0");
      equal([...found].sort(), [...context.present].sort());
    },
  });
  await closeSoon(() => client.destroy());
  return outcomes;
}
