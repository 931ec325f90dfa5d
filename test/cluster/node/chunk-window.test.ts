/** Which chunks are asked for: each byte once, whatever is lost, doubled or comes late. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Chunk, ChunkWindow } from "../../../src/cluster/node/chunk-window.ts";

const OPTIONS = { chunkBytes: 10, chunksMax: 3, retryMs: 100 };

function windowOf(...sizes: number[]): ChunkWindow {
  const window = new ChunkWindow(OPTIONS);
  for (const size of sizes) window.add(size);
  return window;
}

test("ChunkWindow asks for a few chunks in order, and for more as they come", () => {
  const window = windowOf(25, 10);
  expect(window.due(0)).toMatchObject([
    { file: 0, offset: 0, length: 10 },
    { file: 0, offset: 10, length: 10 },
    { file: 0, offset: 20, length: 5 },
  ]);
  expect(window.due(50)).toEqual([]);
  expect(window.take(0, 10, 10)).toBe(true);
  expect(window.due(50)).toMatchObject([{ file: 1, offset: 0, length: 10 }]);
  expect(window.take(0, 0, 10)).toBe(true);
  expect(window.isFileDone(0)).toBe(false);
  expect(window.take(0, 20, 5)).toBe(true);
  expect(window.isFileDone(0)).toBe(true);
  expect(window.isDone).toBe(false);
  expect(window.take(1, 0, 10)).toBe(true);
  expect(window.isDone).toBe(true);
  expect(window.doneBytes).toBe(35);
});

test("ChunkWindow asks again for what does not come, and takes nothing twice or unasked", () => {
  const window = windowOf(10);
  window.due(0);
  expect(window.due(99)).toEqual([]);
  expect(window.due(100)).toMatchObject([{ file: 0, offset: 0, length: 10 }]);
  expect(window.take(0, 0, 9)).toBe(false);
  expect(window.take(1, 0, 10)).toBe(false);
  expect(window.take(0, 0, 10)).toBe(true);
  expect(window.take(0, 0, 10)).toBe(false);
  expect(window.doneBytes).toBe(10);
});

test("ChunkWindow gets every byte once over a network that loses, doubles and reorders", () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 });
  const fates = fc.infiniteStream(fc.integer({ min: 0, max: 3 }));
  void fc.assert(
    fc.property(sizes, fates, (files, fate) => {
      const window = windowOf(...files);
      const here = files.map((size) => new Uint8Array(size));
      const arrive = ({ file, offset, length }: Chunk) => {
        if (!window.take(file, offset, length)) return;
        for (let at = offset; at < offset + length; at++) here[file]![at]!++;
      };
      let onWay: Chunk[] = [];
      for (let nowMs = 0; !window.isDone; nowMs += 30) {
        if (nowMs > 1_000_000) throw new Error("it does not end");
        const due = window.due(nowMs);
        onWay.push(...due, ...due.filter(() => fate.next().value === 0));
        const fated = onWay.toReversed().map((chunk) => ({ chunk, fate: fate.next().value }));
        // 0: lost; 1: late.
        for (const { chunk, fate } of fated) if (fate > 1) arrive(chunk);
        onWay = fated.filter(({ fate }) => fate === 1).map(({ chunk }) => chunk);
      }
      for (const file of here) expect(file.every((count) => count === 1)).toBe(true);
    }),
    { numRuns: 50 },
  );
});
