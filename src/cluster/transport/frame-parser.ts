/**
 * Bytes from a peer → frames, resuming at any byte.
 *
 *     feed(chunk) ─► next(): "frame" … "frame", then "more" or, for ever, "bad"
 *
 * A frame that lies whole in a chunk is seen there. Any other is put together in a buffer of its own that grows as
 * bytes arrive, to at most four times what has arrived, so an announced length takes no memory by itself.
 */
import { assert } from "../../base/assert.ts";
import { FRAME_FIXED_BYTES, FRAME_MAGIC, FRAME_TYPE_MAX, frameHeaderBytes } from "./frame.ts";
import { MESSAGE_PARTS_MAX } from "./transport.ts";

export type ParseStatus = "frame" | "more" | "bad";

const CARRY_BYTES_MIN = 4 * 1024;
/** A buffer up to this size is used again. */
const CARRY_BYTES_KEPT = 512 * 1024;
const GROWTH = 4;
/** A kept frame may pin this many times its size. */
const PINNED_FACTOR = 4;
const EMPTY = Buffer.alloc(0);

export class FrameParser {
  /** Of all parts together; of frames whose header is read after it was set. */
  payloadBytesMax: number;
  type = 0;
  channel = 0;
  /** Borrows the chunk, or this parser's buffer until the next next(); see own(). */
  parts: Uint8Array[] = [];
  /** Of the frame, header included. */
  frameBytes = 0;
  /** What is wrong after "bad". */
  problem = "";
  #chunk: Buffer = EMPTY;
  #at = 0;
  /** The frame that is being put together: #carry[0, #carried). */
  #carry: Buffer = EMPTY;
  #carried = 0;
  /** Bytes of it known so far: of the fixed header, then the header, then the frame. */
  #needed = FRAME_FIXED_BYTES;
  #isInCarry = false;

  constructor(payloadBytesMax: number) {
    this.payloadBytesMax = payloadBytesMax;
  }

  /** REQUIRES: next() has said "more", or this is the first chunk. */
  feed(chunk: Buffer): void {
    assert(this.#at === this.#chunk.length, "a chunk before the last one was read");
    this.#chunk = chunk;
    this.#at = 0;
  }

  next(): ParseStatus {
    if (this.problem !== "") return "bad";
    if (this.#isInCarry) this.#endCarry();
    if (this.#carried === 0) {
      const status = this.#nextInChunk();
      if (status !== undefined) return status;
    }
    return this.#nextInCarry();
  }

  /** The parts of the frame that next() has just shown, to be kept: copied where keeping them would pin much more. */
  own(): Uint8Array[] {
    const buffer = this.#isInCarry ? this.#carry : this.#chunk;
    if (this.frameBytes * PINNED_FACTOR >= buffer.length) {
      if (this.#isInCarry) this.#carry = EMPTY;
      return this.parts;
    }
    return this.parts.map((part) => Uint8Array.prototype.slice.call(part));
  }

  #fail(problem: string): "bad" {
    this.problem = problem;
    this.#chunk = EMPTY;
    this.#carry = EMPTY;
    this.#at = 0;
    return "bad";
  }

  /** Undefined: the chunk ends within a frame that must be put together. */
  #nextInChunk(): ParseStatus | undefined {
    const left = this.#chunk.length - this.#at;
    if (left === 0) {
      this.#chunk = EMPTY;
      this.#at = 0;
      return "more";
    }
    if (left < FRAME_FIXED_BYTES) return undefined;
    const start = this.#at;
    const headerBytes = this.#readFixed(this.#chunk, start);
    if (headerBytes === 0) return "bad";
    if (left < headerBytes) return undefined;
    const bytes = this.#readLengths(this.#chunk, start, headerBytes);
    if (bytes === 0) return "bad";
    if (left < bytes) return undefined;
    this.#at = start + bytes;
    return this.#show(this.#chunk, start, bytes);
  }

  #nextInCarry(): ParseStatus {
    for (;;) {
      if (!this.#fill()) return "more";
      if (this.#needed === FRAME_FIXED_BYTES) {
        const headerBytes = this.#readFixed(this.#carry, 0);
        if (headerBytes === 0) return "bad";
        this.#needed = headerBytes;
        if (headerBytes > FRAME_FIXED_BYTES) continue;
      }
      const headerBytes = frameHeaderBytes(this.#carry[14]!);
      if (this.#needed === headerBytes) {
        const bytes = this.#readLengths(this.#carry, 0, headerBytes);
        if (bytes === 0) return "bad";
        this.#needed = bytes;
        if (bytes > headerBytes) continue;
      }
      this.#isInCarry = true;
      return this.#show(this.#carry, 0, this.#needed);
    }
  }

  /** Moves bytes from the chunk until the carry has what is needed. */
  #fill(): boolean {
    const take = Math.min(this.#needed - this.#carried, this.#chunk.length - this.#at);
    this.#reserve(this.#carried + take);
    this.#chunk.copy(this.#carry, this.#carried, this.#at, this.#at + take);
    this.#carried += take;
    this.#at += take;
    if (this.#carried === this.#needed) return true;
    this.#chunk = EMPTY;
    this.#at = 0;
    return false;
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#carry.length) return;
    const grown = Math.max(CARRY_BYTES_MIN, Math.min(this.#needed, GROWTH * bytes));
    const carry = Buffer.allocUnsafeSlow(Math.max(bytes, grown));
    this.#carry.copy(carry, 0, 0, this.#carried);
    this.#carry = carry;
  }

  #endCarry(): void {
    this.#isInCarry = false;
    this.#carried = 0;
    this.#needed = FRAME_FIXED_BYTES;
    if (this.#carry.length > CARRY_BYTES_KEPT) this.#carry = EMPTY;
  }

  /** The header's length, 0 when it is none. */
  #readFixed(bytes: Buffer, start: number): number {
    const isHeader =
      bytes.readUInt32LE(start + 8) === FRAME_MAGIC &&
      bytes[start + 12]! <= FRAME_TYPE_MAX &&
      bytes[start + 14]! <= MESSAGE_PARTS_MAX &&
      bytes[start + 15] === 0;
    if (isHeader) return frameHeaderBytes(bytes[start + 14]!);
    this.#fail("not a frame");
    return 0;
  }

  /** The frame's length, 0 when it is longer than it may be. */
  #readLengths(bytes: Buffer, start: number, headerBytes: number): number {
    let payloadBytes = 0;
    for (let at = FRAME_FIXED_BYTES; at < headerBytes; at += 4)
      payloadBytes += bytes.readUInt32LE(start + at);
    if (payloadBytes <= this.payloadBytesMax) return headerBytes + payloadBytes;
    this.#fail("a frame longer than it may be");
    return 0;
  }

  #show(bytes: Buffer, start: number, length: number): ParseStatus {
    const partCount = bytes[start + 14]!;
    const parts: Uint8Array[] = new Array(partCount);
    let at = start + frameHeaderBytes(partCount);
    let checksum = Bun.hash.xxHash64(bytes.subarray(start + 8, at));
    for (let i = 0; i < partCount; i++) {
      const end = at + bytes.readUInt32LE(start + FRAME_FIXED_BYTES + 4 * i);
      const part = bytes.subarray(at, end);
      checksum = Bun.hash.xxHash64(part, checksum);
      parts[i] = part;
      at = end;
    }
    if (checksum !== bytes.readBigUInt64LE(start))
      return this.#fail("a frame with a wrong checksum");
    this.type = bytes[start + 12]!;
    this.channel = bytes[start + 13]!;
    this.parts = parts;
    this.frameBytes = length;
    return "frame";
  }
}
