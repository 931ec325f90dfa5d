import { expect, test } from "bun:test";
import { SystemProcessMemory } from "../../src/base/process-memory.ts";

const MIB = 1024 * 1024;

test("SystemProcessMemory counts what has been written to as resident, both ways", () => {
  const memory = new SystemProcessMemory();
  const before = memory.residentBytes();
  expect(Math.abs(memory.read().residentBytes - before)).toBeLessThan(16 * MIB);
  const bytes = new Uint8Array(128 * MIB).fill(1);
  const grown = memory.residentBytes() - before;
  expect(grown).toBeGreaterThan(100 * MIB);
  expect(grown).toBeLessThan(160 * MIB);
  expect(bytes[MIB]).toBe(1);
});
