import { afterEach, describe, expect, test } from "bun:test";
import { SystemClock } from "../../../src/base/clock.ts";
import {
  EntryReader,
  ForwardBatch,
  KIND_NOT_RUN,
  KIND_REPLIED,
  KIND_UNKNOWN,
  KIND_UNWATCHED,
} from "../../../src/cluster/transport/forward-codec.ts";
import {
  ForwardServer,
  type ForwardServerOptions,
  type IncomingRequest,
} from "../../../src/cluster/transport/forward-server.ts";
import { Forwarder, forwardHandlers } from "../../../src/cluster/transport/forwarder.ts";
import { MemoryNetwork } from "../../../src/cluster/transport/memory-transport.ts";
import { SimRandom } from "../../sim/random.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { nodeId, startNode, until } from "./transport-support.ts";

const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? 1);
const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 40);
const [A, B] = [nodeId("a"), nodeId("b")];

/** A request of the tests: what became of it. */
interface Asked {
  readonly text: string;
  kind: number | undefined;
  reply: string;
}

const newForwarder = (
  options: Pick<ConstructorParameters<typeof Forwarder<Asked>>[0], "transport" | "clock"> & {
    timeoutMs: number;
    pendingMax: number;
  },
) =>
  new Forwarder<Asked>({
    ...options,
    write: ({ text }, batch) => batch.append(Buffer.from(text)),
    settle: (asked, kind, reply) => {
      expect(asked.kind).toBeUndefined();
      asked.kind = kind;
      asked.reply = reply.toString();
    },
  });

const ask = (text: string): Asked => ({ text, kind: undefined, reply: "" });
const textOf = ({ bytes, start, end }: IncomingRequest) => bytes.toString("utf8", start, end);
const idle = { execute: () => undefined, onEnd: () => undefined };

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
  readonly asked: IncomingRequest[] = [];
  /** Requests of each message that b began. */
  readonly messages: number[] = [];
  readonly ended: string[] = [];
  readonly forwarder: Forwarder<Asked>;
  readonly #a = this.network.start(A, 1, { host: "a", port: 1 });
  readonly #b = this.network.start(B, 1, { host: "b", port: 1 });

  constructor(pendingMax = 1000) {
    const { clock } = this;
    this.forwarder = newForwarder({ transport: this.#a, clock, timeoutMs: 500, pendingMax });
    const server = new ForwardServer({
      ...{ clock, transport: this.#b },
      execute: (from, requests) => {
        expect(from.peer).toBe(A);
        this.messages.push(requests.length);
        this.asked.push(...requests);
      },
      onEnd: (from) => this.ended.push(from.peer),
    });
    const nobody = new ForwardServer({ clock, transport: this.#a, ...idle });
    this.#a.handle("forward", forwardHandlers(this.forwarder, nobody));
    this.#b.handle("forward", forwardHandlers(this.forwarder, server));
    this.#a.setPeers(new Map([[B, { host: "b", port: 1, purposes: ["forward"] }]]));
    this.run(20);
  }

  forward(...texts: string[]): Asked[] {
    const requests = texts.map(ask);
    this.forwarder.forward(B, requests);
    return requests;
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

  get texts(): string[] {
    return this.asked.map(textOf);
  }

  answer(index: number, kind: number, text = ""): void {
    this.asked[index]!.respond(kind, Buffer.from(text));
  }
}

const outcomes = (asked: readonly Asked[]) => asked.map(({ kind, reply }) => [kind, reply]);

describe("Forwarder", () => {
  test("requests of a call go in one message and begin together; each gets its own reply, in whatever order", () => {
    const world = new World();
    const asked = [...world.forward("w", "x", "y", "z"), ...world.forward("v")];
    world.run(5);
    expect(world.messages).toEqual([4, 1]);
    expect(world.texts).toEqual(["w", "x", "y", "z", "v"]);
    world.answer(4, KIND_REPLIED, "+V");
    world.answer(2, KIND_REPLIED, "+Y");
    world.answer(0, KIND_UNKNOWN);
    world.answer(1, KIND_NOT_RUN);
    world.answer(3, KIND_UNWATCHED);
    world.run(5);
    expect(outcomes(asked)).toEqual([
      [KIND_UNKNOWN, ""],
      [KIND_NOT_RUN, ""],
      [KIND_REPLIED, "+Y"],
      [KIND_UNWATCHED, ""],
      [KIND_REPLIED, "+V"],
    ]);
  });

  test("without a link a request is not run; with too many under way it waits", () => {
    const world = new World(2);
    const nowhere = ask("x");
    world.forwarder.forward(nodeId("c"), [nowhere]);
    expect(nowhere.kind).toBe(KIND_NOT_RUN);
    world.forward("1", "2", "3");
    const [waiting] = world.forward("4");
    world.run(5);
    expect(world.texts).toEqual(["1", "2", "3"]);
    for (let index = 0; index < 3; index++) world.answer(index, KIND_REPLIED);
    world.run(5);
    expect(world.texts).toEqual(["1", "2", "3", "4"]);
    world.answer(3, KIND_REPLIED, "+4");
    world.run(5);
    expect(waiting!.reply).toBe("+4");
  });

  test("what waits for room is sent in order, and has not run when its time is over", () => {
    const world = new World();
    const long = "x".repeat(60_000);
    const texts = Array.from({ length: 8 }, (_, i) => `${i}${long}`);
    const asked = texts.map((text) => world.forward(text)[0]!);
    expect(world.link().canSend).toBe(false);
    for (let index = 0; index < 8; index++) {
      world.run(50);
      world.answer(index, KIND_REPLIED, `${index}`);
    }
    world.run(50);
    expect(world.texts.map((text) => text[0])).toEqual(texts.map((text) => text[0]));
    expect(asked.map(({ reply }) => reply)).toEqual(["0", "1", "2", "3", "4", "5", "6", "7"]);
    const full = new World(1);
    const [left] = full.forward("left");
    const [late] = full.forward("late");
    full.run(501);
    expect([left!.kind, late!.kind]).toEqual([KIND_UNKNOWN, KIND_NOT_RUN]);
  });

  test("a link that ends leaves what has left unknown, and the rest not run", () => {
    const world = new World(1);
    const [left] = world.forward("left");
    world.run(5);
    const [kept] = world.forward("kept");
    world.network.cut(A, B);
    expect([left!.kind, kept!.kind]).toEqual([KIND_UNKNOWN, KIND_NOT_RUN]);
    expect(world.ended).toEqual([A]);
    // The owner's answer, late, goes nowhere.
    world.answer(0, KIND_REPLIED, "+late");
    world.network.heal(A, B);
    world.run(30);
    const [again] = world.forward("again");
    world.run(5);
    expect(world.texts).toEqual(["left", "again"]);
    world.answer(1, KIND_REPLIED, "+again");
    world.run(5);
    expect(again!.reply).toBe("+again");
  });

  test("after its time a request is unknown, and a reply that comes later is dropped", () => {
    const world = new World();
    const [first] = world.forward("first");
    world.run(300);
    const [second] = world.forward("second");
    world.run(201);
    expect([first!.kind, second!.kind]).toEqual([KIND_UNKNOWN, undefined]);
    world.answer(0, KIND_REPLIED, "+late");
    world.answer(1, KIND_REPLIED, "+second");
    world.run(5);
    expect([first!.reply, second!.reply]).toEqual(["", "+second"]);
    const [third] = world.forward("third");
    world.run(501);
    expect(third!.kind).toBe(KIND_UNKNOWN);
  });

  test("abandoned: what has been sent is unknown, what waits has not run", () => {
    const world = new World(1);
    const [left] = world.forward("left");
    const [late] = world.forward("late");
    world.forwarder.abandon();
    expect([left!.kind, late!.kind]).toEqual([KIND_UNKNOWN, KIND_NOT_RUN]);
  });

  test("the owner begins few messages at a time; what waits keeps its sender's credit", () => {
    const world = new World(100_000);
    const asked = Array.from({ length: 60 }, (_, message) =>
      world.forward(...Array.from({ length: 100 }, (_, i) => `${message * 100 + i}`)),
    ).flat();
    world.run(50);
    expect(world.asked.length).toBe(4100);
    expect(world.link().queuedBytes).toBeGreaterThan(0);
    for (let i = 0; i < 6000; i++) {
      world.answer(i, KIND_REPLIED, `${i}`);
      if (i === 4099) world.run(50);
    }
    world.run(50);
    expect(world.texts).toEqual(asked.map((_, i) => `${i}`));
    expect(world.link().queuedBytes).toBe(0);
    expect(asked.every(({ kind }) => kind === KIND_REPLIED)).toBe(true);
  });

  test("garbage ends the link, and throws nothing", () => {
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
  const read = (bytes: Uint8Array) => {
    const reader = new EntryReader([bytes]);
    const entries: { message: number; index: number; kind: number; bytes: string }[] = [];
    while (reader.next()) {
      const { message, index, kind, start, end } = reader;
      entries.push({ message, index, kind, bytes: reader.bytes.subarray(start, end).toString() });
    }
    return { entries, isMalformed: reader.isMalformed };
  };

  test("come back as they were, and any cut or changed length is noticed or harmless", () => {
    for (let run = 0; run < RUNS; run++) {
      const random = new SimRandom(SEED + run);
      const batch = new ForwardBatch();
      const entries = Array.from({ length: 1 + random.below(20) }, (_, index) => ({
        ...{ message: random.below(2 ** 32), index, kind: random.below(4) },
        bytes: Buffer.alloc(random.below(3000), index).toString(),
      }));
      for (const { message, index, kind, bytes } of entries) {
        batch.begin(message, index, kind);
        batch.append(Buffer.from(bytes));
        batch.end();
      }
      const taken = batch.take();
      const seed = SEED + run;
      expect({ seed, ...read(taken) }).toEqual({ seed, entries, isMalformed: false });
      const cut = read(taken.subarray(0, random.below(taken.length)));
      expect({ seed, length: cut.entries.length }).not.toEqual({ seed, length: entries.length });
      taken[random.below(taken.length)]! ^= 1 << random.below(8);
      read(taken);
    }
  });
});

describe("Forwarder over sockets", () => {
  const cleanups: (() => void)[] = [];
  afterEach(() => {
    for (const cleanUp of cleanups.splice(0)) cleanUp();
  });

  function start(name: string, execute: ForwardServerOptions["execute"]) {
    const node = startNode(name);
    cleanups.push(() => node.transport.stop());
    const clock = new SystemClock();
    const { transport } = node;
    const forwarder = newForwarder({ transport, clock, timeoutMs: 60_000, pendingMax: 100_000 });
    const server = new ForwardServer({ clock, transport, execute, onEnd: () => undefined });
    transport.handle("forward", forwardHandlers(forwarder, server));
    return { ...node, forwarder };
  }

  test("20,000 requests of mixed sizes, answered later and in any order, each get their own reply", async () => {
    const random = new SimRandom(SEED);
    const a = start("a", () => undefined);
    const b = start("b", (_from, requests) => {
      for (const request of requests) {
        const reply = Buffer.from(textOf(request)).reverse();
        const answer = () => request.respond(KIND_REPLIED, reply);
        if (random.below(3) === 0) setImmediate(answer);
        else answer();
      }
    });
    const target = { host: "127.0.0.1", port: b.transport.port, purposes: ["forward"] as const };
    a.transport.setPeers(new Map([[b.id, target]]));
    await until("link", () => a.transport.link(b.id, "forward") !== undefined);
    const sent: Asked[] = [];
    while (sent.length < 20_000) {
      const requests = Array.from({ length: 500 }, (_, i) => {
        const length = 8 + random.below(random.below(100) === 0 ? 100_000 : 60);
        return ask(`${sent.length + i}`.padStart(length, String.fromCharCode(97 + (i % 26))));
      });
      sent.push(...requests);
      a.forwarder.forward(b.id, requests);
      if (random.below(2) === 0) await Bun.sleep(0);
    }
    await until("replies", () => sent.every(({ kind }) => kind !== undefined));
    const isRight = ({ text, reply }: Asked) => Buffer.from(text).reverse().toString() === reply;
    expect({ seed: SEED, wrong: sent.filter((each) => !isRight(each)).length }).toEqual({
      seed: SEED,
      wrong: 0,
    });
  });

  test("an owner that dies leaves its requests unknown, once", async () => {
    const a = start("a", () => undefined);
    const b = start("b", () => undefined);
    const target = { host: "127.0.0.1", port: b.transport.port, purposes: ["forward"] as const };
    a.transport.setPeers(new Map([[b.id, target]]));
    await until("link", () => a.transport.link(b.id, "forward") !== undefined);
    const requests = Array.from({ length: 10 }, () => ask("x"));
    a.forwarder.forward(b.id, requests);
    await until("sent", () => a.transport.link(b.id, "forward")!.startedCount > 0);
    b.transport.stop();
    await until("outcomes", () => requests.every(({ kind }) => kind !== undefined));
    expect(requests.map(({ kind }) => kind)).toEqual(new Array(10).fill(KIND_UNKNOWN));
  });
});
