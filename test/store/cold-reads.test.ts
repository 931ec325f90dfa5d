import { expect, test } from "bun:test";
import { openStore } from "../../src/store/open-store.ts";
import { memoryStoreOptions } from "./memory-store.ts";

test("size() waits for the blocks that tell whether overwritten keys existed", async () => {
  const { store } = await openStore({
    ...memoryStoreOptions(),
    tuning: { forceAsync: true, cacheBytes: 0, blockBytes: 256 },
  });
  const put = (from: number, to: number) =>
    store.runUnit(() => {
      for (let i = from; i < to; i++) {
        const key = Buffer.from(`key-${i}`);
        store.select(key, 0, key.length);
        store.put(key, 0, key.length, 0);
      }
    });
  await put(0, 100);
  store.pipeline.endTurn();
  expect(store.internals.segments.roll()).toBe(true);
  await store.internals.segments.flush();
  await put(50, 150);
  const other = Buffer.from("key-1");
  store.select(other, 0, other.length);
  let size = -1;
  let waits = 0;
  for (; size < 0 && waits < 100; waits++) {
    store.beginBatch();
    try {
      size = store.size();
    } catch (error) {
      store.abortUnit();
      await store.resolve(error);
    }
  }
  expect({ size, waits: waits < 100 }).toEqual({ size: 150, waits: true });
  await store.close();
});
