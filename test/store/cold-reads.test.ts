import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import { openStore } from "../../src/store/open-store.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const KIB = 1024;

test("size() waits for the blocks that tell whether overwritten keys existed", async () => {
  const fileSystem = new MemoryFileSystem();
  const { store } = await openStore({
    fileSystem,
    directory: "/data",
    clock: new SimulatedClock(1_700_000_000_000, true),
    executor: new InlineExecutor(fileSystem),
    random: new Uint8Array(24).fill(1),
    syncPolicy: "no",
    segmentBytes: 256 * KIB,
    segmentPoolBytes: 1024 * KIB,
    tuning: { forceAsync: true, cacheBytes: 0, blockBytes: 256 },
    minFreeDiskBytes: () => 0,
    valueBytesMax: 64 * KIB,
    largeBytes: new ByteBudget(1024 * KIB),
    onFatal: (error) => {
      throw error;
    },
    onCommitted: () => undefined,
    onRecovering: () => undefined,
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
