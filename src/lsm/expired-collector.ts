/**
 * Collects expired keys for one ExpiredBatch, up to a limit; remembers where it stopped.
 */

import { positionOf, type RecordView } from "./order-key.ts";
import type { ExpiredBatch } from "./storage-job.ts";

const KEYS_BYTES_INITIAL = 4096;

export class ExpiredCollector {
  /** Position of the first expired record that found no room; -1 if all did. */
  resumePosition = -1;
  readonly #max: number;
  readonly #slots: number[] = [];
  readonly #hashes: number[] = [];
  readonly #sequences: number[] = [];
  readonly #expiries: number[] = [];
  readonly #keyEnds: number[] = [];
  #keys = new Uint8Array(0);
  #keysBytes = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get isFull(): boolean {
    return this.resumePosition !== -1;
  }

  /** Copies what it keeps. */
  add(record: RecordView): void {
    if (this.isFull) return;
    if (this.#slots.length >= this.#max) {
      this.resumePosition = positionOf(record.slot, record.hash);
      return;
    }
    const keyBytes = record.keyEnd - record.keyStart;
    this.#reserve(keyBytes);
    this.#keys.set(record.bytes.subarray(record.keyStart, record.keyEnd), this.#keysBytes);
    this.#keysBytes += keyBytes;
    this.#keyEnds.push(this.#keysBytes);
    this.#slots.push(record.slot);
    this.#hashes.push(record.hash);
    this.#sequences.push(record.sequence);
    this.#expiries.push(record.expiry);
  }

  batch(): ExpiredBatch | undefined {
    if (this.#slots.length === 0) return undefined;
    return {
      count: this.#slots.length,
      slots: Uint16Array.from(this.#slots),
      hashes: Uint32Array.from(this.#hashes),
      sequences: Float64Array.from(this.#sequences),
      expiries: Float64Array.from(this.#expiries),
      keyEnds: Uint32Array.from(this.#keyEnds),
      keys: this.#keys.slice(0, this.#keysBytes),
    };
  }

  #reserve(bytes: number): void {
    const needed = this.#keysBytes + bytes;
    if (needed <= this.#keys.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#keys.length, KEYS_BYTES_INITIAL));
    grown.set(this.#keys.subarray(0, this.#keysBytes));
    this.#keys = grown;
  }
}
