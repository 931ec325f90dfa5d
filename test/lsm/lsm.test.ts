import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { RecordType } from "../../src/base/record.ts";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { Lsm } from "../../src/lsm/lsm.ts";
import type { LsmTuning } from "../../src/lsm/lsm-options.ts";
import { RecordView } from "../../src/lsm/order-key.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { ExpiredBatch } from "../../src/lsm/storage-job.ts";
import { FindStatus } from "../../src/lsm/table-reader.ts";
import { ArenaBuilder, keyOf, queryOf, SEED, valueTextOf } from "../support/arena.ts";

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

function open(directory: string, tuning: Partial<LsmTuning> = {}): Opened {
  const expired: ExpiredBatch[] = [];
  const errors: Error[] = [];
  const clock = { ms: 1_000_000 };
  const fileSystem = new DiskFileSystem();
  const lsm = Lsm.open({
    fileSystem,
    directory,
    executor: new InlineExecutor(fileSystem),
    nowMicros: () => 0,
    clockMs: () => clock.ms,
    hashSeed: SEED,
    tuning,
    onError: (error) => errors.push(error),
    onExpired: (batch) => expired.push(batch),
  });
  return { lsm, expired, errors, clock };
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
    const { lsm, errors } = open(newDirectory(), TINY);
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
});
