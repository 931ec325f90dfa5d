/** Requests as the bytes that clients send, for another node: arrays of bulk strings. */
import { copyBytes } from "../base/bytes.ts";
import type { Request } from "./request.ts";

const CRLF = Buffer.from("\r\n");
const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;
const DOLLAR = 0x24;
const ASTERISK = 0x2a;
/** Of a marker, a number below 2^32 and a line end. */
const PREFIX_BYTES_MAX = 13;

/** Words that are no arguments of the client, encoded once. */
export function encodeWords(...words: readonly string[]): Buffer {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  return Buffer.from(`*${words.length}\r\n${parts.join("")}`);
}

/**
 * The request, or those of its arguments that `indexes` names. Small ones are copied; pieces of large arguments are
 * passed on as they lie, and must stay until the bytes have been used.
 */
export function encodeRequest(request: Request, indexes?: readonly number[]): Buffer[] {
  if (indexes === undefined && request.large.length === 0) return [encodeSmall(request)];
  const chosen = indexes ?? Array.from({ length: request.count }, (_, index) => index);
  const parts: Buffer[] = [];
  let small: Uint8Array[] = [Buffer.from(`*${chosen.length}\r\n`)];
  for (const index of chosen) {
    small.push(Buffer.from(`$${request.byteLength(index)}\r\n`));
    if (request.isLarge(index)) {
      parts.push(Buffer.concat(small));
      for (const piece of request.pieces(index))
        parts.push(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
      small = [];
    } else {
      small.push(request.bytes.subarray(request.starts[index]!, request.ends[index]!));
    }
    small.push(CRLF);
  }
  parts.push(Buffer.concat(small));
  return parts;
}

/** Hot: every forwarded command. One allocation. */
function encodeSmall({ bytes, count, starts, ends }: Request): Buffer {
  let length = 0;
  for (let i = 0; i < count; i++) length += PREFIX_BYTES_MAX + ends[i]! - starts[i]! + 2;
  const encoded = Buffer.allocUnsafe(PREFIX_BYTES_MAX + length);
  let at = writePrefix(encoded, 0, ASTERISK, count);
  for (let i = 0; i < count; i++) {
    const start = starts[i]!;
    const size = ends[i]! - start;
    at = writePrefix(encoded, at, DOLLAR, size);
    copyBytes(bytes, start, start + size, encoded, at);
    at += size;
    encoded[at++] = CR;
    encoded[at++] = LF;
  }
  return encoded.subarray(0, at);
}

/** Writes a marker, a number and a line end; where they end. */
function writePrefix(target: Buffer, start: number, marker: number, value: number): number {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  const end = start + 1 + digits;
  target[start] = marker;
  let rest = value;
  for (let at = end - 1; at > start; at--) {
    target[at] = ZERO + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  target[end] = CR;
  target[end + 1] = LF;
  return end + 2;
}
