/**
 * Counts replies in a byte stream without building them: kind, and the first four bytes of a value as its stamp; an
 * integer is its own stamp.
 *
 * Load writes values that start with the key's number (little endian), so a stamp proves that a reply belongs to its
 * request. Understands what GET, SET, INCR, WAIT and PING answer: `+status -error :integer $bulk _null`.
 *
 * Hot: runs once a reply in the load generator.
 */

export const REPLY_STATUS = 1;
export const REPLY_ERROR = 2;
export const REPLY_INTEGER = 3;
export const REPLY_VALUE = 4;
export const REPLY_NULL = 5;

export const STAMP_BYTES = 4;

const LINE_FEED = 0x0a;
const MINUS = 0x2d;
const EMPTY = Buffer.alloc(0);

export interface ReplySink {
  /** `stamp` is meaningful for integers and values of at least four bytes; `text` is given for errors only. */
  onReply(kind: number, stamp: number, text: string): void;
}

export class ReplyScanner {
  readonly #sink: ReplySink;
  /** Invariant: an incomplete reply header, or one whose stamp has not arrived yet. */
  #tail: Buffer = EMPTY;
  /** Bytes of the current value's body that are still to come. */
  #skip = 0;

  constructor(sink: ReplySink) {
    this.#sink = sink;
  }

  feed(received: Buffer): void {
    let chunk = received;
    if (this.#tail.length > 0) {
      chunk = Buffer.concat([this.#tail, received]);
      this.#tail = EMPTY;
    }
    let at = Math.min(this.#skip, chunk.length);
    this.#skip -= at;
    while (at < chunk.length) {
      const next = this.#scan(chunk, at);
      if (next < 0) {
        this.#tail = Buffer.from(chunk.subarray(at));
        return;
      }
      if (next > chunk.length) this.#skip = next - chunk.length;
      at = next;
    }
  }

  /** Scans one reply; returns where the next begins, or -1 when too little of this one is here. */
  #scan(chunk: Buffer, start: number): number {
    let lineEnd = start + 1;
    while (lineEnd < chunk.length && chunk[lineEnd] !== LINE_FEED) lineEnd++;
    if (lineEnd >= chunk.length) return -1;
    const next = lineEnd + 1;
    switch (chunk[start]) {
      case 0x2b: // +
        this.#sink.onReply(REPLY_STATUS, 0, "");
        return next;
      case 0x2d: // -
        this.#sink.onReply(REPLY_ERROR, 0, chunk.toString("latin1", start, lineEnd - 1));
        return next;
      case 0x3a: // :
        this.#sink.onReply(REPLY_INTEGER, integerOf(chunk, start + 1, lineEnd - 1), "");
        return next;
      case 0x5f: // _
        this.#sink.onReply(REPLY_NULL, 0, "");
        return next;
      case 0x24: // $
        return this.#scanBulk(chunk, start, next);
      default:
        throw new Error(
          `unexpected reply: ${chunk.toString("latin1", start, Math.min(next, start + 80))}`,
        );
    }
  }

  #scanBulk(chunk: Buffer, start: number, bodyStart: number): number {
    if (chunk[start + 1] === MINUS) {
      this.#sink.onReply(REPLY_NULL, 0, "");
      return bodyStart;
    }
    let length = 0;
    for (let i = start + 1; i < bodyStart - 2; i++) length = length * 10 + chunk[i]! - 0x30;
    if (bodyStart + Math.min(length, STAMP_BYTES) > chunk.length) return -1;
    const stamp = length < STAMP_BYTES ? 0 : chunk.readUInt32LE(bodyStart);
    this.#sink.onReply(REPLY_VALUE, stamp, "");
    return bodyStart + length + 2;
  }
}

function integerOf(chunk: Buffer, start: number, end: number): number {
  const isNegative = chunk[start] === MINUS;
  let value = 0;
  for (let at = isNegative ? start + 1 : start; at < end; at++)
    value = value * 10 + chunk[at]! - 0x30;
  return isNegative ? -value : value;
}
