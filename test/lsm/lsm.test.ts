import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { CorruptionError } from "../../src/base/errors.ts";
import { DiskFileSystem, type FileSystem } from "../../src/base/file-system.ts";
import { RecordType } from "../../src/base/record.ts";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { Lsm } from "../../src/lsm/lsm.ts";
import type { LsmTuning } from "../../src/lsm/lsm-options.ts";
import { RecordView } from "../../src/lsm/order-key.ts";
import {
  InlineExecutor,
  type StorageExecutor,
  WorkerExecutor,
} from "../../src/lsm/storage-executor.ts";
import type { ExpiredBatch } from "../../src/lsm/storage-job.ts";
import { FindStatus } from "../../src/lsm/table-reader.ts";
import { ArenaBuilder, keyOf, queryOf, SEED, valueTextOf } from "../support/arena.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const { VALUE, TOMBSTONE } = RecordType;
const directories: string[] = [];
const NO_DELTAS = new Float64Array(SLOT_COUNT);
const TINY: Partial<LsmTuning> = {
  blockBytes: 256,
  targetTableBytes: 2048,
  levelBaseBytes: 4096,
  levelMultiplier: 4,
  level0Trigger: 2,
  level0DepthMax: 4,
  manifestBytes: 4096,
};

function newDirectory(): string {
  const directory = mkdtempSync(`${tmpdir()}/dkv-lsm-`);
  directories.push(directory);
  return directory;
}

afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

interface Opened {
  readonly lsm: Lsm;
  readonly expired: ExpiredBatch[];
  readonly errors: Error[];
  readonly clock: { ms: number };
}

interface OpenOptions {
  readonly fileSystem?: FileSystem;
  readonly executor?: StorageExecutor;
  readonly tuning?: Partial<LsmTuning>;
}

function open(directory: string, options: OpenOptions = {}): Opened {
  const expired: ExpiredBatch[] = [];
  const errors: Error[] = [];
  const clock = { ms: 1_000_000 };
  const fileSystem = options.fileSystem ?? new DiskFileSystem();
  const lsm = Lsm.open({
    fileSystem,
    directory,
    executor: options.executor ?? new InlineExecutor(fileSystem),
    nowMicros: () => 0,
    clockMs: () => clock.ms,
    hashSeed: SEED,
    tuning: options.tuning ?? {},
    onError: (error) => errors.push(error),
    onExpired: (batch) => expired.push(batch),
  });
  return { lsm, expired, errors, clock };
}

function openInMemory(
  tuning: Partial<LsmTuning> = TINY,
): Opened & { fileSystem: MemoryFileSystem } {
  const fileSystem = new MemoryFileSystem();
  return { ...open("/lsm", { fileSystem, tuning }), fileSystem };
}

function get(lsm: Lsm, key: string): string | undefined {
  const record = new RecordView();
  const status = lsm.find(queryOf(key), record);
  expect(status).not.toBe(FindStatus.COLD);
  if (status === FindStatus.ABSENT) return undefined;
  return record.type === TOMBSTONE ? "(tombstone)" : valueTextOf(record);
}

function scan(lsm: Lsm): string[] {
  const iterator = lsm.iterator();
  const keys: string[] = [];
  for (iterator.seek(0); iterator.isValid(); iterator.next()) keys.push(keyOf(iterator.current));
  return keys;
}

function total(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function fill(arena: ArenaBuilder, from: number, to: number, value: string): void {
  for (let i = from; i < to; i++) {
    arena.add({ type: VALUE, key: `key-${i}`, value: `${value}-${i}`, mark: true });
  }
}

describe("Lsm", () => {
  test("finds what was flushed, also after reopening", async () => {
    const directory = newDirectory();
    const first = open(directory);
    const arena = new ArenaBuilder(0);
    fill(arena, 0, 1000, "a");
    await first.lsm.flush([arena.source()], NO_DELTAS);
    expect(get(first.lsm, "key-7")).toBe("a-7");
    expect(get(first.lsm, "nothing")).toBeUndefined();
    expect(total(first.lsm.baseCounts)).toBe(1000);
    expect(first.lsm.flushedSequence).toBe(1000);
    await first.lsm.close();
    const second = open(directory);
    expect(get(second.lsm, "key-999")).toBe("a-999");
    expect(scan(second.lsm).length).toBe(1000);
    expect(total(second.lsm.baseCounts)).toBe(1000);
    expect(second.lsm.flushedSequence).toBe(1000);
    await second.lsm.close();
    expect(first.errors).toEqual([]);
  });

  test("compaction keeps the newest versions and drops tombstones", async () => {
    const { lsm, errors } = openInMemory();
    let sequence = 0;
    for (let round = 0; round < 12; round++) {
      const arena = new ArenaBuilder(sequence);
      fill(arena, 0, 300, `r${round}`);
      arena.add({ type: TOMBSTONE, key: `key-${round}`, mark: false });
      sequence = arena.nextSequence;
      const deltas = new Float64Array(SLOT_COUNT);
      const bytes = new TextEncoder().encode(`key-${round}`);
      deltas[slotOf(bytes, 0, bytes.length)]! -= 1;
      await lsm.flush([arena.source()], deltas);
    }
    await lsm.compactAll();
    expect(errors).toEqual([]);
    expect(get(lsm, "key-11")).toBeUndefined();
    expect(get(lsm, "key-10")).toBe("r11-10");
    expect(scan(lsm).length).toBe(299);
    expect(total(lsm.baseCounts)).toBe(299);
    const last = lsm.info.levels.at(-1)!;
    expect(last.records).toBe(299);
    expect(lsm.info.levels.slice(0, -1).every((level) => level.tables === 0)).toBe(true);
    await lsm.close();
  });

  test("a range deletion hides lower sequences at once and can be undone", async () => {
    const { lsm } = openInMemory({});
    const arena = new ArenaBuilder(0);
    fill(arena, 0, 100, "a");
    await lsm.flush([arena.source()], NO_DELTAS);
    lsm.addRangeDeletion(200, 0, SLOT_COUNT);
    expect(get(lsm, "key-1")).toBeUndefined();
    expect(scan(lsm)).toEqual([]);
    lsm.removeRangeDeletion(200);
    expect(get(lsm, "key-1")).toBe("a-1");
    await lsm.close();
  });

  test("a committed range deletion deletes covered tables and holds for flushes of older records", async () => {
    const { lsm, fileSystem, errors } = openInMemory({});
    const tables = (): string[] =>
      fileSystem.list("/lsm").filter((name) => name.endsWith(".table"));
    const first = new ArenaBuilder(0);
    fill(first, 0, 100, "a");
    await lsm.flush([first.source()], NO_DELTAS);
    expect(tables().length).toBe(1);
    const second = new ArenaBuilder(100);
    fill(second, 50, 150, "b");
    lsm.addRangeDeletion(200, 0, SLOT_COUNT);
    lsm.commitRangeDeletions([200]);
    await lsm.waitIdle();
    expect(tables()).toEqual([]);
    // Its own record is in a later memtable: this one is older, and must not come to light.
    await lsm.flush([second.source()], NO_DELTAS);
    await lsm.waitIdle();
    expect(get(lsm, "key-60")).toBeUndefined();
    expect(scan(lsm)).toEqual([]);
    expect(lsm.info.rangeDeletions).toBe(1);
    const third = new ArenaBuilder(200);
    third.addRangeDeletion(0, SLOT_COUNT);
    fill(third, 0, 10, "c");
    const deltas = lsm.baseCounts.map((count) => -count);
    await lsm.flush([third.source()], deltas);
    await lsm.waitIdle();
    expect(get(lsm, "key-5")).toBe("c-5");
    expect(total(lsm.baseCounts)).toBe(10);
    // Nothing older is left, so the deletion itself goes.
    expect(lsm.info.rangeDeletions).toBe(0);
    expect(errors).toEqual([]);
    await lsm.close();
  });

  test("however many range deletions are committed, one is kept and few edits are written", async () => {
    const fileSystem = new MemoryFileSystem();
    const before = open("/lsm", { fileSystem });
    const arena = new ArenaBuilder(0);
    fill(arena, 0, 100, "a");
    await before.lsm.flush([arena.source()], NO_DELTAS);
    const manifest = (): string =>
      fileSystem.list("/lsm").find((name) => name.startsWith("MANIFEST"))!;
    const bytes = (): number => {
      const file = fileSystem.open(`/lsm/${manifest()}`, "read");
      const size = file.size();
      file.close();
      return size;
    };
    const start = bytes();
    for (let sequence = 200; sequence < 300; sequence++) {
      before.lsm.addRangeDeletion(sequence, 0, SLOT_COUNT);
      before.lsm.commitRangeDeletions([sequence]);
      if (sequence % 10 === 0) await Promise.resolve();
    }
    await before.lsm.waitIdle();
    expect(before.lsm.info.rangeDeletions).toBe(1);
    expect(bytes() - start).toBeLessThan(2000);
    await before.lsm.close();
    // Recovery meets all of them again in the log, and the manifest has the newest only.
    const after = open("/lsm", { fileSystem });
    for (let sequence = 200; sequence < 300; sequence++)
      after.lsm.addRangeDeletion(sequence, 0, SLOT_COUNT);
    after.lsm.commitRangeDeletions([250]);
    after.lsm.commitRangeDeletions([299]);
    expect(after.lsm.info.rangeDeletions).toBe(1);
    expect(get(after.lsm, "key-1")).toBeUndefined();
    expect([...before.errors, ...after.errors]).toEqual([]);
    await after.lsm.close();
  });

  test("a range deletion stays while newer ones cover only a part of it", async () => {
    const { lsm, errors } = openInMemory({});
    const arena = new ArenaBuilder(0);
    fill(arena, 0, 100, "a");
    await lsm.flush([arena.source()], NO_DELTAS);
    const half = SLOT_COUNT / 2;
    lsm.addRangeDeletion(200, 0, half + 1);
    lsm.addRangeDeletion(201, half, SLOT_COUNT);
    lsm.addRangeDeletion(202, half, SLOT_COUNT - 1);
    lsm.removeRangeDeletion(202);
    for (const sequence of [200, 201]) lsm.commitRangeDeletions([sequence]);
    await lsm.waitIdle();
    expect(lsm.info.rangeDeletions).toBe(2);
    expect(scan(lsm)).toEqual([]);
    lsm.addRangeDeletion(203, 0, SLOT_COUNT);
    lsm.commitRangeDeletions([203]);
    await lsm.waitIdle();
    expect(lsm.info.rangeDeletions).toBe(1);
    expect(errors).toEqual([]);
    await lsm.close();
  });

  test("a merge whose input a range deletion took away leaves nothing behind", async () => {
    const fileSystem = new MemoryFileSystem();
    const executor = new InlineExecutor(fileSystem, { stepwise: true });
    const { lsm, errors } = open("/lsm", { fileSystem, executor, tuning: TINY });
    const settle = async (): Promise<void> => {
      for (let i = 0; i < 50; i++) await Promise.resolve();
    };
    const flush = async (arena: ArenaBuilder): Promise<void> => {
      const flushed = lsm.flush([arena.source()], NO_DELTAS);
      while (executor.step());
      await flushed;
    };
    const first = new ArenaBuilder(0);
    fill(first, 0, 200, "a");
    await flush(first);
    const second = new ArenaBuilder(200);
    fill(second, 0, 200, "b");
    await flush(second);
    await settle();
    expect(lsm.info.isCompacting).toBe(true);
    lsm.addRangeDeletion(400, 0, SLOT_COUNT);
    lsm.commitRangeDeletions([400]);
    await settle();
    while (executor.step()) await settle();
    await lsm.waitIdle();
    expect(scan(lsm)).toEqual([]);
    expect(fileSystem.list("/lsm").filter((name) => name.endsWith(".table"))).toEqual([]);
    expect(errors).toEqual([]);
    await lsm.close();
    expect(fileSystem.openFiles).toBe(0);
  });

  test("expired records are reported by the flush, and later by sweeps, once", async () => {
    const { lsm, expired, clock } = openInMemory({ expiredPerJob: 30 });
    const arena = new ArenaBuilder(0);
    for (let i = 0; i < 200; i++) {
      arena.add({
        type: VALUE,
        key: `key-${i}`,
        value: "v",
        mark: true,
        expiry: clock.ms + i * 10,
      });
    }
    await lsm.flush([arena.source()], NO_DELTAS);
    await lsm.waitIdle();
    const reported = (): number => expired.reduce((sum, batch) => sum + batch.count, 0);
    expect(reported()).toBe(1);
    clock.ms += 1000;
    await lsm.waitIdle();
    expect(reported()).toBeGreaterThanOrEqual(100);
    const keys = expired.flatMap((batch) =>
      [...batch.keyEnds].map((end, i) =>
        new TextDecoder().decode(batch.keys.subarray(batch.keyEnds[i - 1] ?? 0, end)),
      ),
    );
    expect(new Set(keys)).toEqual(new Set(Array.from({ length: 101 }, (_, i) => `key-${i}`)));
    const before = reported();
    await lsm.waitIdle();
    expect(reported()).toBe(before);
    // They stay until a tombstone says otherwise: counts must not drift.
    expect(get(lsm, "key-1")).toBe("v");
    expect(total(lsm.baseCounts)).toBe(200);
    await lsm.close();
  });

  test("open refuses a directory that lacks a table, the manifest or CURRENT", async () => {
    for (const victim of [/\.table$/, /^MANIFEST-/, /^CURRENT$/]) {
      const { lsm, fileSystem } = openInMemory({});
      const arena = new ArenaBuilder(0);
      fill(arena, 0, 100, "a");
      await lsm.flush([arena.source()], NO_DELTAS);
      await lsm.close();
      const name = fileSystem.list("/lsm").find((file) => victim.test(file))!;
      fileSystem.remove(`/lsm/${name}`);
      expect(() => open("/lsm", { fileSystem })).toThrow(CorruptionError);
      expect(fileSystem.openFiles).toBe(0);
    }
  });

  test("open removes files that no version names, and nothing else", async () => {
    const { lsm, fileSystem } = openInMemory({});
    await lsm.close();
    for (const name of ["000099.table", "MANIFEST-000077", "CURRENT.tmp", "LOCK", "notes.txt"]) {
      fileSystem.open(`/lsm/${name}`, "create").close();
    }
    const again = open("/lsm", { fileSystem });
    expect(fileSystem.list("/lsm")).toEqual(["CURRENT", "LOCK", "MANIFEST-000002", "notes.txt"]);
    await again.lsm.close();
  });

  test("writePressure rises with the depth of level 0", async () => {
    const fileSystem = new MemoryFileSystem();
    const executor = new InlineExecutor(fileSystem, { stepwise: true });
    const tuning = { level0DepthMax: 1, level0SlowDepth: 2, level0StopDepth: 6 };
    const { lsm } = open("/lsm", { fileSystem, executor, tuning });
    const pressures: number[] = [];
    for (let round = 0; round < 7; round++) {
      const arena = new ArenaBuilder(round * 10);
      fill(arena, 0, 10, "a");
      let flushed = false;
      const flush = lsm.flush([arena.source()], NO_DELTAS).then(() => {
        flushed = true;
      });
      // One step at a time lets the flush pass the merge that is due.
      for (let steps = 0; !flushed; steps++) {
        if (steps < 4) executor.step();
        await Promise.resolve();
      }
      await flush;
      pressures.push(lsm.writePressure);
    }
    expect(pressures).toEqual([...pressures].sort((a, b) => a - b));
    expect(pressures[0]).toBe(0);
    expect(pressures.at(-1)).toBeGreaterThanOrEqual(0.5);
    let idle = false;
    const idled = lsm.waitIdle().then(() => {
      idle = true;
    });
    while (!idle) {
      executor.step();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await idled;
    expect(lsm.writePressure).toBe(0);
    await lsm.close();
  });

  test("works with the storage Worker on a real disk", async () => {
    const directory = newDirectory();
    const executor = await WorkerExecutor.start(2 ** 30);
    const { lsm, errors } = open(directory, { executor, tuning: TINY });
    let sequence = 0;
    for (let round = 0; round < 4; round++) {
      const arena = new ArenaBuilder(sequence);
      fill(arena, round * 50, round * 50 + 200, `r${round}`);
      sequence = arena.nextSequence;
      await lsm.flush([arena.source()], NO_DELTAS);
    }
    await lsm.compactAll();
    expect(total(lsm.baseCounts)).toBe(350);
    expect(scan(lsm).length).toBe(350);
    expect(get(lsm, "key-0")).toBe("r0-0");
    expect(get(lsm, "key-199")).toBe("r3-199");
    expect(errors).toEqual([]);
    await lsm.close();
  });

  test("a Worker's error arrives as the class it was", async () => {
    const executor = await WorkerExecutor.start(2 ** 30);
    const job = executor.run({
      kind: "sweep",
      directory: newDirectory(),
      table: {
        id: 1,
        bytes: 1,
        recordCount: 1,
        tombstoneCount: 0,
        minPosition: 0,
        maxPosition: 0,
        minSequence: 0,
        maxSequence: 0,
        cleanSequence: 0,
        expiringCount: 0,
        expiryQuantiles: [],
      },
      fromPosition: 0,
      clockMs: 0,
      expiredMax: 1,
      bytesPerSecond: 0,
    });
    expect(await job.catch((error: Error) => error)).toMatchObject({
      name: "DiskError",
      message: expect.stringContaining("000001.table"),
    });
    await executor.close();
  });
});
