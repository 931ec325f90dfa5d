/**
 * Replies appended to one buffer per connection, in RESP2 or RESP3
 * (https://redis.io/docs/latest/develop/reference/protocol-spec/).
 *
 * Hot: a reply costs a few stores into the buffer; no object is made per reply. Buffers come from a pool and
 * go back once their bytes have left, so an idle connection holds none. The pool keeps long ones too: a new one costs a
 * page fault for every 4 KiB, more than all that is copied into it.
 */

import { copyBytes } from "../base/bytes.ts";

/** The smallest buffer of the pool; each class is twice as large as the one before. */
const POOLED_BYTES = 16 * 1024;
const POOLED_CLASSES = 5;
const POOLED_BYTES_MAX = POOLED_BYTES << (POOLED_CLASSES - 1);
/** Bytes kept of the smallest class, which every connection uses, and of each of the others. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;
const KEPT_LARGER_BYTES_MAX = 2 * 1024 * 1024;
/** Shorter pieces are copied. */
const PIECE_BYTES_MIN = 16 * 1024;
const NO_BYTES = Buffer.alloc(0);

const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;
const COLON = 0x3a;
const DOLLAR = 0x24;
const ASTERISK = 0x2a;
const PLUS = 0x2b;
const MINUS = 0x2d;

const pool: Buffer[][] = Array.from({ length: POOLED_CLASSES }, () => []);

/** The class of the smallest pooled buffer that holds so many bytes. REQUIRES: bytes <= POOLED_BYTES_MAX. */
function classOf(bytes: number): number {
  return bytes <= POOLED_BYTES ? 0 : 32 - Math.clz32((bytes - 1) / POOLED_BYTES);
}

function takeBuffer(bytes: number): Buffer {
  const index = classOf(bytes);
  return pool[index]!.pop() ?? Buffer.allocUnsafeSlow(POOLED_BYTES << index);
}

function giveBuffer(buffer: Buffer): void {
  const bytes = buffer.length;
  if (bytes === 0 || bytes > POOLED_BYTES_MAX) return;
  const index = classOf(bytes);
  if (POOLED_BYTES << index !== bytes) return;
  const keptMax = index === 0 ? KEPT_BYTES_MAX : KEPT_LARGER_BYTES_MAX;
  if (pool[index]!.length * bytes < keptMax) pool[index]!.push(buffer);
}

/** A reply encoded once, for replies that never change: `OK`, error words. */
export function encodeReply(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

const OK = encodeReply("+OK\r\n");
const NULL_BULK_2 = encodeReply("$-1\r\n");
const NULL_ARRAY_2 = encodeReply("*-1\r\n");
const NULL_3 = encodeReply("_\r\n");
const TRUE_3 = encodeReply("#t\r\n");
const FALSE_3 = encodeReply("#f\r\n");

/** Bytes that are sent from where they lie, before buffer[at]. */
export interface Piece {
  at: number;
  bytes: Buffer;
  /** A whole reply that comes from elsewhere: "open" until its bytes are there. "none": an ordinary piece. */
  hole: "none" | "open" | "filled";
}

export class ReplyWriter {
  /** 2 or 3 (HELLO). */
  protocol: 2 | 3 = 2;
  buffer: Buffer = NO_BYTES;
  /** Bytes written so far: buffer[0, length). */
  length = 0;
  /** In order. */
  readonly pieces: Piece[] = [];
  /** Replies that have their place here and are not there yet. */
  openHoles = 0;
  /** Bytes that the last batch had, as far as a pooled buffer holds them. */
  #expected = 0;

  /** Bytes written and not sent, pieces included. */
  get pendingBytes(): number {
    let bytes = this.length;
    for (const piece of this.pieces) bytes += piece.bytes.length;
    return bytes;
  }

  /** Room for `count` more bytes. */
  ensure(count: number): void {
    if (this.buffer.length - this.length >= count) return;
    this.#grow(count);
  }

  #grow(count: number): void {
    // A batch is as long as the one before, most of the time: then nothing is copied from one buffer to the next.
    const needed = Math.max(this.length + count, this.#expected);
    const grown =
      needed <= POOLED_BYTES_MAX
        ? takeBuffer(needed)
        : Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2));
    if (this.length > 0) this.buffer.copy(grown, 0, 0, this.length);
    giveBuffer(this.buffer);
    this.buffer = grown;
  }

  /** Drops what was written after `length`: a command runs again from its start. */
  truncate(length: number): void {
    this.length = length;
    // A hole at the end belongs to a command before.
    while (this.pieces.length > 0 && this.pieces.at(-1)!.at >= length) {
      if (this.pieces.at(-1)!.hole !== "none") return;
      this.pieces.pop();
    }
  }

  /** Keeps a place for a whole reply that comes later; fill() ends it. */
  openHole(): Piece {
    const hole: Piece = { at: this.length, bytes: NO_BYTES, hole: "open" };
    this.pieces.push(hole);
    this.openHoles++;
    return hole;
  }

  /** The writer keeps `encoded`. */
  fill(hole: Piece, encoded: Buffer): void {
    hole.bytes = encoded;
    hole.hole = "filled";
    this.openHoles--;
  }

  /** Whether the reply that starts at `start` is an error. */
  isErrorAt(start: number): boolean {
    return this.buffer[start] === MINUS && this.length > start;
  }

  /** The first line of the reply at `start`, without its marker. */
  lineAt(start: number): string {
    const end = this.buffer.indexOf(CR, start);
    return this.buffer.toString("latin1", start + 1, end < 0 ? this.length : end);
  }

  /** Forgets buffer[0, count), which has left through the socket. */
  consume(count: number): void {
    if (count === this.length) {
      this.#expected = Math.min(count, POOLED_BYTES_MAX);
      giveBuffer(this.buffer);
      this.buffer = NO_BYTES;
      this.length = 0;
    } else {
      this.buffer.copyWithin(0, count, this.length);
      this.length -= count;
    }
    for (const piece of this.pieces) piece.at -= count;
  }

  ok(): void {
    this.raw(OK);
  }

  /** Appends an encoded reply, or any bytes. */
  raw(encoded: Buffer): void {
    this.ensure(encoded.length);
    encoded.copy(this.buffer, this.length);
    this.length += encoded.length;
  }

  simple(text: string): void {
    this.#line(PLUS, text);
  }

  /** Error reply; `text` starts with its code (ERR, WRONGTYPE …). CR and LF cannot break the protocol. */
  error(text: string): void {
    this.#line(MINUS, /[\r\n]/.test(text) ? text.replace(/[\r\n]/g, " ") : text);
  }

  integer(value: number): void {
    this.#header(COLON, value);
  }

  /** 64-bit integers beyond 2^53 (counters) come as bigint. */
  bigInteger(value: bigint): void {
    this.#line(COLON, value.toString());
  }

  bulk(bytes: Uint8Array, start: number, end: number): void {
    const count = end - start;
    this.ensure(count + 32);
    this.#header(DOLLAR, count);
    copyBytes(bytes, start, end, this.buffer, this.length);
    this.length += count;
    const buffer = this.buffer;
    buffer[this.length] = CR;
    buffer[this.length + 1] = LF;
    this.length += 2;
  }

  /** A bulk whose bytes come in pieces: large ones are sent from where they lie. The writer keeps them. */
  bulkPieces(pieces: readonly Buffer[]): void {
    this.#header(
      DOLLAR,
      pieces.reduce((sum, piece) => sum + piece.length, 0),
    );
    for (const piece of pieces) this.rawPiece(piece);
    this.crlf();
  }

  /** Appends encoded bytes: long ones are sent from where they lie. The writer keeps them. */
  rawPiece(encoded: Buffer): void {
    if (encoded.length < PIECE_BYTES_MIN) this.raw(encoded);
    else this.pieces.push({ at: this.length, bytes: encoded, hole: "none" });
  }

  bulkString(text: string): void {
    this.bulkBytes(Buffer.from(text, "utf8"));
  }

  bulkBytes(bytes: Buffer): void {
    this.bulk(bytes, 0, bytes.length);
  }

  /** Header of a bulk whose `count` bytes and CRLF are appended by the caller. */
  bulkHeader(count: number): void {
    this.#header(DOLLAR, count);
  }

  /** Text for people: a verbatim string in RESP3, a bulk in RESP2 (INFO, CLIENT LIST). */
  verbatim(text: string, format = "txt"): void {
    if (this.protocol === 2) {
      this.bulkString(text);
      return;
    }
    const bytes = Buffer.from(`${format}:${text}`, "utf8");
    this.#line(0x3d, String(bytes.length));
    this.raw(bytes);
    this.crlf();
  }

  /** A double: RESP3 `,1.5`, RESP2 bulk. */
  double(text: string): void {
    if (this.protocol === 3) this.#line(0x2c, text);
    else this.bulkString(text);
  }

  boolean(value: boolean): void {
    if (this.protocol === 3) this.raw(value ? TRUE_3 : FALSE_3);
    else this.integer(value ? 1 : 0);
  }

  array(count: number): void {
    this.#header(ASTERISK, count);
  }

  map(entries: number): void {
    if (this.protocol === 3) this.#header(0x25, entries);
    else this.#header(ASTERISK, entries * 2);
  }

  set(count: number): void {
    this.#header(this.protocol === 3 ? 0x7e : ASTERISK, count);
  }

  push(count: number): void {
    this.#header(this.protocol === 3 ? 0x3e : ASTERISK, count);
  }

  nullBulk(): void {
    this.raw(this.protocol === 3 ? NULL_3 : NULL_BULK_2);
  }

  nullArray(): void {
    this.raw(this.protocol === 3 ? NULL_3 : NULL_ARRAY_2);
  }

  crlf(): void {
    this.ensure(2);
    this.buffer[this.length] = CR;
    this.buffer[this.length + 1] = LF;
    this.length += 2;
  }

  /** marker, decimal, CRLF. */
  #header(marker: number, value: number): void {
    this.ensure(24);
    const buffer = this.buffer;
    let at = this.length;
    buffer[at++] = marker;
    if (value >= 0 && value < 10) {
      buffer[at++] = ZERO + value;
    } else if (value >= 10 && value < 100) {
      const tens = (value / 10) | 0;
      buffer[at++] = ZERO + tens;
      buffer[at++] = ZERO + value - tens * 10;
    } else {
      at = writeDecimal(buffer, at, value);
    }
    buffer[at] = CR;
    buffer[at + 1] = LF;
    this.length = at + 2;
  }

  /** `text` holds one byte per character: arguments echoed in errors keep theirs. */
  #line(marker: number, text: string): void {
    this.ensure(text.length + 3);
    this.buffer[this.length++] = marker;
    this.length += this.buffer.write(text, this.length, "latin1");
    this.crlf();
  }
}

/** Writes an integer in decimal at `at`; returns the position after it. */
function writeDecimal(buffer: Buffer, at: number, value: number): number {
  let rest = value;
  let position = at;
  if (rest < 0) {
    buffer[position++] = MINUS;
    rest = -rest;
  }
  let digits = 1;
  for (let bound = 10; rest >= bound; bound *= 10) digits++;
  const end = position + digits;
  for (let i = end - 1; i >= position; i--) {
    const quotient = Math.floor(rest / 10);
    buffer[i] = ZERO + (rest - quotient * 10);
    rest = quotient;
  }
  return end;
}
