/** Expired keys in memory, found by looking through the records of unflushed segments. */
import {
  expiryAt,
  keyBytesAt,
  keyStartAt,
  RecordType,
  subKeyBytesAt,
  typeAt,
} from "../base/record.ts";
import { OFFSET_COUNT_UNKNOWN } from "../lsm/flush.ts";
import type { Segments } from "./segments.ts";

/**
 * Looks through records that carry an expiry in unflushed segments, a bounded number per call, and tells of each
 * one whose time has come.
 */
export class ExpirySweep {
  readonly #segments: Segments;
  #number = 0;
  #ordinal = 0;

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  /** Looks at `count` records; `visit` gets the key of each that has expired at `nowMs`. */
  step(
    count: number,
    nowMs: number,
    visit: (bytes: Buffer, start: number, end: number) => void,
  ): void {
    let left = count;
    for (const { segment, memory } of this.#segments.unflushed) {
      if (memory.expiringCount === 0 || segment.number < this.#number) continue;
      if (segment.number > this.#number) {
        this.#number = segment.number;
        this.#ordinal = 0;
      }
      for (; this.#ordinal < memory.recordCount; this.#ordinal++) {
        if (left-- === 0) return;
        const offset = memory.offsets[this.#ordinal]! & ~OFFSET_COUNT_UNKNOWN;
        const words = segment.words;
        const expiry = expiryAt(words, offset);
        if (expiry === 0 || expiry > nowMs || subKeyBytesAt(words, offset) !== 0) continue;
        if (typeAt(words, offset) === RecordType.RANGE_DELETION) continue;
        const start = keyStartAt(words, offset);
        visit(segment.bytes, start, start + keyBytesAt(words, offset));
      }
    }
    this.#number = 0;
    this.#ordinal = 0;
  }
}
