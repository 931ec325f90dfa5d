/**
 * Forwarded requests and their replies, as one part of a message on purpose `forward`, channel 1 or 2: entries, one
 * after the other,
 *
 *   offset  size
 *        0     8  id       of the request, ascending within the link
 *        8     4  length   of the bytes
 *       12     1  kind     of a reply: 0 replied, 1 not run, 2 unknown; of a request 0
 *       13     3  zero
 *       16     …  bytes    what the layers above understand: RESP, or the reason in UTF-8 for kinds 1 and 2
 *
 * All integers are little-endian.
 */
import { copyBytes } from "../../base/bytes.ts";

export const CHANNEL_REQUESTS = 1;
export const CHANNEL_REPLIES = 2;

export const KIND_REPLIED = 0;
export const KIND_NOT_RUN = 1;
export const KIND_UNKNOWN = 2;

/** Of one request or reply. */
export const FORWARD_BYTES_MAX = 64 * 1024 * 1024;

const ENTRY_BYTES = 16;
const BATCH_BYTES_MIN = 4 * 1024;
/** A buffer up to this size is used for the next batch. */
const BATCH_BYTES_KEPT = 256 * 1024;
const EMPTY = Buffer.alloc(0);
const TWO_32 = 2 ** 32;

export interface ForwardEntry {
  readonly id: number;
  readonly kind: number;
  readonly bytes: Uint8Array;
}

/** Entries that will leave together. */
export class ForwardBatch {
  count = 0;
  #buffer: Buffer = Buffer.allocUnsafeSlow(BATCH_BYTES_MIN);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(id: number, kind: number, bytes: Uint8Array): void {
    const start = this.#length;
    const end = start + ENTRY_BYTES + bytes.length;
    this.#reserve(end);
    const buffer = this.#buffer;
    buffer.writeUInt32LE(id % TWO_32, start);
    buffer.writeUInt32LE(Math.floor(id / TWO_32), start + 4);
    buffer.writeUInt32LE(bytes.length, start + 8);
    buffer.writeUInt32LE(kind, start + 12);
    copyBytes(bytes, 0, bytes.length, buffer, start + ENTRY_BYTES);
    this.#length = end;
    this.count++;
  }

  /** The entries; the batch is empty again. They must be given back() once nobody reads them. */
  take(): Buffer {
    const bytes = this.#buffer.subarray(0, this.#length);
    this.#buffer = EMPTY;
    this.#length = 0;
    this.count = 0;
    return bytes;
  }

  giveBack(bytes: Buffer): void {
    if (this.#buffer.length > 0 || bytes.buffer.byteLength > BATCH_BYTES_KEPT) return;
    this.#buffer = Buffer.from(bytes.buffer);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#buffer.length) return;
    const grown = Math.max(bytes, 2 * this.#buffer.length, BATCH_BYTES_MIN);
    const buffer = Buffer.allocUnsafeSlow(grown);
    this.#buffer.copy(buffer, 0, 0, this.#length);
    this.#buffer = buffer;
  }
}

/** Views of the entries in a message's parts; undefined when they are none. */
export function readEntries(parts: readonly Uint8Array[]): ForwardEntry[] | undefined {
  const bytes = parts[0];
  if (bytes === undefined || parts.length !== 1) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: ForwardEntry[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < ENTRY_BYTES) return undefined;
    const id = view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
    const length = view.getUint32(at + 8, true);
    const kind = view.getUint32(at + 12, true);
    const end = at + ENTRY_BYTES + length;
    if (end > bytes.length || kind > KIND_UNKNOWN || !Number.isSafeInteger(id)) return undefined;
    entries.push({ id, kind, bytes: bytes.subarray(at + ENTRY_BYTES, end) });
    at = end;
  }
  return entries;
}
