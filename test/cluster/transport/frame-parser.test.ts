import { describe, expect, test } from "bun:test";
import {
  encodeFrame,
  FRAME_MESSAGE,
  FRAME_PING,
  frameHeaderBytes,
} from "../../../src/cluster/transport/frame.ts";
import { FrameParser } from "../../../src/cluster/transport/frame-parser.ts";
import { MESSAGE_BYTES_MAX } from "../../../src/cluster/transport/transport.ts";
import { SimRandom } from "../../sim/random.ts";

const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? 1);
const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 40);

interface Seen {
  readonly type: number;
  readonly channel: number;
  readonly parts: string[];
}

/** All frames in `chunks`, and how it ended. */
function parse(chunks: readonly Buffer[], payloadBytesMax = MESSAGE_BYTES_MAX) {
  const parser = new FrameParser(payloadBytesMax);
  const seen: Seen[] = [];
  const kept: Uint8Array[][] = [];
  for (const chunk of chunks) {
    parser.feed(chunk);
    for (;;) {
      const status = parser.next();
      if (status === "bad") return { seen, kept, problem: parser.problem };
      if (status === "more") break;
      const parts = parser.parts.map((part) => Buffer.from(part).toString("latin1"));
      seen.push({ type: parser.type, channel: parser.channel, parts });
      kept.push(parser.own());
    }
  }
  return { seen, kept, problem: "" };
}

function randomFrames(random: SimRandom): { bytes: Buffer; frames: Seen[] } {
  const frames: Seen[] = [];
  const buffers: Buffer[] = [];
  for (let i = random.below(8); i >= 0; i--) {
    const parts = Array.from({ length: random.below(5) }, () => {
      const length = random.below(4) === 0 ? random.below(20_000) : random.below(40);
      return Buffer.alloc(length, random.below(256));
    });
    const type = random.below(2);
    const channel = random.below(256);
    buffers.push(encodeFrame(type, channel, parts));
    frames.push({ type, channel, parts: parts.map((part) => part.toString("latin1")) });
  }
  return { bytes: Buffer.concat(buffers), frames };
}

function split(bytes: Buffer, random: SimRandom): Buffer[] {
  const chunks: Buffer[] = [];
  const longest = 1 + random.below(random.below(2) === 0 ? 8 : 9000);
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 1 + random.below(longest));
    chunks.push(Buffer.from(bytes.subarray(at, end)));
    at = end;
  }
  return chunks;
}

describe("FrameParser", () => {
  test("resumes at every byte", () => {
    const one = encodeFrame(FRAME_MESSAGE, 7, [
      Buffer.from("abc"),
      Buffer.alloc(0),
      Buffer.from("d"),
    ]);
    const bytes = Buffer.concat([one, encodeFrame(FRAME_PING, 0, []), one]);
    const whole = parse([bytes]).seen;
    expect(whole).toHaveLength(3);
    expect(whole[0]).toEqual({ type: FRAME_MESSAGE, channel: 7, parts: ["abc", "", "d"] });
    for (let at = 0; at <= bytes.length; at++) {
      expect(parse([bytes.subarray(0, at), bytes.subarray(at)]).seen).toEqual(whole);
    }
  });

  test("sees the same frames however the bytes are split, and kept ones stay as they are", () => {
    for (let run = 0; run < RUNS; run++) {
      const random = new SimRandom(SEED + run);
      const { bytes, frames } = randomFrames(random);
      const { seen, kept, problem } = parse(split(bytes, random));
      const strings = kept.map((parts) =>
        parts.map((part) => Buffer.from(part).toString("latin1")),
      );
      const label = `seed ${SEED + run}`;
      expect({ label, seen, problem }).toEqual({ label, seen: frames, problem: "" });
      expect({ label, strings }).toEqual({ label, strings: frames.map((frame) => frame.parts) });
    }
  });

  test("shows no frame of which a bit was changed, however the bytes are split", () => {
    for (let run = 0; run < RUNS * 5; run++) {
      const random = new SimRandom(SEED + run);
      const { bytes, frames } = randomFrames(random);
      const at = random.below(bytes.length);
      bytes[at]! ^= 1 << random.below(8);
      const whole = parse([bytes]);
      const label = `seed ${SEED + run}`;
      expect({ label, shown: whole.seen }).toEqual({
        label,
        shown: frames.slice(0, whole.seen.length),
      });
      expect(whole.seen.length).toBeLessThan(frames.length);
      const pieces = parse(split(bytes, random));
      expect({ label, ...pieces, kept: [] }).toEqual({ label, ...whole, kept: [] });
    }
  });

  test("refuses a length beyond the bound from the header alone, and takes no memory for one within", () => {
    const header = encodeFrame(FRAME_MESSAGE, 0, [Buffer.alloc(200)]).subarray(
      0,
      frameHeaderBytes(1),
    );
    expect(parse([header], 128).problem).toBe("a frame longer than it may be");
    const lying = Buffer.from(header);
    lying.writeUInt32LE(MESSAGE_BYTES_MAX, 16);
    const before = process.memoryUsage().arrayBuffers;
    const parsers = Array.from({ length: 100 }, () => {
      const parser = new FrameParser(MESSAGE_BYTES_MAX);
      parser.feed(Buffer.concat([lying, Buffer.alloc(1000)]));
      expect(parser.next()).toBe("more");
      return parser;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(parsers.length * 64 * 1024);
  });

  test("says bad for ever after garbage", () => {
    const parser = new FrameParser(1000);
    parser.feed(Buffer.from("GET / HTTP/1.1\r\nHost: dkv\r\n\r\n"));
    expect(parser.next()).toBe("bad");
    parser.feed(encodeFrame(FRAME_PING, 0, []));
    expect(parser.next()).toBe("bad");
  });
});
