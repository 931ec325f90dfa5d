/**
 * Messages between members, as bytes:
 *
 *   offset  size
 *        0     8  checksum        XXH64 of bytes [8, 24 + body length)
 *        8     4  magic           "dkvM"
 *       12     4  body length     at most 1 MiB
 *       16     4  payload length  at most 64 MiB + 64 KiB: frames, as they are in the log, behind the body
 *       20     1  type            index in TYPES
 *       21     1  version         1
 *       22     2  zero
 *       24     …  body: the message's fields in the order below; numbers are varints, times f64, booleans 0 or 1,
 *                 runs as in epoch-table.ts
 *
 * All integers are little-endian. The payload has the frames' own checksums. A receiver reads the header, refuses
 * what is longer than the bounds or has another magic before it allocates anything, then the body, then decodes:
 * what comes back is a message whose fields fit each other, or undefined, and then the connection is closed.
 */
import { assert } from "../../base/assert.ts";
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from "../../base/checksum.ts";
import { varintBytes, writeVarint } from "../../base/varint.ts";
import { isEpochTable, readRuns, runsBytes, writeRuns } from "./epoch-table.ts";
import { FieldReader } from "./field-reader.ts";
import { isConsistent, type Message } from "./message.ts";

export const MESSAGE_HEADER_BYTES = 24;
export const MESSAGE_BODY_BYTES_MAX = 1024 * 1024;
export const MESSAGE_PAYLOAD_BYTES_MAX = 64 * 1024 * 1024 + 64 * 1024;

const MAGIC = 0x4d766b64;
const VERSION = 1;
const TYPES = [
  "append",
  "append-ack",
  "append-reject",
  "seal",
  "seal-answer",
  "fetch",
  "fetch-reply",
  "refusal",
  "suspicion",
  "lease-revoked",
  "handover",
  "handover-request",
] as const satisfies readonly Message["type"][];

type Runs = Pick<Extract<Message, { type: "append" }>, "runs" | "last">;
/** A message's fields in order, each as what it is encoded as. */
type Field =
  | { readonly kind: "varint"; readonly value: number }
  | { readonly kind: "time"; readonly value: number }
  | { readonly kind: "runs"; readonly value: Runs };

const varint = (value: number): Field => ({ kind: "varint", value });
const boolean = (value: boolean): Field => ({ kind: "varint", value: value ? 1 : 0 });
const time = (value: number): Field => ({ kind: "time", value });
const runs = (value: Runs): Field => ({ kind: "runs", value });

function fieldsOf(message: Message): Field[] {
  switch (message.type) {
    case "append":
      return [
        ...[message.epoch, message.sequence, message.round].map(varint),
        ...[message.commit, message.durableOnAll].map(varint),
        time(message.sendTime),
        ...[message.leaseMs, message.previous.epoch, message.previous.index].map(varint),
        boolean(message.isQuorate),
        runs(message),
      ];
    case "append-ack":
      return [
        ...[message.epoch, message.incarnation, message.sequence, message.round].map(varint),
        time(message.sendTime),
        ...[message.matched, message.durable].map(varint),
      ];
    case "append-reject":
      return [...[message.epoch, message.incarnation, message.sequence].map(varint), runs(message)];
    case "seal-answer":
      return [
        ...[message.epoch, message.incarnation].map(varint),
        boolean(message.isComplete),
        runs(message),
      ];
    case "fetch":
      return [message.epoch, message.previous.epoch, message.previous.index].map(varint);
    case "fetch-reply":
      return [
        ...[message.epoch, message.previous.epoch, message.previous.index].map(varint),
        boolean(message.isAvailable),
        runs(message),
      ];
    case "suspicion":
      return [
        ...[message.epoch, message.incarnation, message.last.epoch, message.last.index].map(varint),
        boolean(message.isStalled),
      ];
    case "seal":
    case "refusal":
    case "lease-revoked":
    case "handover":
    case "handover-request":
      return [varint(message.epoch)];
  }
}

function fieldBytes(field: Field): number {
  if (field.kind === "time") return 8;
  if (field.kind === "varint") return varintBytes(field.value);
  return runsBytes(field.value.runs, field.value.last);
}

/** Header and body of `message`; `payloadBytes` bytes of frames are to follow. */
export function encodeMessage(message: Message, payloadBytes = 0): Uint8Array {
  assert(payloadBytes <= MESSAGE_PAYLOAD_BYTES_MAX, "a message with too long a payload");
  const fields = fieldsOf(message);
  const bodyBytes = fields.reduce((sum, field) => sum + fieldBytes(field), 0);
  assert(bodyBytes <= MESSAGE_BODY_BYTES_MAX, "a message with too long a body");
  const bytes = new Uint8Array(MESSAGE_HEADER_BYTES + bodyBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, MAGIC, true);
  view.setUint32(12, bodyBytes, true);
  view.setUint32(16, payloadBytes, true);
  bytes[20] = TYPES.indexOf(message.type);
  bytes[21] = VERSION;
  let at = MESSAGE_HEADER_BYTES;
  for (const field of fields) {
    if (field.kind === "runs") at = writeRuns(bytes, at, field.value.runs, field.value.last);
    else if (field.kind === "varint") at = writeVarint(bytes, at, field.value);
    else {
      view.setFloat64(at, field.value, true);
      at += 8;
    }
  }
  writeChecksum(bytes.subarray(CHECKSUM_BYTES), bytes, 0);
  return bytes;
}

export interface MessageLengths {
  /** Header and body. */
  readonly messageBytes: number;
  readonly payloadBytes: number;
}

/** What the header at `offset` announces, or undefined when it is none. REQUIRES: MESSAGE_HEADER_BYTES there. */
export function readMessageLengths(bytes: Uint8Array, offset = 0): MessageLengths | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, MESSAGE_HEADER_BYTES);
  const bodyBytes = view.getUint32(12, true);
  const payloadBytes = view.getUint32(16, true);
  if (view.getUint32(8, true) !== MAGIC) return undefined;
  if (bodyBytes > MESSAGE_BODY_BYTES_MAX) return undefined;
  if (payloadBytes > MESSAGE_PAYLOAD_BYTES_MAX) return undefined;
  return { messageBytes: MESSAGE_HEADER_BYTES + bodyBytes, payloadBytes };
}

/** The message whose header and body are exactly `bytes`, or undefined. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  if (bytes.length < MESSAGE_HEADER_BYTES) return undefined;
  const lengths = readMessageLengths(bytes);
  if (lengths?.messageBytes !== bytes.length) return undefined;
  if (!checksumMatches(bytes.subarray(CHECKSUM_BYTES), bytes, 0)) return undefined;
  const type = TYPES[bytes[20]!];
  if (type === undefined || bytes[21] !== VERSION || bytes[22] !== 0 || bytes[23] !== 0)
    return undefined;
  const reader = new FieldReader(bytes, MESSAGE_HEADER_BYTES, bytes.length);
  const message = readFields(type, reader);
  return reader.isDone && isWellFormed(message) ? message : undefined;
}

function readPosition(reader: FieldReader): { epoch: number; index: number } {
  const epoch = reader.varint();
  return { epoch, index: reader.varint() };
}

/** The fields in fieldsOf()'s order: an object literal's properties are evaluated in the order written. */
function readFields(type: Message["type"], reader: FieldReader): Message {
  const epoch = reader.varint();
  switch (type) {
    case "append":
      return {
        type,
        epoch,
        sequence: reader.varint(),
        round: reader.varint(),
        commit: reader.varint(),
        durableOnAll: reader.varint(),
        sendTime: reader.float64(),
        leaseMs: reader.varint(),
        previous: readPosition(reader),
        isQuorate: reader.boolean(),
        ...readRuns(reader),
      };
    case "append-ack":
      return {
        type,
        epoch,
        incarnation: reader.varint(),
        sequence: reader.varint(),
        round: reader.varint(),
        sendTime: reader.float64(),
        matched: reader.varint(),
        durable: reader.varint(),
      };
    case "append-reject": {
      const incarnation = reader.varint();
      return { type, epoch, incarnation, sequence: reader.varint(), ...readRuns(reader) };
    }
    case "seal-answer": {
      const incarnation = reader.varint();
      return { type, epoch, incarnation, isComplete: reader.boolean(), ...readRuns(reader) };
    }
    case "fetch":
      return { type, epoch, previous: readPosition(reader) };
    case "fetch-reply": {
      const previous = readPosition(reader);
      return { type, epoch, previous, isAvailable: reader.boolean(), ...readRuns(reader) };
    }
    case "suspicion": {
      const incarnation = reader.varint();
      const last = readPosition(reader);
      return { type, epoch, incarnation, last, isStalled: reader.boolean() };
    }
    case "seal":
    case "refusal":
    case "lease-revoked":
    case "handover":
    case "handover-request":
      return { type, epoch };
  }
}

function isWellFormed(message: Message): boolean {
  switch (message.type) {
    case "append":
    case "fetch-reply":
      return isConsistent(message);
    case "append-reject":
    case "seal-answer":
      return isEpochTable(message.runs, message.last);
    case "append-ack":
      return message.durable <= message.matched;
    default:
      return true;
  }
}
