/** MemoryCoordinator: the contract in simulated time, and the faults that only it can show at will. */
import { describe, expect, test } from "bun:test";
import type { Coordinator } from "../../../src/cluster/coordination/coordinator.ts";
import { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import { settleWrite } from "../../../src/cluster/coordination/settle-write.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import type { Harness } from "./contract-context.ts";
import { describeContract } from "./coordinator-contract.ts";

const STEP_MS = 5;
const STEPS_MAX = 20_000;

const bytes = (text: string) => new TextEncoder().encode(text);

class World {
  readonly clock = new SimulatedClock(0);
  readonly ensemble = new MemoryEnsemble(this.clock);
  readonly #latencyMs: number;

  constructor(latencyMs: number) {
    this.#latencyMs = latencyMs;
  }

  connect(sessionTimeoutMs: number): MemoryCoordinator {
    const latencyMs = () => this.#latencyMs;
    return new MemoryCoordinator(this.ensemble, { clock: this.clock, sessionTimeoutMs, latencyMs });
  }

  /** One step of time, and all that comes of it. */
  async step(): Promise<void> {
    this.clock.advance(STEP_MS);
    while (this.clock.runImmediates());
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }

  async until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    for (let i = 0; i < STEPS_MAX; i++) {
      if (await condition()) return;
      await this.step();
    }
    throw new Error(`never: ${what}`);
  }

  async settled<T>(promise: Promise<T>): Promise<T> {
    let isDone = false;
    const done = () => {
      isDone = true;
    };
    promise.then(done, done);
    await this.until("settled", () => isDone);
    return promise;
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) await this.step();
  }
}

/** The contract awaits operations as they are: here each runs the clock until it has its outcome. */
function driven(world: World, coordinator: MemoryCoordinator): Coordinator {
  return new Proxy(coordinator, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        const result: unknown = value.apply(target, args);
        return result instanceof Promise ? world.settled(result) : result;
      };
    },
  });
}

function harnessOf(latencyMs: number): Harness {
  const world = new World(latencyMs);
  return {
    async open(sessionTimeoutMs) {
      const memory = world.connect(sessionTimeoutMs);
      await world.until("connected", () => memory.session.state === "connected");
      return {
        coordinator: driven(world, memory),
        suspend: () => memory.suspend(),
        stall: () => memory.stall(),
        resume: () => memory.resume(),
        loseReply: (isApplied) => memory.loseReply(isApplied),
      };
    },
    until: (what, condition) => world.until(what, condition),
    settled: (promise) => world.settled(promise),
    close: () => Promise.resolve(),
  };
}

describe("MemoryCoordinator without latency", () => describeContract(async () => harnessOf(0)));
describe("MemoryCoordinator with latency", () => describeContract(async () => harnessOf(12)));

async function connected(world: World, sessionTimeoutMs = 3000): Promise<MemoryCoordinator> {
  const memory = world.connect(sessionTimeoutMs);
  await world.until("connected", () => memory.session.state === "connected");
  return memory;
}

test("a frozen follower serves the past and no notifications until it catches up", async () => {
  const world = new World(1);
  const [reader, writer] = [await connected(world), await connected(world)];
  await world.settled(writer.create("/a", bytes("0"), "durable"));
  let fired = 0;
  await world.settled(reader.read("/a", { onChange: () => fired++ }));
  reader.freezeReads();
  await world.settled(writer.write("/a", bytes("1"), 0));
  await world.pass(100);
  expect(await world.settled(reader.read("/a"))).toMatchObject({ version: 0 });
  expect(fired).toBe(0);
  expect(await world.settled(reader.write("/a", bytes("2"), 0))).toMatchObject({
    cause: "version",
  });
  expect(await world.settled(reader.read("/a"))).toMatchObject({ version: 1 });
  expect(fired).toBe(1);
  await world.settled(writer.write("/a", bytes("2"), 1));
  expect(await world.settled(reader.read("/a"))).toMatchObject({ version: 1 });
  expect(await world.settled(reader.read("/a", { fresh: true }))).toMatchObject({ version: 2 });
  await world.settled(writer.write("/a", bytes("3"), 2));
  reader.cut();
  await world.until("connected", () => reader.session.state === "connected");
  expect(await world.settled(reader.read("/a"))).toMatchObject({ version: 2 });
  reader.thawReads();
  expect(await world.settled(reader.read("/a"))).toMatchObject({ version: 3 });
});

test("a delayed notification comes before the reply that shows its change", async () => {
  const world = new World(1);
  const [reader, writer] = [await connected(world), await connected(world)];
  await world.settled(writer.create("/a", bytes("0"), "durable"));
  const seen: string[] = [];
  reader.notificationDelayMs = 200;
  await world.settled(reader.read("/a", { onChange: () => seen.push("changed") }));
  await world.settled(writer.write("/a", bytes("1"), 0));
  expect(seen).toEqual([]);
  const read = reader.read("/a").then((outcome) => {
    seen.push(outcome.kind === "ok" ? `version ${outcome.version}` : outcome.kind);
  });
  await world.settled(read);
  expect(seen).toEqual(["changed", "version 1"]);
});

test("a session that the ensemble ends is expired, and its documents are gone at once", async () => {
  const world = new World(1);
  const [one, other] = [await connected(world), await connected(world)];
  const states: string[] = [];
  one.onSession(({ state, number, isNew }) => states.push(`${state} ${number} ${isNew}`));
  await world.settled(one.create("/e", bytes(""), "ephemeral"));
  one.expire();
  expect(await world.settled(other.read("/e"))).toEqual({ kind: "missing" });
  await world.until("the next session", () => states.length === 3);
  expect(states).toEqual(["suspended 1 false", "expired 1 false", "connected 2 true"]);
});

test("a request that arrives after its client gave up is settled by the fresh read that follows", async () => {
  const world = new World(1);
  const [one, other] = [await connected(world), await connected(world)];
  await world.settled(other.create("/a", bytes("0"), "durable"));
  one.stall("arrives");
  const outcome = one.write("/a", bytes("mine"), 0);
  expect(await world.settled(outcome)).toEqual({ kind: "unknown" });
  one.resume();
  await world.until("connected", () => one.session.state === "connected");
  const isOwn = ({ data }: { data: Uint8Array }) => Buffer.from(data).equals(bytes("mine"));
  expect(await world.settled(settleWrite(one, "/a", 0, isOwn))).toMatchObject({ kind: "applied" });
});

test("the own deadline never comes after the ensemble's", async () => {
  for (let offsetMs = 0; offsetMs < 1000; offsetMs += 95) {
    const world = new World(7);
    const [one, other] = [await connected(world, 1000), await connected(world)];
    await world.settled(one.create("/e", bytes(""), "ephemeral"));
    await world.pass(offsetMs);
    one.stall();
    const isGone = () => !world.ensemble.view.has("/e");
    await world.until("both ends", () => {
      const isOver = one.session.state === "expired";
      expect(isGone() && !isOver).toBe(false);
      return isOver && isGone();
    });
    expect(other.session.number).toBe(1);
  }
});

test("a process that slept learns from the clock alone that its session is over", async () => {
  const world = new World(1);
  const one = await connected(world, 1000);
  const asleep = new SimulatedClock(0);
  const sleeper = new MemoryCoordinator(world.ensemble, { clock: asleep, sessionTimeoutMs: 1000 });
  while (asleep.runImmediates());
  expect(sleeper.session.state).toBe("connected");
  // Time has gone on, but no timer has run yet.
  asleep.monotonicMs = () => 1000;
  expect(sleeper.session.state).toBe("expired");
  expect(one.session.state).toBe("connected");
});

test("equal inputs give equal runs", async () => {
  const run = async (): Promise<string[]> => {
    const world = new World(3);
    const trace: string[] = [];
    const subjects = [await connected(world, 500), await connected(world, 500)];
    await world.settled(subjects[0]!.create("/a", bytes("0"), "durable"));
    subjects.forEach((subject, index) => {
      subject.onSession(({ state }) => trace.push(`${index} ${state}`));
    });
    for (let i = 0; i < 60; i++) {
      const subject = subjects[i % 2]!;
      if (i % 7 === 0) subject.loseReply(i % 2 === 0);
      if (i % 11 === 0) subject.suspend("arrives");
      if (i % 11 === 5) subject.resume();
      void subject.read("/a", { onChange: () => trace.push(`${i} changed`) }).then((read) => {
        if (read.kind !== "ok") return trace.push(`${i} ${read.kind}`);
        return subject
          .write("/a", bytes(`${i}`), read.version)
          .then(({ kind }) => trace.push(`${i} ${kind}`));
      });
      await world.pass(45);
    }
    return trace;
  };
  const trace = await run();
  expect(trace.length).toBeGreaterThan(60);
  expect(await run()).toEqual(trace);
});
