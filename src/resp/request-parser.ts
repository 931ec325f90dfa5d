/**
 * Bytes of a connection → requests, resumable at any byte.
 *
 *   request    = multibulk | inline
 *   multibulk  = "*" count CRLF count × ( "$" length CRLF bytes CRLF )
 *   inline     = words separated by blanks, quoted as redis-cli quotes them, ended by LF
 *
 * (https://redis.io/docs/latest/develop/reference/protocol-spec/; error words are those of Redis 7.0's
 * networking.c.) A chunk that holds whole requests is parsed where it lies. Only the tail of an incomplete
 * request is copied, into a buffer that grows as bytes arrive, never to a length that was merely declared.
 *
 * Hot: `next` runs once per command; it allocates nothing and throws nothing.
 */

import type { SlabPool } from "../base/slab-pool.ts";
import { splitInline } from "./inline.ts";
import { LARGE_ARGUMENT_BYTES, LargeArgument, Request } from "./request.ts";

export const ParseStatus = {
  /** More bytes are needed. */
  INCOMPLETE: 0,
  /** The request holds one command (count 0 for an empty line or "*0"). */
  COMPLETE: 1,
  /** The stream cannot be understood; `error` says why. Answer it and close. */
  MALFORMED: 2,
} as const;
export type ParseStatus = (typeof ParseStatus)[keyof typeof ParseStatus];

export interface ParserLimits {
  /** Longest bulk string in bytes (proto-max-bulk-len and what the memory budget allows). */
  bulkBytesMax: number;
  /** Bytes of one request in all (client-query-buffer-limit). */
  requestBytesMax: number;
}

/** As in Redis: what an unauthenticated connection may send (CVE-2021-32675). */
const UNAUTHENTICATED_ARGUMENTS_MAX = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX = 16_384;
const ARGUMENTS_MAX = 1024 * 1024;
const INLINE_BYTES_MAX = 64 * 1024;
/** Digits of a count or length that cannot overflow a double. */
const DIGITS_MAX = 15;
const KEPT_BUFFER_BYTES_MAX = 64 * 1024;

export const TOO_BIG_REQUEST = "ERR Protocol error: too big request";

const NUL = 0x00;
const CR = 0x0d;
const LF = 0x0a;
const ASTERISK = 0x2a;
const DOLLAR = 0x24;
const MINUS = 0x2d;
const ZERO = 0x30;

const NUMBER_INCOMPLETE = -2;
const NUMBER_INVALID = -3;
const NO_BYTES = Buffer.alloc(0);

export class RequestParser {
  /** Set when a status is MALFORMED: the text of the error reply, without the leading "-". */
  error = "";
  /** False until the connection has authenticated: tighter limits hold. */
  isTrusted = true;
  readonly #limits: ParserLimits;
  readonly #pool: SlabPool | undefined;
  #bytes: Buffer = NO_BYTES;
  #position = 0;
  #end = 0;
  /** True while #bytes is this parser's own buffer (an incomplete request was copied). */
  #owned = false;
  /** Where the current request starts in #bytes. */
  #requestStart = 0;
  /** Arguments still to come; −1 before the request's first line is known. */
  #remaining = -1;
  /** Length of the bulk whose bytes are awaited; −1 before its "$" line is known. */
  #bulkBytes = -1;
  #large: LargeArgument | undefined = undefined;
  /** Bytes of the current request's large arguments, as declared. */
  #largeBytes = 0;
  /** Arguments of an incomplete request: it may go on in another Request than it began in. */
  readonly #partial = new Request();
  /** Where #readNumber stopped, after CRLF. */
  #numberEnd = 0;

  /** Large arguments go into slabs of `pool`. */
  constructor(limits: ParserLimits, pool?: SlabPool) {
    this.#limits = limits;
    this.#pool = pool;
  }

  /** Bytes held for an incomplete request. */
  get bufferedBytes(): number {
    const large = this.#large === undefined ? 0 : this.#large.received;
    return (this.#owned ? this.#bytes.length : 0) + large;
  }

  /** The large argument being received, for admission against the memory budget. */
  get awaitedLarge(): LargeArgument | undefined {
    return this.#large;
  }

  /** True while requests lie in the chunk that was fed last, not in a buffer of this parser's. */
  get isBorrowing(): boolean {
    return !this.#owned;
  }

  get hasUnread(): boolean {
    return this.#position < this.#end;
  }

  /**
   * Adds a chunk. True: it has been copied. Otherwise the parser refers to it until all its requests have been taken by
   * next().
   */
  feed(chunk: Buffer): boolean {
    let start = 0;
    if (this.#large !== undefined && this.#position === this.#end) {
      start = this.#large.take(chunk, 0, chunk.length);
      if (start === chunk.length) return true;
    }
    if (this.#position === this.#end && !this.#owned) {
      this.#bytes = chunk;
      this.#position = start;
      this.#end = chunk.length;
      this.#requestStart = start;
      return false;
    }
    this.#append(chunk, start);
    return true;
  }

  /**
   * Next request of what was fed, in any Request. It borrows the bytes until the next call of next() or feed(). One
   * that is incomplete leaves nothing in `request`.
   */
  next(request: Request): ParseStatus {
    request.reset();
    if (this.#remaining >= 0) {
      request.exchange(this.#partial);
    } else {
      if (this.#position === this.#end) return this.#suspend(request);
      this.#requestStart = this.#position;
      if (this.#bytes[this.#position] !== ASTERISK) return this.#nextInline(request);
      const count = this.#readNumber(this.#position + 1);
      if (count === NUMBER_INCOMPLETE) {
        if (this.#end - this.#position > INLINE_BYTES_MAX) {
          return this.#fail("ERR Protocol error: too big mbulk count string");
        }
        return this.#suspend(request);
      }
      if (count > ARGUMENTS_MAX || count === NUMBER_INVALID) {
        return this.#fail("ERR Protocol error: invalid multibulk length");
      }
      if (count > UNAUTHENTICATED_ARGUMENTS_MAX && !this.isTrusted) {
        return this.#fail("ERR Protocol error: unauthenticated multibulk length");
      }
      this.#position = this.#numberEnd;
      if (count <= 0) {
        request.bytes = this.#bytes;
        return ParseStatus.COMPLETE;
      }
      this.#remaining = count;
      this.#largeBytes = 0;
    }
    return this.#nextArguments(request);
  }

  #nextArguments(request: Request): ParseStatus {
    while (this.#remaining > 0) {
      if (this.#bulkBytes < 0) {
        if (this.#position === this.#end) return this.#suspend(request);
        if (this.#bytes[this.#position] !== DOLLAR) return this.#failExpectedDollar();
        const length = this.#readNumber(this.#position + 1);
        if (length === NUMBER_INCOMPLETE) {
          if (this.#end - this.#position > INLINE_BYTES_MAX) {
            return this.#fail("ERR Protocol error: too big bulk count string");
          }
          return this.#suspend(request);
        }
        if (length < 0 || length > this.#limits.bulkBytesMax) {
          return this.#fail("ERR Protocol error: invalid bulk length");
        }
        if (length > UNAUTHENTICATED_BULK_BYTES_MAX && !this.isTrusted) {
          return this.#fail("ERR Protocol error: unauthenticated bulk length");
        }
        this.#position = this.#numberEnd;
        this.#bulkBytes = length;
        if (length > LARGE_ARGUMENT_BYTES) {
          this.#largeBytes += length;
          if (this.#largeBytes > this.#limits.requestBytesMax) return this.#fail(TOO_BIG_REQUEST);
          this.#beginLarge(length);
        }
      }
      if (this.#large !== undefined) {
        if (!this.#large.isComplete || this.#end - this.#position < 2)
          return this.#suspend(request);
        this.#endLarge(request);
        continue;
      }
      const end = this.#position + this.#bulkBytes;
      if (end + 2 > this.#end) return this.#suspend(request);
      const index = request.count;
      if (index === request.starts.length) request.reserve(index + this.#remaining);
      request.starts[index] = this.#position;
      request.ends[index] = end;
      request.count = index + 1;
      this.#position = end + 2;
      this.#bulkBytes = -1;
      this.#remaining--;
    }
    this.#remaining = -1;
    request.bytes = this.#bytes;
    return ParseStatus.COMPLETE;
  }

  #beginLarge(length: number): void {
    this.#large = new LargeArgument(length, this.#pool);
    const start = this.#position;
    const end = Math.min(this.#end, start + length);
    this.#large.take(this.#bytes, start, end);
    if (this.#large.isComplete) this.#position = end;
    else this.#end = start;
  }

  #endLarge(request: Request): void {
    const index = request.count;
    request.reserve(index + this.#remaining);
    request.large.push(this.#large!);
    request.starts[index] = -request.large.length;
    request.ends[index] = -1;
    request.count = index + 1;
    this.#large = undefined;
    this.#bulkBytes = -1;
    this.#remaining--;
    this.#position += 2;
  }

  /**
   * The decimal number from `from` to CRLF: NUMBER_INCOMPLETE without its end, NUMBER_INVALID for anything but
   * −1 or digits without sign, leading zero or excess. The sum stays exact: at most DIGITS_MAX digits.
   */
  #readNumber(from: number): number {
    const bytes = this.#bytes;
    // Nearly every count and length has one or two digits; both ends must have arrived.
    if (from + 3 < this.#end) {
      const first = bytes[from]! - ZERO;
      if (first >= 0 && first <= 9) {
        if (bytes[from + 1] === CR) {
          this.#numberEnd = from + 3;
          return first;
        }
        const second = bytes[from + 1]! - ZERO;
        if (first > 0 && second >= 0 && second <= 9 && bytes[from + 2] === CR) {
          this.#numberEnd = from + 4;
          return first * 10 + second;
        }
      }
    }
    return this.#readLongNumber(from);
  }

  #readLongNumber(from: number): number {
    const bytes = this.#bytes;
    let i = from;
    let value = 0;
    for (; i < this.#end; i++) {
      const digit = bytes[i]! - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const digits = i - from;
    if (digits > DIGITS_MAX) return NUMBER_INVALID;
    if (i + 1 >= this.#end && (i === this.#end || bytes[i] === CR)) return NUMBER_INCOMPLETE;
    if (bytes[i] === CR && digits > 0) {
      if (digits > 1 && bytes[from] === ZERO) return NUMBER_INVALID;
      this.#numberEnd = i + 2;
      return value;
    }
    return this.#readNegative(from);
  }

  /** Redis treats "*-1" as an empty request; any other sign or letter is invalid once the line is whole. */
  #readNegative(from: number): number {
    const lineEnd = this.#findInLine(CR, from);
    const isLong = lineEnd - from > INLINE_BYTES_MAX;
    if (lineEnd < 0 || isLong || lineEnd + 1 >= this.#end) return NUMBER_INCOMPLETE;
    this.#numberEnd = lineEnd + 2;
    if (this.#bytes[from] !== MINUS) return NUMBER_INVALID;
    const text = this.#bytes.toString("latin1", from, lineEnd);
    return /^-[1-9][0-9]{0,14}$/.test(text) ? -1 : NUMBER_INVALID;
  }

  /** Where `byte` is next, or −1. As C's strchr, by which Redis finds the end of a line, it sees nothing behind a NUL. */
  #findInLine(byte: number, from: number): number {
    const found = this.#bytes.indexOf(byte, from);
    if (found < 0 || found >= this.#end) return -1;
    return this.#bytes.subarray(from, found).includes(NUL) ? -1 : found;
  }

  #nextInline(request: Request): ParseStatus {
    const lineEnd = this.#findInLine(LF, this.#position);
    if (lineEnd < 0) {
      if (this.#end - this.#position > INLINE_BYTES_MAX) {
        return this.#fail("ERR Protocol error: too big inline request");
      }
      return this.#suspend(request);
    }
    if (lineEnd - this.#position > INLINE_BYTES_MAX) {
      return this.#fail("ERR Protocol error: too big inline request");
    }
    const line = this.#bytes.subarray(this.#position, lineEnd);
    this.#position = lineEnd + 1;
    if (!splitInline(line, request)) {
      return this.#fail("ERR Protocol error: unbalanced quotes in request");
    }
    return ParseStatus.COMPLETE;
  }

  /** Copies the incomplete request's bytes, so that the chunk they came in can be let go. */
  #suspend(request: Request): ParseStatus {
    if (this.#position === this.#end && this.#remaining < 0) {
      this.#bytes = NO_BYTES;
      this.#position = 0;
      this.#end = 0;
      this.#requestStart = 0;
      this.#owned = false;
      return ParseStatus.INCOMPLETE;
    }
    const start = this.#requestStart;
    const length = this.#end - start;
    if (length + this.#largeBytes > this.#limits.requestBytesMax)
      return this.#fail(TOO_BIG_REQUEST);
    if (!this.#owned) {
      const copy = Buffer.allocUnsafeSlow(Math.max(1024, length * 2));
      this.#bytes.copy(copy, 0, start, this.#end);
      this.#bytes = copy;
      this.#owned = true;
    } else if (start > 0) {
      this.#bytes.copyWithin(0, start, this.#end);
    }
    for (let index = 0; start > 0 && index < request.count; index++) {
      if (request.starts[index]! < 0) continue;
      request.starts[index]! -= start;
      request.ends[index]! -= start;
    }
    request.exchange(this.#partial);
    this.#position -= start;
    this.#end = length;
    this.#requestStart = 0;
    return ParseStatus.INCOMPLETE;
  }

  #append(chunk: Buffer, from: number): void {
    const added = chunk.length - from;
    if (!this.#owned || this.#end + added > this.#bytes.length) {
      const needed = this.#end - this.#requestStart + added;
      const grown = Buffer.allocUnsafeSlow(Math.max(KEPT_BUFFER_BYTES_MAX, needed * 2));
      // Offsets of arguments already taken count from #requestStart only after #suspend, where it is 0.
      this.#bytes.copy(grown, 0, this.#requestStart, this.#end);
      this.#position -= this.#requestStart;
      this.#end -= this.#requestStart;
      this.#requestStart = 0;
      this.#bytes = grown;
      this.#owned = true;
    }
    chunk.copy(this.#bytes, this.#end, from);
    this.#end += added;
  }

  #failExpectedDollar(): ParseStatus {
    const byte = this.#bytes[this.#position]!;
    const got = byte === CR || byte === LF ? " " : String.fromCharCode(byte);
    return this.#fail(`ERR Protocol error: expected '$', got '${got}'`);
  }

  #fail(message: string): ParseStatus {
    this.error = message;
    return ParseStatus.MALFORMED;
  }
}
