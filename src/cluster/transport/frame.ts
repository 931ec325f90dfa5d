/**
 * The frame of the peer port:
 *
 *   offset  size
 *        0     8  checksum      XXH64 of bytes [8, 16 + 4n), then of each part with the checksum so far as its seed
 *        8     4  magic         "dkvP"
 *       12     1  type          FRAME_*
 *       13     1  channel       of a message; else zero
 *       14     1  part count n  at most 64
 *       15     1  zero
 *       16    4n  length of each part; at most 66 MiB together
 *   16 + 4n    …  the parts, one after the other
 *
 * All integers are little-endian. The checksum chains over the parts so that a sender need not copy them together.
 */
import { assert } from "../../base/assert.ts";
import { MESSAGE_BYTES_MAX, MESSAGE_PARTS_MAX } from "./transport.ts";

export const FRAME_MESSAGE = 0;
export const FRAME_PING = 1;
/** 8 bytes: how many bytes of messages the receiver is done with since the link began. */
export const FRAME_CREDIT = 2;
export const FRAME_HELLO = 3;
export const FRAME_CHALLENGE = 4;
export const FRAME_PROOF = 5;
export const FRAME_ACCEPT = 6;
export const FRAME_REFUSAL = 7;
export const FRAME_TYPE_MAX = FRAME_REFUSAL;

export const FRAME_MAGIC = 0x50766b64;
export const FRAME_FIXED_BYTES = 16;
export const FRAME_HEADER_BYTES_MAX = FRAME_FIXED_BYTES + 4 * MESSAGE_PARTS_MAX;
export const FRAME_BYTES_MAX = FRAME_HEADER_BYTES_MAX + MESSAGE_BYTES_MAX;

export function frameHeaderBytes(partCount: number): number {
  return FRAME_FIXED_BYTES + 4 * partCount;
}

export function frameBytes(parts: readonly Uint8Array[]): number {
  let bytes = frameHeaderBytes(parts.length);
  for (let i = 0; i < parts.length; i++) bytes += parts[i]!.length;
  return bytes;
}

/**
 * Writes the header of a frame to `target` at `start`, checksum included, and returns the offset behind it.
 * REQUIRES: frameHeaderBytes(parts.length) bytes there; parts within the bounds.
 */
export function writeFrameHeader(
  target: Buffer,
  start: number,
  type: number,
  channel: number,
  parts: readonly Uint8Array[],
): number {
  assert(parts.length <= MESSAGE_PARTS_MAX, "a message of too many parts");
  target.writeUInt32LE(FRAME_MAGIC, start + 8);
  target[start + 12] = type;
  target[start + 13] = channel;
  target[start + 14] = parts.length;
  target[start + 15] = 0;
  let at = start + FRAME_FIXED_BYTES;
  let bytes = 0;
  for (let i = 0; i < parts.length; i++) {
    const { length } = parts[i]!;
    bytes += length;
    target.writeUInt32LE(length, at);
    at += 4;
  }
  assert(bytes <= MESSAGE_BYTES_MAX, "a message of too many bytes");
  let checksum = Bun.hash.xxHash64(target.subarray(start + 8, at));
  for (let i = 0; i < parts.length; i++) checksum = Bun.hash.xxHash64(parts[i]!, checksum);
  target.writeBigUInt64LE(checksum, start);
  return at;
}

/** A whole frame in a buffer of its own. */
export function encodeFrame(type: number, channel: number, parts: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.allocUnsafe(frameBytes(parts));
  let at = writeFrameHeader(bytes, 0, type, channel, parts);
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A credit's payload. */
export function encodeCredit(consumedBytes: number): Buffer {
  const payload = Buffer.allocUnsafe(8);
  payload.writeBigUInt64LE(BigInt(consumedBytes));
  return payload;
}

/** Undefined when it is none. */
export function decodeCredit(payload: Uint8Array): number | undefined {
  if (payload.length !== 8) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, 8);
  const value = Number(view.getBigUint64(0, true));
  return Number.isSafeInteger(value) ? value : undefined;
}
