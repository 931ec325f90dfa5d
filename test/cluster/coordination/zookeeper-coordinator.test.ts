/** ZookeeperCoordinator: the contract against a real server, and what only real servers do. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { SystemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/logger.ts";
import { parseZookeeperAddress } from "../../../src/cluster/coordination/zookeeper-address.ts";
import {
  ZookeeperCoordinator,
  type ZookeeperCoordinatorOptions,
} from "../../../src/cluster/coordination/zookeeper-coordinator.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";
import { untilServing, whyNoZookeeper, Zookeeper } from "../../support/zookeeper.ts";
import { bytes, type Harness, SHORT_MS, text } from "./contract-context.ts";
import { describeContract } from "./coordinator-contract.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: tests with a real ZooKeeper: ${MISSING}`);

const WAIT_MS_MAX = 40_000;
const TEST_MS_MAX = 60_000;
const LONG_MS = 20_000;
const MULTI = 14;

setDefaultTimeout(TEST_MS_MAX);

function connect(
  address: string,
  options: Partial<ZookeeperCoordinatorOptions> = {},
): ZookeeperCoordinator {
  return new ZookeeperCoordinator({
    address: parseZookeeperAddress(address),
    sessionTimeoutMs: LONG_MS,
    clock: new SystemClock(),
    random: () => 0.5,
    logger: createLogger({ level: "nothing", file: "" }),
    ...options,
  });
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`never: ${what}`);
    await Bun.sleep(5);
  }
}

async function connected(coordinator: ZookeeperCoordinator): Promise<ZookeeperCoordinator> {
  await until("connected", () => coordinator.session.state === "connected");
  return coordinator;
}

/** The first change that passes is lost, or its reply is. */
function loseReply(proxy: TcpProxy, isApplied: boolean): void {
  proxy.filter = (packet) => {
    if (packet.length < 12 || packet.readInt32BE(8) !== MULTI) return "pass";
    proxy.filter = undefined;
    return isApplied ? "cut on reply" : "cut";
  };
}

async function startHarness(): Promise<Harness> {
  const zookeeper = await Zookeeper.start(1);
  const proxies: TcpProxy[] = [];
  return {
    async open(sessionTimeoutMs) {
      const proxy = await TcpProxy.start(zookeeper.servers[0]!.clientPort);
      proxies.push(proxy);
      const coordinator = connect(`127.0.0.1:${proxy.port}/dkv/contract`, { sessionTimeoutMs });
      await connected(coordinator);
      return {
        coordinator,
        suspend() {
          proxy.refuse(true);
          proxy.cut();
        },
        stall: () => proxy.silence("toServer", "toClient"),
        resume() {
          proxy.refuse(false);
          proxy.speak();
        },
        loseReply: (isApplied) => loseReply(proxy, isApplied),
      };
    },
    until,
    settled: (promise) => promise,
    async close() {
      for (const proxy of proxies) proxy.stop();
      await zookeeper.stop();
    },
  };
}

describe.skipIf(MISSING !== "")("ZookeeperCoordinator", () => describeContract(startHarness));

describe.skipIf(MISSING !== "")("ZookeeperCoordinator with one server", () => {
  let zookeeper: Zookeeper;
  let address: string;
  beforeAll(async () => {
    zookeeper = await Zookeeper.start(1);
    address = `127.0.0.1:${zookeeper.servers[0]!.clientPort}`;
  }, TEST_MS_MAX);
  afterAll(() => zookeeper.stop(), TEST_MS_MAX);

  test("makes its chroot, also when several begin at once", async () => {
    const all = ["/a/b/c", "/a/b/c", "/a/b/d", ""].map((chroot) => connect(address + chroot));
    for (const coordinator of all) await connected(coordinator);
    await all[0]!.create("/x", bytes("here"), "durable");
    expect(await all[1]!.read("/x", { fresh: true })).toMatchObject({ data: bytes("here") });
    expect(await all[2]!.read("/x", { fresh: true })).toEqual({ kind: "missing" });
    expect(await all[3]!.list("/a/b", { fresh: true })).toEqual({ kind: "ok", names: ["c", "d"] });
    await Promise.all(all.map((each) => each.close()));
  });

  test("with credentials nobody else reads or changes anything", async () => {
    const owner = await connected(connect(`${address}/locked`, { digest: "dkv:secret" }));
    expect(await owner.create("/x", bytes("mine"), "durable")).toMatchObject({ kind: "ok" });
    const denied = { kind: "unavailable", reason: "denied" } as const;
    for (const digest of [undefined, "dkv:wrong"]) {
      const options = digest === undefined ? {} : { digest };
      const stranger = await connected(connect(`${address}/locked`, options));
      expect(await stranger.read("/x")).toEqual(denied);
      expect(await stranger.read("/x", { fresh: true })).toEqual(denied);
      expect(await stranger.write("/x", bytes("theirs"), 0)).toEqual(denied);
      expect(await stranger.create("/y", bytes(""), "durable")).toEqual(denied);
      await stranger.close();
    }
    const again = await connected(connect(`${address}/locked`, { digest: "dkv:secret" }));
    expect(await again.read("/x", { fresh: true })).toMatchObject({ data: bytes("mine") });
    await Promise.all([owner.close(), again.close()]);
  });

  test("a reply torn in the middle does not spoil the next connection", async () => {
    const proxy = await TcpProxy.start(zookeeper.servers[0]!.clientPort);
    const coordinator = await connected(connect(`127.0.0.1:${proxy.port}/torn`));
    const { number } = coordinator.session;
    await coordinator.create("/x", bytes("x".repeat(100_000)), "durable");
    for (const length of [1, 3, 4, 17, 5000]) {
      proxy.cutAfterBytes = length;
      expect(await coordinator.read("/x")).toMatchObject({ kind: "unavailable" });
      await connected(coordinator);
      const read = await coordinator.read("/x");
      expect(read.kind === "ok" && read.data.length).toBe(100_000);
    }
    expect(coordinator.session.number).toBe(number);
    await coordinator.close();
    proxy.stop();
  });

  test(
    "a connection that hears nothing is given up while the session lives",
    async () => {
      const proxy = await TcpProxy.start(zookeeper.servers[0]!.clientPort);
      const coordinator = await connected(
        connect(`127.0.0.1:${proxy.port}/one-way`, { sessionTimeoutMs: 6000 }),
      );
      proxy.silence("toClient");
      const create = coordinator.create("/x", bytes("x"), "durable");
      expect(await create).toEqual({ kind: "unknown" });
      proxy.speak();
      await connected(coordinator);
      expect(await coordinator.read("/x", { fresh: true })).toMatchObject({ kind: "ok" });
      await coordinator.close();
      proxy.stop();
    },
    TEST_MS_MAX,
  );

  test(
    "a server that sleeps beyond the session's time: the own deadline speaks first",
    async () => {
      const coordinator = await connected(
        connect(`${address}/asleep`, { sessionTimeoutMs: SHORT_MS }),
      );
      await coordinator.create("/e", bytes(""), "ephemeral");
      const { number } = coordinator.session;
      zookeeper.servers[0]!.pause();
      try {
        await until("expired", () => coordinator.session.state === "expired");
      } finally {
        zookeeper.servers[0]!.go();
      }
      await connected(coordinator);
      expect(coordinator.session.number).toBeGreaterThan(number);
      expect(await coordinator.read("/e", { fresh: true })).toEqual({ kind: "missing" });
      await coordinator.close();
    },
    TEST_MS_MAX,
  );
});

describe.skipIf(MISSING !== "")("ZookeeperCoordinator with an ensemble", () => {
  let zookeeper: Zookeeper;
  let coordinator: ZookeeperCoordinator;
  beforeAll(async () => {
    zookeeper = await Zookeeper.start(3);
    const servers = zookeeper.servers.map(({ clientPort }) => `127.0.0.1:${clientPort}`);
    coordinator = await connected(connect(`${servers.join(",")}/ensemble`));
    await coordinator.create("/counter", bytes("0"), "durable");
    await coordinator.create("/e", bytes(""), "ephemeral");
  }, TEST_MS_MAX);
  afterAll(async () => {
    await coordinator.close();
    await zookeeper.stop();
  }, TEST_MS_MAX);

  /** Counts up once, whatever happens meanwhile; an open outcome is settled by a fresh read. */
  async function increment(): Promise<void> {
    await until("an increment", async () => {
      const read = await coordinator.read("/counter", { fresh: true });
      if (read.kind !== "ok") return false;
      const next = Number(text(read.data)) + 1;
      const outcome = await coordinator.write("/counter", bytes(`${next}`), read.version);
      if (outcome.kind === "ok") return true;
      if (outcome.kind !== "unknown") return false;
      await connected(coordinator);
      const after = await coordinator.read("/counter", { fresh: true });
      return after.kind === "ok" && text(after.data) === `${next}`;
    });
  }

  test(
    "goes on when any one server is killed, with the same session",
    async () => {
      const { number } = coordinator.session;
      for (const server of zookeeper.servers) {
        await server.kill();
        await increment();
        server.launch();
        await untilServing(server);
      }
      expect(coordinator.session.number).toBe(number);
      expect(await coordinator.read("/e", { fresh: true })).toMatchObject({
        lifetime: "ephemeral",
      });
      expect(await coordinator.read("/counter", { fresh: true })).toMatchObject({
        data: bytes("3"),
      });
    },
    TEST_MS_MAX,
  );

  test(
    "waits for an ensemble that restarts, and reads again",
    async () => {
      const before = await coordinator.read("/counter", { fresh: true });
      let fired = 0;
      const onChange = () => {
        fired++;
      };
      await coordinator.read("/counter", { onChange });
      for (const server of zookeeper.servers) await server.kill();
      await until("suspended", () => coordinator.session.state !== "connected");
      expect(await coordinator.read("/counter")).toMatchObject({ kind: "unavailable" });
      for (const server of zookeeper.servers) server.launch();
      await connected(coordinator);
      await until("the notification", () => fired === 1);
      await increment();
      const after = await coordinator.read("/counter", { fresh: true });
      if (before.kind !== "ok" || after.kind !== "ok") throw new Error("not there");
      expect(after.version).toBe(before.version + 1);
    },
    TEST_MS_MAX,
  );
});
