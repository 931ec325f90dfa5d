/**
 * The fingerprints of one table in memory: whether it knows a key, and whether the key lives there, without
 * reading data blocks. For counting half a million keys at once; 5 bytes per key while it is held.
 */
import { CorruptionError } from "../base/errors.ts";
import { freeBuffer } from "../base/slab-pool.ts";
import { FINGERPRINT_LIVE, type KeyQuery } from "./order-key.ts";
import type { TableIndex } from "./table-index.ts";

/** What a table says about a key itself (not its sub-keys). */
export const KeyState = { UNKNOWN: 0, DEAD: 1, LIVE: 2 } as const;
export type KeyState = (typeof KeyState)[keyof typeof KeyState];

export class FingerprintColumn {
  readonly count: number;
  readonly memoryBytes: number;
  readonly #index: TableIndex;
  readonly #first: Uint32Array;
  readonly #fingerprints: Uint32Array;
  readonly #lowHashes: Uint8Array;
  readonly #section: Uint8Array;

  /** Takes the section, which nothing else may change; throws CorruptionError when it contradicts itself. */
  constructor(
    section: Uint8Array,
    index: TableIndex,
    place: { readonly path: string; readonly offset: number },
  ) {
    const fail = (message: string): never => {
      throw new CorruptionError(message, place);
    };
    const firstBytes = 4 * (index.blockCount + 1);
    if (section.length < firstBytes) fail("table fingerprints are cut short");
    this.#section = section.byteOffset % 4 === 0 ? section : section.slice();
    const { buffer, byteOffset } = this.#section;
    const first = new Uint32Array(buffer, byteOffset, index.blockCount + 1);
    const count = first[index.blockCount]!;
    if (section.length !== firstBytes + 5 * count) fail("table fingerprints have the wrong length");
    for (let i = 0; i < index.blockCount; i++) {
      if (first[i]! > first[i + 1]!) fail("table fingerprints do not ascend by block");
    }
    this.count = count;
    this.#index = index;
    this.#first = first;
    this.#fingerprints = new Uint32Array(buffer, byteOffset + firstBytes, count);
    this.#lowHashes = this.#section.subarray(firstBytes + 4 * count);
    this.memoryBytes = section.length;
  }

  /** Gives its memory back now. Nothing may be done with it any more. */
  free(): void {
    freeBuffer(this.#section);
  }

  /**
   * State of the query's key; `fingerprint` is fingerprintOf its bytes (the live bit is ignored).
   * REQUIRES: the query has an empty sub-key.
   */
  find(query: KeyQuery, fingerprint: number): KeyState {
    const block = this.#index.locate(query);
    if (block < 0) return KeyState.UNKNOWN;
    const wanted = (fingerprint | FINGERPRINT_LIVE) >>> 0;
    const lowHash = query.hash & 0xff;
    const end = this.#first[block + 1]!;
    for (let i = this.#first[block]!; i < end; i++) {
      const entry = this.#fingerprints[i]!;
      if ((entry | FINGERPRINT_LIVE) >>> 0 === wanted && this.#lowHashes[i] === lowHash) {
        return entry & FINGERPRINT_LIVE ? KeyState.LIVE : KeyState.DEAD;
      }
    }
    return KeyState.UNKNOWN;
  }

  /** Fingerprint i in record order, live bit included. */
  at(i: number): number {
    return this.#fingerprints[i]!;
  }

  lowHashAt(i: number): number {
    return this.#lowHashes[i]!;
  }

  /** Index of the first fingerprint of `block`; of the block count: the number of fingerprints. */
  firstOf(block: number): number {
    return this.#first[block]!;
  }
}
