import { describe, expect, test } from "bun:test";
import { buildFilter, Filter, filterMix, probesFor } from "../../src/lsm/filter.ts";
import { seededRandom } from "./table-support.ts";

function filterOf(keys: readonly (readonly [number, number])[], bitsPerKey: number): Filter {
  const mixes = Uint32Array.from(keys, ([slot, hash]) => filterMix(slot, hash));
  return new Filter(buildFilter(mixes, mixes.length, bitsPerKey), probesFor(bitsPerKey));
}

function falsePositiveShare(
  filter: Filter,
  next: () => readonly [number, number],
  tries: number,
): number {
  let passed = 0;
  for (let i = 0; i < tries; i++) {
    const [slot, hash] = next();
    if (filter.mayContain(slot, hash)) passed++;
  }
  return passed / tries;
}

describe("Filter", () => {
  test("passes every key it was built from", () => {
    const random = seededRandom(1);
    for (const [count, bits] of [
      [1, 10],
      [3, 1],
      [5000, 10],
      [5000, 20],
    ] as const) {
      const keys = Array.from({ length: count }, () => [random(1024), random(2 ** 32)] as const);
      const filter = filterOf(keys, bits);
      for (const [slot, hash] of keys) expect(filter.mayContain(slot, hash)).toBe(true);
    }
  });

  test("passes about 1 % of other keys at 10 bits, over all slots", () => {
    const random = seededRandom(2);
    const next = (): readonly [number, number] => [random(1024), random(2 ** 32)];
    const filter = filterOf(Array.from({ length: 100_000 }, next), 10);
    expect(falsePositiveShare(filter, next, 100_000)).toBeLessThan(0.014);
  });

  test("passes about 1 % of other keys where a table holds a narrow run of one slot", () => {
    const random = seededRandom(3);
    const next = (): readonly [number, number] => [5, 0x1234_0000 + 2 * random(2 ** 20)];
    const filter = filterOf(Array.from({ length: 50_000 }, next), 10);
    const other = (): readonly [number, number] => [5, 0x1234_0001 + 2 * random(2 ** 20)];
    expect(falsePositiveShare(filter, other, 100_000)).toBeLessThan(0.014);
  });

  test("without bits passes everything", () => {
    const filter = filterOf([[1, 2]], 0);
    expect(filter.mayContain(9, 9)).toBe(true);
    expect(filter.memoryBytes).toBe(0);
  });
});
