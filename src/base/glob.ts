/**
 * Redis's glob patterns over bytes (KEYS, SCAN MATCH), with the answers of its stringmatchlen():
 *
 *   *  any bytes     ?  one byte     [abc] [a-z] [^a]  one of a class     \x  x itself
 *
 * A class without its `]` ends with the pattern; bytes above 127 count as negative in ranges, as in C; stars alone
 * match nothing but one byte or more. Patterns come from clients: matching does not recurse, only the last `*`
 * is ever tried again, and a match that takes more than STEPS_MAX steps is answered with no.
 */

const STAR = 0x2a;
const QUESTION = 0x3f;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const BACKSLASH = 0x5c;
const CARET = 0x5e;
const DASH = 0x2d;

/** A few milliseconds. A pattern without classes needs no more for any key of less than a thousand bytes. */
const STEPS_MAX = 1 << 20;

export class Glob {
  readonly #pattern: Uint8Array;
  /** Where the element after the one that was matched last starts. */
  #next = 0;
  /** Steps taken by all matches so far: what they have cost. */
  steps = 0;

  /** Borrows the pattern. */
  constructor(pattern: Uint8Array) {
    this.#pattern = pattern;
  }

  /** Whether it matches everything, the empty key too: the one pattern that is not looked at. */
  get isEverything(): boolean {
    return this.#pattern.length === 1 && this.#pattern[0] === STAR;
  }

  /** Whether bytes[start, end) match. */
  matches(bytes: Uint8Array, start: number, end: number): boolean {
    const pattern = this.#pattern;
    if (start === end) return pattern.length === 0;
    const limit = this.steps + STEPS_MAX;
    let at = 0;
    let position = start;
    let afterStar = -1;
    let starPosition = 0;
    while (position < end) {
      if (at < pattern.length && pattern[at] === STAR) {
        at++;
        if (at === pattern.length) return true;
        afterStar = at;
        starPosition = position;
        continue;
      }
      if (at < pattern.length && this.#matchesElement(at, bytes[position]!)) {
        at = this.#next;
        position++;
        continue;
      }
      if (afterStar < 0 || this.steps > limit) return false;
      starPosition++;
      position = starPosition;
      at = afterStar;
    }
    while (pattern[at] === STAR) at++;
    return at >= pattern.length;
  }

  /** One element, which is no star, against one byte. */
  #matchesElement(at: number, byte: number): boolean {
    const pattern = this.#pattern;
    this.steps++;
    this.#next = at + 1;
    switch (pattern[at]) {
      case QUESTION:
        return true;
      case OPEN:
        return this.#matchesClass(at + 1, byte);
      case BACKSLASH:
        if (at + 1 === pattern.length) return byte === BACKSLASH;
        this.#next = at + 2;
        return pattern[at + 1] === byte;
      default:
        return pattern[at] === byte;
    }
  }

  /** The class whose `[` lies before `start`. */
  #matchesClass(start: number, byte: number): boolean {
    const pattern = this.#pattern;
    const isNegated = pattern[start] === CARET;
    let at = isNegated ? start + 1 : start;
    let isFound = false;
    for (; at < pattern.length; at++) {
      if (pattern[at] === BACKSLASH && at + 1 < pattern.length) {
        at++;
        if (pattern[at] === byte) isFound = true;
      } else if (pattern[at] === CLOSE) {
        break;
      } else if (at + 2 < pattern.length && pattern[at + 1] === DASH) {
        if (isBetween(pattern[at]!, byte, pattern[at + 2]!)) isFound = true;
        at += 2;
      } else if (pattern[at] === byte) {
        isFound = true;
      }
    }
    this.steps += at - start;
    this.#next = Math.min(at + 1, pattern.length);
    return isFound !== isNegated;
  }
}

/** Whether a byte lies between two others, whichever of them is lower, all signed. */
function isBetween(one: number, byte: number, other: number): boolean {
  const low = (one << 24) >> 24;
  const high = (other << 24) >> 24;
  const value = (byte << 24) >> 24;
  return low <= high ? low <= value && value <= high : high <= value && value <= low;
}
