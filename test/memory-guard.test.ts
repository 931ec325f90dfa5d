import { expect, test } from "bun:test";
import { MemoryGuard } from "../src/memory-guard.ts";

test("MemoryGuard collects garbage when little of the budget is left, and not at every look", () => {
  let look: () => void = () => undefined;
  let residentBytes = 500;
  let collected = 0;
  const clock = {
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
  const memory = {
    read: () => ({ residentBytes, allocatedBytes: residentBytes, heapUsedBytes: 0 }),
    collect: () => {
      collected++;
    },
  };
  const guard = new MemoryGuard(memory, 1000, clock);
  for (let i = 0; i < 10; i++) look();
  expect(collected).toBe(0);
  residentBytes = 800;
  for (let i = 0; i < 10; i++) look();
  expect(collected).toBe(3);
  expect(guard.collections).toBe(3);
});
