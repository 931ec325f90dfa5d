/**
 * Blocked Bloom filter: every key touches one line of 512 bits (a cache line), in which up to 12 bits are set.
 *
 *   mix    = 32-bit mix of (slot, order hash)
 *   line   = mix * lines / 2^32
 *   probe  = the top 9 bits of h, where h starts as a second mix and is multiplied by 2^32 / phi after each probe
 *
 * 10 bits a key and 6 probes give about 1 % false positives. The order hash is uniform, but a table holds a
 * narrow run of positions, hence the mix. The words are the table file's filter section, byte for byte.
 *
 * Hot: mayContain is typed-array arithmetic; a negative answer usually ends at the first or second probe.
 */

const LINE_WORDS = 16;
const LINE_BITS = 512;
const TWO_32 = 0x1_0000_0000;
const GOLDEN = 0x9e3779b9;
const PROBES_MAX = 12;

/** 32-bit mix that a filter is built from. Part of the table format. */
export function filterMix(slot: number, hash: number): number {
  let mix = Math.imul(hash ^ Math.imul(slot + 1, 0x85ebca6b), 0xcc9e2d51);
  mix ^= mix >>> 15;
  mix = Math.imul(mix, 0x2c1b3c6d);
  mix ^= mix >>> 13;
  return mix >>> 0;
}

/** Probes that make the most of this many bits a key in lines of 512 bits. */
export function probesFor(bitsPerKey: number): number {
  return Math.max(1, Math.min(PROBES_MAX, Math.round(bitsPerKey * 0.6)));
}

/** The filter of mixes[0, count). No words when bitsPerKey is 0. */
export function buildFilter(mixes: Uint32Array, count: number, bitsPerKey: number): Uint32Array {
  if (bitsPerKey === 0 || count === 0) return new Uint32Array(0);
  const lines = Math.ceil((count * bitsPerKey) / LINE_BITS);
  const words = new Uint32Array(lines * LINE_WORDS);
  const probes = probesFor(bitsPerKey);
  const scale = lines / TWO_32;
  for (let i = 0; i < count; i++) {
    const mix = mixes[i]!;
    const line = ((mix * scale) | 0) * LINE_WORDS;
    let h = Math.imul(mix, GOLDEN) ^ (mix >>> 16);
    for (let probe = 0; probe < probes; probe++) {
      h = Math.imul(h, GOLDEN);
      words[line + (h >>> 28)]! |= 1 << (h >>> 23);
    }
  }
  return words;
}

/** A filter in memory. Without words it passes everything. */
export class Filter {
  readonly #words: Uint32Array;
  readonly #scale: number;
  readonly #probes: number;

  constructor(words: Uint32Array, probes: number) {
    this.#words = words;
    this.#scale = words.length / LINE_WORDS / TWO_32;
    this.#probes = probes;
  }

  get memoryBytes(): number {
    return this.#words.byteLength;
  }

  /** False: no record of a key with this slot and order hash is in the table. */
  mayContain(slot: number, hash: number): boolean {
    const words = this.#words;
    if (words.length === 0) return true;
    const mix = filterMix(slot, hash);
    const line = ((mix * this.#scale) | 0) * LINE_WORDS;
    let h = Math.imul(mix, GOLDEN) ^ (mix >>> 16);
    for (let probe = this.#probes; probe > 0; probe--) {
      h = Math.imul(h, GOLDEN);
      // Bits 28 … 31 choose the word and 23 … 27 the bit in it (a shift takes its count modulo 32).
      if (((words[line + (h >>> 28)]! >>> (h >>> 23)) & 1) === 0) return false;
    }
    return true;
  }
}
