/** Routing when slots move, writers change and links fail: order, and what may be repeated. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { SimRandom } from "../../sim/random.ts";
import { RawConnection } from "../../support/raw-connection.ts";
import { SocketLinks } from "../../support/socket-links.ts";
import { MemoryLinks, StaticCluster, slotOfKey } from "../../support/static-cluster.ts";
import { ask, bulk, RoutingFixture } from "./routing-fixture.ts";

const TIMEOUT_MS = 60_000;

test("a node that has just started, and knows of no owner yet: commands wait until it does", async () => {
  const cluster = await StaticCluster.start({
    ...{ sets: [1, 1], links: new MemoryLinks(), isUntold: true },
  });
  try {
    const connection = await RawConnection.open(cluster.members[0]!.port);
    const requests = [0, 1].flatMap((set) => {
      const key = cluster.keyOf(set);
      return [`SET ${key} 1`, `GET ${key}`];
    });
    const replies = ask(connection, "HELLO 3", ...requests);
    setTimeout(() => cluster.tellAll(), 100);
    expect((await replies).slice(1)).toEqual(["+OK\r\n", bulk("1"), "+OK\r\n", bulk("1")]);
    connection.close();
  } finally {
    await cluster.stop();
  }
});

const LINKS = { memory: () => new MemoryLinks(), sockets: () => new SocketLinks() };

describe.each(["memory", "sockets"] as const)("over %s:", (kind) => {
  let fixture: RoutingFixture;
  let cluster: StaticCluster;
  let there: string;
  const connect = (set = 0, node = 0) => fixture.connect(set, node);
  const named = (set = 0, node = 0) => fixture.named(set, node);
  const redirect = (mode: string) => fixture.redirect(mode);

  beforeAll(async () => {
    fixture = await RoutingFixture.start(LINKS[kind]());
    ({ cluster } = fixture);
  }, TIMEOUT_MS);
  afterAll(() => cluster.stop(), TIMEOUT_MS);

  beforeEach(() => {
    fixture.renew();
    ({ there } = fixture);
  });

  describe("slots that move, links that fail", () => {
    test("a refused command follows the new topology, and what comes behind waits for it", async () => {
      const connection = await named();
      const slot = slotOfKey(there);
      await ask(connection, `SET ${there} 0`);
      // The node that is asked learns first that the slot is not its own any more.
      cluster.move([slot], 0, [cluster.members[0]!]);
      const replies = ask(connection, ...Array.from({ length: 50 }, () => `INCR ${there}`));
      setTimeout(() => cluster.tellAll(), 30);
      expect(await replies).toEqual(Array.from({ length: 50 }, (_, i) => `:${i + 1}\r\n`));
      expect(await ask(await connect(), `GET ${there}`)).toEqual([bulk("50")]);
      cluster.move([slot], 1);
    });

    test("while other slots move, a refused command is sent again for no shorter time", async () => {
      const connection = await named();
      const other = slotOfKey(cluster.keyOf(0, 1));
      cluster.links.modes.set(cluster.writer(1).id, "refuse");
      const reply = ask(connection, `SET ${there} 1`);
      for (let i = 0; i < 30; i++) {
        cluster.move([other], i % 2 === 0 ? 1 : 0);
        await Bun.sleep(5);
      }
      cluster.links.modes.clear();
      expect(await reply).toEqual(["+OK\r\n"]);
    });

    test("a slot of nobody, and one whose writer is being elected", async () => {
      const connection = await named();
      const slot = slotOfKey(there);
      cluster.move([slot], -1);
      cluster.clock.speed = 100;
      expect(await ask(connection, `GET ${there}`)).toEqual([
        "-CLUSTERDOWN Hash slot not served\r\n",
      ]);
      cluster.clock.speed = 1;
      cluster.move([slot], 1);
      cluster.elect(1, -1);
      const reply = ask(connection, `SET ${there} 1`);
      setTimeout(() => cluster.elect(1, 0), 100);
      expect(await reply).toEqual(["+OK\r\n"]);
      redirect("moved");
      cluster.elect(1, -1);
      expect((await ask(connection, `GET ${there}`))[0]).toStartWith("-TRYAGAIN ");
      cluster.elect(1, 0);
    });

    test("a slot that is nobody's for a moment: commands wait for its owner, wherever that is", async () => {
      const connection = await named();
      const slot = slotOfKey(there);
      const requests = [
        ...[`SET ${there} 1`, `GET ${there}`, "MULTI", `INCR ${there}`, "EXEC"],
        `MGET ${there} ${there}`,
      ];
      for (const owner of [1, 0]) {
        cluster.move([slot], -1);
        const replies = ask(connection, ...requests);
        setTimeout(() => cluster.move([slot], owner), 100);
        const [set, get, , , exec] = await replies;
        expect([set, get, exec]).toEqual(["+OK\r\n", bulk("1"), "*1\r\n:2\r\n"]);
      }
      redirect("moved");
      cluster.move([slot], -1);
      expect((await ask(connection, `GET ${there}`))[0]).toStartWith("-CLUSTERDOWN ");
      cluster.move([slot], 1);
    });

    test("a refused command whose slot is nobody's by then is held until it is somebody's", async () => {
      const connection = await named();
      const slot = slotOfKey(there);
      cluster.links.modes.set(cluster.writer(1).id, "refuse");
      const reply = ask(connection, `SET ${there} 1`);
      setTimeout(() => cluster.move([slot], -1), 20);
      setTimeout(() => {
        cluster.links.modes.clear();
        cluster.move([slot], 1);
      }, 200);
      expect(await reply).toEqual(["+OK\r\n"]);
    });

    for (const name of ["", "CLIENT SETINFO LIB-NAME crc32"]) {
      test(`auto, ${name === "" ? "no name" : name}: while there is no writer to tell of, commands wait`, async () => {
        const connection = await connect();
        if (name !== "") await ask(connection, name);
        for (const requests of [[`SET ${there} 1`], ["MULTI", `INCR ${there}`, "EXEC"]]) {
          cluster.elect(1, -1);
          const replies = ask(connection, ...requests);
          setTimeout(() => cluster.elect(1, 0), 100);
          expect((await replies).at(-1)).toBeOneOf(["+OK\r\n", "*1\r\n:2\r\n"]);
        }
        expect(await ask(connection, `GET ${there}`)).toEqual([fixture.movedTo(there)]);
      });
    }

    test(
      "an owner that nobody reaches: TRYAGAIN in the end",
      async () => {
        const connection = await named();
        cluster.links.modes.set(cluster.writer(1).id, "refuse");
        cluster.clock.speed = 100;
        const replies = await ask(connection, `SET ${there} 1`, `GET ${there}`, "PING");
        expect(replies.map((each) => each.split(" ")[0])).toEqual([
          "-TRYAGAIN",
          "-TRYAGAIN",
          "+PONG\r\n",
        ]);
      },
      TIMEOUT_MS,
    );

    for (const mode of ["lose-request", "lose-reply"] as const) {
      test(`${mode}: a write is unknown and not repeated, a read is`, async () => {
        const connection = await named();
        await ask(connection, `SET ${there} 0`);
        cluster.links.modes.set(cluster.writer(1).id, mode);
        const replies = ask(connection, `INCR ${there}`, `GET ${there}`);
        setTimeout(() => cluster.links.modes.clear(), 20);
        const [write, read] = await replies;
        expect(write).toStartWith("-UNKNOWN ");
        expect(read).toBe(bulk(mode === "lose-reply" ? "1" : "0"));
      });
    }

    test("elections at any moment: every command runs once, in order, on each connection", async () => {
      const seed = Math.floor(Math.random() * 2 ** 32);
      const random = new SimRandom(seed);
      cluster.clock.speed = 20;
      const clients = await Promise.all([named(), named(), named(0, 1)]);
      const rounds = 40;
      const lengths = clients.map(() => 0);
      try {
        for (let round = 0; round < rounds; round++) {
          const asked = clients.map(async (client, index) => {
            const count = 1 + random.below(20);
            const requests = Array.from({ length: count }, () => `APPEND ${there}${index} x`);
            const expected = requests.map(() => `:${++lengths[index]!}\r\n`);
            expect({ seed, round, index, replies: await ask(client, ...requests) }).toEqual({
              seed,
              round,
              index,
              replies: expected,
            });
          });
          // There is a writer again as soon as everybody has heard of the election.
          for (let turn = random.below(4); turn > 0; turn--) await Bun.sleep(0);
          const unaware = cluster.members.filter(() => random.below(2) === 0);
          cluster.elect(1, random.below(2) === 0 ? -1 : 0, unaware);
          for (let turn = random.below(4); turn > 0; turn--) await Bun.sleep(0);
          cluster.elect(1, 0);
          await Promise.all(asked);
        }
      } finally {
        cluster.elect(1, 0);
      }
    });
  });
});
