import { afterEach, describe, expect, test } from "bun:test";
import { SystemClock } from "../../../src/base/clock.ts";
import { ForwardBatch, readEntries } from "../../../src/cluster/transport/forward-codec.ts";
import { type ForwardReply, ForwardServer } from "../../../src/cluster/transport/forward-server.ts";
import {
  Forwarder,
  type ForwardOutcome,
  forwardHandlers,
} from "../../../src/cluster/transport/forwarder.ts";
import { MemoryNetwork } from "../../../src/cluster/transport/memory-transport.ts";
import type { Transport } from "../../../src/cluster/transport/transport.ts";
import { SimRandom } from "../../sim/random.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { nodeId, startNode, until } from "./transport-support.ts";

const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? 1);
const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 40);
const [A, B] = [nodeId("a"), nodeId("b")];

type Respond = (reply: ForwardReply) => void;

/** Node a forwards to node b, which keeps what it is asked until the test answers. */
class World {
  readonly clock = new SimulatedClock(0);
  readonly network = new MemoryNetwork({
    clock: this.clock,
    latencyMs: () => 1,
    retryMs: 10,
    silenceMs: 50,
    queueBytes: 100_000,
  });
  readonly asked: { request: string; respond: Respond }[] = [];
  /** Messages that b got. */
  messages = 0;
  readonly forwarder: Forwarder;
  readonly #a = this.network.start(A, 1, { host: "a", port: 1 });
  readonly #b = this.network.start(B, 1, { host: "b", port: 1 });

  constructor(pendingMax = 1000) {
    this.forwarder = new Forwarder({
      transport: this.#a,
      clock: this.clock,
      timeoutMs: 500,
      pendingMax,
    });
    const server = new ForwardServer({
      clock: this.clock,
      execute: (from, request, respond) => {
        expect(from.peer).toBe(A);
        this.asked.push({ request: Buffer.from(request).toString(), respond });
      },
    });
    const idle = new ForwardServer({ clock: this.clock, execute: () => undefined });
    this.#a.handle("forward", forwardHandlers(this.forwarder, idle));
    const handlers = forwardHandlers(this.forwarder, server);
    this.#b.handle("forward", {
      ...handlers,
      onMessage: (message) => {
        this.messages++;
        handlers.onMessage(message);
      },
    });
    this.#a.setPeers(new Map([[B, { host: "b", port: 1, purposes: ["forward"] }]]));
    this.run(20);
  }

  forward(request: string): { outcome: ForwardOutcome | undefined } {
    const result: { outcome: ForwardOutcome | undefined } = { outcome: undefined };
    void this.forwarder.forward(B, Buffer.from(request)).then((outcome) => {
      result.outcome = outcome;
    });
    return result;
  }

  run(ms: number): void {
    for (let i = 0; i < ms; i++) {
      while (this.clock.runImmediates());
      this.clock.advance(1);
    }
    while (this.clock.runImmediates());
  }

  link() {
    return this.#a.link(B, "forward")!;
  }

  answer(index: number, kind: ForwardReply["kind"], text: string): void {
    this.asked[index]!.respond({ kind, bytes: Buffer.from(text) });
  }
}

/** Promises resolve after the code that made them so. */
const settle = () => Promise.resolve().then(() => undefined);

describe("Forwarder", () => {
  test("all requests of a turn go in one message; each gets its own reply, in whatever order", async () => {
    const world = new World();
    const results = ["x", "y", "z"].map((request) => world.forward(request));
    world.run(5);
    expect(world.messages).toBe(1);
    expect(world.asked.map((each) => each.request)).toEqual(["x", "y", "z"]);
    world.answer(2, "replied", "+Z");
    world.answer(0, "replied", "+X");
    world.answer(1, "not-run", "not mine");
    world.run(5);
    await settle();
    expect(results.map((result) => result.outcome)).toEqual([
      { kind: "replied", reply: new Uint8Array(Buffer.from("+X")) },
      { kind: "not-run", reason: "not mine" },
      { kind: "replied", reply: new Uint8Array(Buffer.from("+Z")) },
    ]);
  });

  test("without a link, or with too many under way, a request is not run", async () => {
    const world = new World(2);
    const nowhere = await world.forwarder.forward(nodeId("c"), Buffer.from("x"));
    expect(nowhere).toEqual({ kind: "not-run", reason: "no link" });
    world.forward("1");
    expect(world.forwarder.canForward(B)).toBe(true);
    world.forward("2");
    expect(world.forwarder.canForward(B)).toBe(false);
    const third = world.forward("3");
    await settle();
    expect(third.outcome).toEqual({ kind: "not-run", reason: "too many requests under way" });
  });

  test("a link that ends leaves what has left unknown, and the rest not run", async () => {
    const world = new World();
    const left = world.forward("left");
    world.run(5);
    const kept = world.forward("kept");
    world.network.cut(A, B);
    await settle();
    expect(left.outcome).toEqual({ kind: "unknown", reason: "connection closed" });
    expect(kept.outcome).toEqual({ kind: "not-run", reason: "connection closed" });
    // The owner's answer, late, goes nowhere.
    world.answer(0, "replied", "+late");
    world.network.heal(A, B);
    world.run(30);
    const again = world.forward("again");
    world.run(5);
    expect(world.asked.map((each) => each.request)).toEqual(["left", "again"]);
    world.answer(1, "replied", "+again");
    world.run(5);
    await settle();
    expect(again.outcome?.kind).toBe("replied");
  });

  test("a batch that was sent but waits in the link's queue has not run when the link ends", async () => {
    const world = new World();
    const result = world.forward("queued");
    world.forwarder.flush();
    expect(world.link()).toMatchObject({ sentCount: 1, startedCount: 0 });
    world.network.cut(A, B);
    await settle();
    expect(result.outcome?.kind).toBe("not-run");
  });

  test("after its time a request is unknown, and a reply that comes later is dropped", async () => {
    const world = new World();
    const first = world.forward("first");
    world.run(300);
    const second = world.forward("second");
    world.run(201);
    await settle();
    expect(first.outcome).toEqual({ kind: "unknown", reason: "timed out" });
    expect(second.outcome).toBeUndefined();
    world.answer(0, "replied", "+late");
    world.answer(1, "replied", "+second");
    world.run(5);
    await settle();
    expect(first.outcome?.kind).toBe("unknown");
    expect(second.outcome?.kind).toBe("replied");
    const third = world.forward("third");
    world.run(501);
    await settle();
    expect(third.outcome?.kind).toBe("unknown");
  });

  test("the owner runs few requests at a time; what waits keeps its sender's credit", async () => {
    const world = new World(100_000);
    const results = Array.from({ length: 3000 }, (_, i) => world.forward(`${i}`));
    world.run(5);
    expect(world.asked).toHaveLength(1024);
    expect(world.link().queuedBytes).toBeGreaterThan(0);
    for (let i = 0; i < 3000; i++) world.answer(i, "replied", `${i}`);
    world.run(5);
    await settle();
    expect(world.asked.map((each) => each.request)).toEqual(results.map((_, i) => `${i}`));
    expect(world.link().queuedBytes).toBe(0);
    expect(results.every((result) => result.outcome?.kind === "replied")).toBe(true);
  });

  test("garbage from the sender ends the link", () => {
    for (const channel of [1, 2, 3]) {
      const world = new World();
      const first = world.link();
      first.send(channel, [Buffer.from("garbage")]);
      world.run(5);
      expect(first.isUp).toBe(false);
    }
  });
});

describe("forwarded entries", () => {
  test("come back as they were, and any cut or changed length is noticed or harmless", () => {
    for (let run = 0; run < RUNS; run++) {
      const random = new SimRandom(SEED + run);
      const batch = new ForwardBatch();
      const expected = Array.from({ length: 1 + random.below(20) }, (_, i) => ({
        id: i + random.below(2) * 2 ** 40,
        kind: random.below(3),
        bytes: Buffer.alloc(random.below(3000), i).toString(),
      }));
      for (const { id, kind, bytes } of expected) batch.add(id, kind, Buffer.from(bytes));
      const taken = batch.take();
      const entries = readEntries([taken])!.map(({ id, kind, bytes }) => ({
        id,
        kind,
        bytes: Buffer.from(bytes).toString(),
      }));
      const seed = SEED + run;
      expect({ seed, entries }).toEqual({ seed, entries: expected });
      const cut = readEntries([taken.subarray(0, random.below(taken.length))]);
      expect({ seed, length: cut?.length ?? 0 }).not.toEqual({ seed, length: expected.length });
      taken[random.below(taken.length)]! ^= 1 << random.below(8);
      readEntries([taken]);
    }
  });
});

describe("Forwarder over sockets", () => {
  const cleanups: (() => void)[] = [];
  afterEach(() => {
    for (const cleanUp of cleanups.splice(0)) cleanUp();
  });

  function start(name: string, execute: ConstructorParameters<typeof ForwardServer>[0]["execute"]) {
    const node = startNode(name);
    cleanups.push(() => node.transport.stop());
    const clock = new SystemClock();
    const transport: Transport = node.transport;
    const forwarder = new Forwarder({ transport, clock, timeoutMs: 60_000, pendingMax: 100_000 });
    transport.handle("forward", forwardHandlers(forwarder, new ForwardServer({ clock, execute })));
    return { ...node, forwarder };
  }

  test("20,000 requests of mixed sizes, answered later and in any order, each get their own reply", async () => {
    const random = new SimRandom(SEED);
    const a = start("a", () => undefined);
    const b = start("b", (_from, request, respond) => {
      const reply = Buffer.from(request).reverse();
      const answer = () => respond({ kind: "replied", bytes: reply });
      if (random.below(3) === 0) setImmediate(answer);
      else answer();
    });
    const target = { host: "127.0.0.1", port: b.transport.port, purposes: ["forward"] as const };
    a.transport.setPeers(new Map([[b.id, target]]));
    await until("link", () => a.transport.link(b.id, "forward") !== undefined);
    let replied = 0;
    for (let sent = 0; sent < 20_000; ) {
      const outcomes: Promise<void>[] = [];
      for (let i = 0; i < 500 && a.forwarder.canForward(b.id); i++) {
        const length = 8 + random.below(random.below(100) === 0 ? 100_000 : 60);
        const request = Buffer.alloc(length, sent % 251);
        request.writeUInt32LE(sent++);
        const check = (outcome: ForwardOutcome) => {
          if (outcome.kind !== "replied") throw new Error(outcome.reason);
          if (Buffer.compare(outcome.reply, Buffer.from(request).reverse()) === 0) replied++;
        };
        outcomes.push(a.forwarder.forward(b.id, request).then(check));
      }
      await Promise.all(outcomes);
    }
    expect({ seed: SEED, replied }).toEqual({ seed: SEED, replied: 20_000 });
  });

  test("an owner that dies leaves its requests unknown, once", async () => {
    const a = start("a", () => undefined);
    const b = start("b", () => undefined);
    const target = { host: "127.0.0.1", port: b.transport.port, purposes: ["forward"] as const };
    a.transport.setPeers(new Map([[b.id, target]]));
    await until("link", () => a.transport.link(b.id, "forward") !== undefined);
    const outcomes: string[] = [];
    for (let i = 0; i < 10; i++)
      void a.forwarder.forward(b.id, Buffer.from("x")).then(({ kind }) => outcomes.push(kind));
    await until("sent", () => a.transport.link(b.id, "forward")!.startedCount > 0);
    b.transport.stop();
    await until("outcomes", () => outcomes.length === 10);
    expect(outcomes).toEqual(new Array(10).fill("unknown"));
  });
});
