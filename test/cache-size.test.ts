import { expect, test } from "bun:test";
import type { Clock } from "../src/base/clock.ts";
import { CacheSize } from "../src/cache-size.ts";

const MIB = 1024 * 1024;
const BUDGET = 1000 * MIB;
const OWN = 80 * MIB;

/** A cache that takes all that it may when `wanted` is more, in a process that takes `others` beside it. */
function setUp() {
  let look: () => void = () => undefined;
  const clock: Clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    monotonicMicros: () => 0,
    after: () => ({ cancel: () => undefined }),
    every: (_intervalMs: number, action: () => void) => {
      look = action;
      return { cancel: () => undefined };
    },
    immediate: () => undefined,
  };
  const state = { others: 100 * MIB, wanted: Number.POSITIVE_INFINITY };
  const cache = {
    capacityBytes: OWN,
    get slabBytes() {
      return Math.min(state.wanted, cache.capacityBytes);
    },
    resize(bytes: number) {
      cache.capacityBytes = bytes;
    },
  };
  const memory = {
    read: () => ({ residentBytes: 0, allocatedBytes: 0, heapUsedBytes: 0 }),
    residentBytes: () => state.others + cache.slabBytes,
    collectYoung: () => undefined,
    collect: () => undefined,
  };
  new CacheSize(cache, memory, BUDGET, clock);
  const looks = (count: number) => {
    for (let i = 0; i < count; i++) look();
    return cache.capacityBytes / MIB;
  };
  return { state, looks };
}

test("a full cache grows by steps, to half of the budget at most", () => {
  const { state, looks } = setUp();
  state.others = 0;
  expect(looks(1)).toBe(90);
  expect(looks(1)).toBe(100);
  expect(looks(1000)).toBe(500);
});

test("a cache that is not full does not grow", () => {
  const { state, looks } = setUp();
  state.wanted = OWN - MIB;
  expect(looks(10)).toBe(80);
});

test("it grows no further than the process may, and stays there", () => {
  const { state, looks } = setUp();
  state.others = 400 * MIB;
  expect(looks(1000)).toBe(200);
  state.others = 490 * MIB;
  expect(looks(1000)).toBe(200);
});

test("it gives back what others need, down to its own share", () => {
  const { state, looks } = setUp();
  expect(looks(1000)).toBe(500);
  state.others = 300 * MIB;
  expect(looks(1)).toBe(440);
  expect(looks(1000)).toBe(380);
  state.others = 900 * MIB;
  expect(looks(1000)).toBe(80);
  state.others = 100 * MIB;
  expect(looks(1000)).toBe(500);
});
