/**
 * The cache of data-block payloads: slabs of 1 MiB off the JavaScript heap, filled one after the other.
 *
 *   slab:   | header | payload | header | payload | …                        | free |
 *   header: u32 owner, u32 block, u32 payload bytes, u32 1 when hit since it came here
 *
 * There is no lookup: every open table has a column of locations, one per block (0: not cached), and a location is
 * slab << 17 | offset of the payload in the slab / 8. When all slabs are full the oldest one is emptied:
 * blocks that were hit move to its front (a second chance, half the slab at most), the others leave, and filling
 * goes on behind them.
 *
 * Lifetime: whatever points into a slab is valid until the next insertion or release, unless its slab is
 * pinned: pinned slabs are not emptied. When all are pinned the cache grows beyond its capacity until unpinAll.
 * Between two units nothing points into it but what is pinned, so then its capacity may change.
 *
 * Hot: CacheSlots.locations, slabs and SLAB_SHIFT are read by TableReader.find directly.
 */
import { assert } from "../base/assert.ts";

export const SLAB_BYTES = 1024 * 1024;
/** location >>> SLAB_SHIFT is the slab; (location & OFFSET_MASK) << 3 the payload's offset in it. */
export const SLAB_SHIFT = 17;
export const OFFSET_MASK = (1 << SLAB_SHIFT) - 1;
const HEADER_BYTES = 16;
const SLABS_MIN = 2;
const SLABS_MAX = 1 << (32 - SLAB_SHIFT);
/** Blocks that were hit may keep this much of a slab that is emptied. */
const SECOND_CHANCE_BYTES = SLAB_BYTES / 2;
/** No payload that a table may hold is larger (a record is below 164 KiB). */
const PAYLOAD_BYTES_MAX = SLAB_BYTES / 2 - HEADER_BYTES;

export class Slab {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  /** Where the next header goes. */
  end = 0;
  pinned = false;

  constructor() {
    const buffer = new ArrayBuffer(SLAB_BYTES);
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
  }

  /** Gives the memory back now, not when the collector finds out. */
  free(): void {
    (this.bytes.buffer as ArrayBuffer).transfer(0);
  }
}

/** One table's view of the cache. */
export interface CacheSlots {
  readonly owner: number;
  /** Per block its location, 0 when it is not cached. Only the cache writes it. */
  readonly locations: Uint32Array;
}

export interface CacheCounters {
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  readonly capacityBytes: number;
  /** Memory of the slabs that exist. */
  readonly slabBytes: number;
  /** Memory of the location columns of all open tables. */
  readonly locationBytes: number;
}

export class BlockCache {
  readonly slabs: Slab[] = [];
  readonly payloadBytesMax = PAYLOAD_BYTES_MAX;
  /** Counted by readers. */
  hits = 0;
  misses = 0;
  #slabsMax = SLABS_MIN;
  readonly #owners: (CacheSlots | undefined)[] = [];
  #fill: number;
  #evictions = 0;

  constructor(capacityBytes: number) {
    this.slabs.push(new Slab());
    this.#fill = 0;
    this.resize(capacityBytes);
  }

  get capacityBytes(): number {
    return this.#slabsMax * SLAB_BYTES;
  }

  get slabBytes(): number {
    return this.slabs.length * SLAB_BYTES;
  }

  /**
   * Gives the cache another capacity, in whole slabs. What lies in slabs beyond it is dropped and their memory freed at
   * once; pinned slabs go with unpinAll(). REQUIRES: nothing points into the cache but what is pinned.
   */
  resize(capacityBytes: number): void {
    const slabs = Math.floor(capacityBytes / SLAB_BYTES);
    this.#slabsMax = Math.max(SLABS_MIN, Math.min(slabs, SLABS_MAX));
    this.#dropExcess();
  }

  get counters(): CacheCounters {
    let locationBytes = 0;
    for (const owner of this.#owners) locationBytes += owner?.locations.byteLength ?? 0;
    return {
      hits: this.hits,
      misses: this.misses,
      evictions: this.#evictions,
      capacityBytes: this.capacityBytes,
      slabBytes: this.slabBytes,
      locationBytes,
    };
  }

  register(blockCount: number): CacheSlots {
    let owner = this.#owners.indexOf(undefined);
    if (owner === -1) owner = this.#owners.length;
    const slots = { owner, locations: new Uint32Array(blockCount) };
    this.#owners[owner] = slots;
    return slots;
  }

  /** Forgets a table; its blocks become free space when their slabs are emptied. */
  release(slots: CacheSlots): void {
    assert(this.#owners[slots.owner] === slots, "cache slots are released once");
    this.#owners[slots.owner] = undefined;
    slots.locations.fill(0);
  }

  /**
   * Free memory for a payload of up to `bytes`, emptying a slab if need be. Nothing is inserted before commit();
   * borrows the memory until the next call of begin.
   */
  begin(bytes: number): Uint8Array {
    assert(bytes <= PAYLOAD_BYTES_MAX, "block is too large for the cache");
    let slab = this.slabs[this.#fill]!;
    if (slab.end + HEADER_BYTES + bytes > SLAB_BYTES) {
      this.#advance();
      slab = this.slabs[this.#fill]!;
    }
    const start = slab.end + HEADER_BYTES;
    return slab.bytes.subarray(start, start + bytes);
  }

  /** Makes the first `payloadBytes` of the memory that begin() returned block `block`; its location. */
  commit(slots: CacheSlots, block: number, payloadBytes: number): number {
    assert(this.#owners[slots.owner] === slots, "cache slots were released");
    const slab = this.slabs[this.#fill]!;
    const header = slab.end >>> 2;
    slab.words[header] = slots.owner;
    slab.words[header + 1] = block;
    slab.words[header + 2] = payloadBytes;
    slab.words[header + 3] = 0;
    const location = locationOf(this.#fill, slab.end);
    slab.end += entryBytes(payloadBytes);
    assert(slab.end <= SLAB_BYTES, "cache entry exceeds its slab");
    slots.locations[block] = location;
    return location;
  }

  /** Keeps the block at `location` (with all of its slab) in place until unpinAll. */
  pin(location: number): void {
    this.slabs[location >>> SLAB_SHIFT]!.pinned = true;
  }

  /** Payload bytes of the block at `location`. */
  payloadBytesAt(location: number): number {
    const slab = this.slabs[location >>> SLAB_SHIFT]!;
    return slab.words[(((location & OFFSET_MASK) << 3) >>> 2) - 2]!;
  }

  unpinAll(): void {
    for (const slab of this.slabs) slab.pinned = false;
    this.#dropExcess();
  }

  #dropExcess(): void {
    while (this.slabs.length > this.#slabsMax && !this.slabs.at(-1)!.pinned) {
      this.#empty(this.slabs.length - 1, 0);
      this.slabs.pop()!.free();
    }
    if (this.#fill >= this.slabs.length) {
      this.#fill = this.slabs.length - 1;
    }
  }

  /** Moves on to a slab with room: a new one, or the oldest unpinned one, emptied. */
  #advance(): void {
    if (this.slabs.length < this.#slabsMax) {
      this.#fill = this.slabs.push(new Slab()) - 1;
      return;
    }
    const count = this.slabs.length;
    for (let step = 1; step <= count; step++) {
      const candidate = (this.#fill + step) % count;
      if (this.slabs[candidate]!.pinned) continue;
      this.#empty(candidate, SECOND_CHANCE_BYTES);
      this.#fill = candidate;
      return;
    }
    assert(count < SLABS_MAX, "too many pinned slabs");
    this.#fill = this.slabs.push(new Slab()) - 1;
  }

  /** Drops the blocks of a slab but those that were hit, which move to its front, `keepBytes` at most. */
  #empty(slabIndex: number, keepBytes: number): void {
    const slab = this.slabs[slabIndex]!;
    const words = slab.words;
    let kept = 0;
    for (let at = 0; at < slab.end; ) {
      const header = at >>> 2;
      const block = words[header + 1]!;
      const size = entryBytes(words[header + 2]!);
      const locations = this.#owners[words[header]!]?.locations;
      // An owner number may have been given away again: only the location tells whose block this is.
      if (locations !== undefined && locations[block] === locationOf(slabIndex, at)) {
        if (words[header + 3] === 1 && kept + size <= keepBytes) {
          words[header + 3] = 0;
          slab.bytes.copyWithin(kept, at, at + size);
          locations[block] = locationOf(slabIndex, kept);
          kept += size;
        } else {
          locations[block] = 0;
          this.#evictions++;
        }
      }
      at += size;
    }
    slab.end = kept;
  }
}

function locationOf(slab: number, headerAt: number): number {
  return ((slab << SLAB_SHIFT) | ((headerAt + HEADER_BYTES) >>> 3)) >>> 0;
}

function entryBytes(payloadBytes: number): number {
  return HEADER_BYTES + ((payloadBytes + 7) & ~7);
}
