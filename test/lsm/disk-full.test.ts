/** Tables on a full disk: what finds no room is dropped and done later, and all that is there can be read. */
import { describe, expect, test } from "bun:test";
import { RecordType } from "../../src/base/record.ts";
import { SLOT_COUNT } from "../../src/base/slot.ts";
import { Lsm } from "../../src/lsm/lsm.ts";
import { RecordView } from "../../src/lsm/order-key.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import { FindStatus } from "../../src/lsm/table-reader.ts";
import { ArenaBuilder, queryOf, SEED, valueTextOf } from "../support/arena.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const SPARE = 10_000;
const KEYS = 200;

const settle = async (): Promise<void> => {
  for (let i = 0; i < 50; i++) await Promise.resolve();
};

function open() {
  const fileSystem = new MemoryFileSystem();
  const executor = new InlineExecutor(fileSystem, { stepwise: true });
  const full: Error[] = [];
  const errors: Error[] = [];
  const lsm = Lsm.open({
    fileSystem,
    directory: "/lsm",
    executor,
    nowMicros: () => 0,
    clockMs: () => 0,
    hashSeed: SEED,
    tuning: { blockBytes: 256, targetTableBytes: 2048, levelBaseBytes: 4096, level0Trigger: 2 },
    spareDiskBytes: () => SPARE,
    onDiskFull: (error) => full.push(error),
    onError: (error) => errors.push(error),
    onExpired: () => undefined,
  });
  const flush = async (sequence: number, value: string): Promise<boolean> => {
    const arena = new ArenaBuilder(sequence);
    for (let i = 0; i < KEYS; i++) {
      const record = { key: `key-${i}`, value: `${value}-${i}`, mark: true };
      arena.add({ type: RecordType.VALUE, ...record });
    }
    const flushed = lsm.flush([arena.source()], new Float64Array(SLOT_COUNT));
    while (executor.step());
    return await flushed;
  };
  /** Gives the disk so much room beside what is on it. */
  const leave = (bytes: number): void => {
    fileSystem.capacityBytes = fileSystem.usedBytes + bytes;
  };
  const finish = async (): Promise<void> => {
    do await settle();
    while (executor.step());
  };
  return { lsm, fileSystem, executor, full, errors, flush, leave, finish };
}

function get(lsm: Lsm, key: string): string | undefined {
  const record = new RecordView();
  return lsm.find(queryOf(key), record) === FindStatus.FOUND ? valueTextOf(record) : undefined;
}

describe("Lsm on a full disk", () => {
  test("a flush leaves nothing behind, and the same flush is done when there is room", async () => {
    const { lsm, fileSystem, errors, full, flush, leave } = open();
    leave(1000);
    const files = fileSystem.list("/lsm");
    expect(await flush(0, "a")).toBe(false);
    expect(fileSystem.list("/lsm")).toEqual(files);
    expect([full.length, lsm.flushedSequence]).toEqual([1, 0]);
    leave(1_000_000);
    expect(await flush(0, "a")).toBe(true);
    expect(get(lsm, "key-7")).toBe("a-7");
    expect([lsm.flushedSequence, errors]).toEqual([200, []]);
    await lsm.close();
  });

  test("a merge begins when its inputs would fit once more beside the spare bytes", async () => {
    const { lsm, errors, full, flush, leave, finish, fileSystem } = open();
    expect(await flush(0, "a")).toBe(true);
    // For the second flush, and little more.
    leave(SPARE + fileSystem.usedBytes);
    expect(await flush(KEYS, "b")).toBe(true);
    await finish();
    expect(lsm.lacksRoom).toBe(true);
    expect(lsm.info).toMatchObject({ isCompacting: false, compactionCount: 0 });
    // Said once, however often it is looked at.
    for (let i = 0; i < 20; i++) lsm.maintain();
    expect([full.length, get(lsm, "key-7")]).toEqual([1, "b-7"]);
    leave(1_000_000);
    lsm.maintain();
    await finish();
    expect(lsm.info.compactionCount).toBeGreaterThan(0);
    expect([lsm.lacksRoom, get(lsm, "key-7"), errors]).toEqual([false, "b-7", []]);
    await lsm.close();
  });

  test("a merge that finds no room drops what it has written, and is done later", async () => {
    const { lsm, fileSystem, errors, full, flush, leave, finish } = open();
    expect([await flush(0, "a"), await flush(KEYS, "b")]).toEqual([true, true]);
    await settle();
    expect(lsm.info.isCompacting).toBe(true);
    const files = fileSystem.list("/lsm");
    leave(500);
    await finish();
    expect(fileSystem.list("/lsm")).toEqual(files);
    expect(lsm.info).toMatchObject({ isCompacting: false, compactionCount: 0 });
    expect([full.length, lsm.lacksRoom, get(lsm, "key-7")]).toEqual([1, true, "b-7"]);
    leave(1_000_000);
    for (let i = 0; i < 5; i++) lsm.maintain();
    await finish();
    expect(lsm.info.compactionCount).toBeGreaterThan(0);
    expect([lsm.lacksRoom, get(lsm, "key-7"), errors]).toEqual([false, "b-7", []]);
    await lsm.close();
  });
});
