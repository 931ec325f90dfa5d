/** CLUSTER on a node of a cluster: the bytes of redis-server with cluster-enabled, and what dkv says by itself. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { clientSlotOf } from "../../../src/base/client-slot.ts";
import { freePort } from "../../support/dkv-process.ts";
import { encodeRequest, RawConnection } from "../../support/raw-connection.ts";
import {
  redisCommand,
  type ServerProcess,
  START_TIMEOUT_MS,
  startServer,
} from "../../support/server-process.ts";
import { StaticCluster, slotOfKey } from "../../support/static-cluster.ts";

const HAS_REDIS = Bun.which("redis-server") !== null;
let cluster: StaticCluster;
let redis: ServerProcess | undefined;

async function ask(port: number, protocol: number, words: readonly string[]): Promise<string> {
  const connection = await RawConnection.open(port);
  try {
    if (protocol === 3) {
      connection.send(encodeRequest(["HELLO", "3"]));
      await connection.reply();
    }
    connection.send(encodeRequest(words));
    return Buffer.from((await connection.reply()) ?? "(closed)").toString("latin1");
  } finally {
    connection.close();
  }
}

beforeAll(async () => {
  cluster = await StaticCluster.start({ sets: [1, 2] });
  if (!HAS_REDIS) return;
  redis = await startServer((port, directory) => [
    ...redisCommand(port, directory),
    ...["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"],
    ...["--cluster-port", `${freePort()}`],
  ]);
  const { port } = redis;
  await ask(port, 2, ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
  // It takes its time to find that it is whole.
  while (!(await ask(port, 2, ["CLUSTER", "INFO"])).includes("state:ok")) await Bun.sleep(50);
}, START_TIMEOUT_MS + 1000);
afterAll(async () => {
  await redis?.stop();
  await cluster.stop();
});

describe.skipIf(!HAS_REDIS)("as redis-server", () => {
  let single: StaticCluster;
  beforeAll(async () => {
    single = await StaticCluster.start({ sets: [1] });
  });
  afterAll(() => single.stop());

  /** Ids, ports, epochs and the lengths that follow from them are each server's own. */
  function shape(reply: string, port: number): string {
    return reply
      .replaceAll(/[0-9a-f]{40}/g, "<id>")
      .replaceAll(`${port}`, "<port>")
      .replaceAll(/@\d+ /g, "@<peer port> ")
      .replaceAll(/([$=])\d+\r\n/g, "$1<n>\r\n")
      .replaceAll(/(epoch:|myself,master - 0 0 )\d+/g, "$1<epoch>");
  }

  const requests = [
    ["CLUSTER", "SLOTS"],
    ["CLUSTER", "SHARDS"],
    ["CLUSTER", "NODES"],
    ["CLUSTER", "INFO"],
    ["CLUSTER", "LINKS"],
    ["CLUSTER", "MYID"],
    ["CLUSTER", "COUNTKEYSINSLOT", "7"],
    ["CLUSTER", "COUNTKEYSINSLOT", "x"],
    ["CLUSTER", "COUNTKEYSINSLOT", "99999"],
    ["CLUSTER", "COUNTKEYSINSLOT", "-1"],
    ["CLUSTER", "GETKEYSINSLOT", "7", "10"],
    ["CLUSTER", "GETKEYSINSLOT", "x", "10"],
    ["CLUSTER", "GETKEYSINSLOT", "7", "x"],
    ["CLUSTER", "GETKEYSINSLOT", "99999", "1"],
    ["CLUSTER", "GETKEYSINSLOT", "7", "-1"],
    ["CLUSTER", "REPLICAS", "nobody"],
    ["CLUSTER", "SLAVES", "nobody"],
    ["CLUSTER", "COUNT-FAILURE-REPORTS", "nobody"],
    ["CLUSTER", "FAILOVER"],
    ["CLUSTER", "FAILOVER", "x"],
    ["CLUSTER", "SAVECONFIG"],
    ["CLUSTER", "NOSUCH"],
    ["READONLY"],
    ["READONLY", "x"],
    ["READWRITE"],
    ["ASKING"],
    ["INFO", "cluster"],
    ["SELECT", "1"],
    ["MSET", "a", "1", "b", "2"],
    ["WATCH", "a", "b"],
  ];
  for (const protocol of [2, 3]) {
    for (const words of requests) {
      test(`RESP${protocol}: ${words.join(" ")}`, async () => {
        const expected = shape(await ask(redis!.port, protocol, words), redis!.port);
        const { port } = single.members[0]!;
        expect(shape(await ask(port, protocol, words), port)).toBe(expected);
      });
    }
    test(`RESP${protocol}: HELLO says cluster`, async () => {
      const withoutNumbers = (reply: string) =>
        reply.replaceAll(/(id\r\n):\d+|\d+\.\d+\.\d+/g, "$1");
      const expected = withoutNumbers(await ask(redis!.port, protocol, ["HELLO"]));
      const reply = await ask(single.members[0]!.port, protocol, ["HELLO"]);
      expect(withoutNumbers(reply)).toBe(expected);
    });
  }

  test("the slots of stock clients", async () => {
    const keys = [
      "",
      "foo",
      "{}foo",
      "{foo}a",
      "{}}",
      "a{b}{c}",
      "{{b}}",
      "é{ü}",
      "a}{b",
      "{",
      "x{y",
    ];
    for (let i = 0; i < 100; i++) keys.push(`key:${i}`, `${i}{tag${i}}`);
    for (const key of keys) {
      const text = Buffer.from(key).toString("latin1");
      const slot = `:${clientSlotOf(Buffer.from(key))}\r\n`;
      expect([key, slot]).toEqual([key, await ask(redis!.port, 2, ["CLUSTER", "KEYSLOT", text])]);
    }
  });

  test("REPLICAS and COUNT-FAILURE-REPORTS of a writer", async () => {
    for (const sub of ["REPLICAS", "COUNT-FAILURE-REPORTS"]) {
      const own = async (port: number) => {
        const id = (await ask(port, 2, ["CLUSTER", "MYID"])).split("\r\n")[1]!;
        return ask(port, 2, ["CLUSTER", sub, id]);
      };
      expect(await own(single.members[0]!.port)).toBe(await own(redis!.port));
    }
  });
});

describe("the map", () => {
  test("every node shows the same: 16 client slots for each of dkv's", async () => {
    const [a, b, c] = cluster.members;
    const node = (member: typeof a) =>
      `*4\r\n$9\r\n127.0.0.1\r\n:${member!.port}\r\n$40\r\n${member!.id}\r\n*0\r\n`;
    const expected =
      `*2\r\n*3\r\n:0\r\n:8191\r\n${node(a)}` + `*4\r\n:8192\r\n:16383\r\n${node(b)}${node(c)}`;
    for (const { port } of cluster.members)
      expect(await ask(port, 2, ["CLUSTER", "SLOTS"])).toBe(expected);
  });

  test("NODES marks the node itself, and replicas name their writer", async () => {
    const [a, b, c] = cluster.members;
    const lines = (await ask(c!.port, 2, ["CLUSTER", "NODES"])).split(/\r?\n/).slice(1, 4);
    const address = (port: number) => `127.0.0.1:${port}@${port + 10_000}`;
    expect(lines.map((line) => line.replace(/ \d{13} /, " <ms> "))).toEqual([
      `${a!.id} ${address(a!.port)} master - 0 <ms> 1 connected 0-8191`,
      `${b!.id} ${address(b!.port)} master - 0 <ms> 2 connected 8192-16383`,
      `${c!.id} ${address(c!.port)} myself,slave ${b!.id} 0 0 2 connected`,
    ]);
    const [count, , line] = (await ask(a!.port, 2, ["CLUSTER", "REPLICAS", b!.id])).split("\r\n");
    expect([count, line!.split(" ").slice(0, 4)]).toEqual([
      "*1",
      [c!.id, address(c!.port), "slave", b!.id],
    ]);
    expect(await ask(a!.port, 2, ["CLUSTER", "REPLICAS", c!.id])).toBe(
      "-ERR The specified node is not a master\r\n",
    );
    const shard = `$40\r\n${"1".padStart(40, "5")}\r\n`;
    expect(await ask(c!.port, 2, ["CLUSTER", "MYSHARDID"])).toBe(shard);
  });

  test("of a set without a writer SLOTS shows the nodes, so that no slot is missing, and the state is fail", async () => {
    cluster.elect(1, -1);
    try {
      const { port } = cluster.members[0]!;
      const slots = await ask(port, 2, ["CLUSTER", "SLOTS"]);
      expect(slots).toStartWith("*2\r\n*3\r\n:0\r\n:8191\r\n");
      const ports = cluster.members.slice(1).map((each) => each.port);
      const [, nodes] = slots.split("*4\r\n:8192\r\n:16383\r\n");
      expect(ports.every((each) => nodes!.includes(`:${each}\r\n`))).toBe(true);
      expect(await ask(port, 2, ["CLUSTER", "SHARDS"])).toStartWith("*2\r\n");
      const info = await ask(port, 2, ["CLUSTER", "INFO"]);
      expect(info).toContain(
        "cluster_state:fail\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:8192",
      );
    } finally {
      cluster.elect(1, 0);
    }
  });

  test("a slot whose writer cannot be reached is not ok, whatever the documents say", async () => {
    const { port } = cluster.members[0]!;
    const info = async () => await ask(port, 2, ["CLUSTER", "INFO"]);
    expect(await info()).toContain("cluster_state:ok");
    cluster.unlinked.add(cluster.nodesOf(1)[0]!.id);
    try {
      expect(await info()).toContain("cluster_state:fail");
    } finally {
      cluster.unlinked.clear();
    }
  });
});

test("keys of a slot: counted and listed, by dkv's slots", async () => {
  const { port } = cluster.members[0]!;
  const tag = cluster.keyOf(0);
  const slot = `${slotOfKey(tag)}`;
  expect(await ask(port, 2, ["CLUSTER", "KEYSLOT", tag])).toBe(`:${slot}\r\n`);
  const keys = Array.from({ length: 700 }, (_, i) => `${i}{${tag}}`);
  for (const key of keys) await ask(port, 2, ["SET", key, "v"]);
  expect(await ask(port, 2, ["CLUSTER", "COUNTKEYSINSLOT", slot])).toBe(":700\r\n");
  const listed = await ask(port, 2, ["CLUSTER", "GETKEYSINSLOT", slot, "10000"]);
  const found = [...listed.matchAll(/\d+\{[^}]*\}/g)].map(([key]) => key);
  expect(found.sort()).toEqual(keys.sort());
  expect(await ask(port, 2, ["CLUSTER", "GETKEYSINSLOT", slot, "3"])).toStartWith("*3\r\n");
  expect(await ask(port, 2, ["CLUSTER", "GETKEYSINSLOT", slot, "0"])).toBe("*0\r\n");
});

test("topology is not changed by hand; FAILOVER asks for a handover", async () => {
  const [a, , c] = cluster.members;
  for (const words of [["ADDSLOTS", "1"], ["MEET", "h", "1"], ["RESET"], ["BUMPEPOCH"]]) {
    const reply = await ask(a!.port, 2, ["CLUSTER", ...words]);
    expect(reply).toStartWith(
      `-ERR CLUSTER ${words[0]} is not supported: the topology is not changed by hand`,
    );
  }
  const unknown = await ask(a!.port, 2, ["CLUSTER", "FORGET", "x"]);
  expect(unknown).toBe("-ERR Unknown node x\r\n");
  const self = /^\$40\r\n(\w{40})/.exec(await ask(a!.port, 2, ["CLUSTER", "MYID"]))![1]!;
  expect(await ask(a!.port, 2, ["CLUSTER", "FORGET", self])).toStartWith("-ERR I tried hard");
  expect(await ask(a!.port, 2, ["CLUSTER", "FORGET", "a".repeat(40)])).toBe("+OK\r\n");
  expect(await ask(c!.port, 2, ["CLUSTER", "FAILOVER"])).toBe("+OK\r\n");
  expect(c!.handovers).toBe(1);
  expect(await ask(c!.port, 2, ["CLUSTER", "FAILOVER", "FORCE"])).toStartWith(
    "-ERR FORCE and TAKEOVER",
  );
});

test("without the coordinator, moves are unknown, not none", async () => {
  const { port } = cluster.members[0]!.server;
  expect(await ask(port, 2, ["CLUSTER", "MOVES"])).toBe("*0\r\n");
  expect(await ask(port, 2, ["CLUSTER", "ABORT", "ALL"])).toBe(":0\r\n");
  cluster.isCoordinated = false;
  try {
    const unknown = "-CLUSTERDOWN the coordinator cannot be reached now\r\n";
    expect(await ask(port, 2, ["CLUSTER", "MOVES"])).toBe(unknown);
    expect(await ask(port, 2, ["CLUSTER", "ABORT", "ALL"])).toBe(unknown);
  } finally {
    cluster.isCoordinated = true;
  }
});

test("a replica says so in HELLO, ROLE and INFO", async () => {
  const [, b, c] = cluster.members;
  expect(await ask(c!.port, 2, ["HELLO"])).toContain("$4\r\nrole\r\n$7\r\nreplica\r\n");
  expect(await ask(c!.port, 2, ["ROLE"])).toStartWith(
    `*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:${b!.port}\r\n$9\r\nconnected\r\n`,
  );
  expect(await ask(c!.port, 2, ["INFO", "replication"])).toContain(
    `role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:${b!.port}\r\nmaster_link_status:up\r\n`,
  );
});
