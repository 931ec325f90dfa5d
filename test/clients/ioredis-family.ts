/** ioredis, iovalkey, which comes from it, and dkv's own Cluster of ioredis. */
import { Cluster as DkvCluster } from "dkv/clients/ioredis";
import { Cluster as Ioredis } from "ioredis";
import { Cluster as Iovalkey } from "iovalkey";
import {
  type Context,
  check,
  closeSoon,
  equal,
  type Outcomes,
  present,
  runFeatures,
  type Subject,
  writeUntilStopped,
} from "./subject.ts";

type Options = NonNullable<ConstructorParameters<typeof Ioredis>[1]>;
type Nodes = ConstructorParameters<typeof Ioredis>[0];
type ClusterClass = new (nodes: Nodes, options?: Options) => Ioredis;

const subject = (name: string, Cluster: ClusterClass): Subject => ({
  name,
  whyMissing: present,
  run: (context) => run(Cluster, context),
  write: async (load) => {
    const client = open(Cluster, load.ports);
    await writeUntilStopped(load, (key) => client.set(key, key));
    client.disconnect();
  },
});

export const ioredisFamily: readonly Subject[] = [
  subject("ioredis", Ioredis),
  subject("iovalkey", Iovalkey as unknown as ClusterClass),
  subject("dkv/clients/ioredis", DkvCluster),
];

function open(Cluster: ClusterClass, ports: readonly number[], options: Options = {}): Ioredis {
  const nodes = ports.map((port) => ({ host: "127.0.0.1", port }));
  const client = new Cluster(nodes, options);
  client.on("error", () => undefined);
  return client;
}

/** A pipeline's replies, without their errors. */
function valuesOf(replies: [error: Error | null, result: unknown][] | null): unknown[] {
  return replies!.map(([error, value]) => {
    if (error !== null) throw error;
    return value;
  });
}

async function run(Cluster: ClusterClass, context: Context): Promise<Outcomes> {
  const { ports, keys, tags } = context;
  const client = open(Cluster, ports);
  const features = {
    singles: async () => {
      for (const key of keys) equal(await client.set(key, key), "OK");
      for (const key of keys) equal(await client.get(key), key);
    },
    pipelines: async () => {
      for (const tag of tags) {
        const pipeline = client.pipeline();
        for (let i = 0; i < 10; i++) pipeline.set(`p{${tag}}${i}`, i).incr(`p{${tag}}${i}`);
        equal(valuesOf(await pipeline.exec()).at(-1), 10);
      }
    },
    "mixed pipelines": async () => {
      const pipeline = client.pipeline();
      for (const key of keys) pipeline.set(`mixed:${key}`, key);
      equal(
        valuesOf(await pipeline.exec()),
        keys.map(() => "OK"),
      );
    },
    "at once": () => readAtOnce(Cluster, context),
    MULTI: async () => {
      for (const tag of tags) {
        const key = `m{${tag}}`;
        equal(valuesOf(await client.multi().set(key, 1).incr(key).get(key).exec()), ["OK", 2, "2"]);
      }
    },
    WATCH: () => watch(Cluster, context),
    "tagged keys": async () => {
      for (const tag of tags) {
        equal(await client.mset(`a{${tag}}`, "1", `b{${tag}}`, "2"), "OK");
        equal(await client.mget(`b{${tag}}`, `a{${tag}}`), ["2", "1"]);
        equal(await client.del(`b{${tag}}`, `a{${tag}}`), 2);
      }
    },
    "untagged keys": async () => {
      equal(await client.mget(...context.present), context.present);
    },
    "replica reads": async () => {
      const replicas = open(Cluster, ports, { scaleReads: "slave" });
      try {
        for (const key of context.present) equal(await replicas.get(key), key);
      } finally {
        replicas.disconnect();
      }
    },
    SCAN: () => scan(client, context),
  };
  const outcomes = await runFeatures(features);
  await closeSoon(() => client.disconnect());
  return outcomes;
}

async function readAtOnce(Cluster: ClusterClass, { ports, present }: Context): Promise<void> {
  const client = open(Cluster, ports, { enableAutoPipelining: true });
  try {
    const values = await Promise.all(present.map((key) => client.get(key)));
    equal(values, present);
  } finally {
    client.disconnect();
  }
}

/** Each client has one connection to a node, on which the watch and the transaction meet. */
async function watch(Cluster: ClusterClass, { ports, tags }: Context): Promise<void> {
  const client = open(Cluster, ports);
  const other = open(Cluster, ports);
  try {
    for (const tag of tags) {
      const key = `w{${tag}}`;
      await client.watch(key);
      await other.set(key, "1");
      equal(await client.multi().set(key, "2").exec(), null);
      equal(await client.get(key), "1");
      await client.watch(key);
      equal(await client.multi().set(key, "3").exec(), [[null, "OK"]]);
    }
  } finally {
    client.disconnect();
    other.disconnect();
  }
}

async function scan(client: Ioredis, { present, presentPrefix }: Context): Promise<void> {
  const found = new Set<string>();
  for (const node of client.nodes("master")) {
    for await (const keys of node.scanStream({ match: `${presentPrefix}*`, count: 100 })) {
      for (const key of keys as string[]) found.add(key);
    }
  }
  equal([...found].sort(), [...present].sort());
  check(client.nodes("master").length === 2, "not two writers");
}
