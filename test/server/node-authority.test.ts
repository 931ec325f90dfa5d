/** A node of a cluster whose role, lease and quorum change while clients wait for it. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { encodeRequest, RawConnection } from "../support/raw-connection.ts";
import { type ClusterMember, StaticCluster, slotOfKey } from "../support/static-cluster.ts";

const SILENCE_MS = 150;

let cluster: StaticCluster;
let node: ClusterMember;
let client: RawConnection;

beforeEach(async () => {
  cluster = await StaticCluster.start({ sets: [2], redirect: "forward" });
  node = cluster.writer(0);
  client = await RawConnection.open(node.port);
});

afterEach(async () => {
  client.close();
  await cluster.stop();
});

const send = (...words: string[]): void => client.send(encodeRequest(words));
const answer = async (): Promise<string> => Buffer.from((await client.reply())!).toString();

/** The next reply, or undefined when none comes for a while. */
async function silence(): Promise<boolean> {
  const reply = client.reply();
  const winner = await Promise.race([reply.then(() => "reply"), Bun.sleep(SILENCE_MS)]);
  pending = winner === "reply" ? undefined : reply;
  return winner !== "reply";
}

let pending: Promise<Uint8Array | undefined> | undefined;
const late = async (): Promise<string> => Buffer.from((await pending)!).toString();

async function until(isDone: () => boolean): Promise<void> {
  for (let round = 0; !isDone() && round < 500; round++) await Bun.sleep(10);
  expect(isDone()).toBe(true);
}

test("a read whose lease has lapsed is answered once a round confirms it", async () => {
  send("SET", "k", "v");
  expect(await answer()).toBe("+OK\r\n");
  node.authority.isLeaseValid = false;
  send("GET", "k");
  expect(await silence()).toBe(true);
  node.authority.rounds[0]!(true);
  expect(await late()).toBe("$1\r\nv\r\n");
});

test("one round confirms all reads of a turn, and PING waits for none", async () => {
  node.authority.isLeaseValid = false;
  send("PING");
  expect(await answer()).toBe("+PONG\r\n");
  expect(node.authority.rounds).toHaveLength(0);
  for (const key of ["a", "b", "c"]) send("EXISTS", key);
  await until(() => node.authority.rounds.length > 0);
  node.authority.rounds[0]!(true);
  for (let count = 0; count < 3; count++) expect(await answer()).toBe(":0\r\n");
});

test("a write that finds nothing to do is a read: it waits for its round", async () => {
  node.authority.isLeaseValid = false;
  send("SET", "k", "v", "XX");
  expect(await silence()).toBe(true);
  node.authority.rounds[0]!(true);
  expect(await late()).toBe("$-1\r\n");
});

test("read-mode quorum confirms every read", async () => {
  node.config.set([["read-mode", "quorum"]]);
  send("GET", "k");
  expect(await silence()).toBe(true);
  node.authority.rounds[0]!(true);
  expect(await late()).toBe("$-1\r\n");
});

test("a read that is not confirmed in time is to be tried again", async () => {
  node.config.set([["cluster-quorum-timeout", "300"]]);
  node.authority.isLeaseValid = false;
  send("GET", "k");
  expect(await answer()).toStartWith("-TRYAGAIN ");
  node.authority.isLeaseValid = true;
  send("GET", "k");
  expect(await answer()).toBe("$-1\r\n");
});

test("a write waits while the role is handed over, and is refused after a time without a quorum", async () => {
  node.config.set([["cluster-quorum-timeout", "300"]]);
  node.authority.admission = "paused";
  send("SET", "k", "1");
  expect(await silence()).toBe(true);
  node.authority.admission = "accept";
  expect(await late()).toBe("+OK\r\n");
  node.authority.admission = "no-replicas";
  send("SET", "k", "2");
  expect(await answer()).toBe("-NOREPLICAS Not enough good replicas to write.\r\n");
  send("GET", "k");
  expect(await answer()).toBe("$1\r\n1\r\n");
});

test("at a step-down reads are to be tried again, writes are unknown, and commands wait for the next store", async () => {
  node.authority.isLeaseValid = false;
  for (const words of [
    ["GET", "a"],
    ["SET", "a", "1"],
    ["PING"],
    ["MULTI"],
    ["INCR", "b"],
    ["EXEC"],
  ])
    send(...words);
  await until(() => node.authority.rounds.length > 0);
  await node.server.suspend();
  const replies = [];
  for (let count = 0; count < 6; count++) replies.push((await answer()).split(" ")[0]);
  expect(replies).toEqual([
    "-TRYAGAIN",
    "-UNKNOWN",
    "+PONG\r\n",
    "+OK\r\n",
    "+QUEUED\r\n",
    "-UNKNOWN",
  ]);
  node.authority.isLeaseValid = true;
  send("GET", "a");
  expect(await silence()).toBe(true);
  node.server.resume(node.store);
  expect(await late()).toBe("$1\r\n1\r\n");
});

test("a round that ends after the step-down answers nothing", async () => {
  node.authority.isLeaseValid = false;
  send("GET", "a");
  await until(() => node.authority.rounds.length > 0);
  await node.server.suspend();
  expect(await answer()).toStartWith("-TRYAGAIN ");
  node.authority.rounds[0]!(false);
  expect(await silence()).toBe(true);
  node.server.resume(node.store);
});

test("WATCH ends with the role: EXEC answers nil", async () => {
  for (const words of [["WATCH", "k"], ["MULTI"], ["SET", "k", "1"]]) {
    send(...words);
    await answer();
  }
  await node.server.suspend();
  node.server.resume(node.store);
  send("EXEC");
  expect(await answer()).toBe("*-1\r\n");
});

test("what CLUSTER shows of the keys is read data: it waits for the lease, and for the store at a step-down", async () => {
  const slot = `${slotOfKey("k")}`;
  send("SET", "k", "v");
  expect(await answer()).toBe("+OK\r\n");
  node.authority.isLeaseValid = false;
  for (const words of [
    ["COUNTKEYSINSLOT", slot],
    ["GETKEYSINSLOT", slot, "1"],
  ]) {
    const rounds = node.authority.rounds.length;
    send("CLUSTER", ...words);
    expect(await silence()).toBe(true);
    node.authority.rounds[rounds]!(true);
    expect(await late()).toEndWith(words[0] === "COUNTKEYSINSLOT" ? ":1\r\n" : "k\r\n");
  }
  node.authority.isLeaseValid = true;
  await node.server.suspend();
  send("CLUSTER", "COUNTKEYSINSLOT", slot);
  expect(await silence()).toBe(true);
  node.server.resume(node.store);
  expect(await late()).toBe(":1\r\n");
});

test("what a monitor has asked for itself is withdrawn, too", async () => {
  for (const words of [["SET", "k", "v"], ["MONITOR"]]) {
    send(...words);
    expect(await answer()).toBe("+OK\r\n");
  }
  node.authority.isLeaseValid = false;
  send("GET", "k");
  await until(() => node.authority.rounds.length > 0);
  await node.server.suspend();
  expect(await answer()).toStartWith("-TRYAGAIN ");
  node.server.resume(node.store);
});

test("a write that was held before a step-down does not shorten the wait of a later one", async () => {
  node.config.set([["cluster-quorum-timeout", "300"]]);
  node.authority.admission = "paused";
  send("SET", "k", "1");
  expect(await silence()).toBe(true);
  node.authority.admission = "not-writer";
  await node.server.suspend();
  node.server.resume(node.store);
  expect(await late()).toStartWith("-TRYAGAIN ");
  await Bun.sleep(300);
  node.authority.admission = "paused";
  send("SET", "k", "2");
  expect(await silence()).toBe(true);
  node.authority.admission = "accept";
  expect(await late()).toBe("+OK\r\n");
});
