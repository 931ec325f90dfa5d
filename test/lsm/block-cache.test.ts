import { describe, expect, test } from "bun:test";
import {
  BlockCache,
  type CacheSlots,
  OFFSET_MASK,
  SLAB_BYTES,
  SLAB_SHIFT,
} from "../../src/lsm/block-cache.ts";
import { seededRandom } from "./table-support.ts";

const PAYLOAD = 64 * 1024 - 16;
/** 16 entries of header and payload fill a slab. */
const PER_SLAB = 16;

function insert(cache: BlockCache, slots: CacheSlots, block: number, bytes = PAYLOAD): void {
  const target = cache.begin(bytes);
  target.fill(block & 0xff);
  cache.commit(slots, block, bytes);
}

function hit(cache: BlockCache, slots: CacheSlots, block: number): void {
  const location = slots.locations[block]!;
  const base = (location & OFFSET_MASK) << 3;
  cache.slabs[location >>> SLAB_SHIFT]!.words[(base >>> 2) - 1] = 1;
}

/** Blocks that are cached; every one must hold its own bytes. */
function cachedBlocks(cache: BlockCache, slots: CacheSlots): number[] {
  const blocks: number[] = [];
  slots.locations.forEach((location, block) => {
    if (location === 0) return;
    const base = (location & OFFSET_MASK) << 3;
    const bytes = cache.slabs[location >>> SLAB_SHIFT]!.bytes;
    const payloadBytes = cache.payloadBytesAt(location);
    for (const at of [0, payloadBytes >>> 1, payloadBytes - 1]) {
      expect(bytes[base + at]).toBe(block & 0xff);
    }
    blocks.push(block);
  });
  return blocks;
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

describe("BlockCache", () => {
  test("evicts the oldest slab when it is full", () => {
    const cache = new BlockCache(2 * SLAB_BYTES);
    const slots = cache.register(100);
    for (const block of range(0, 2 * PER_SLAB)) insert(cache, slots, block);
    expect(cachedBlocks(cache, slots)).toEqual(range(0, 2 * PER_SLAB));
    insert(cache, slots, 50);
    expect(cachedBlocks(cache, slots)).toEqual([...range(PER_SLAB, 2 * PER_SLAB), 50]);
    expect(cache.counters.evictions).toBe(PER_SLAB);
    expect(cache.counters.slabBytes).toBe(2 * SLAB_BYTES);
  });

  test("takes more blocks when it may grow, and drops those beyond a smaller capacity", () => {
    const cache = new BlockCache(2 * SLAB_BYTES);
    const slots = cache.register(100);
    cache.resize(4.5 * SLAB_BYTES);
    expect(cache.capacityBytes).toBe(4 * SLAB_BYTES);
    for (const block of range(0, 4 * PER_SLAB)) insert(cache, slots, block);
    expect(cachedBlocks(cache, slots)).toEqual(range(0, 4 * PER_SLAB));
    cache.resize(2 * SLAB_BYTES);
    expect(cache.slabBytes).toBe(2 * SLAB_BYTES);
    expect(cachedBlocks(cache, slots)).toEqual(range(0, 2 * PER_SLAB));
    for (const block of range(64, 64 + PER_SLAB)) insert(cache, slots, block);
    expect(cachedBlocks(cache, slots).length).toBe(2 * PER_SLAB);
    expect(cache.slabBytes).toBe(2 * SLAB_BYTES);
  });

  test("keeps pinned blocks when its capacity shrinks, until they are unpinned", () => {
    const cache = new BlockCache(4 * SLAB_BYTES);
    const slots = cache.register(100);
    for (const block of range(0, 4 * PER_SLAB)) insert(cache, slots, block);
    cache.pin(slots.locations[2 * PER_SLAB]!);
    cache.resize(2 * SLAB_BYTES);
    expect(cachedBlocks(cache, slots)).toEqual(range(0, 3 * PER_SLAB));
    cache.unpinAll();
    expect(cachedBlocks(cache, slots)).toEqual(range(0, 2 * PER_SLAB));
  });

  test("gives blocks that were hit one more round", () => {
    const cache = new BlockCache(2 * SLAB_BYTES);
    const slots = cache.register(200);
    for (const block of range(0, 2 * PER_SLAB)) insert(cache, slots, block);
    for (const block of [3, 9]) hit(cache, slots, block);
    for (const block of range(100, 100 + PER_SLAB)) insert(cache, slots, block);
    expect(cachedBlocks(cache, slots).slice(0, 2)).toEqual([3, 9]);
    for (const block of range(120, 120 + 2 * PER_SLAB)) insert(cache, slots, block);
    expect(cachedBlocks(cache, slots)).not.toContain(3);
  });

  test("goes on when all blocks were hit", () => {
    const cache = new BlockCache(2 * SLAB_BYTES);
    const slots = cache.register(200);
    for (const block of range(0, 120)) {
      insert(cache, slots, block);
      for (const cached of cachedBlocks(cache, slots)) hit(cache, slots, cached);
    }
    const cached = cachedBlocks(cache, slots);
    expect(cached).toContain(119);
    expect(cached.length).toBeLessThanOrEqual(2 * PER_SLAB);
    expect(cache.counters.slabBytes).toBe(2 * SLAB_BYTES);
  });

  test("keeps pinned slabs, grows when all are pinned and shrinks at unpinAll", () => {
    const cache = new BlockCache(2 * SLAB_BYTES);
    const slots = cache.register(200);
    for (const block of range(0, 2 * PER_SLAB)) insert(cache, slots, block);
    cache.pin(slots.locations[0]!);
    for (const block of range(100, 100 + 2 * PER_SLAB)) insert(cache, slots, block);
    expect(cachedBlocks(cache, slots)).toEqual(
      expect.arrayContaining(range(0, PER_SLAB)) as unknown as number[],
    );
    for (const slab of cache.slabs) slab.pinned = true;
    insert(cache, slots, 150);
    expect(cache.counters.slabBytes).toBe(3 * SLAB_BYTES);
    cache.unpinAll();
    expect(cache.counters.slabBytes).toBe(2 * SLAB_BYTES);
    expect(cachedBlocks(cache, slots)).not.toContain(150);
    insert(cache, slots, 151);
    expect(cachedBlocks(cache, slots)).toContain(151);
  });

  test("release forgets a table and its number may be given to another one", () => {
    const cache = new BlockCache(2 * SLAB_BYTES);
    const first = cache.register(100);
    for (const block of range(0, 20)) insert(cache, first, block);
    cache.release(first);
    expect(cachedBlocks(cache, first)).toEqual([]);
    const second = cache.register(100);
    expect(second.owner).toBe(first.owner);
    for (const block of range(5, 90)) insert(cache, second, block);
    expect(cachedBlocks(cache, second)).toContain(89);
    expect(cachedBlocks(cache, first)).toEqual([]);
  });

  test("blocks of any size keep their bytes under random load", () => {
    const seed = 7;
    const random = seededRandom(seed);
    const cache = new BlockCache(3 * SLAB_BYTES);
    const tables = range(0, 4).map(() => cache.register(300));
    for (let step = 0; step < 4000; step++) {
      const table = random(tables.length);
      const slots = tables[table]!;
      const block = random(300);
      if (random(200) === 0) {
        cache.release(slots);
        tables[table] = cache.register(300);
      } else if (slots.locations[block] === 0) {
        insert(cache, slots, block, 1 + random(random(10) === 0 ? 160_000 : 8000));
      } else hit(cache, slots, block);
      if (step % 100 === 0) for (const each of tables) cachedBlocks(cache, each);
      if (random(500) === 0) cache.unpinAll();
    }
    expect(cache.counters.slabBytes).toBe(3 * SLAB_BYTES);
    expect(cache.counters.evictions).toBeGreaterThan(0);
  });
});
