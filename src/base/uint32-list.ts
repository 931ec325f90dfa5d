/** A column of numbers that grows while a table is built or keys are collected. */
import { freeBuffer } from "./slab-pool.ts";

/** Unsigned 32-bit numbers: no object per entry, doubled when full. */
export class Uint32List {
  #words: Uint32Array;
  #length = 0;

  constructor(capacity = 1024) {
    this.#words = new Uint32Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#words.length) {
      const grown = new Uint32Array(this.#words.length * 2);
      grown.set(this.#words);
      freeBuffer(this.#words);
      this.#words = grown;
    }
    this.#words[this.#length++] = value;
  }

  at(index: number): number {
    return this.#words[index]!;
  }

  /** The entries so far. Borrows the memory until the next push. */
  view(): Uint32Array {
    return this.#words.subarray(0, this.#length);
  }

  /** Gives its memory back now. Nothing may be done with it any more. */
  free(): void {
    freeBuffer(this.#words);
  }
}
