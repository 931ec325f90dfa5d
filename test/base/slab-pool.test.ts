import { expect, test } from "bun:test";
import { freeBuffer, SLAB_BYTES, SlabPool, SlabWriter } from "../../src/base/slab-pool.ts";

test("SlabPool hands out what was given back, and keeps no more than it is allowed to", () => {
  const pool = new SlabPool(SLAB_BYTES);
  const slabs = [pool.take(), pool.take()];
  const [first, second] = slabs;
  pool.giveAll(slabs);
  expect(slabs).toEqual([]);
  expect(pool.take()).toBe(first!);
  expect(pool.take()).not.toBe(second!);
});

test("SlabWriter fills slabs to the end, whatever the sizes of what it is given", () => {
  const slabs: Buffer[] = [];
  const writer = new SlabWriter(new SlabPool(0), slabs);
  const bytes = Buffer.alloc(2 * SLAB_BYTES + 100);
  for (let i = 0; i < bytes.length; i++) bytes[i] = i % 251;
  let at = 0;
  for (const count of [1, 0, 4095, SLAB_BYTES - 4096, SLAB_BYTES + 7, 93]) {
    writer.write(bytes, at, at + count);
    at += count;
  }
  expect(at).toBe(bytes.length);
  expect(writer.pieces.map((piece) => piece.length)).toEqual([SLAB_BYTES, SLAB_BYTES, 100]);
  expect(Buffer.concat(writer.pieces).equals(bytes)).toBe(true);
  expect(slabs.length).toBe(3);
});

test("freeBuffer detaches a large buffer's memory, and leaves alone what shares its memory or is small", () => {
  const large = Buffer.allocUnsafeSlow(1 << 20);
  freeBuffer(large);
  expect(large.length).toBe(0);
  const shared = Buffer.allocUnsafeSlow(1 << 20);
  freeBuffer(shared.subarray(1));
  freeBuffer(shared.subarray(0, 1 << 19));
  expect(shared.length).toBe(1 << 20);
  const small = Buffer.allocUnsafeSlow(1024);
  freeBuffer(small);
  expect(small.length).toBe(1024);
});
