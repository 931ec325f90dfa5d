/** What stores in memory are opened with by tests that have sizes of their own. */
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { StoreOptions } from "../../src/store/open-store.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const KIB = 1024;

/** Nothing is synced by itself; what is fatal is thrown. */
export function memoryStoreOptions(fileSystem = new MemoryFileSystem()): StoreOptions {
  return {
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
  };
}
