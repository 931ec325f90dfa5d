/** Requests as the bytes that clients send, for another node: arrays of bulk strings. */
import type { Request } from "./request.ts";

const CRLF = Buffer.from("\r\n");

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
