/** valkey-glide: a native library, with its own idea of everything. */
import { ClusterBatch, ClusterScanCursor, GlideClusterClient, Logger } from "@valkey/valkey-glide";
import {
  type Context,
  equal,
  type Outcomes,
  present,
  runFeatures,
  type Subject,
  writeUntilStopped,
} from "./subject.ts";

const TIMEOUT_MS = 5000;

// It writes of every failed node to the terminal.
Logger.init("off");

export const glide: Subject = {
  name: "valkey-glide",
  whyMissing: present,
  run,
  write: async (load) => {
    const client = await open(load.ports);
    await writeUntilStopped(load, (key) => client.set(key, key));
    client.close();
  },
};

function open(ports: readonly number[], readFrom: "primary" | "preferReplica" = "primary") {
  const addresses = ports.map((port) => ({ host: "127.0.0.1", port }));
  return GlideClusterClient.createClient({ addresses, readFrom, requestTimeout: TIMEOUT_MS });
}

async function run(context: Context): Promise<Outcomes> {
  const { ports, keys, tags } = context;
  const client = await open(ports);
  const outcomes = await runFeatures({
    singles: async () => {
      for (const key of keys) equal(await client.set(key, key), "OK");
      for (const key of keys) equal(await client.get(key), key);
    },
    pipelines: async () => {
      for (const tag of tags) {
        const batch = new ClusterBatch(false);
        for (let i = 0; i < 10; i++) batch.set(`p{${tag}}${i}`, `${i}`).incr(`p{${tag}}${i}`);
        equal((await client.exec(batch, true))!.at(-1), 10);
      }
    },
    "mixed pipelines": async () => {
      const batch = new ClusterBatch(false);
      for (const key of keys) batch.set(`mixed:${key}`, key);
      equal(
        await client.exec(batch, true),
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
        const batch = new ClusterBatch(true).set(key, "1").incr(key).get(key);
        equal(await client.exec(batch, true), ["OK", 2, "2"]);
      }
    },
    WATCH: async () => {
      const other = await open(ports);
      try {
        for (const tag of tags) {
          const key = `w{${tag}}`;
          await client.watch([key]);
          await other.set(key, "1");
          equal(await client.exec(new ClusterBatch(true).set(key, "2"), true), null);
          await client.watch([key]);
          equal(await client.exec(new ClusterBatch(true).set(key, "3"), true), ["OK"]);
        }
      } finally {
        other.close();
      }
    },
    "tagged keys": async () => {
      for (const tag of tags) {
        equal(await client.mset({ [`a{${tag}}`]: "1", [`b{${tag}}`]: "2" }), "OK");
        equal(await client.mget([`b{${tag}}`, `a{${tag}}`]), ["2", "1"]);
        equal(await client.del([`b{${tag}}`, `a{${tag}}`]), 2);
      }
    },
    "untagged keys": async () => {
      equal(await client.mget([...context.present]), context.present);
    },
    "replica reads": async () => {
      const replicas = await open(ports, "preferReplica");
      try {
        for (const key of context.present) equal(await replicas.get(key), key);
      } finally {
        replicas.close();
      }
    },
    SCAN: async () => {
      const found = new Set<string>();
      let cursor = new ClusterScanCursor();
      while (!cursor.isFinished()) {
        const [next, some] = await client.scan(cursor, { match: `${context.presentPrefix}*` });
        for (const key of some) found.add(`${key}`);
        cursor = next;
      }
      equal([...found].sort(), [...context.present].sort());
    },
  });
  client.close();
  return outcomes;
}
