/** A store whose disk has no room for tables: writes are refused, reads go on, and nothing is lost. */
import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { DiskFullError } from "../../src/base/errors.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { StorageJob, StorageResult } from "../../src/lsm/storage-job.ts";
import { UnitWork } from "../../src/store/interrupt.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { Store } from "../../src/store/store.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const KIB = 1024;
const NOW_MS = 1_700_000_000_000;
const SEGMENTS = 4;
const FILES = new MemoryFileSystem();

/** Finds no room for flushes while it is told so. */
class FullExecutor extends InlineExecutor {
  isFull = true;

  override run(job: StorageJob): Promise<StorageResult> {
    if (!this.isFull || job.kind !== "flush") return super.run(job);
    return Promise.reject(new DiskFullError("no room", { path: job.output.directory }));
  }
}

async function open(executor: FullExecutor, clock: SimulatedClock, full: Error[]) {
  const { store } = await openStore({
    fileSystem: FILES,
    directory: "/data",
    clock,
    executor,
    random: new Uint8Array(24).fill(1),
    syncPolicy: "no",
    segmentBytes: 64 * KIB,
    segmentPoolBytes: SEGMENTS * 64 * KIB,
    tuning: {},
    minFreeDiskBytes: () => 0,
    valueBytesMax: 64 * KIB,
    largeBytes: new ByteBudget(1024 * KIB),
    onFatal: (error) => {
      throw error;
    },
    onDiskFull: (error) => full.push(error),
    onCommitted: () => undefined,
    onRecovering: () => undefined,
  });
  return store;
}

function put(store: Store, name: string, expiry = 0): Promise<void> {
  const value = Buffer.alloc(KIB, name);
  return store.runUnit(() => {
    const key = Buffer.from(name);
    store.select(key, 0, key.length);
    store.put(value, 0, value.length, expiry);
  });
}

/** The key's value, read within one turn. */
function get(store: Store, name: string): string | undefined {
  let value: string | undefined;
  store.beginBatch();
  store.beginUnit(new UnitWork());
  const key = Buffer.from(name);
  store.select(key, 0, key.length);
  if (store.find()) value = store.copyValue().toString();
  store.endUnit();
  return value;
}

test("a flush without room: writes are refused, reads go on, and the writes that waited are done when there is room", async () => {
  const executor = new FullExecutor(FILES);
  const clock = new SimulatedClock(NOW_MS, true);
  const full: Error[] = [];
  const store = await open(executor, clock, full);
  const { segments } = store.internals;
  await put(store, "expires", NOW_MS + 10);
  let written = 0;
  let waiting: Promise<void> | undefined;
  for (; waiting === undefined && written < 1000; written++) {
    const write = put(store, `key-${written}`);
    const end = await Promise.race([write.then(() => "done"), turns(store)]);
    if (end !== "done") waiting = write;
  }
  expect(segments.isDiskFull).toBe(true);
  expect(store.housekeeping.refusal).toStartWith("MISCONF ");
  expect(full.length).toBe(1);
  expect(get(store, "key-7")).toStartWith("key-7");
  clock.advance(1000);
  expect(get(store, "expires")).toBeUndefined();
  expect(store.housekeeping.refusal).toStartWith("MISCONF ");
  executor.isFull = false;
  for (let second = 0; second < 5; second++) store.housekeeping.maintain();
  await waiting;
  store.housekeeping.checkDisk();
  expect([segments.isDiskFull, store.housekeeping.refusal]).toEqual([false, undefined]);
  await put(store, "after");
  for (let i = 0; i < written; i++) expect(get(store, `key-${i}`)).toStartWith(`key-${i}`);
  await store.close();
});

async function turns(store: Store): Promise<string> {
  for (let i = 0; i < 20; i++) await store.nextTurn();
  return "waits";
}
