/** Bun.RedisClient: knows nothing of clusters, and asks one node, the last, for everything. */
import {
  type Context,
  check,
  equal,
  type Outcomes,
  present,
  runFeatures,
  type Subject,
  writeUntilStopped,
} from "./subject.ts";

export const bunRedisClient: Subject = {
  name: "Bun.RedisClient",
  whyMissing: present,
  run,
  write: async (load) => {
    const client = open(load.ports);
    await writeUntilStopped(load, (key) => client.set(key, key));
    client.close();
  },
};

const open = (ports: readonly number[]) => new Bun.RedisClient(`redis://127.0.0.1:${ports.at(-1)}`);

function run(context: Context): Promise<Outcomes> {
  const { ports, keys, tags } = context;
  /** Each with a client of its own: what has failed within MULTI is still within it. */
  const withClient = (act: (client: Bun.RedisClient) => Promise<void>) => async () => {
    const client = open(ports);
    try {
      await act(client);
    } finally {
      client.close();
    }
  };
  return runFeatures({
    singles: withClient(async (client) => {
      for (const key of keys) equal(await client.set(key, key), "OK");
      for (const key of keys) equal(await client.get(key), key);
    }),
    "at once": withClient(async (client) => {
      const values = await Promise.all(context.present.map((key) => client.get(key)));
      equal(values, context.present);
    }),
    MULTI: withClient(async (client) => {
      for (const tag of tags) {
        const key = `m{${tag}}`;
        await client.send("MULTI", []);
        await client.set(key, "1");
        await client.incr(key);
        equal(await client.send("EXEC", []), ["OK", 2]);
      }
    }),
    WATCH: withClient(async (client) => {
      const other = open(ports);
      for (const tag of tags) {
        const key = `w{${tag}}`;
        await client.send("WATCH", [key]);
        await other.set(key, "2");
        await client.send("MULTI", []);
        await client.set(key, "3");
        equal(await client.send("EXEC", []), null);
      }
      other.close();
    }),
    "tagged keys": withClient(async (client) => {
      for (const tag of tags) {
        equal(await client.send("MSET", [`a{${tag}}`, "1", `b{${tag}}`, "2"]), "OK");
        equal(await client.mget(`b{${tag}}`, `a{${tag}}`), ["2", "1"]);
        equal(await client.del(`b{${tag}}`, `a{${tag}}`), 2);
      }
    }),
    "untagged keys": withClient(async (client) => {
      equal(await client.mget(...context.present), context.present);
    }),
    SCAN: withClient(async (client) => {
      let cursor = "0";
      do {
        const reply = (await client.send("SCAN", [cursor, "COUNT", "100"])) as [string, string[]];
        check(Array.isArray(reply[1]), "no keys");
        cursor = reply[0];
      } while (cursor !== "0");
    }),
  });
}
