/**
 * The records of frozen memtables in table order, without an object per record.
 *
 * Ranks: every record of all sources has a rank, 0 for the newest. A radix sort orders ranks by the u32 prefix
 * (three counting passes, 11 + 11 + 10 bits); being stable it keeps the newest first, so only runs of one
 * prefix are then compared in full: versions of one key, parts of one key, and 1 in 10^4 by chance.
 *
 *   order[i] → rank → arenaOf[rank], recordOf[rank] (offset | mark), sequence = newest of the arena − …
 *
 * Hot: 600k records must be sorted in tens of milliseconds; see bench/micro/flush.bench.ts.
 */
import { assert } from "../base/assert.ts";
import { compareBytes } from "../base/bytes.ts";
import {
  expiryAt,
  flagsAt,
  hashAt,
  keyBytesAt,
  keyStartAt,
  RecordType,
  slotAt,
  subKeyBytesAt,
  typeAt,
  valueBytesAt,
} from "../base/record.ts";
import { freeBuffer } from "../base/slab-pool.ts";
import { type FlushSource, isDead, OFFSET_COUNT_UNKNOWN } from "./flush.ts";
import { prefixOf, type RecordView } from "./order-key.ts";
import { covers } from "./range-deletions.ts";
import type { RangeDeletion } from "./version-edit.ts";

const RADIX_BITS = 11;
const RADIX = 1 << RADIX_BITS;
const RADIX_MASK = RADIX - 1;
/** Runs up to this length are sorted by insertion, longer ones (parts of large values) by merging. */
const INSERTION_MAX = 12;
/** Records whose memory is fetched at once. */
const BATCH = 32;
const LINE_WORDS = 16;
/** A source is numbered in one byte. */
const SOURCES_MAX = 256;

export class SortedSources {
  /** Records in order, without the RANGE_DELETION records. */
  readonly count: number;
  /** The RANGE_DELETION records that no newer one covers, ascending by sequence. */
  readonly rangeDeletions: readonly RangeDeletion[];
  /** Only keeps the reads of #touch alive. */
  touched = 0;
  readonly #arenas: Uint8Array[] = [];
  readonly #words: Int32Array[] = [];
  /** Per rank: which source, and the entry of its offsets. */
  readonly #arenaOf: Uint8Array;
  readonly #entryOf: Uint32Array;
  /** Per source: the sequence of the record with rank r is sequenceBase − r. */
  readonly #sequenceBase: number[] = [];
  readonly #prefixes: Uint32Array;
  readonly #order: Uint32Array;

  /** Takes the sources oldest first. Borrows their memory. */
  constructor(sources: readonly FlushSource[]) {
    assert(sources.length <= SOURCES_MAX, "more sources than a byte can number");
    let total = 0;
    for (const source of sources) {
      this.#arenas.push(new Uint8Array(source.bytes));
      this.#words.push(new Int32Array(source.bytes));
      total += source.recordCount - source.firstRecord;
    }
    this.#arenaOf = new Uint8Array(total);
    this.#entryOf = new Uint32Array(total);
    const prefixes = new Uint32Array(total);
    const ranks = new Uint32Array(total);
    const deletions: RangeDeletion[] = [];
    let rank = 0;
    let count = 0;
    for (let s = sources.length - 1; s >= 0; s--) {
      const source = sources[s]!;
      const words = this.#words[s]!;
      const entries = new Uint32Array(source.offsets);
      const dead = source.dead === undefined ? undefined : new Uint8Array(source.dead);
      this.#sequenceBase[s] = source.firstSequence + source.recordCount - 1 + rank;
      for (let ordinal = source.recordCount - 1; ordinal >= source.firstRecord; ordinal--, rank++) {
        const entry = entries[ordinal]!;
        const offset = entry & ~OFFSET_COUNT_UNKNOWN;
        if (dead !== undefined && entry === offset && isDead(dead, offset)) continue;
        this.#arenaOf[rank] = s;
        this.#entryOf[rank] = entry;
        if (typeAt(words, offset) === RecordType.RANGE_DELETION) {
          const older = readRangeDeletion(words, offset, source.firstSequence + ordinal);
          if (!deletions.some((newer) => covers(newer, older))) deletions.push(older);
          continue;
        }
        prefixes[count] = prefixOf(slotAt(words, offset), hashAt(words, offset));
        ranks[count++] = rank;
      }
    }
    this.count = count;
    this.rangeDeletions = deletions.reverse();
    const sorted = radixSort(prefixes, ranks, count);
    this.#prefixes = sorted.keys;
    this.#order = sorted.values;
    this.#sortRuns();
  }

  /** Gives its memory back now: some megabytes, several times a second. Nothing may be done with it any more. */
  free(): void {
    for (const view of [this.#arenaOf, this.#entryOf, this.#prefixes, this.#order])
      freeBuffer(view);
  }

  /** Prefix of the i-th record. */
  prefix(i: number): number {
    return this.#prefixes[i]!;
  }

  sequence(i: number): number {
    const rank = this.#order[i]!;
    return this.#sequenceBase[this.#arenaOf[rank]!]! - rank;
  }

  isMarked(i: number): boolean {
    return (this.#entryOf[this.#order[i]!]! & OFFSET_COUNT_UNKNOWN) !== 0;
  }

  /** Fills `view` with the i-th record, but for its fingerprint. Fast when called for ascending i. */
  read(i: number, view: RecordView): void {
    if (i % BATCH === 0) this.#touch(i);
    const rank = this.#order[i]!;
    const arena = this.#arenaOf[rank]!;
    const words = this.#words[arena]!;
    const offset = this.#entryOf[rank]! & ~OFFSET_COUNT_UNKNOWN;
    const bytes = this.#arenas[arena]!;
    view.bytes = bytes;
    view.type = typeAt(words, offset);
    view.flags = flagsAt(words, offset);
    view.slot = slotAt(words, offset);
    view.hash = hashAt(words, offset);
    view.expiry = expiryAt(words, offset);
    view.sequence = this.#sequenceBase[arena]! - rank;
    const keyStart = keyStartAt(words, offset);
    const keyEnd = keyStart + keyBytesAt(words, offset);
    const subKeyBytes = subKeyBytesAt(words, offset);
    view.keyStart = keyStart;
    view.keyEnd = keyEnd;
    view.subKeyStart = keyEnd;
    view.subKeyEnd = keyEnd + subKeyBytes;
    view.valueStart = keyEnd + subKeyBytes;
    view.valueEnd = keyEnd + subKeyBytes + valueBytesAt(words, offset);
    view.fingerprint = 0;
  }

  /** Whether records i and i + 1 have the same key and sub-key. */
  sameAsNext(i: number): boolean {
    if (i + 1 >= this.count || this.#prefixes[i] !== this.#prefixes[i + 1]) return false;
    return this.#compare(this.#order[i]!, this.#order[i + 1]!) === 0;
  }

  /**
   * Reads one word of each cache line of the records from i on. In table order every record is a cache miss;
   * here the processor overlaps them, while a record that is being written out keeps it busy.
   */
  #touch(i: number): void {
    const end = Math.min(i + BATCH, this.count);
    let sum = 0;
    for (let next = i; next < end; next++) {
      const rank = this.#order[next]!;
      const words = this.#words[this.#arenaOf[rank]!]!;
      const word = this.#entryOf[rank]! >>> 2;
      sum ^= words[word]! ^ words[word + LINE_WORDS]! ^ words[word + 2 * LINE_WORDS]!;
    }
    this.touched = sum;
  }

  #sortRuns(): void {
    const prefixes = this.#prefixes;
    const count = this.count;
    let start = 0;
    while (start < count) {
      const prefix = prefixes[start]!;
      let end = start + 1;
      while (end < count && prefixes[end] === prefix) end++;
      if (end - start > 1) this.#sortRun(start, end);
      start = end;
    }
  }

  #sortRun(start: number, end: number): void {
    const order = this.#order;
    let sorted = true;
    for (let i = start + 1; i < end && sorted; i++) {
      sorted = this.#compare(order[i - 1]!, order[i]!) <= 0;
    }
    if (sorted) return;
    if (end - start > INSERTION_MAX) {
      this.#mergeSort(start, end);
      return;
    }
    for (let i = start + 1; i < end; i++) {
      const rank = order[i]!;
      let at = i;
      while (at > start && this.#compare(order[at - 1]!, rank) > 0) {
        order[at] = order[at - 1]!;
        at--;
      }
      order[at] = rank;
    }
  }

  /** Bottom-up and stable. */
  #mergeSort(start: number, end: number): void {
    const length = end - start;
    let from = this.#order.slice(start, end);
    let to = new Uint32Array(length);
    for (let width = 1; width < length; width *= 2) {
      for (let low = 0; low < length; low += 2 * width) {
        const middle = Math.min(low + width, length);
        const high = Math.min(low + 2 * width, length);
        let a = low;
        let b = middle;
        for (let out = low; out < high; out++) {
          const takeA = b >= high || (a < middle && this.#compare(from[a]!, from[b]!) <= 0);
          to[out] = takeA ? from[a++]! : from[b++]!;
        }
      }
      const swap = from;
      from = to;
      to = swap;
    }
    this.#order.set(from, start);
  }

  /** Order of two records of one prefix, without their sequences. */
  #compare(a: number, b: number): number {
    const aArena = this.#arenaOf[a]!;
    const bArena = this.#arenaOf[b]!;
    const aWords = this.#words[aArena]!;
    const bWords = this.#words[bArena]!;
    const aOffset = this.#entryOf[a]! & ~OFFSET_COUNT_UNKNOWN;
    const bOffset = this.#entryOf[b]! & ~OFFSET_COUNT_UNKNOWN;
    const hashOrder = hashAt(aWords, aOffset) - hashAt(bWords, bOffset);
    if (hashOrder !== 0) return hashOrder;
    const aBytes = this.#arenas[aArena]!;
    const bBytes = this.#arenas[bArena]!;
    const aKey = keyStartAt(aWords, aOffset);
    const bKey = keyStartAt(bWords, bOffset);
    const aLength = keyBytesAt(aWords, aOffset);
    const bLength = keyBytesAt(bWords, bOffset);
    const order = compareBytes(aBytes, aKey, bBytes, bKey, Math.min(aLength, bLength));
    if (order !== 0) return order;
    if (aLength !== bLength) return aLength - bLength;
    const aSubLength = subKeyBytesAt(aWords, aOffset);
    const bSubLength = subKeyBytesAt(bWords, bOffset);
    const common = Math.min(aSubLength, bSubLength);
    const subOrder = compareBytes(aBytes, aKey + aLength, bBytes, bKey + bLength, common);
    return subOrder !== 0 ? subOrder : aSubLength - bSubLength;
  }
}

function readRangeDeletion(words: Int32Array, offset: number, sequence: number): RangeDeletion {
  const bytes = new DataView(words.buffer);
  const value =
    keyStartAt(words, offset) + keyBytesAt(words, offset) + subKeyBytesAt(words, offset);
  const startSlot = bytes.getUint16(value, true);
  return { sequence, startSlot, endSlot: bytes.getUint16(value + 2, true) };
}

/** Sorts `count` pairs by key, stably. Uses the arrays it is given as scratch. */
function radixSort(
  keys: Uint32Array,
  values: Uint32Array,
  count: number,
): { keys: Uint32Array; values: Uint32Array } {
  const starts = new Uint32Array(3 * RADIX);
  for (let i = 0; i < count; i++) {
    const key = keys[i]!;
    starts[key & RADIX_MASK]!++;
    starts[RADIX + ((key >>> RADIX_BITS) & RADIX_MASK)]!++;
    starts[2 * RADIX + (key >>> (2 * RADIX_BITS))]!++;
  }
  for (let pass = 0; pass < 3; pass++) {
    let sum = 0;
    for (let i = pass * RADIX; i < (pass + 1) * RADIX; i++) {
      const size = starts[i]!;
      starts[i] = sum;
      sum += size;
    }
  }
  let fromKeys: Uint32Array = keys;
  let fromValues: Uint32Array = values;
  let toKeys: Uint32Array = new Uint32Array(count);
  let toValues: Uint32Array = new Uint32Array(count);
  for (let pass = 0; pass < 3; pass++) {
    const shift = pass * RADIX_BITS;
    const base = pass * RADIX;
    for (let i = 0; i < count; i++) {
      const key = fromKeys[i]!;
      const at = starts[base + ((key >>> shift) & RADIX_MASK)]!++;
      toKeys[at] = key;
      toValues[at] = fromValues[i]!;
    }
    [fromKeys, toKeys] = [toKeys, fromKeys];
    [fromValues, toValues] = [toValues, fromValues];
  }
  freeBuffer(toKeys);
  freeBuffer(toValues);
  return { keys: fromKeys, values: fromValues };
}
