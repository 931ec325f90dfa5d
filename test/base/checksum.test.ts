import { describe, expect, test } from "bun:test";
import xxhash from "xxhash-wasm";
import { checksumMatches, writeChecksum, xxh64 } from "../../src/base/checksum.ts";

const { h64Raw } = await xxhash();

/** Bytes without a pattern that XXH64's lanes of 8 and 32 bytes could hide. */
function sample(target: Uint8Array): Uint8Array {
  let state = 1;
  for (let i = 0; i < target.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    target[i] = state >>> 24;
  }
  return target;
}

describe("checksums", () => {
  test("are the check values of XXH64", () => {
    expect(xxh64(new Uint8Array(0))).toBe(0xef46db3751d8e999n);
    expect(xxh64(Buffer.from("abc"))).toBe(0x44bc2cf5ad770999n);
  });

  test("are those of another implementation, for any length, alignment and kind of memory", () => {
    const lengths = [...Array(200).keys(), 1023, 4095, 4096, 65_537, 300_001];
    const [ordinary, shared] = [new ArrayBuffer(300_100), new SharedArrayBuffer(300_100)];
    for (const buffer of [ordinary, shared]) {
      const bytes = sample(new Uint8Array(buffer));
      for (const length of lengths) {
        const view = bytes.subarray(length % 9, (length % 9) + length);
        expect({ length, sum: xxh64(view) }).toEqual({ length, sum: h64Raw(view) });
      }
    }
  });

  test("are stored little-endian, and every bit of them counts", () => {
    const covered = Buffer.from("abc");
    const stored = Buffer.alloc(10);
    writeChecksum(covered, stored, 1);
    expect(stored.toString("hex")).toBe("00990977adf52cbc4400");
    expect(checksumMatches(covered, stored, 1)).toBe(true);
    for (let bit = 0; bit < 64; bit++) {
      const byte = 1 + (bit >> 3);
      stored[byte]! ^= 1 << (bit & 7);
      expect({ bit, matches: checksumMatches(covered, stored, 1) }).toEqual({
        bit,
        matches: false,
      });
      stored[byte]! ^= 1 << (bit & 7);
    }
  });
});
