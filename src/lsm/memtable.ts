/**
 * The memtable: an index over the records that lie in the resident segments' arenas.
 *
 * One open-addressing table serves all resident segments, so a lookup costs one probe however many segments
 * hold data that is not yet, or no longer only, in memory:
 *
 *   bucket = [ index hash i32 | position u32 ]       position 0: empty
 *   position = (segment number << segment shift | arena offset >> 3) mod 2^32
 *
 * A position whose segment is no longer resident, or that lies before `floor` (a deletion of all keys) or before the
 * floor of its slot (a deletion of slots), is stale: lookups pass over it, inserts reuse it, and `sweep` removes it long
 * before positions wrap. A floor goes with its segment: everything before it is no longer resident either.
 *
 * Per segment there is, for flushes and scans (MemorySegment):
 *   offsets   u32 per record: its arena offset | OFFSET_COUNT_UNKNOWN
 *   next      u32 per record: the chain of keys first written to this segment, by (slot, top 6 bits of hash)
 *
 * All changes since `begin()` can be undone. Hot: no object per key, so the collector has nothing to walk.
 */
import { assert } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import {
  expiryAt,
  flagsAt,
  hashAt,
  keyBytesAt,
  keyStartAt,
  slotAt,
  subKeyBytesAt,
  typeAt,
  valueBytesAt,
} from "../base/record.ts";
import { markDead, OFFSET_COUNT_UNKNOWN, unmarkDead } from "./flush.ts";
import type { MemorySegment } from "./memory-segment.ts";
import type { KeyQuery, RecordView } from "./order-key.ts";
import { SlotFloors } from "./slot-floors.ts";

const CHAIN_HASH_SHIFT = 26;
const CHAIN_SLOT_SHIFT = 6;
/** `next` of a record that is in no chain. Links are ordinal + 1, 0 ends a chain. */
const NOT_CHAINED = 0xffffffff;
const UNDO_INITIAL = 64;
const BUCKETS_INITIAL = 1 << 15;
/** Each step moves at most a few hundred thousand entries, some milliseconds; so the last step is a long one. */
const GROWTH_FACTOR = 4;
const GROWN_IN_STEPS_MAX = 1 << 20;
/** Buckets that are swept in one go. */
const SWEEP_RUN = 1024;
/** Share of the buckets in use at which a table that can still grow does. */
const LOAD_GROWTH = 0.5;
/** Keys that one call of warm() takes. */
export const WARMED_MAX = 32;
/** The line after a record's first one: short values end there. */
const WARMED_LINE_WORDS = 16;
/** Share of the buckets that may be used before no more keys are taken. */
const LOAD_MAX = 0.8;

export class Memtable {
  readonly #segmentShift: number;
  #bucketCountMax: number;
  #buckets: Int32Array;
  #mask: number;
  /** Per segment number mod #placeCount: the resident segment, or undefined. As long as it was ever needed. */
  readonly #resident: (MemorySegment | undefined)[] = [];
  readonly #placeCount: number;
  #usedBuckets = 0;
  #floor = 0;
  #hasFloor = false;
  readonly #slotFloors = new SlotFloors();
  #sweepBucket = 0;
  #sweepDue = 0;
  #undo = new Int32Array(UNDO_INITIAL * 3);
  #undoCount = 0;
  #unitFirstRecord = 0;
  #unitUnknownCounts = 0;
  #unitExpiring = 0;
  #active: MemorySegment | undefined = undefined;
  #activePlace = 0;
  readonly #warmPositions = new Int32Array(WARMED_MAX);
  /** Keeps the reads of warm() from being optimised away. */
  #warmed = 0;

  /** Both powers of two. The table starts small, because a small one stays in the processor's cache, and grows. */
  constructor(segmentBytes: number, bucketCountMax: number) {
    assert((segmentBytes & (segmentBytes - 1)) === 0, "segment size is not a power of two");
    assert((bucketCountMax & (bucketCountMax - 1)) === 0, "bucket count is not a power of two");
    const bucketCount = Math.min(BUCKETS_INITIAL, bucketCountMax);
    this.#bucketCountMax = bucketCountMax;
    this.#segmentShift = 31 - Math.clz32(segmentBytes) - 3;
    this.#buckets = new Int32Array(bucketCount * 2);
    this.#mask = bucketCount - 1;
    this.#placeCount = 2 ** (32 - this.#segmentShift);
  }

  get active(): MemorySegment {
    return this.#active!;
  }

  get warmed(): number {
    return this.#warmed;
  }

  get usedBuckets(): number {
    return this.#usedBuckets;
  }

  get memoryBytes(): number {
    return this.#buckets.byteLength;
  }

  /** True when insert() would make probe runs too long: the caller calls grow() outside any unit. */
  get isCrowded(): boolean {
    const load = this.#mask + 1 === this.#bucketCountMax ? LOAD_MAX : LOAD_GROWTH;
    return this.#usedBuckets > (this.#mask + 1) * load;
  }

  /** More segments are resident than the table was limited for. A power of two. */
  allow(bucketCountMax: number): void {
    this.#bucketCountMax = Math.max(this.#bucketCountMax, bucketCountMax);
  }

  /** Makes room for about `keys` keys in one step, before recovery inserts them. REQUIRES: no open unit. */
  reserve(keys: number): void {
    let count = this.#mask + 1;
    while (count * LOAD_GROWTH < keys && count < this.#bucketCountMax) count *= 2;
    if (count > this.#mask + 1) this.#resize(count);
  }

  /** Makes room for more keys: a larger table, or one without its stale entries. REQUIRES: no open unit. */
  grow(): void {
    let count = this.#mask + 1;
    count = count >= GROWN_IN_STEPS_MAX ? this.#bucketCountMax : count * GROWTH_FACTOR;
    this.#resize(Math.min(count, this.#bucketCountMax));
    assert(!this.isCrowded, "the memtable's buckets do not suffice for its segments");
  }

  #resize(count: number): void {
    const old = this.#buckets;
    this.#buckets = new Int32Array(count * 2);
    this.#mask = count - 1;
    this.#usedBuckets = 0;
    this.#sweepBucket = 0;
    this.#undoCount = 0;
    for (let at = 0; at < old.length; at += 2) {
      const position = old[at + 1]!;
      if (position === 0 || !this.#isValid(position)) continue;
      let bucket = old[at]! & this.#mask;
      while (this.#buckets[bucket * 2 + 1] !== 0) bucket = (bucket + 1) & this.#mask;
      this.#buckets[bucket * 2] = old[at]!;
      this.#buckets[bucket * 2 + 1] = position;
      this.#usedBuckets++;
    }
  }

  /** Makes `segment` the one that insert() writes to. */
  activate(segment: MemorySegment): void {
    const place = this.#placeOf(segment.arena!.number);
    while (this.#resident.length <= place) this.#resident.push(undefined);
    assert(this.#resident[place] === undefined, "two resident segments share a position range");
    this.#resident[place] = segment;
    this.#active = segment;
    this.#activePlace = place;
    this.begin();
  }

  /** Forgets a segment: its keys are found in tables from now on. */
  retire(segment: MemorySegment): void {
    const place = this.#placeOf(segment.arena!.number);
    assert(this.#resident[place] === segment, "the retired segment is not resident");
    this.#resident[place] = undefined;
    // Positions are compared within half of their range: a floor must not outlive what it hides.
    const isThere = (floor: number) => floor >>> this.#segmentShift === place;
    if (this.#hasFloor && isThere(this.#floor)) this.#hasFloor = false;
    this.#slotFloors.drop(isThere);
  }

  /** Position of the record at arena offset `offset` of segment `number`. */
  positionOf(number: number, offset: number): number {
    return ((this.#placeOf(number) << this.#segmentShift) | (offset >>> 3)) >>> 0;
  }

  /** Hides everything written before `position`: all keys were deleted. Returns what undoes it. */
  hideBefore(position: number): () => void {
    const floor = this.#floor;
    const hasFloor = this.#hasFloor;
    this.#floor = position;
    this.#hasFloor = true;
    return () => {
      this.#floor = floor;
      this.#hasFloor = hasFloor;
    };
  }

  /** The same for the records of slots [startSlot, endSlot). */
  hideSlotsBefore(startSlot: number, endSlot: number, position: number): () => void {
    return this.#slotFloors.raise(startSlot, endSlot, position);
  }

  /** Whether a deletion hides the record at `position`, whose segment is resident. */
  isHidden(position: number): boolean {
    return !this.#isValid(position);
  }

  /** Starts a unit: what is inserted from here on can be undone by undo(). */
  begin(): void {
    this.#undoCount = 0;
    const active = this.#active!;
    this.#unitFirstRecord = active.recordCount;
    this.#unitUnknownCounts = active.unknownCounts;
    this.#unitExpiring = active.expiringCount;
  }

  /** Position of the newest record of (key, sub-key), or 0. Hot. */
  find(query: KeyQuery, indexHash: number): number {
    const bucket = this.#bucketOf(query, indexHash);
    return bucket < 0 ? 0 : this.#buckets[bucket * 2 + 1]! >>> 0;
  }

  /**
   * Reads the buckets and records that lookups of these hashes will need. The loads do not depend on each other, so
   * the processor waits for all of them about as long as for one.
   */
  warm(hashes: Int32Array, count: number): void {
    const buckets = this.#buckets;
    const positions = this.#warmPositions;
    for (let i = 0; i < count; i++) positions[i] = buckets[(hashes[i]! & this.#mask) * 2 + 1]!;
    let touched = 0;
    for (let i = 0; i < count; i++) {
      const position = positions[i]!;
      const segment = this.#resident[position >>> this.#segmentShift];
      if (segment === undefined) continue;
      const word = (position & ((1 << this.#segmentShift) - 1)) * 2;
      const words = segment.arena!.words;
      touched ^= words[word]! ^ words[word + WARMED_LINE_WORDS]!;
    }
    this.#warmed = touched;
  }

  /** Segment that holds a position returned by find(). */
  segmentAt(position: number): MemorySegment {
    return this.#resident[position >>> this.#segmentShift]!;
  }

  /** Arena offset of a position. */
  offsetAt(position: number): number {
    return (position & ((1 << this.#segmentShift) - 1)) * 8;
  }

  /** Fills `view` from the record at `position`, except for the fingerprint and the sequence. */
  view(position: number, view: RecordView): void {
    const arena = this.#resident[position >>> this.#segmentShift]!.arena!;
    const offset = (position & ((1 << this.#segmentShift) - 1)) * 8;
    const words = arena.words;
    const keyStart = keyStartAt(words, offset);
    const keyEnd = keyStart + keyBytesAt(words, offset);
    const subKeyEnd = keyEnd + subKeyBytesAt(words, offset);
    view.bytes = arena.bytes;
    view.type = typeAt(words, offset);
    view.flags = flagsAt(words, offset);
    view.slot = slotAt(words, offset);
    view.hash = hashAt(words, offset);
    view.expiry = expiryAt(words, offset);
    view.keyStart = keyStart;
    view.keyEnd = keyEnd;
    view.subKeyStart = keyEnd;
    view.subKeyEnd = subKeyEnd;
    view.valueStart = subKeyEnd;
    view.valueEnd = subKeyEnd + valueBytesAt(words, offset);
  }

  /** Type of the record at `position`, without filling a view. */
  typeAt(position: number): number {
    const arena = this.#resident[position >>> this.#segmentShift]!.arena!;
    return typeAt(arena.words, (position & ((1 << this.#segmentShift) - 1)) * 8);
  }

  /**
   * Indexes the record at `offset` of the active segment, whose key and sub-key `query` holds.
   * Returns the position of the record that was the newest of this key in memory, or 0.
   */
  insert(query: KeyQuery, indexHash: number, offset: number): number {
    const active = this.#active!;
    const place = this.#activePlace;
    const position = (place << this.#segmentShift) | (offset >>> 3);
    const ordinal = active.recordCount++;
    active.offsets[ordinal] = offset;
    let bucket = this.#bucketOf(query, indexHash);
    let previous = 0;
    let isFirstInSegment = true;
    if (bucket < 0) {
      bucket = this.#freeBucket(indexHash);
      if (this.#buckets[bucket * 2 + 1] === 0) this.#usedBuckets++;
    } else {
      previous = this.#buckets[bucket * 2 + 1]! >>> 0;
      isFirstInSegment = previous >>> this.#segmentShift !== place;
      const older = this.segmentAt(previous);
      if (older.group === active.group) {
        markDead(older.dead, this.offsetAt(previous));
        older.deadCount++;
      }
    }
    this.#remember(bucket);
    this.#buckets[bucket * 2] = indexHash | 0;
    this.#buckets[bucket * 2 + 1] = position;
    if (isFirstInSegment && query.subKeyStart === query.subKeyEnd) {
      const chain = (query.slot << CHAIN_SLOT_SHIFT) | (query.hash >>> CHAIN_HASH_SHIFT);
      active.next[ordinal] = active.chains[chain]!;
      active.chains[chain] = ordinal + 1;
    } else {
      active.next[ordinal] = NOT_CHAINED;
    }
    return previous;
  }

  /** Marks the record inserted last: only tables know whether its key existed before. */
  markUnknown(): void {
    const active = this.#active!;
    active.offsets[active.recordCount - 1]! |= OFFSET_COUNT_UNKNOWN;
    active.unknownCounts++;
  }

  /** Counts a record that no key finds (a range deletion), so that ordinals and sequences stay in step. */
  insertUnindexed(offset: number): void {
    const active = this.#active!;
    active.offsets[active.recordCount] = offset;
    active.next[active.recordCount] = NOT_CHAINED;
    active.recordCount++;
  }

  /** Takes back every insert() since begin(). */
  undo(): void {
    const buckets = this.#buckets;
    const undo = this.#undo;
    for (let entry = this.#undoCount - 1; entry >= 0; entry--) {
      const bucket = undo[entry * 3]!;
      const previous = undo[entry * 3 + 2]!;
      if (previous !== 0) this.#revive(previous >>> 0);
      buckets[bucket * 2] = undo[entry * 3 + 1]!;
      buckets[bucket * 2 + 1] = previous;
      if (previous === 0) this.#usedBuckets--;
    }
    const active = this.#active!;
    const words = active.arena!.words;
    for (let ordinal = active.recordCount - 1; ordinal >= this.#unitFirstRecord; ordinal--) {
      const next = active.next[ordinal]!;
      if (next === NOT_CHAINED) continue;
      const offset = active.offsets[ordinal]! & ~OFFSET_COUNT_UNKNOWN;
      const hash = hashAt(words, offset);
      active.chains[(slotAt(words, offset) << CHAIN_SLOT_SHIFT) | (hash >>> CHAIN_HASH_SHIFT)] =
        next;
    }
    active.recordCount = this.#unitFirstRecord;
    active.unknownCounts = this.#unitUnknownCounts;
    active.expiringCount = this.#unitExpiring;
    this.#undoCount = 0;
  }

  /**
   * Calls `visit(offset)` with the first record of each key of one chain of `segment`, newest first: at most a few
   * thousand even when all keys share a slot.
   */
  eachInChain(segment: MemorySegment, chain: number, visit: (offset: number) => void): void {
    let link = segment.chains[chain]!;
    while (link !== 0) {
      visit(segment.offsets[link - 1]! & ~OFFSET_COUNT_UNKNOWN);
      link = segment.next[link - 1]!;
    }
  }

  /**
   * Removes stale buckets among the next `count`, so that none outlives a turn of the positions. Many at a time, once so
   * many are due: the processor fetches a run of buckets ahead, while a few each time would be a cache miss each time.
   */
  sweep(count: number): void {
    this.#sweepDue += count;
    if (this.#sweepDue < SWEEP_RUN) return;
    for (; this.#sweepDue > 0; this.#sweepDue--) {
      const bucket = this.#sweepBucket;
      const position = this.#buckets[bucket * 2 + 1]!;
      if (position !== 0 && !this.#isValid(position)) this.#removeBucket(bucket);
      else this.#sweepBucket = (bucket + 1) & this.#mask;
    }
  }

  #placeOf(segmentNumber: number): number {
    return segmentNumber % this.#placeCount;
  }

  #isValid(position: number): boolean {
    const segment = this.#resident[position >>> this.#segmentShift];
    if (segment === undefined) return false;
    if (this.#hasFloor && ((position - this.#floor) | 0) < 0) return false;
    return this.#slotFloors.isEmpty || !this.#isBelowSlotFloor(segment, position);
  }

  #isBelowSlotFloor(segment: MemorySegment, position: number): boolean {
    const slot = slotAt(segment.arena!.words, this.offsetAt(position));
    return this.#slotFloors.hides(slot, position);
  }

  /** The record at `position` may have been marked as overwritten by the unit that is taken back. */
  #revive(position: number): void {
    const segment = this.#resident[position >>> this.#segmentShift];
    if (segment === undefined || segment.group !== this.#active!.group) return;
    if (unmarkDead(segment.dead, this.offsetAt(position))) segment.deadCount--;
  }

  /** Bucket that holds the valid newest record of the query, or −1. */
  #bucketOf(query: KeyQuery, indexHash: number): number {
    const buckets = this.#buckets;
    const wanted = indexHash | 0;
    let bucket = indexHash & this.#mask;
    for (;;) {
      const position = buckets[bucket * 2 + 1]!;
      if (position === 0) return -1;
      if (buckets[bucket * 2] === wanted && this.#matches(position, query)) return bucket;
      bucket = (bucket + 1) & this.#mask;
    }
  }

  #matches(position: number, query: KeyQuery): boolean {
    const segment = this.#resident[position >>> this.#segmentShift];
    if (segment === undefined) return false;
    if (this.#hasFloor && ((position - this.#floor) | 0) < 0) return false;
    if (!this.#slotFloors.isEmpty && this.#isBelowSlotFloor(segment, position)) return false;
    const arena = segment.arena!;
    const offset = (position & ((1 << this.#segmentShift) - 1)) * 8;
    const words = arena.words;
    const keyBytes = query.keyEnd - query.keyStart;
    const subKeyBytes = query.subKeyEnd - query.subKeyStart;
    if (words[(offset >>> 2) + 3] !== (keyBytes | (subKeyBytes << 16))) return false;
    const keyStart = keyStartAt(words, offset);
    if (!equalBytes(arena.bytes, keyStart, query.bytes, query.keyStart, keyBytes)) return false;
    return (
      subKeyBytes === 0 ||
      equalBytes(arena.bytes, keyStart + keyBytes, query.subBytes, query.subKeyStart, subKeyBytes)
    );
  }

  /** First bucket that an insert of this hash may take: empty, or stale. */
  #freeBucket(indexHash: number): number {
    const buckets = this.#buckets;
    let bucket = indexHash & this.#mask;
    for (;;) {
      const position = buckets[bucket * 2 + 1]!;
      if (position === 0 || !this.#isValid(position)) return bucket;
      bucket = (bucket + 1) & this.#mask;
    }
  }

  #remember(bucket: number): void {
    const entry = this.#undoCount++ * 3;
    if (entry === this.#undo.length) {
      const grown = new Int32Array(this.#undo.length * 2);
      grown.set(this.#undo);
      this.#undo = grown;
    }
    this.#undo[entry] = bucket;
    this.#undo[entry + 1] = this.#buckets[bucket * 2]!;
    this.#undo[entry + 2] = this.#buckets[bucket * 2 + 1]!;
  }

  /** Empties a bucket and moves later ones of the probe run back over it. */
  #removeBucket(bucket: number): void {
    const buckets = this.#buckets;
    let hole = bucket;
    let next = bucket;
    for (;;) {
      next = (next + 1) & this.#mask;
      if (buckets[next * 2 + 1] === 0) break;
      const home = buckets[next * 2]! & this.#mask;
      // The entry at `next` may fill the hole unless its home lies cyclically in (hole, next].
      const isBetween = hole <= next ? hole < home && home <= next : hole < home || home <= next;
      if (isBetween) continue;
      buckets[hole * 2] = buckets[next * 2]!;
      buckets[hole * 2 + 1] = buckets[next * 2 + 1]!;
      hole = next;
    }
    buckets[hole * 2] = 0;
    buckets[hole * 2 + 1] = 0;
    this.#usedBuckets--;
  }
}

const SUB_KEY_MIX = 0x9e3779b1;

/** The hash under which memory finds (key, sub-key): parts of one key must not share a probe run. */
export function indexHashOf(query: KeyQuery): number {
  let hash = query.hash;
  for (let i = query.subKeyStart; i < query.subKeyEnd; i++) {
    hash = Math.imul(hash ^ query.subBytes[i]!, SUB_KEY_MIX);
    hash ^= hash >>> 15;
  }
  return hash;
}
