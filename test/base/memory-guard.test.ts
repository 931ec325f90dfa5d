import { expect, test } from "bun:test";
import { MemoryGuard } from "../../src/base/memory-guard.ts";

/** A guard of 1000 bytes whose collections leave `afterYoung` and `afterFull` bytes. */
function guardOf() {
  const state = { resident: 0, afterYoung: 0, afterFull: 0 };
  const memory = {
    read: () => ({ residentBytes: 0, allocatedBytes: 0, heapUsedBytes: 0 }),
    residentBytes: () => state.resident,
    collectYoung: () => {
      state.resident = state.afterYoung;
    },
    collect: () => {
      state.resident = state.afterFull;
    },
  };
  const guard = new MemoryGuard(memory, 1000);
  const lookAt = (resident: number) => {
    state.resident = resident;
    guard.look();
  };
  return { guard, state, lookAt };
}

test("MemoryGuard collects nothing while half of the budget is left, however memory grows", () => {
  const { guard, lookAt } = guardOf();
  for (let resident = 100; resident < 500; resident += 50) lookAt(resident);
  expect([guard.youngCollections, guard.fullCollections]).toEqual([0, 0]);
});

test("MemoryGuard collects young garbage once per growth, and not when memory stays where it is", () => {
  const { guard, state, lookAt } = guardOf();
  state.afterYoung = 600;
  lookAt(600);
  expect(guard.youngCollections).toBe(1);
  for (let i = 0; i < 10; i++) lookAt(620);
  expect(guard.youngCollections).toBe(1);
  lookAt(630);
  expect(guard.youngCollections).toBe(2);
  // What has gone by itself may come back only so far.
  lookAt(550);
  lookAt(581);
  expect(guard.youngCollections).toBe(3);
  expect(guard.fullCollections).toBe(0);
});

test("MemoryGuard collects everything near the budget, seldom, and more seldom when it does not help", () => {
  const { guard, state, lookAt } = guardOf();
  state.afterYoung = 700;
  state.afterFull = 600;
  for (let i = 0; i < 52; i++) lookAt(800);
  expect(guard.fullCollections).toBe(3);
  state.afterFull = 790;
  for (let i = 0; i < 200; i++) lookAt(800);
  expect(guard.fullCollections).toBe(4);
});
