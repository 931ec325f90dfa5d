import { describe, expect, test } from "bun:test";
import { FRAME_PING } from "../../../src/cluster/transport/frame.ts";
import { FrameParser } from "../../../src/cluster/transport/frame-parser.ts";
import { COPIED_BYTES_MAX, OutQueue } from "../../../src/cluster/transport/out-queue.ts";
import { MESSAGE_BYTES_MAX } from "../../../src/cluster/transport/transport.ts";
import { SimRandom } from "../../sim/random.ts";

const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? 1);
const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 40);
const UNLIMITED = Number.MAX_SAFE_INTEGER;

/** Takes `room` bytes, and remembers them. */
class Sink {
  room = UNLIMITED;
  writes = 0;
  readonly chunks: Buffer[] = [];

  write(bytes: Uint8Array, offset: number, length: number): number {
    this.writes++;
    const taken = Math.min(length, this.room);
    this.room -= taken;
    if (taken > 0) this.chunks.push(Buffer.from(bytes.slice(offset, offset + taken)));
    return taken;
  }

  /** "ping", or the message's parts, each as its length and its first byte. */
  frames(): string[] {
    const parser = new FrameParser(MESSAGE_BYTES_MAX);
    const frames: string[] = [];
    for (const chunk of this.chunks) {
      parser.feed(chunk);
      for (let status = parser.next(); status !== "more"; status = parser.next()) {
        if (status === "bad") throw new Error(parser.problem);
        frames.push(parser.type === FRAME_PING ? "ping" : describeParts(parser.parts));
      }
    }
    return frames;
  }
}

function describeParts(parts: readonly Uint8Array[]): string {
  return parts.map((part) => `${part.length}×${part[0] ?? ""}`).join(" ");
}

const small = (byte: number) => Buffer.alloc(20, byte);

describe("OutQueue", () => {
  test("writes the small messages of a turn at once, and calls release before append returns", () => {
    const sink = new Sink();
    const queue = new OutQueue(sink, UNLIMITED);
    let released = 0;
    for (let i = 0; i < 100; i++) queue.append(0, [small(i)], () => released++);
    expect({ released, writes: sink.writes }).toEqual({ released: 100, writes: 0 });
    queue.write();
    expect(sink.writes).toBe(1);
    expect(sink.frames()).toEqual(Array.from({ length: 100 }, (_, i) => `20×${i}`));
    expect(queue).toMatchObject({ queuedBytes: 0, sentCount: 100, startedCount: 100 });
  });

  test("sends large parts as they are, and releases them once they are written", () => {
    const sink = new Sink();
    const queue = new OutQueue(sink, UNLIMITED);
    const large = new Uint8Array(new SharedArrayBuffer(100_000)).fill(5);
    let released = 0;
    queue.append(0, [small(1), large, small(2), large], () => released++);
    sink.room = 150_000;
    queue.write();
    expect({ released, isBlocked: queue.isBlocked, started: queue.startedCount }).toEqual({
      released: 0,
      isBlocked: true,
      started: 1,
    });
    sink.room = UNLIMITED;
    queue.isBlocked = false;
    queue.write();
    expect(released).toBe(1);
    expect(sink.frames()).toEqual(["20×1 100000×5 20×2 100000×5"]);
  });

  test("releases what was not written when the connection ends, each once", () => {
    const sink = new Sink();
    const queue = new OutQueue(sink, UNLIMITED);
    const released: number[] = [];
    for (let i = 0; i < 3; i++)
      queue.append(0, [Buffer.alloc(COPIED_BYTES_MAX + 1)], () => released.push(i));
    sink.room = COPIED_BYTES_MAX + 100;
    queue.write();
    expect({ released, started: queue.startedCount }).toEqual({ released: [0], started: 2 });
    queue.clear();
    expect(released).toEqual([0, 1, 2]);
  });

  test("begins no message without credit, but sends control frames", () => {
    const sink = new Sink();
    const queue = new OutQueue(sink, 0);
    queue.append(0, [small(1)], undefined);
    queue.append(0, [small(2)], undefined);
    queue.appendControl(FRAME_PING, []);
    queue.write();
    expect(sink.frames()).toEqual(["ping"]);
    expect(queue.startedCount).toBe(0);
    queue.admit(1);
    queue.write();
    expect(sink.frames()).toEqual(["ping", "20×1"]);
    queue.appendControl(FRAME_PING, []);
    queue.admit(queue.writtenBytes + 1);
    queue.write();
    expect(sink.frames()).toEqual(["ping", "20×1", "ping", "20×2"]);
  });

  test("keeps order and frames whole whatever the sink takes, the credit and the sizes", () => {
    for (let run = 0; run < RUNS; run++) playRandomly(SEED + run);
  });
});

function playRandomly(seed: number): void {
  const random = new SimRandom(seed);
  const sink = new Sink();
  const queue = new OutQueue(sink, random.below(1000));
  const expected: string[] = [];
  let pings = 0;
  let held = 0;
  const write = (room: number): void => {
    sink.room = room;
    queue.isBlocked = false;
    queue.write();
  };
  for (let i = 0; i < 60; i++) {
    const action = random.below(5);
    if (action <= 1) {
      const parts = Array.from({ length: random.below(4) }, () =>
        Buffer.alloc(random.below(6) === 0 ? random.below(50_000) : random.below(60), i),
      );
      expected.push(describeParts(parts));
      held++;
      queue.append(0, parts, () => held--);
    } else if (action === 2) {
      pings++;
      queue.appendControl(FRAME_PING, []);
    } else if (action === 3) {
      queue.admit(queue.writtenBytes + random.below(30_000));
    } else {
      write(random.below(random.below(2) === 0 ? 40 : 40_000));
    }
  }
  queue.admit(UNLIMITED);
  write(UNLIMITED);
  const frames = sink.frames();
  const messages = frames.filter((frame) => frame !== "ping");
  expect({ seed, messages }).toEqual({ seed, messages: expected });
  const end = { pings: frames.length - messages.length, held, started: queue.startedCount };
  expect({ seed, ...end }).toEqual({ seed, pings, held: 0, started: expected.length });
}
