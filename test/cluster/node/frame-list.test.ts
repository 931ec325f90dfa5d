/** Frames behind a message: what was announced is found, and nothing else is taken for it. */
import { expect, test } from "bun:test";
import { FrameList } from "../../../src/cluster/node/frame-list.ts";
import type { FrameMessage } from "../../../src/cluster/replication/message.ts";
import { FRAME_HEADER_BYTES, sealFrame } from "../../../src/wal/frame.ts";
import { Arena } from "../../../src/wal/segment.ts";
import { SimRandom } from "../../sim/random.ts";

const SEED = Number(process.env["DKV_TEST_SEED"] ?? 1);

interface Sample {
  readonly message: FrameMessage;
  readonly bytes: Buffer;
  /** Of the frame with index previous + 1 + i; and the end. */
  readonly starts: readonly number[];
}

function sample(random: SimRandom): Sample {
  const arena = new Arena(64 * 1024);
  const before = random.below(100);
  let epoch = random.below(5);
  const previous = { epoch, index: before };
  const runs: { epoch: number; first: number }[] = [];
  const starts = [0];
  let checksum = 0n;
  for (let index = before + 1; index <= before + random.between(1, 12); index++) {
    epoch += random.chance(0.3) ? random.between(1, 3) : 0;
    if (runs.at(-1)?.epoch !== epoch) runs.push({ epoch, first: index });
    const start = starts.at(-1)!;
    const end = start + FRAME_HEADER_BYTES + 8 * random.below(40);
    arena.bytes.fill(random.below(256), start + FRAME_HEADER_BYTES, end);
    const fields = { epoch, index, durableIndex: 0, clockMs: 1, firstSequence: 1, recordCount: 0 };
    checksum = sealFrame(arena, start, end, checksum, fields);
    starts.push(end);
  }
  // At any offset, as received.
  const bytes = Buffer.concat([Buffer.alloc(3), arena.bytes.subarray(0, starts.at(-1))]).subarray(
    3,
  );
  const last = before + starts.length - 1;
  const type = "fetch-reply" as const;
  const message: FrameMessage = { type, epoch, isAvailable: true, previous, runs, last };
  return { message, bytes, starts };
}

test(`the frames announced are found, each where it is (DKV_TEST_SEED=${SEED})`, () => {
  const random = new SimRandom(SEED);
  for (let round = 0; round < 300; round++) {
    const { message, bytes, starts } = sample(random);
    const list = FrameList.read(message, bytes)!;
    const first = random.between(message.previous.index + 1, message.last);
    const last = random.between(first, message.last);
    const at = message.previous.index + 1;
    const expected = bytes.subarray(starts[first - at], starts[last - at + 1]);
    expect(Buffer.from(list.slice(first, last)).equals(expected)).toBe(true);
  }
});

test("frames of another epoch or index, fewer or more than announced are not taken", () => {
  const random = new SimRandom(SEED);
  for (let round = 0; round < 300; round++) {
    const { message, bytes } = sample(random);
    const { previous, runs, last } = message;
    const newest = runs.at(-1)!;
    const others: FrameMessage[] = [
      { ...message, last: last + 1 },
      {
        ...message,
        previous: { ...previous, index: previous.index + 1 },
        runs: runs.map((run) => ({ ...run, first: run.first + 1 })),
        last: last + 1,
      },
      { ...message, runs: [...runs.slice(0, -1), { ...newest, epoch: newest.epoch + 1 }] },
    ];
    for (const other of others) expect(FrameList.read(other, bytes)).toBeUndefined();
    expect(FrameList.read(message, Buffer.concat([bytes, Buffer.alloc(8)]))).toBeUndefined();
  }
});

test(`a changed or missing byte is noticed (DKV_TEST_SEED=${SEED})`, () => {
  const random = new SimRandom(SEED);
  for (let round = 0; round < 1000; round++) {
    const { message, bytes } = sample(random);
    const at = random.below(bytes.length);
    expect(FrameList.read(message, bytes.subarray(0, at))).toBeUndefined();
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1 << random.below(8);
    expect(FrameList.read(message, damaged)).toBeUndefined();
  }
});
