/**
 * SCAN's guarantee and exact counts, on a real store whose segments are small: what is true of a page must stay
 * true while keys move from memory to tables.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { PREPARING, UnitWork } from "../../src/store/interrupt.ts";
import type { Store } from "../../src/store/store.ts";
import { StoreFixture } from "./store-support.ts";

let fixture: StoreFixture | undefined;

afterEach(async () => {
  await fixture?.close();
  fixture = undefined;
});

async function open(): Promise<StoreFixture> {
  fixture = await StoreFixture.open();
  return fixture;
}

const PADDING = Buffer.alloc(200, "x");

function set(store: Store, key: string, expiry = 0, value: Buffer = PADDING): void {
  const bytes = Buffer.from(key);
  store.select(bytes, 0, bytes.length);
  store.put(value, 0, value.length, expiry);
}

function remove(store: Store, key: string): boolean {
  const bytes = Buffer.from(key);
  store.select(bytes, 0, bytes.length);
  return store.remove();
}

async function setAll(opened: StoreFixture, keys: readonly string[], expiry = 0): Promise<void> {
  for (let at = 0; at < keys.length; at += 100) {
    await opened.run((store) => {
      for (const key of keys.slice(at, at + 100)) set(store, key, expiry);
    });
  }
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

/** Writes enough to push all that is in memory into tables. */
async function flushAll(opened: StoreFixture): Promise<void> {
  const { segments } = opened.store.internals;
  const last = segments.residents.at(-1)!.segment.number;
  const filler = names("filler:", 50);
  while (segments.residents.at(-1)!.segment.number === last) await setAll(opened, filler);
  for (const key of filler) await opened.run((store) => remove(store, key));
  await opened.flush();
}

async function page(opened: StoreFixture, cursor: number, count: number) {
  let found: { next: number; keys: readonly { readonly key: Buffer }[] } = { next: 0, keys: [] };
  await opened.store.runUnit(() => {
    found = opened.store.scan(cursor, count);
  });
  return { next: found.next, keys: found.keys.map(({ key }) => key.toString()) };
}

/** Scans from `cursor` on; `between` runs after each page but the last. */
async function scan(
  opened: StoreFixture,
  count: number,
  between: () => Promise<void> = () => Promise.resolve(),
  start = 0,
): Promise<string[]> {
  const keys: string[] = [];
  let cursor = start;
  do {
    const found = await page(opened, cursor, count);
    keys.push(...found.keys);
    if (found.next !== 0) expect(found.next).toBeGreaterThan(cursor);
    cursor = found.next;
    if (cursor !== 0) await between();
  } while (cursor !== 0);
  return keys;
}

async function size(opened: StoreFixture): Promise<number> {
  const work = new UnitWork();
  const { store } = opened;
  for (;;) {
    store.beginBatch();
    store.beginUnit(work);
    try {
      const count = store.size();
      store.endUnit();
      return count;
    } catch (error) {
      store.abortUnit();
      if (error === PREPARING) {
        work.results.push(await work.pending!);
      } else {
        if (!store.isInterrupt(error)) throw error;
        await store.resolve(error);
      }
    }
  }
}

function sorted(keys: Iterable<string>): string[] {
  return [...keys].sort();
}

describe("Store.scan", () => {
  test("returns each key once when nothing changes, from memory and tables", async () => {
    const opened = await open();
    const keys = names("k:", 9000);
    await setAll(opened, keys);
    for (const count of [1, 7, 100, 100_000]) {
      expect(sorted(await scan(opened, count))).toEqual(sorted(keys));
    }
    await flushAll(opened);
    expect(opened.store.internals.lsm.flushedSequence).toBeGreaterThan(0);
    expect(sorted(await scan(opened, 10))).toEqual(sorted(keys));
  });

  test("returns what was there all the while, across flushes, while others come and go", async () => {
    const opened = await open();
    const stable = names("stable:", 1500);
    await setAll(opened, stable);
    let round = 0;
    const deleted = new Set<string>();
    const found = await scan(opened, 25, async () => {
      round++;
      const brief = `brief:${round}`;
      await opened.run((store) => {
        for (let i = 0; i < 60; i++) set(store, `other:${round}:${i}`);
        // A stable key that is written again moves to another place in memory, not in the order.
        for (let i = 0; i < 20; i++) set(store, stable[(round * 37 + i * 71) % stable.length]!);
        set(store, brief);
      });
      await opened.run((store) => {
        remove(store, brief);
        for (let i = 0; i < 60; i += 2) remove(store, `other:${round}:${i}`);
      });
      deleted.add(brief);
      if (round % 10 === 0) await opened.flush();
    });
    expect(opened.store.internals.segments.flushCount).toBeGreaterThan(0);
    const seen = new Set(found);
    expect(stable.filter((key) => !seen.has(key))).toEqual([]);
    // Every page shows only keys that existed at its time, and positions ascend: none comes twice.
    expect(seen.size).toBe(found.length);
    expect([...deleted].filter((key) => seen.has(key))).toEqual([]);
  });

  test("goes on from an old cursor after a stop, a kill and a flush", async () => {
    const opened = await open();
    const keys = names("k:", 5000);
    await setAll(opened, keys);
    const first = await page(opened, 0, 1000);
    await opened.kill();
    const second = await page(opened, first.next, 1000);
    await opened.reopen();
    await flushAll(opened);
    const rest = await scan(opened, 1000, undefined, second.next);
    expect(sorted([...first.keys, ...second.keys, ...rest])).toEqual(sorted(keys));
  });

  test("shows nothing of before a FLUSHALL, and all that came after it", async () => {
    const opened = await open();
    const keys = names("k:", 4000);
    await setAll(opened, keys);
    const first = await page(opened, 0, 100);
    await opened.run((store) => store.removeAll());
    expect(await scan(opened, 10, undefined, first.next)).toEqual([]);
    const again = keys.slice(0, 300);
    // Twice in one segment's chain: before and after the deletion.
    await setAll(opened, again);
    expect(sorted(await scan(opened, 10))).toEqual(sorted(again));
    await opened.kill();
    expect(sorted(await scan(opened, 10))).toEqual(sorted(again));
    await flushAll(opened);
    expect(sorted(await scan(opened, 10))).toEqual(sorted(again));
  });

  test("does not show expired keys", async () => {
    const opened = await open();
    const keys = names("k:", 500);
    await setAll(opened, keys);
    await setAll(opened, names("gone:", 4000), opened.clock.wallMs() + 1000);
    await flushAll(opened);
    await setAll(opened, names("going:", 500), opened.clock.wallMs() + 1000);
    opened.clock.shiftMs = 2000;
    expect(sorted(await scan(opened, 50))).toEqual(sorted(keys));
  });

  test("pages of one slot's keys are as small as asked for", async () => {
    const opened = await open();
    const keys = names("{tag}", 6000);
    await setAll(opened, keys);
    let pages = 0;
    const inMemoryAndTables = await scan(opened, 10, () => {
      pages++;
      return Promise.resolve();
    });
    expect(sorted(inMemoryAndTables)).toEqual(sorted(keys));
    // A page ends before the slot does; the last one may find that out on its own.
    expect(pages).toBeGreaterThanOrEqual(keys.length / 10 - 1);
    await opened.run((store) => {
      for (const key of keys.slice(0, 3000)) remove(store, key);
    });
    expect(sorted(await scan(opened, 10))).toEqual(sorted(keys.slice(3000)));
  });

  test("sees the writes of its own unit, and forgets them with it", async () => {
    const opened = await open();
    const keys = names("{tag}", 1000);
    await setAll(opened, keys);
    const { store } = opened;
    store.beginBatch();
    store.beginUnit(new UnitWork());
    set(store, "{tag}own");
    const within = store.scan(0, 10_000).keys.map(({ key }) => key.toString());
    store.abortUnit();
    expect(sorted(within)).toEqual(sorted([...keys, "{tag}own"]));
    store.beginUnit(new UnitWork());
    set(store, "{tag}other");
    store.endUnit();
    expect(sorted(await scan(opened, 100))).toEqual(sorted([...keys, "{tag}other"]));
  });

  test("pages through a large value's chunks", async () => {
    const opened = await open();
    await opened.run((store) => set(store, "large", 0, Buffer.alloc(250_000, "y")));
    const keys = names("k:", 3000);
    await setAll(opened, keys);
    await flushAll(opened);
    expect(sorted(await scan(opened, 10))).toEqual(sorted([...keys, "large"]));
    expect(await size(opened)).toBe(keys.length + 1);
  });
});

describe("Store.randomKey", () => {
  test("reaches every key of one slot", async () => {
    const opened = await open();
    const keys = names("{tag}", 20);
    await setAll(opened, [...keys, "other"]);
    const seen = new Set<string>();
    for (let i = 0; i < 4000; i++) {
      await opened.store.runUnit(() => {
        seen.add(opened.store.randomKey((i + 0.5) / 4000)!.toString());
      });
    }
    expect(sorted(seen)).toEqual(sorted([...keys, "other"]));
  });
});

interface Model {
  readonly keys: Map<string, number>;
}

/** Pseudo-random numbers below `bound` from a seed (mulberry32). */
function randomFrom(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

function liveKeys(model: Model, nowMs: number): string[] {
  return [...model.keys].filter(([, at]) => at === 0 || at > nowMs).map(([key]) => key);
}

/** One unit of random writes, in the store and in the model. */
async function randomUnit(
  opened: StoreFixture,
  model: Model,
  random: (bound: number) => number,
): Promise<void> {
  const nowMs = opened.clock.wallMs();
  const steps = Array.from({ length: 1 + random(80) }, () => ({
    kind: random(100),
    key: random(4) === 0 ? `{tag}${random(400)}` : `k:${random(3000)}`,
  }));
  await opened.run((store) => {
    for (const { kind, key } of steps) {
      if (kind < 70) set(store, key);
      else if (kind < 80) set(store, key, nowMs + 50_000);
      else remove(store, key);
    }
  });
  for (const { kind, key } of steps) {
    if (kind < 70) model.keys.set(key, 0);
    else if (kind < 80) model.keys.set(key, nowMs + 50_000);
    else model.keys.delete(key);
  }
}

/** Perhaps a deletion of all keys, a kill, a flush, or some time. */
async function randomEvent(opened: StoreFixture, model: Model, event: number): Promise<void> {
  if (event < 3) {
    await opened.run((store) => store.removeAll());
    model.keys.clear();
  } else if (event < 6) {
    await opened.kill();
  } else if (event < 10) {
    // Not awaited: the rounds that follow run while it is in progress.
    opened.flush().catch(() => undefined);
  } else if (event < 14) {
    opened.clock.shiftMs += 20_000;
  } else if (event < 16) {
    await flushAll(opened);
  }
}

/** Reading a key removes it when it has expired: from then on there is one right count. */
async function removeExpired(opened: StoreFixture, model: Model): Promise<void> {
  for (const key of model.keys.keys()) {
    const bytes = Buffer.from(key);
    await opened.run((store) => {
      store.select(bytes, 0, bytes.length);
      store.find();
    });
  }
}

describe("Store.size", () => {
  test("is exact when flushed keys are overwritten blindly and deleted", async () => {
    const opened = await open();
    const keys = names("k:", 6000);
    await setAll(opened, keys);
    await flushAll(opened);
    await setAll(opened, keys.slice(0, 2000));
    await setAll(opened, names("new:", 100));
    expect(await size(opened)).toBe(6100);
    await opened.run((store) => {
      for (const key of keys.slice(0, 1000)) expect(remove(store, key)).toBe(true);
    });
    expect(await size(opened)).toBe(5100);
    await flushAll(opened);
    expect(await size(opened)).toBe(5100);
    await opened.kill();
    expect(await size(opened)).toBe(5100);
  });

  test("is exact within a unit and after it was taken back", async () => {
    const opened = await open();
    await setAll(opened, names("k:", 5000));
    await flushAll(opened);
    const { store } = opened;
    expect(await size(opened)).toBe(5000);
    store.beginBatch();
    store.beginUnit(new UnitWork());
    for (let i = 0; i < 100; i++) set(store, `k:${i}`);
    for (let i = 0; i < 10; i++) set(store, `new:${i}`);
    expect(store.size()).toBe(5010);
    store.removeAll();
    expect(store.size()).toBe(0);
    set(store, "k:1");
    expect(store.size()).toBe(1);
    store.abortUnit();
    expect(await size(opened)).toBe(5000);
  });

  const seeds = [1, 2, 3, 4];
  for (const seed of seeds) {
    test(`and a scan agree with a model through flushes, expiry, FLUSHALL and kills (seed ${seed})`, async () => {
      const opened = await open();
      const random = randomFrom(seed);
      const model: Model = { keys: new Map() };
      for (let round = 0; round < 150; round++) {
        await randomUnit(opened, model, random);
        await randomEvent(opened, model, random(100));
        if (round % 5 !== 0) continue;
        const live = liveKeys(model, opened.clock.wallMs());
        expect(sorted(await scan(opened, 100))).toEqual(sorted(live));
        const counted = await size(opened);
        // An expired key counts until it is removed, which may be any time after.
        expect(counted).toBeGreaterThanOrEqual(live.length);
        expect(counted).toBeLessThanOrEqual(model.keys.size);
      }
      await removeExpired(opened, model);
      const live = liveKeys(model, opened.clock.wallMs());
      expect(await size(opened)).toBe(live.length);
      await opened.kill();
      expect(await size(opened)).toBe(live.length);
    }, 30_000);
  }
});
