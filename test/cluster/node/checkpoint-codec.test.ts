/** Messages about checkpoints: they survive, and nothing else is taken for one. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { writeChecksum } from "../../../src/base/checksum.ts";
import {
  CHUNK_BYTES_MAX,
  type CheckpointMessage,
  type CheckpointOffer,
  decodeCheckpoint,
  encodeCheckpoint,
  PART_BYTES_MAX,
} from "../../../src/cluster/node/checkpoint-codec.ts";

const RUNS = 10 * Number(process.env["DKV_FUZZ_RUNS"] ?? 40);
const OFFER: CheckpointOffer = {
  ...{ type: "offer", id: 2 ** 47 + 5, epoch: 7, seed: { low: -5, high: 2 ** 31 - 1 } },
  runs: [
    { epoch: 1, first: 1 },
    { epoch: 7, first: 40 },
  ],
  ...{ last: 90, manifestBytes: 300, logBytes: 112, bytes: 2 ** 40 },
};
const BYTES = Uint8Array.from({ length: 100 }, (_, at) => at);
const MESSAGES: readonly CheckpointMessage[] = [
  OFFER,
  { type: "fetch", id: 1, file: 3, offset: 2 ** 33, length: CHUNK_BYTES_MAX },
  { type: "chunk", id: 1, file: 3, offset: 0, bytes: BYTES },
  { type: "end", id: 1, outcome: "installed" },
  { type: "end", id: 1, outcome: "gone" },
];

test("every message survives encoding", () => {
  for (const message of MESSAGES)
    expect(decodeCheckpoint(encodeCheckpoint(message))).toEqual(message);
});

test("a message with any byte of any part changed, cut, missing or added is none", () => {
  for (const message of MESSAGES) {
    const parts = encodeCheckpoint(message);
    for (const [number, part] of parts.entries()) {
      const other = (replaced: Uint8Array) =>
        parts.map((each) => (each === part ? replaced : each));
      for (let at = 0; at < part.length; at++) {
        const changed = part.slice();
        changed[at]! ^= 0x41;
        expect(decodeCheckpoint(other(changed))).toBeUndefined();
        expect(decodeCheckpoint(other(part.slice(0, at)))).toBeUndefined();
      }
      expect(decodeCheckpoint(parts.filter((each) => each !== part))).toBeUndefined();
      expect(number).toBeLessThan(2);
    }
    expect(decodeCheckpoint([...parts, BYTES])).toBeUndefined();
  }
});

test("fields that contradict each other, or are beyond bounds, are no message", () => {
  const wrong: CheckpointMessage[] = [
    { ...OFFER, runs: [], last: 0 },
    { ...OFFER, runs: [{ epoch: 1, first: 2 }] },
    { ...OFFER, last: 39 },
    { ...OFFER, bytes: 411 },
    { ...OFFER, manifestBytes: 0 },
    { ...OFFER, logBytes: PART_BYTES_MAX + 1 },
    { type: "fetch", id: 1, file: 0, offset: 0, length: 0 },
    { type: "fetch", id: 1, file: 0, offset: 0, length: CHUNK_BYTES_MAX + 1 },
    { type: "chunk", id: 1, file: 0, offset: 0, bytes: new Uint8Array(CHUNK_BYTES_MAX + 1) },
  ];
  for (const message of wrong) expect(decodeCheckpoint(encodeCheckpoint(message))).toBeUndefined();
});

test("decodeCheckpoint of any parts throws nothing", () => {
  void fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 3 }), (parts) => {
      expect(decodeCheckpoint(parts)).toBeUndefined();
    }),
    { numRuns: RUNS },
  );
});

test("decodeCheckpoint of any fields with the right checksum throws nothing", () => {
  const fields = fc.uint8Array({ maxLength: 60 });
  void fc.assert(
    fc.property(fc.integer({ min: 0, max: 5 }), fields, (type, bytes) => {
      const head = new Uint8Array(24 + bytes.length);
      new DataView(head.buffer).setUint32(8, 0x43766b64, true);
      head.set([type, 1], 12);
      head.set(bytes, 24);
      writeChecksum(head.subarray(8), head, 0);
      const message = decodeCheckpoint([head]);
      // What is taken for a message is written as one.
      if (message !== undefined) expect(encodeCheckpoint(message)).toEqual([head]);
    }),
    { numRuns: RUNS },
  );
});
