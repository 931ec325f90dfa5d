/** What ZookeeperCoordinator makes of servers that misbehave: no Java needed, since the server is a fake. */
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { SystemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/logger.ts";
import { ZookeeperCoordinator } from "../../../src/cluster/coordination/zookeeper-coordinator.ts";
import { FakeZookeeper } from "../../support/fake-zookeeper.ts";
import { bytes } from "./contract-context.ts";

const GET_DATA = 4;
const MULTI = 14;
const NO_NODE = -101;
const SESSION_MOVED = -118;
const WAIT_MS_MAX = 30_000;
const TEST_MS_MAX = 40_000;

setDefaultTimeout(TEST_MS_MAX);

const fakes: FakeZookeeper[] = [];
const coordinators: ZookeeperCoordinator[] = [];
afterEach(async () => {
  for (const coordinator of coordinators.splice(0)) await coordinator.close();
  for (const fake of fakes.splice(0)) fake.stop();
});

async function start(): Promise<FakeZookeeper> {
  const fake = await FakeZookeeper.start();
  fakes.push(fake);
  return fake;
}

function connect(servers: FakeZookeeper[], sessionTimeoutMs = 12_000): ZookeeperCoordinator {
  const coordinator = new ZookeeperCoordinator({
    address: { servers: servers.map(({ port }) => ({ host: "127.0.0.1", port })), chroot: "" },
    sessionTimeoutMs,
    clock: new SystemClock(),
    // The first server of the list comes first.
    random: () => 0,
    logger: createLogger({ level: "nothing", file: "" }),
  });
  coordinators.push(coordinator);
  return coordinator;
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never: ${what}`);
    await Bun.sleep(2);
  }
}

const connected = (coordinator: ZookeeperCoordinator) =>
  until("connected", () => coordinator.session.state === "connected");

test("an error code that nobody knows leaves the outcome unknown and the process alive", async () => {
  const fake = await start();
  const coordinator = connect([fake]);
  await connected(coordinator);
  fake.answer = (type) => ({ zxid: 5n, error: type === MULTI ? SESSION_MOVED : NO_NODE });
  expect(await coordinator.write("/a", bytes("x"), 0)).toEqual({ kind: "unknown" });
  await connected(coordinator);
  expect(fake.connections).toBe(2);
  expect(coordinator.session.number).toBe(1);
  expect(await coordinator.read("/a")).toEqual({ kind: "missing" });
});

test("a reply that does not make sense ends the connection, not the process", async () => {
  const fake = await start();
  const coordinator = connect([fake]);
  await connected(coordinator);
  // Success without the data that belongs to it.
  fake.answer = () => ({ zxid: 5n, error: 0 });
  expect(await coordinator.read("/a")).toEqual({ kind: "unavailable", reason: "not connected" });
  await connected(coordinator);
  fake.answer = () => ({ zxid: 5n, error: NO_NODE });
  expect(await coordinator.read("/a")).toEqual({ kind: "missing" });
});

test("a server that takes connections and says nothing is left for the next one", async () => {
  const [silent, other] = [await start(), await start()];
  silent.isSilent = true;
  const coordinator = connect([silent, other], 2000);
  await connected(coordinator);
  expect(silent.connections).toBeGreaterThan(0);
  expect(other.connections).toBe(1);
});

test("the newest transaction seen outlives replies without one, connections and sessions", async () => {
  const fake = await start();
  const coordinator = connect([fake]);
  await connected(coordinator);
  const seen = [77n, -1n, 0n, 12n];
  fake.answer = (type) => ({ zxid: type === GET_DATA ? (seen.shift() ?? 1n) : 1n, error: NO_NODE });
  for (let reads = seen.length; reads > 0; reads--) await coordinator.read("/a");
  fake.expiresNext = true;
  fake.cut();
  await until("the next session", () => coordinator.session.number === 2);
  expect(fake.newestZxids).toEqual([0n, 77n, 77n]);
});

test("a session that the ensemble does not even begin is tried again", async () => {
  const fake = await start();
  fake.expiresNext = true;
  const coordinator = connect([fake]);
  await connected(coordinator);
  expect(coordinator.session.number).toBe(1);
  expect(fake.connections).toBe(2);
});
