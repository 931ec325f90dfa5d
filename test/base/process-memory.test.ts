import { expect, test } from "bun:test";
import { SystemProcessMemory } from "../../src/base/process-memory.ts";

const MIB = 1024 * 1024;

/** Prints by how much the process grows. One of its own: garbage of other tests would leave this one meanwhile. */
const GROW = `
  const { SystemProcessMemory } = await import(${JSON.stringify(import.meta.resolve("../../src/base/process-memory.ts"))});
  const memory = new SystemProcessMemory();
  const before = memory.residentBytes();
  const bytes = new Uint8Array(${128 * MIB}).fill(1);
  console.log(memory.residentBytes() - before + bytes[0] - 1);
`;

test("SystemProcessMemory.residentBytes counts what has been written to", () => {
  const { stdout } = Bun.spawnSync([process.execPath, "-e", GROW]);
  const grown = Number(stdout.toString());
  expect(grown).toBeGreaterThan(100 * MIB);
  expect(grown).toBeLessThan(160 * MIB);
});

test("SystemProcessMemory counts resident bytes alike, both ways", () => {
  const memory = new SystemProcessMemory();
  const difference = memory.read().residentBytes - memory.residentBytes();
  expect(Math.abs(difference)).toBeLessThan(16 * MIB);
});
