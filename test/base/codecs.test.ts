import { describe, expect, test } from "bun:test";
import { compareBytes, copyBytes, equalBytes } from "../../src/base/bytes.ts";
import { checksumMatches, writeChecksum, xxh64 } from "../../src/base/checksum.ts";
import { Uint32List } from "../../src/base/uint32-list.ts";
import {
  readVarint,
  VARINT_BYTES_MAX,
  varintBytes,
  varintEnd,
  writeVarint,
} from "../../src/base/varint.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("varint", () => {
  test("writes, measures and reads every power of two and its neighbours", () => {
    const bytes = new Uint8Array(16);
    for (let power = 0; power <= 53; power++) {
      for (const value of [2 ** power - 1, 2 ** power, 2 ** power + 1]) {
        if (!Number.isSafeInteger(value)) continue;
        bytes.fill(0xff);
        const end = writeVarint(bytes, 3, value);
        expect(end - 3).toBe(varintBytes(value));
        expect(end - 3).toBeLessThanOrEqual(VARINT_BYTES_MAX);
        expect(varintEnd(bytes, 3)).toBe(end);
        expect(readVarint(bytes, 3)).toBe(value);
        expect(bytes[end]).toBe(0xff);
      }
    }
  });
});

describe("checksum", () => {
  test("xxh64 gives the published check values", () => {
    expect(xxh64(encode(""))).toBe(0xef46db3751d8e999n);
    expect(xxh64(encode("abc"))).toBe(0x44bc2cf5ad770999n);
  });

  test("checksumMatches accepts what writeChecksum wrote and no other byte", () => {
    const covered = encode("some covered bytes");
    const stored = new Uint8Array(12);
    writeChecksum(covered, stored, 2);
    expect(checksumMatches(covered, stored, 2)).toBe(true);
    expect(new DataView(stored.buffer).getBigUint64(2, true)).toBe(xxh64(covered));
    for (let i = 0; i < 8; i++) {
      const damaged = stored.slice();
      damaged[2 + i]! ^= 0x10;
      expect(checksumMatches(covered, damaged, 2)).toBe(false);
    }
    expect(checksumMatches(covered.subarray(1), stored, 2)).toBe(false);
  });
});

describe("bytes", () => {
  test("compareBytes and equalBytes look at the given ranges only", () => {
    const a = encode("xxabcz");
    const b = encode("abdz");
    expect(compareBytes(a, 2, b, 0, 2)).toBe(0);
    expect(compareBytes(a, 2, b, 0, 3)).toBeLessThan(0);
    expect(compareBytes(b, 0, a, 2, 3)).toBeGreaterThan(0);
    expect(compareBytes(Uint8Array.of(0x80), 0, Uint8Array.of(0x7f), 0, 1)).toBeGreaterThan(0);
    expect(equalBytes(a, 2, b, 0, 2)).toBe(true);
    expect(equalBytes(a, 2, b, 0, 3)).toBe(false);
  });

  test("copyBytes copies between plain and shared memory", () => {
    const shared = new Uint8Array(new SharedArrayBuffer(8));
    copyBytes(encode("abcdef"), 1, 4, shared, 2);
    const back = new Uint8Array(4);
    copyBytes(shared, 1, 5, back, 0);
    expect([...back]).toEqual([0, ...encode("bcd")]);
  });
});

describe("Uint32List", () => {
  test("grows and keeps unsigned values", () => {
    const list = new Uint32List(1);
    for (let i = 0; i < 100; i++) list.push(0xffff_ffff - i);
    expect(list.length).toBe(100);
    expect(list.at(99)).toBe(0xffff_ffff - 99);
    expect([...list.view()]).toEqual(Array.from({ length: 100 }, (_, i) => 0xffff_ffff - i));
  });
});
