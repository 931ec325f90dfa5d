import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { PREPARING, UnitWork } from "../../src/store/interrupt.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { Store } from "../../src/store/store.ts";
import { memoryStoreOptions } from "./memory-store.ts";

const MIB = 1024 * 1024;
const WAIT_MS = 30_000;
const KEYS = ["a", "b", "c"].map((name) => Buffer.from(name));

interface Opened {
  readonly store: Store;
  unit(action: () => void): Promise<void>;
}

/** A store in memory, and what runs a unit as often as interrupts demand. */
async function open(segmentBytes: number, largeBytes: ByteBudget): Promise<Opened> {
  const { store } = await openStore({
    ...memoryStoreOptions(),
    ...{ segmentBytes, segmentPoolBytes: 16 * MIB, valueBytesMax: 16 * MIB, largeBytes },
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
  return { store, unit };
}

test(
  "units that read several large values do not wait for each other's memory for ever",
  async () => {
    // Room for one of them.
    const largeBytes = new ByteBudget(3 * MIB);
    const { store, unit } = await open(4 * MIB, largeBytes);
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
    const late = Bun.sleep(WAIT_MS).then(() => "waits for ever");
    expect(await Promise.race([Promise.all([readAll(), readAll()]), late])).not.toBe(
      "waits for ever",
    );
    expect(largeBytes.used).toBe(0);
    await store.close();
  },
  2 * WAIT_MS,
);

test("a value of any length and key fits segments of the least size, and is not borrowed", async () => {
  const { store, unit } = await open(MIB, new ByteBudget(16 * MIB));
  const keys = ["k", "l".repeat(65_535)].map((key) => Buffer.from(key));
  for (const key of keys) {
    for (const length of [MIB / 4, MIB / 4 + 1, MIB - 113, MIB - 112, MIB, MIB + 1]) {
      const borrowed = Buffer.alloc(length);
      await unit(() => {
        borrowed.fill(length % 251);
        store.select(key, 0, key.length);
        try {
          store.put(borrowed, 0, length, 0);
        } finally {
          if (length <= MIB) borrowed.fill(0xcc);
        }
      });
      let read: Uint8Array = borrowed;
      await unit(() => {
        store.select(key, 0, key.length);
        if (store.find()) read = store.copyValue();
      });
      expect(Buffer.compare(read, Buffer.alloc(length, length % 251))).toBe(0);
    }
  }
  await store.close();
});
