/** INFO, ROLE, CLUSTER, WAIT and WAITAOF of a node of a cluster, whose replication does what a test says. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { decodeReply, encodeRequest, RawConnection } from "../../support/raw-connection.ts";
import { type ClusterMember, StaticCluster } from "../../support/static-cluster.ts";

const SET = "0".padStart(40, "5");
const UNBLOCKED =
  "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

let cluster: StaticCluster;
let writer: ClusterMember;
let replicas: ClusterMember[];

beforeAll(async () => {
  cluster = await StaticCluster.start({ sets: [3, 1], redirect: "forward" });
  [writer, ...replicas] = cluster.nodesOf(0) as [ClusterMember, ...ClusterMember[]];
});
afterEach(() => {
  for (const { replication } of cluster.members) {
    replication.override = {};
    replication.durable.clear();
  }
});
afterAll(() => cluster.stop());

class Client {
  readonly #connection: RawConnection;

  constructor(connection: RawConnection) {
    this.#connection = connection;
  }

  static async of({ port }: ClusterMember): Promise<Client> {
    return new Client(await RawConnection.open(port));
  }

  send(...words: string[]): void {
    this.#connection.send(encodeRequest(words));
  }

  async reply() {
    const bytes = await this.#connection.reply();
    return bytes === undefined ? "(closed)" : decodeReply(bytes, 0)[0];
  }

  ask(...words: string[]) {
    this.send(...words);
    return this.reply();
  }

  close(): void {
    this.#connection.close();
  }
}

async function withClient<T>(member: ClusterMember, use: (client: Client) => Promise<T>) {
  const client = await Client.of(member);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

const ask = (member: ClusterMember, ...words: string[]) =>
  withClient(member, (client) => client.ask(...words));

async function infoLines(member: ClusterMember, section: string): Promise<string[]> {
  return String(await ask(member, "INFO", section)).split("\r\n");
}

/** Until the client's WAIT is blocked on events. */
async function untilListening({ replication }: ClusterMember, count = 1): Promise<void> {
  while (replication.listeners < count) await Bun.sleep(1);
}

const newest = ({ store }: ClusterMember) => store.internals.log.writtenIndex;

describe("INFO replication, line by line as Redis", () => {
  test("of a writer", async () => {
    await ask(writer, "SET", cluster.keyOf(0), "v");
    const offset = newest(writer);
    const [b, c] = replicas as [ClusterMember, ClusterMember];
    writer.replication.durable.set(c.id, offset - 1);
    expect(await infoLines(writer, "replication")).toEqual([
      "# Replication",
      "role:master",
      "connected_slaves:2",
      `slave0:ip=127.0.0.1,port=${b.port},state=online,offset=${offset},lag=0`,
      `slave1:ip=127.0.0.1,port=${c.port},state=online,offset=${offset - 1},lag=0`,
      "master_failover_state:no-failover",
      `master_replid:${SET}`,
      `master_replid2:${"0".repeat(40)}`,
      `master_repl_offset:${offset}`,
      "second_repl_offset:-1",
      "repl_backlog_active:0",
      "repl_backlog_size:0",
      "repl_backlog_first_byte_offset:0",
      "repl_backlog_histlen:0",
      "",
    ]);
  });

  test("a replica that is silent or unknown is not connected; one that needs a checkpoint waits", async () => {
    const one = { ...writer.replication.status().replicas[0]!, heardMsAgo: 3700, durable: 7 };
    writer.replication.override = {
      admission: "paused",
      replicas: [
        { ...one, state: "checkpoint" },
        { ...one, state: "offline" },
        { ...one, host: "", port: 0 },
      ],
    };
    expect(await infoLines(writer, "replication")).toEqual(
      expect.arrayContaining([
        "connected_slaves:1",
        `slave0:ip=127.0.0.1,port=${one.port},state=wait_bgsave,offset=7,lag=3`,
        "master_failover_state:waiting-for-sync",
      ]),
    );
    const role = (await ask(writer, "ROLE")) as unknown[];
    expect(role[2]).toEqual([["127.0.0.1", `${one.port}`, "7"]]);
  });

  test("a checkpoint on its way, at both ends", async () => {
    const [b] = replicas as [ClusterMember];
    const amount = { doneBytes: 512, totalBytes: 2048, heardMsAgo: 1200 };
    const transfer = { nodeId: b.id, phase: "transferring", ...amount } as const;
    const one = { ...writer.replication.status().replicas[0]!, nodeId: b.id };
    writer.replication.override = {
      replicas: [{ ...one, state: "checkpoint" }],
      checkpoints: { sending: transfer, receiving: undefined },
    };
    const line = `id=${b.id},phase=transferring,done_bytes=512,bytes=2048`;
    expect(await infoLines(writer, "dkv")).toContain(`cluster_checkpoint_to:${line}`);
    const lines = await infoLines(writer, "replication");
    expect(lines.find((each) => each.startsWith("slave0"))).toContain("state=send_bulk");
    b.replication.override = {
      isSyncing: true,
      checkpoints: { sending: undefined, receiving: { ...transfer, nodeId: writer.id } },
    };
    const replica = await infoLines(b, "replication");
    const at = replica.indexOf("master_sync_in_progress:1");
    expect(replica.slice(at + 3, at + 8)).toEqual([
      "master_sync_total_bytes:2048",
      "master_sync_read_bytes:512",
      "master_sync_left_bytes:1536",
      "master_sync_perc:25.00",
      "master_sync_last_io_seconds_ago:1",
    ]);
  });

  test("of a replica, its link up and down", async () => {
    const [b] = replicas as [ClusterMember];
    b.replication.override = { lastIndex: 12, commitIndex: 11, isSyncing: true };
    const up = await infoLines(b, "replication");
    expect(up.slice(1, 13)).toEqual([
      "role:slave",
      "master_host:127.0.0.1",
      `master_port:${writer.port}`,
      "master_link_status:up",
      "master_last_io_seconds_ago:0",
      "master_sync_in_progress:1",
      "slave_read_repl_offset:12",
      "slave_repl_offset:11",
      "slave_priority:100",
      "slave_read_only:1",
      "replica_announced:1",
      "connected_slaves:0",
    ]);
    expect(up).toContain(`master_replid:${SET}`);
    expect(up).toContain("master_repl_offset:11");
    const link = b.replication.status().writer!;
    b.replication.override = { writer: { ...link, isUp: false, heardMsAgo: 4200 } };
    expect(await infoLines(b, "replication")).toEqual(
      expect.arrayContaining([
        "master_link_status:down",
        "master_last_io_seconds_ago:-1",
        "master_link_down_since_seconds:4",
      ]),
    );
  });
});

test("ROLE of a writer, and of a replica in each state of its link", async () => {
  const [b, c] = replicas as [ClusterMember, ClusterMember];
  const offset = newest(writer);
  expect(await ask(writer, "ROLE")).toEqual([
    "master",
    offset,
    [
      ["127.0.0.1", `${b.port}`, `${offset}`],
      ["127.0.0.1", `${c.port}`, `${offset}`],
    ],
  ]);
  const link = b.replication.status().writer!;
  const states = [
    [{}, "connected"],
    [{ writer: { ...link, isUp: false } }, "connecting"],
    [{ isSyncing: true }, "sync"],
  ] as const;
  for (const [change, word] of states) {
    b.replication.override = { ...change, commitIndex: 11 };
    expect(await ask(b, "ROLE")).toEqual(["slave", "127.0.0.1", writer.port, word, 11]);
  }
  b.replication.override = { writer: undefined, commitIndex: 11 };
  expect(await ask(b, "ROLE")).toEqual(["slave", "", 0, "connect", 11]);
});

test("INFO dkv shows the standing of the node, its peers and the counts of routing", async () => {
  const [b] = replicas as [ClusterMember];
  await ask(b, "SET", cluster.keyOf(0), "v");
  const offset = newest(writer);
  writer.replication.durable.set(b.id, offset - 1);
  writer.replication.override = { takeovers: { handovers: 2, failovers: 1 } };
  expect(await infoLines(writer, "dkv")).toEqual(
    expect.arrayContaining([
      `cluster_set_id:${SET}`,
      ...["cluster_role:writer", "cluster_phase:serving", "cluster_epoch:1"],
      ...["cluster_writes:accept", "cluster_members:3", "cluster_write_quorum:2"],
      ...[`cluster_commit_frame:${offset}`, `cluster_last_frame:${offset}`],
      `cluster_replica0:id=${b.id},ip=127.0.0.1,port=${b.port},kind=member,state=online,` +
        `matched=${offset - 1},durable=${offset - 1},lag_frames=1,heard_ms_ago=20`,
      ...["cluster_coordination:connected", "cluster_handovers:2", "cluster_failovers:1"],
    ]),
  );
  expect(await infoLines(b, "dkv")).toContain("cluster_forwards:1");
});

test("CLUSTER SHARDS and NODES follow what replication knows of each link", async () => {
  const [b, c] = replicas as [ClusterMember, ClusterMember];
  const offset = newest(writer);
  const one = writer.replication.status().replicas[0]!;
  writer.replication.override = {
    replicas: [
      { ...one, nodeId: b.id, durable: 3 },
      { ...one, nodeId: c.id, state: "offline", heardMsAgo: -1, durable: 0 },
    ],
  };
  const [shard] = (await ask(writer, "CLUSTER", "SHARDS")) as [unknown[]];
  const nodes = shard[3] as unknown[][];
  const offsets = nodes.map((node) => node[node.indexOf("replication-offset") + 1]);
  expect(offsets).toEqual([offset, 3, 0]);
  const lines = String(await ask(writer, "CLUSTER", "NODES")).split("\n");
  const wordsOf = (id: string) => lines.find((line) => line.startsWith(id))!.split(" ");
  expect(wordsOf(b.id)[7]).toBe("connected");
  expect(Date.now() - Number(wordsOf(b.id)[5])).toBeWithin(15, 10_000);
  expect([wordsOf(c.id)[5], wordsOf(c.id)[7]]).toEqual(["0", "disconnected"]);
});

describe("WAIT", () => {
  test("answers at once what durably has the client's own writes, and not others'", async () => {
    await withClient(writer, async (client) => {
      await client.ask("SET", cluster.keyOf(0), "mine");
      const mine = newest(writer);
      for (const { id } of replicas) writer.replication.durable.set(id, mine);
      await ask(writer, "SET", cluster.keyOf(0), "another's");
      expect(newest(writer)).toBeGreaterThan(mine);
      expect(await client.ask("WAIT", "2", "0")).toBe(2);
      writer.replication.durable.set(replicas[1]!.id, mine - 1);
      expect(await client.ask("WAIT", "1", "0")).toBe(1);
      expect(await client.ask("WAIT", "0", "0")).toBe(1);
    });
  });

  test("is woken by the acknowledgement that is missing, in a pipeline behind its write", async () => {
    for (const { id } of replicas) writer.replication.durable.set(id, 0);
    await withClient(writer, async (client) => {
      client.send("SET", cluster.keyOf(0), "v");
      client.send("WAIT", "2", "0");
      expect(await client.reply()).toBe("OK");
      await untilListening(writer);
      const index = newest(writer);
      writer.replication.acknowledge(replicas[0]!.id, index);
      writer.replication.acknowledge(replicas[1]!.id, index - 1);
      expect(writer.replication.listeners).toBe(1);
      writer.replication.acknowledge(replicas[1]!.id, index);
      expect(await client.reply()).toBe(2);
      expect(writer.replication.listeners).toBe(0);
    });
  });

  test("answers the number reached at its timeout, at CLIENT UNBLOCK, and within MULTI", async () => {
    writer.replication.durable.set(replicas[0]!.id, 0);
    await withClient(writer, async (client) => {
      const id = await client.ask("CLIENT", "ID");
      await client.ask("SET", cluster.keyOf(0), "v");
      const beginMs = performance.now();
      expect(await client.ask("WAIT", "2", "60")).toBe(1);
      expect(performance.now() - beginMs).toBeGreaterThan(55);
      client.send("WAIT", "2", "0");
      await untilListening(writer);
      expect(await ask(writer, "CLIENT", "UNBLOCK", `${id}`, "ERROR")).toBe(1);
      expect(await client.reply()).toBe("-UNBLOCKED client unblocked via CLIENT UNBLOCK");
      await client.ask("MULTI");
      await client.ask("WAIT", "2", "0");
      expect(await client.ask("EXEC")).toEqual([1]);
    });
    expect(writer.replication.listeners).toBe(0);
  });

  test("ends with its client", async () => {
    writer.replication.durable.set(replicas[0]!.id, 0);
    const client = await Client.of(writer);
    await client.ask("SET", cluster.keyOf(0), "v");
    client.send("WAIT", "2", "0");
    await untilListening(writer);
    client.close();
    while (writer.replication.listeners > 0) await Bun.sleep(1);
  });

  test("at a step-down tells the client that this is no writer any more, and ends its connection", async () => {
    writer.replication.durable.set(replicas[0]!.id, 0);
    await withClient(writer, async (client) => {
      await client.ask("SET", cluster.keyOf(0), "v");
      client.send("WAIT", "2", "0");
      await untilListening(writer);
      writer.replication.override = { isServing: false };
      await writer.server.suspend();
      expect(writer.replication.listeners).toBe(0);
      writer.server.resume(writer.store);
      expect(await client.reply()).toBe(UNBLOCKED);
      expect(await client.reply()).toBe("(closed)");
    });
  });

  test("is refused at a replica, also within MULTI", async () => {
    const error = "-ERR WAIT cannot be used with replica instances.";
    await withClient(replicas[0]!, async (client) => {
      expect(await client.ask("WAIT", "0", "0")).toStartWith(error);
      await client.ask("MULTI");
      await client.ask("WAIT", "1", "0");
      const [reply] = (await client.ask("EXEC")) as [unknown];
      expect(reply).toStartWith(error);
      expect(await client.ask("WAITAOF", "0", "1", "0")).toStartWith(
        "-ERR WAITAOF cannot be used with replica instances.",
      );
    });
  });

  test("does not claim more than the quorum for writes that other nodes have executed", async () => {
    await withClient(writer, async (client) => {
      expect(await client.ask("WAIT", "2", "0")).toBe(2);
      expect(await client.ask("SET", cluster.keyOf(1), "elsewhere")).toBe("OK");
      expect(await client.ask("WAIT", "2", "0")).toBe(1);
    });
  });

  test("does not wait for frames that a step-down has taken away", async () => {
    await withClient(writer, async (client) => {
      await client.ask("SET", cluster.keyOf(0), "v");
      for (const session of writer.server.context.clients.all()) session.outbox.newestTag += 1000;
      expect(await client.ask("WAIT", "2", "0")).toBe(2);
    });
  });
});

describe("WAITAOF", () => {
  test("counts disks: this node's, and others' where every frame is synced", async () => {
    await withClient(writer, async (client) => {
      await client.ask("SET", cluster.keyOf(0), "v");
      expect(writer.config.get("appendfsync")).toBe("always");
      expect(await client.ask("WAITAOF", "1", "2", "0")).toEqual([1, 2]);
      await client.ask("CONFIG", "SET", "appendfsync", "everysec");
      try {
        expect(await client.ask("WAIT", "2", "0")).toBe(2);
        expect(await client.ask("WAITAOF", "1", "1", "50")).toEqual([1, 0]);
      } finally {
        await client.ask("CONFIG", "SET", "appendfsync", "always");
      }
    });
  });

  test("waits for both", async () => {
    for (const { id } of replicas) writer.replication.durable.set(id, 0);
    await withClient(writer, async (client) => {
      client.send("SET", cluster.keyOf(0), "v");
      client.send("WAITAOF", "1", "1", "0");
      expect(await client.reply()).toBe("OK");
      await untilListening(writer);
      writer.replication.acknowledge(replicas[0]!.id, newest(writer));
      expect(await client.reply()).toEqual([1, 1]);
    });
  });
});
