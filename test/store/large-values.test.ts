import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import { PREPARING, UnitWork } from "../../src/store/interrupt.ts";
import { openStore } from "../../src/store/open-store.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const MIB = 1024 * 1024;
const KEYS = ["a", "b", "c"].map((name) => Buffer.from(name));

test("units that read several large values do not wait for each other's memory for ever", async () => {
  const fileSystem = new MemoryFileSystem();
  // Room for one of them.
  const largeBytes = new ByteBudget(3 * MIB);
  const { store } = await openStore({
    fileSystem,
    directory: "/data",
    clock: new SimulatedClock(1_700_000_000_000, true),
    executor: new InlineExecutor(fileSystem),
    random: new Uint8Array(24).fill(1),
    syncPolicy: "no",
    segmentBytes: 4 * MIB,
    segmentPoolBytes: 16 * MIB,
    tuning: {},
    minFreeDiskBytes: () => 0,
    valueBytesMax: 16 * MIB,
    largeBytes,
    onFatal: (error) => {
      throw error;
    },
    onCommitted: () => undefined,
    onRecovering: () => undefined,
  });
  const unit = async (action: () => void): Promise<void> => {
    const work = new UnitWork();
    for (;;) {
      store.beginBatch();
      store.beginUnit(work);
      try {
        action();
        store.endUnit();
        largeBytes.release(work.heldBytes);
        return;
      } catch (error) {
        store.abortUnit();
        if (error === PREPARING) work.results.push((await work.pending)!);
        else if (store.isInterrupt(error)) await store.resolve(error);
        else throw error;
      }
    }
  };
  for (const key of KEYS) {
    await unit(() => {
      store.select(key, 0, key.length);
      store.putPieces([Buffer.alloc(2 * MIB, key[0]!)], 0);
    });
  }
  const readAll = () =>
    unit(() => {
      for (const key of KEYS) {
        store.select(key, 0, key.length);
        expect(store.find()).toBe(true);
        const bytes = Buffer.concat(store.valuePieces());
        expect(bytes.equals(Buffer.alloc(2 * MIB, key[0]!))).toBe(true);
      }
    });
  const late = Bun.sleep(3000).then(() => "waits for ever");
  expect(await Promise.race([Promise.all([readAll(), readAll()]), late])).not.toBe(
    "waits for ever",
  );
  expect(largeBytes.used).toBe(0);
  await store.close();
});
