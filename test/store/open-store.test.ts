import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import { openStore } from "../../src/store/open-store.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const KIB = 1024;

function open(fileSystem: MemoryFileSystem) {
  return openStore({
    fileSystem,
    directory: "/data",
    clock: new SimulatedClock(1_700_000_000_000, true),
    executor: new InlineExecutor(fileSystem),
    random: new Uint8Array(24).fill(1),
    syncPolicy: "no",
    segmentBytes: 256 * KIB,
    segmentPoolBytes: 1024 * KIB,
    tuning: {},
    minFreeDiskBytes: () => 0,
    valueBytesMax: 64 * KIB,
    largeBytes: new ByteBudget(1024 * KIB),
    onFatal: (error) => {
      throw error;
    },
    onCommitted: () => undefined,
    onRecovering: () => undefined,
  });
}

test("openStore() sums recovery up in numbers: the line that says so is written at every start", async () => {
  const fileSystem = new MemoryFileSystem();
  const { store } = await open(fileSystem);
  await store.runUnit(() => {
    const key = Buffer.from("key");
    store.select(key, 0, key.length);
    store.put(key, 0, key.length, 0);
  });
  await store.close();
  const again = await open(fileSystem);
  expect(again.recovery).toEqual({
    replayedBytes: expect.any(Number),
    cutBytes: 0,
    records: 1,
  });
  expect(again.recovery.replayedBytes).toBeGreaterThan(0);
  await again.store.close();
});
