/**
 * Forwarded requests and their replies, as one part of a message on purpose `forward`, channel 1 or 2: entries, one
 * after the other,
 *
 *   offset  size
 *        0     4  message  number of the message of requests, as its sender counts them within the link
 *        4     4  index    of the request in that message, counted from 0
 *        8     4  length   of the bytes
 *       12     1  kind     of a reply: 0 replied, 1 not run, 2 unknown, 3 not run since its watches are gone;
 *                          of a request 0
 *       13     3  zero
 *       16     …  bytes    what the layers above understand; of kinds 1 to 3 none
 *
 * All integers are little-endian. A message of requests is whole: what is in it is begun together, in order.
 */
import { assert } from "../../base/assert.ts";
import { copyBytes } from "../../base/bytes.ts";
import { MESSAGE_BYTES_MAX } from "./transport.ts";

export const CHANNEL_REQUESTS = 1;
export const CHANNEL_REPLIES = 2;

export const KIND_REPLIED = 0;
export const KIND_NOT_RUN = 1;
export const KIND_UNKNOWN = 2;
export const KIND_UNWATCHED = 3;

export const ENTRY_BYTES = 16;
/** Of one request or reply: a value of 64 MiB and what is around it. */
export const FORWARD_BYTES_MAX = 65 * 1024 * 1024;
/** Of all entries of one message. */
export const FORWARD_MESSAGE_BYTES_MAX = MESSAGE_BYTES_MAX;

const BATCH_BYTES_MIN = 4 * 1024;
/** A buffer up to this size is used for the next batch. */
const BATCH_BYTES_KEPT = 256 * 1024;
const EMPTY = Buffer.alloc(0);

/** Entries that will leave together. Hot. */
export class ForwardBatch {
  count = 0;
  #buffer: Buffer = Buffer.allocUnsafeSlow(BATCH_BYTES_MIN);
  #length = 0;
  /** Where the open entry begins. */
  #entry = 0;

  get length(): number {
    return this.#length;
  }

  begin(message: number, index: number, kind: number): void {
    const start = this.#length;
    this.reserve(ENTRY_BYTES);
    const buffer = this.#buffer;
    buffer.writeUInt32LE(message, start);
    buffer.writeUInt32LE(index, start + 4);
    buffer.writeUInt32LE(kind, start + 12);
    this.#entry = start;
    this.#length = start + ENTRY_BYTES;
    this.count++;
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    copyBytes(bytes, 0, bytes.length, this.#buffer, this.#length);
    this.#length += bytes.length;
  }

  end(): void {
    const length = this.#length - this.#entry - ENTRY_BYTES;
    assert(length <= FORWARD_BYTES_MAX, "an entry too large to forward");
    this.#buffer.writeUInt32LE(length, this.#entry + 8);
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

  /** Makes room for `count` bytes more. */
  reserve(count: number): void {
    const bytes = this.#length + count;
    if (bytes <= this.#buffer.length) return;
    const doubled = Math.min(2 * this.#buffer.length, FORWARD_MESSAGE_BYTES_MAX);
    const buffer = Buffer.allocUnsafeSlow(Math.max(bytes, doubled, BATCH_BYTES_MIN));
    this.#buffer.copy(buffer, 0, 0, this.#length);
    this.#buffer = buffer;
  }
}

/** The entries of a message's parts, one at a time; their bytes are [start, end) of `bytes`. Hot. */
export class EntryReader {
  readonly bytes: Buffer;
  message = 0;
  index = 0;
  kind = 0;
  start = 0;
  end = 0;
  isMalformed: boolean;

  /** Borrows the parts. */
  constructor(parts: readonly Uint8Array[]) {
    const part = parts[0] ?? EMPTY;
    this.bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength);
    this.isMalformed = parts.length !== 1;
  }

  /** False at the end, and where the bytes are no entry. */
  next(): boolean {
    const { bytes } = this;
    const at = this.end;
    if (this.isMalformed || at === bytes.length) return false;
    this.isMalformed = bytes.length - at < ENTRY_BYTES;
    if (this.isMalformed) return false;
    this.message = bytes.readUInt32LE(at);
    this.index = bytes.readUInt32LE(at + 4);
    this.kind = bytes.readUInt32LE(at + 12);
    this.start = at + ENTRY_BYTES;
    this.end = this.start + bytes.readUInt32LE(at + 8);
    this.isMalformed = this.end > bytes.length || this.kind > KIND_UNWATCHED;
    return !this.isMalformed;
  }
}
