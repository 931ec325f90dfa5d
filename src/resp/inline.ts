/**
 * Inline requests: a line of words, quoted as redis-cli quotes them ("…" with \n \r \t \b \a \xHH and \c
 * escapes, '…' with \' only). A closing quote must be followed by a blank or the end, as in Redis's
 * sdssplitargs.
 */
import type { Request } from "./request.ts";

/** C's isspace. */
const BLANKS = new Set([0x20, 0x09, 0x0a, 0x0b, 0x0c, 0x0d]);
/** What ends a word without quotes: not every blank does. */
const WORD_ENDS = new Set([0x20, 0x09, 0x0a, 0x0d]);
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const BACKSLASH = 0x5c;
const LETTER_X = 0x78;
const ESCAPES: ReadonlyMap<number, number> = new Map([
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
  [0x62, 0x08],
  [0x61, 0x07],
]);
/** Instead of a position: the quotes do not balance. */
const UNBALANCED = -1;

/** Splits `line` (without LF) into the arguments of `request`; false when its quotes do not balance. */
export function splitInline(line: Uint8Array, request: Request): boolean {
  const words = new Words(line);
  request.count = 0;
  for (let at = skipBlanks(line, 0); at < line.length; at = skipBlanks(line, at)) {
    request.reserve(request.count + 1);
    request.starts[request.count] = words.length;
    at = words.take(at);
    if (at === UNBALANCED) return false;
    request.ends[request.count] = words.length;
    request.count++;
  }
  request.bytes = words.bytes;
  return true;
}

function skipBlanks(line: Uint8Array, from: number): number {
  let at = from;
  while (at < line.length && BLANKS.has(line[at]!)) at++;
  return at;
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** The words of a line without their quotes, one behind the other. */
class Words {
  readonly bytes: Buffer;
  length = 0;
  readonly #line: Uint8Array;

  constructor(line: Uint8Array) {
    this.#line = line;
    this.bytes = Buffer.allocUnsafeSlow(line.length);
  }

  /** Appends the word at `from`; returns where it ends, or UNBALANCED. */
  take(from: number): number {
    const line = this.#line;
    for (let at = from; at < line.length; at++) {
      const byte = line[at]!;
      if (WORD_ENDS.has(byte)) return at;
      if (byte === DOUBLE_QUOTE) return this.#endOfQuoted(this.#takeDouble(at + 1));
      if (byte === SINGLE_QUOTE) return this.#endOfQuoted(this.#takeSingle(at + 1));
      this.#append(byte);
    }
    return line.length;
  }

  /** A closing quote ends the word; nothing may touch it. */
  #endOfQuoted(at: number): number {
    if (at === UNBALANCED || at === this.#line.length) return at;
    return BLANKS.has(this.#line[at]!) ? at : UNBALANCED;
  }

  /** Up to the closing quote; returns the position behind it. */
  #takeDouble(from: number): number {
    const line = this.#line;
    let at = from;
    while (at < line.length) {
      const byte = line[at]!;
      if (byte === DOUBLE_QUOTE) return at + 1;
      if (byte === BACKSLASH && at + 1 < line.length) {
        at = this.#takeEscape(at + 1);
      } else {
        this.#append(byte);
        at++;
      }
    }
    return UNBALANCED;
  }

  #takeEscape(at: number): number {
    const code = this.#line[at]!;
    const high = code === LETTER_X ? hexDigit(this.#line[at + 1]) : -1;
    const low = high < 0 ? -1 : hexDigit(this.#line[at + 2]);
    if (low >= 0) {
      this.#append((high << 4) | low);
      return at + 3;
    }
    this.#append(ESCAPES.get(code) ?? code);
    return at + 1;
  }

  #takeSingle(from: number): number {
    const line = this.#line;
    let at = from;
    while (at < line.length) {
      if (line[at] === SINGLE_QUOTE) return at + 1;
      if (line[at] === BACKSLASH && line[at + 1] === SINGLE_QUOTE) at++;
      this.#append(line[at]!);
      at++;
    }
    return UNBALANCED;
  }

  #append(byte: number): void {
    this.bytes[this.length++] = byte;
  }
}
