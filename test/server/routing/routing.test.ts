/** Routing, byte by byte: who is told, what is forwarded, order, transactions, several keys, replicas. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { clientSlotOf } from "../../../src/base/client-slot.ts";
import { encodeRequest, type RawConnection } from "../../support/raw-connection.ts";
import { SocketLinks } from "../../support/socket-links.ts";
import { MemoryLinks, type StaticCluster } from "../../support/static-cluster.ts";
import { ask, bulk, RoutingFixture } from "./routing-fixture.ts";

const TIMEOUT_MS = 60_000;
const CROSS_SLOT = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";

const LINKS = { memory: () => new MemoryLinks(), sockets: () => new SocketLinks() };

describe.each(["memory", "sockets"] as const)("over %s:", (kind) => {
  let fixture: RoutingFixture;
  let cluster: StaticCluster;
  let here: string;
  let there: string;
  let serial = 0;
  const connect = (set = 0, node = 0) => fixture.connect(set, node);
  const named = (set = 0, node = 0) => fixture.named(set, node);
  const redirect = (mode: string) => fixture.redirect(mode);
  const movedTo = (key: string) => fixture.movedTo(key);

  beforeAll(async () => {
    fixture = await RoutingFixture.start(LINKS[kind]());
    ({ cluster } = fixture);
  }, TIMEOUT_MS);
  afterAll(() => cluster.stop(), TIMEOUT_MS);

  beforeEach(() => {
    fixture.renew();
    ({ here, there } = fixture);
    serial++;
  });

  describe("who is told", () => {
    test("auto: a connection without a name is told once per slot, then forwarded for a second", async () => {
      const connection = await connect();
      expect(await ask(connection, `SET ${there} 1`)).toEqual([movedTo(there)]);
      expect(await ask(connection, `SET ${there} 1`)).toEqual(["+OK\r\n"]);
      expect(await ask(connection, `GET ${there}`)).toEqual([bulk("1")]);
      const other = cluster.keyOf(1, 5, "other");
      expect(await ask(connection, `GET ${other}`)).toEqual([movedTo(other)]);
      cluster.clock.shiftMs += 1001;
      expect(await ask(connection, `GET ${there}`)).toEqual([movedTo(there)]);
    });

    test("auto: until the reply has left, the client is told again", async () => {
      const connection = await connect();
      const requests = [`SET ${there} 1`, `SET ${here} x`, `APPEND ${there} 2`, `GET ${there}`];
      const moved = movedTo(there);
      expect(await ask(connection, ...requests)).toEqual([moved, "+OK\r\n", moved, moved]);
      // The name comes too late for what follows in the same piece.
      const late = await connect();
      const naming = [`SET ${there} 1`, "CLIENT SETINFO LIB-NAME x", `SET ${there} 2`];
      expect(await ask(late, ...naming)).toEqual([moved, "+OK\r\n", moved]);
      expect(await ask(late, `SET ${there} 3`)).toEqual(["+OK\r\n"]);
    });

    test("auto: HELLO 3 and a library's name forward, crc32 in it is told", async () => {
      const three = await connect();
      await ask(three, "HELLO 3");
      expect(await ask(three, `SET ${there} 1`, `GET ${there}`, "GET none{nobody}")).toEqual([
        "+OK\r\n",
        bulk("1"),
        "_\r\n",
      ]);
      const own = await connect();
      await ask(own, "CLIENT SETINFO LIB-NAME ioredis(crc32)");
      for (let i = 0; i < 3; i++) expect(await ask(own, `GET ${there}`)).toEqual([movedTo(there)]);
    });

    test("moved always tells, forward never does", async () => {
      redirect("moved");
      const connection = await named();
      for (let i = 0; i < 3; i++)
        expect(await ask(connection, `GET ${there}`)).toEqual([movedTo(there)]);
      redirect("forward");
      const bare = await connect();
      await ask(bare, "CLIENT SETINFO LIB-NAME crc32");
      expect(await ask(bare, `SET ${there} 1`, `GET ${there}`)).toEqual(["+OK\r\n", bulk("1")]);
    });

    test("what is told and forwarded is counted", async () => {
      const figures = async (connection: RawConnection) => {
        const [text] = await ask(connection, "INFO everything");
        const read = (name: string) =>
          Number(new RegExp(`${name}[:=](?:count=)?(\\d+)`).exec(text!)?.[1] ?? 0);
        return ["cluster_redirects", "cluster_forwards", "errorstat_MOVED"].map(read);
      };
      const connection = await connect();
      const before = await figures(connection);
      await ask(connection, `GET ${there}`);
      await ask(connection, `GET ${there}`);
      const after = await figures(connection);
      expect(after.map((each, i) => each - before[i]!)).toEqual([1, 1, 1]);
    });
  });

  describe("forwarded pipelines", () => {
    test("replies keep request order, and one turn's units go in one frame", async () => {
      const connection = await named();
      const keys = Array.from({ length: 12 }, (_, i) => [
        cluster.keyOf(0, i, `p${serial}:`),
        cluster.keyOf(1, i, `p${serial}:`),
      ]).flat();
      const values = keys.map((key) => `v-${key}`);
      const sets = keys.map((key, i) => `SET ${key} ${values[i]}`);
      expect(new Set(await ask(connection, ...sets))).toEqual(new Set(["+OK\r\n"]));
      const gets = keys.map((key) => `GET ${key}`);
      cluster.links.frames.length = 0;
      expect(await ask(connection, ...gets, "PING")).toEqual([...values.map(bulk), "+PONG\r\n"]);
      expect(cluster.links.frames).toEqual([{ to: cluster.writer(1).id, units: 12 }]);
    });

    test("a long pipeline of one key runs in order", async () => {
      const connection = await named();
      const count = 5000;
      const requests = Array.from({ length: count }, () => `INCR ${there}`);
      const expected = Array.from({ length: count }, (_, i) => `:${i + 1}\r\n`);
      expect(await ask(connection, ...requests)).toEqual(expected);
    });

    test("large values go both ways, between others", async () => {
      const connection = await named();
      const large = "x".repeat(3 << 20);
      const requests = [
        `SET ${there} ${large}`,
        `SET ${here} 1`,
        `STRLEN ${there}`,
        `GET ${there}`,
      ];
      const replies = await ask(connection, ...requests, `GET ${here}`);
      expect(replies.map((each) => (each.length > 100 ? each.length : each))).toEqual([
        "+OK\r\n",
        "+OK\r\n",
        `:${large.length}\r\n`,
        bulk(large).length,
        bulk("1"),
      ]);
    });

    test("a transaction with large values, whose client does not wait for the end", async () => {
      const connection = await named();
      const large = "y".repeat(2 << 20);
      const requests = ["MULTI", `SET ${there} ${large}`, `APPEND ${there} z`, "EXEC", "PING"];
      const replies = await ask(connection, ...requests);
      expect(replies.slice(3)).toEqual([`*2\r\n+OK\r\n:${large.length + 1}\r\n`, "+PONG\r\n"]);
      const hasty = await named();
      hasty.send(Buffer.concat(requests.slice(0, 4).map((each) => encodeRequest(each.split(" ")))));
      hasty.close();
      const [length] = await ask(connection, `STRLEN ${there}`);
      expect(length).toBe(`:${large.length + 1}\r\n`);
    });

    test("without replies nobody is told", async () => {
      const connection = await connect();
      connection.send(encodeRequest(["CLIENT", "REPLY", "OFF"]));
      connection.send(encodeRequest(["SET", there, "1"]));
      connection.send(encodeRequest(["CLIENT", "REPLY", "ON"]));
      expect(Buffer.from((await connection.reply())!).toString()).toBe("+OK\r\n");
      expect(await ask(await named(1), `GET ${there}`)).toEqual([bulk("1")]);
    });

    test("CLIENT REPLY keeps replies from the client, whoever gives them", async () => {
      const connection = await named();
      connection.send(
        Buffer.concat(
          ["CLIENT REPLY OFF", `SET ${there} 1`, `INCR ${there}`, "CLIENT REPLY ON"].map((each) =>
            encodeRequest(each.split(" ")),
          ),
        ),
      );
      expect(Buffer.from((await connection.reply())!).toString()).toBe("+OK\r\n");
      expect(await ask(connection, `GET ${there}`)).toEqual([bulk("2")]);
      connection.send(encodeRequest(["CLIENT", "REPLY", "SKIP"]));
      connection.send(encodeRequest(["INCR", there]));
      expect(await ask(connection, `GET ${there}`)).toEqual([bulk("3")]);
    });

    test("a client that ends its side gets what it is owed", async () => {
      const connection = await named();
      connection.send(Buffer.concat([encodeRequest(["SET", there, "1"]), encodeRequest(["QUIT"])]));
      expect(Buffer.from((await connection.reply())!).toString()).toBe("+OK\r\n");
      expect(Buffer.from((await connection.reply())!).toString()).toBe("+OK\r\n");
      expect(await connection.closes(5000)).toBe(true);
    });
  });

  describe("transactions", () => {
    test("a transaction of another node's slot is executed there, as one", async () => {
      const connection = await named();
      const requests = ["MULTI", `SET ${there} 1`, `INCR ${there}`, "PING", "EXEC", `GET ${there}`];
      expect(await ask(connection, ...requests)).toEqual([
        "+OK\r\n",
        "+QUEUED\r\n",
        "+QUEUED\r\n",
        "+QUEUED\r\n",
        "*3\r\n+OK\r\n:2\r\n+PONG\r\n",
        bulk("2"),
      ]);
    });

    test("MOVED within MULTI makes EXEC abort", async () => {
      const connection = await connect();
      expect(await ask(connection, "MULTI", `SET ${there} 1`, `SET ${here} 1`, "EXEC")).toEqual([
        "+OK\r\n",
        movedTo(there),
        "+QUEUED\r\n",
        "-EXECABORT Transaction discarded because of previous errors.\r\n",
      ]);
      expect(await ask(connection, "MULTI", `SET ${there} 1`, "EXEC")).toEqual([
        "+OK\r\n",
        "+QUEUED\r\n",
        "*1\r\n+OK\r\n",
      ]);
    });

    test("keys of several slots cross, and the transaction has ended then", async () => {
      const connection = await named();
      const other = cluster.keyOf(0, 3, "x");
      const requests = [
        "MULTI",
        `SET ${here} 1`,
        `SET ${other} 1`,
        "EXEC",
        "EXEC",
        `MSET ${here} 1 ${there} 2`,
      ];
      expect(await ask(connection, ...requests)).toEqual([
        "+OK\r\n",
        "+QUEUED\r\n",
        "+QUEUED\r\n",
        CROSS_SLOT,
        "-ERR EXEC without MULTI\r\n",
        CROSS_SLOT,
      ]);
      expect(await ask(connection, "MULTI", `MSET ${here} 1 ${there} 2`, "EXEC")).toEqual([
        "+OK\r\n",
        CROSS_SLOT,
        "-EXECABORT Transaction discarded because of previous errors.\r\n",
      ]);
    });

    for (const [what, which] of [
      ["here", () => here],
      ["at another node", () => there],
    ] as const) {
      test(`WATCH ${what}: EXEC is nil when the key has changed, and runs otherwise`, async () => {
        const key = which();
        const connection = await named();
        const other = await named(1);
        const watched = async (change: string | undefined, ...middle: string[]) => {
          await ask(connection, `SET ${key} 0`);
          expect(await ask(connection, `WATCH ${key}`, ...middle)).toHaveLength(1 + middle.length);
          if (change !== undefined) await ask(other, change);
          const replies = await ask(connection, "MULTI", `SET ${key} 1`, "EXEC", `GET ${key}`);
          return replies.slice(2);
        };
        expect(await watched(undefined)).toEqual(["*1\r\n+OK\r\n", bulk("1")]);
        expect(await watched(`SET ${key} 2`)).toEqual(["*-1\r\n", bulk("2")]);
        expect(await watched(undefined, `GET ${key}`)).toEqual(["*1\r\n+OK\r\n", bulk("1")]);
        expect(await watched(`SET ${key} 2`, "UNWATCH")).toEqual(["*1\r\n+OK\r\n", bulk("1")]);
        expect(await watched(`SET ${key} 2`, "MULTI", "DISCARD")).toEqual([
          "*1\r\n+OK\r\n",
          bulk("1"),
        ]);
        await ask(connection, `WATCH ${key}`);
        expect(await ask(connection, `SET ${key} 5`, "MULTI", "PING", "EXEC")).toEqual([
          "+OK\r\n",
          "+OK\r\n",
          "+QUEUED\r\n",
          "*-1\r\n",
        ]);
      });
    }

    test("WATCH of keys in several slots crosses", async () => {
      const connection = await named();
      expect(await ask(connection, `WATCH ${here} ${there}`)).toEqual([CROSS_SLOT]);
      expect(await ask(connection, `WATCH ${there}`, `WATCH ${here}`)).toEqual([
        "+OK\r\n",
        CROSS_SLOT,
      ]);
      const requests = ["MULTI", `SET ${here} 1`, "EXEC", "MULTI", `SET ${here} 1`, "EXEC"];
      expect((await ask(connection, ...requests)).filter((each) => /CROSS|\*/.test(each))).toEqual([
        CROSS_SLOT,
        "*1\r\n+OK\r\n",
      ]);
    });

    test("after a WATCH that was sent elsewhere the transaction is sent there too, unless the client watches here", async () => {
      const connection = await connect();
      const moved = movedTo(there);
      const transaction = ["MULTI", `SET ${there} 1`, "EXEC"];
      expect(await ask(connection, `WATCH ${there}`)).toEqual([moved]);
      const aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
      for (let i = 0; i < 2; i++) {
        expect(await ask(connection, ...transaction)).toEqual(["+OK\r\n", moved, aborted]);
      }
      expect(await ask(connection, `GET ${there}`)).toEqual(["$-1\r\n"]);
      expect(await ask(connection, `WATCH ${there}`, ...transaction)).toEqual([
        "+OK\r\n",
        "+OK\r\n",
        "+QUEUED\r\n",
        "*1\r\n+OK\r\n",
      ]);
      expect((await ask(connection, ...transaction)).at(-1)).toBe("*1\r\n+OK\r\n");
    });

    test("a watch ends with its link, and with its owner's epoch", async () => {
      const connection = await named();
      const attempt = async (between: () => void) => {
        await ask(connection, `SET ${there} 0`, `WATCH ${there}`);
        between();
        return (await ask(connection, "MULTI", `INCR ${there}`, "EXEC")).at(-1);
      };
      expect(await attempt(() => undefined)).toBe("*1\r\n:1\r\n");
      expect(await attempt(() => cluster.links.breakLinks(cluster.writer(1).id))).toBe("*-1\r\n");
      expect(await attempt(() => cluster.elect(1, 0))).toBe("*-1\r\n");
      expect(await attempt(() => cluster.links.modes.set(cluster.writer(1).id, "refuse"))).toBe(
        "*-1\r\n",
      );
    });

    test("DISCARD and RESET of forwarded watches leave nothing behind", async () => {
      const connection = await named();
      await ask(connection, `WATCH ${there}`, "RESET");
      await ask(connection, "CLIENT SETINFO LIB-NAME x");
      expect((await ask(connection, "MULTI", `SET ${here} 1`, "EXEC")).at(-1)).toBe(
        "*1\r\n+OK\r\n",
      );
    });
  });

  describe("several keys", () => {
    /** Keys with equal CRC-16 slots and different owners. */
    function pair(): [string, string] {
      const seen = new Map<number, string>();
      for (let i = 0; ; i++) {
        const key = `pair${serial}:${i}`;
        const slot = clientSlotOf(Buffer.from(key));
        const other = seen.get(slot);
        if (other !== undefined && cluster.ownerOf(other) !== cluster.ownerOf(key))
          return [other, key];
        seen.set(slot, key);
      }
    }

    test("commands that clients split by CRC-16 are scattered and gathered", async () => {
      const connection = await named();
      const [a, b] = pair();
      expect(await ask(connection, `MSET ${a} 1 ${b} 2`, `MGET ${b} none ${a}`)).toEqual([
        "+OK\r\n",
        CROSS_SLOT,
      ]);
      const requests = [`MGET ${b} ${a} ${b}`, `EXISTS ${a} ${b} ${a}`, `TOUCH ${a} ${b}`];
      expect(
        await ask(connection, ...requests, `UNLINK ${a} ${b}`, `DEL ${a} ${b}`, `MGET ${a} ${b}`),
      ).toEqual([
        `*3\r\n${bulk("2")}${bulk("1")}${bulk("2")}`,
        ":3\r\n",
        ":2\r\n",
        ":2\r\n",
        ":0\r\n",
        "*2\r\n$-1\r\n$-1\r\n",
      ]);
      expect(await ask(connection, `MSETNX ${a} 1 ${b} 2`, `RENAME ${a} ${b}`)).toEqual([
        CROSS_SLOT,
        CROSS_SLOT,
      ]);
    });

    test("a part that fails: no error that clients retry once another part was written", async () => {
      const connection = await named();
      const [a, b] = pair();
      cluster.links.modes.set(cluster.writer(1).id, "lose-request");
      const [reply] = await ask(connection, `MSET ${a} 1 ${b} 2`);
      expect(reply).toStartWith("-UNKNOWN ");
      cluster.links.modes.set(cluster.writer(1).id, "refuse");
      cluster.clock.speed = 100;
      const [refused, read] = await ask(connection, `MSET ${a} 1 ${b} 2`, `MGET ${a} ${b}`);
      expect(refused).toStartWith(
        "-UNKNOWN some of the keys were written, others were not: TRYAGAIN ",
      );
      expect(read).toStartWith("-TRYAGAIN ");
    });

    test("hash tags make one slot", async () => {
      const connection = await named();
      const tag = there;
      expect(
        await ask(connection, `MSET a{${tag}} 1 b{${tag}} 2`, `RENAME a{${tag}} c{${tag}}`),
      ).toEqual(["+OK\r\n", "+OK\r\n"]);
    });

    test("moved: several owners cross", async () => {
      redirect("moved");
      const connection = await named();
      const [a, b] = pair();
      expect(await ask(connection, `MGET ${a} ${b}`)).toEqual([CROSS_SLOT]);
    });
  });

  describe("replicas", () => {
    test("READONLY reads at a replica, writes go to the writer", async () => {
      const replica = cluster.nodesOf(0)[1]!;
      const bytes = Buffer.from(here);
      await replica.store.runUnit(() => {
        replica.store.select(bytes, 0, bytes.length);
        replica.store.put(Buffer.from("old"), 0, 3, 0);
      });
      const connection = await connect(0, 1);
      expect(await ask(connection, `GET ${here}`)).toEqual([movedTo(here)]);
      const client = await named(0, 1);
      const requests = [`GET ${here}`, "READONLY", `GET ${here}`, `SET ${here} new`, `GET ${here}`];
      expect(await ask(client, ...requests)).toEqual([
        "$-1\r\n",
        "+OK\r\n",
        bulk("old"),
        "+OK\r\n",
        bulk("old"),
      ]);
      expect(await ask(client, "MULTI", `GET ${here}`, "EXEC")).toEqual([
        "+OK\r\n",
        "+QUEUED\r\n",
        `*1\r\n${bulk("old")}`,
      ]);
      expect(await ask(client, "READWRITE", `GET ${here}`, "FLUSHALL")).toEqual([
        "+OK\r\n",
        bulk("new"),
        "-READONLY You can't write against a read only replica.\r\n",
      ]);
    });

    test("that do not hear their writer answer READONLY only if they may serve stale data", async () => {
      const replica = cluster.nodesOf(0)[1]!;
      const client = await named(0, 1);
      await ask(client, `SET ${here} new`, "READONLY");
      replica.replication.hearsWriter = false;
      expect(await ask(client, `GET ${here}`)).toEqual([bulk("new")]);
      replica.config.set([["replica-serve-stale-data", "yes"]]);
      expect(await ask(client, `GET ${here}`)).toEqual(["$-1\r\n"]);
    });
  });
});
