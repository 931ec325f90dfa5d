import { describe, expect, test } from "bun:test";
import {
  compareRecords,
  fingerprintOf,
  hashOfPosition,
  positionOf,
  prefixOf,
  slotOfPosition,
} from "../../src/lsm/order-key.ts";
import { plain, viewOf } from "./table-support.ts";

describe("order-key", () => {
  test("prefixOf keeps the slot and the high bits of the hash, unsigned", () => {
    expect(prefixOf(0, 0x3ff)).toBe(0);
    expect(prefixOf(1023, 0xffff_ffff)).toBe(0xffff_ffff);
    expect(prefixOf(512, 0x400)).toBe(512 * 2 ** 22 + 1);
  });

  test("positionOf is undone by slotOfPosition and hashOfPosition", () => {
    for (const [slot, hash] of [
      [0, 0],
      [1023, 0xffff_ffff],
      [512, 0x8000_0001],
    ] as const) {
      const position = positionOf(slot, hash);
      expect(slotOfPosition(position)).toBe(slot);
      expect(hashOfPosition(position)).toBe(hash);
    }
  });

  test("compareRecords orders by slot, hash, key and sub-key", () => {
    const ascending = [
      plain({ slot: 1, hash: 0xffff_ffff, key: "z" }),
      plain({ slot: 2, hash: 5, key: "a" }),
      plain({ slot: 2, hash: 5, key: "a", subKey: "a" }),
      plain({ slot: 2, hash: 5, key: "a", subKey: "b" }),
      plain({ slot: 2, hash: 5, key: "a", subKey: "ba" }),
      plain({ slot: 2, hash: 5, key: "aa" }),
      plain({ slot: 2, hash: 5, key: "b" }),
      plain({ slot: 2, hash: 0x8000_0000, key: "a" }),
    ].map((record, i) => viewOf(record, i));
    ascending.forEach((a, i) => {
      ascending.forEach((b, j) => {
        expect(Math.sign(compareRecords(a, b))).toBe(Math.sign(i - j));
      });
    });
  });

  test("fingerprintOf is part of the format, leaves the live bit free and uses every byte", () => {
    const bytes = new TextEncoder().encode("--0123456789abcdef--");
    const whole = fingerprintOf(bytes, 2, 18);
    expect(whole).toBe(2018617432);
    expect(whole & 1).toBe(0);
    const seen = new Set<number>();
    for (let length = 0; length <= 16; length++) seen.add(fingerprintOf(bytes, 2, 2 + length));
    for (let i = 2; i < 18; i++) {
      const other = bytes.slice();
      other[i]! ^= 1;
      seen.add(fingerprintOf(other, 2, 18));
    }
    expect(seen.size).toBe(17 + 16);
  });
});
