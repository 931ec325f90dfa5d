import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Append,
  type Message,
  NO_GRANT,
  partOf,
} from "../../../src/cluster/replication/message.ts";
import {
  decodeMessage,
  encodeMessage,
  MESSAGE_BODY_BYTES_MAX,
  readMessageLengths,
} from "../../../src/cluster/replication/message-codec.ts";

const APPEND = {
  type: "append",
  epoch: 7,
  sequence: 12,
  round: 3,
  previous: { epoch: 4, index: 20 },
  runs: [
    { epoch: 4, first: 21 },
    { epoch: 7, first: 23 },
  ],
  last: 30,
  commit: 19,
  durableOnAll: 2 ** 40,
  sendTime: 123.456,
  leaseMs: 1000,
  isQuorate: true,
} as const;
const TABLE = { runs: [{ epoch: 1, first: 1 }], last: 9 };
const FRAMES = { previous: APPEND.previous, runs: APPEND.runs, last: APPEND.last };
const ACK = { epoch: 7, incarnation: 2, sequence: 12, round: 3, matched: 9, durable: 8 };

const MESSAGES: readonly Message[] = [
  APPEND,
  { ...APPEND, runs: [], last: 20, isQuorate: false },
  { type: "append-ack", ...ACK, sendTime: NO_GRANT },
  { type: "append-reject", epoch: 7, incarnation: 2, sequence: 1, ...TABLE },
  { type: "seal", epoch: 7 },
  { type: "seal-answer", epoch: 7, incarnation: 2, isComplete: true, runs: [], last: 0 },
  { type: "fetch", epoch: 7, previous: { epoch: 0, index: 0 } },
  { type: "fetch-reply", epoch: 7, isAvailable: true, ...FRAMES },
  { type: "refusal", epoch: 9 },
  { type: "suspicion", epoch: 7, incarnation: 1, last: { epoch: 7, index: 30 }, isStalled: true },
  { type: "lease-revoked", epoch: 7 },
  { type: "handover", epoch: 7 },
  { type: "handover-request", epoch: 7 },
];

test("every message survives encoding", () => {
  for (const message of MESSAGES) {
    const bytes = encodeMessage(message, 4096);
    const lengths = { messageBytes: bytes.length, payloadBytes: 4096 };
    expect(readMessageLengths(bytes)).toEqual(lengths);
    expect(decodeMessage(bytes)).toEqual(message);
  }
});

test("a message with any byte changed, or cut anywhere, is none", () => {
  for (const message of MESSAGES) {
    const bytes = encodeMessage(message);
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at]! ^= 0x41;
      expect(decodeMessage(changed)).toBeUndefined();
      expect(decodeMessage(bytes.slice(0, at))).toBeUndefined();
    }
  }
});

test("a header that announces more than the bound is refused before its body is read", () => {
  const bytes = encodeMessage({ type: "seal", epoch: 1 });
  new DataView(bytes.buffer).setUint32(12, MESSAGE_BODY_BYTES_MAX + 1, true);
  expect(readMessageLengths(bytes)).toBeUndefined();
});

test("fields that contradict each other are no message, though the checksum is right", () => {
  const wrong: Message[] = [
    { ...APPEND, last: 22 },
    { ...APPEND, previous: { epoch: 5, index: 20 } },
    { ...APPEND, previous: { epoch: 4, index: 19 } },
    { ...APPEND, epoch: 6 },
    { type: "append-ack", ...ACK, durable: 10, sendTime: 0 },
    { type: "append-reject", epoch: 7, incarnation: 2, sequence: 1, ...TABLE, last: 0 },
  ];
  for (const message of wrong) expect(decodeMessage(encodeMessage(message))).toBeUndefined();
});

test("decodeMessage of any bytes throws nothing", () => {
  void fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      expect(decodeMessage(bytes)).toBeUndefined();
    }),
  );
});

test("partOf gives the same frames in two parts", () => {
  for (let cut = 21; cut < 30; cut++) {
    const head = partOf<Append>(APPEND, 21, cut);
    const tail = partOf<Append>(APPEND, cut + 1, 30);
    expect(head.previous).toEqual(APPEND.previous);
    expect(tail.previous).toEqual({ epoch: cut < 23 ? 4 : 7, index: cut });
    expect(decodeMessage(encodeMessage(head))).toEqual(head);
    expect(decodeMessage(encodeMessage(tail))).toEqual(tail);
  }
});
