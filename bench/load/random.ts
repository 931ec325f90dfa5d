/**
 * Seeded randomness for load: a 32-bit generator (sfc32), a permutation of [0, count), and a pool of random bytes.
 *
 * Invariant: the same seed gives the same load, whatever the machine.
 */

/** sfc32 by Chris Doty-Humphrey: passes PractRand, about 3 ns a number. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = Math.imul(seed, 0x9e3779b1) | 0;
    this.#c = 0x2545f491;
    for (let i = 0; i < 15; i++) this.next();
  }

  /** Uniform in [0, 2^32). */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** Uniform in [0, 1). */
  unit(): number {
    return this.next() / 0x1_0000_0000;
  }

  /** Uniform integer in [0, count). */
  below(count: number): number {
    return Math.floor(this.unit() * count);
  }
}

/**
 * A pseudo-random bijection of [0, count): visits every key once, in an order without pattern, in O(1) memory.
 * Mixes on the next power of two by steps that can each be undone, and walks on while outside the range.
 */
export class Permutation {
  readonly #count: number;
  readonly #mask: number;
  readonly #shift: number;
  readonly #offset: number;

  /** REQUIRES: 0 < count <= 2^30. */
  constructor(count: number, seed: number) {
    const bits = Math.max(2, 32 - Math.clz32(count - 1));
    this.#count = count;
    this.#mask = 2 ** bits - 1;
    this.#shift = bits >> 1;
    this.#offset = Math.imul(seed, 0x27d4eb2f);
  }

  /** The place of `index`. REQUIRES: 0 <= index < count. */
  at(index: number): number {
    let place = index;
    do place = this.#mix(place);
    while (place >= this.#count);
    return place;
  }

  #mix(value: number): number {
    const mask = this.#mask;
    const shift = this.#shift;
    let mixed = (value + this.#offset) & mask;
    mixed ^= mixed >>> shift;
    mixed = Math.imul(mixed, 0x9e3779b1) & mask;
    mixed ^= mixed >>> shift;
    mixed = Math.imul(mixed, 0x85ebca6b) & mask;
    mixed ^= mixed >>> shift;
    mixed = Math.imul(mixed, 0xc2b2ae35) & mask;
    return mixed ^ (mixed >>> shift);
  }
}

/** Random bytes to cut values from: far larger than a block or a compressor's window sees at once. */
export class RandomPool {
  readonly #bytes: Buffer;
  readonly #random: Random;

  constructor(sizeBytes: number, seed: number) {
    this.#random = new Random(seed);
    const words = new Uint32Array(sizeBytes >>> 2);
    for (let i = 0; i < words.length; i++) words[i] = this.#random.next();
    this.#bytes = Buffer.from(words.buffer);
  }

  /** Copies `length` bytes from a random place of the pool. REQUIRES: length < pool size. */
  fill(target: Buffer, start: number, length: number): void {
    const from = this.#random.below(this.#bytes.length - length);
    this.#bytes.copy(target, start, from, from + length);
  }
}
