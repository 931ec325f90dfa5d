/**
 * Flush and compaction of 100-byte records with 16-byte keys, the job functions as the storage thread runs them:
 * processor time of this thread, per job and per record. `--smoke` runs it small.
 *
 * Real size: flushes of 64 MiB arenas with 600,000 records (uniform keys, all marked), then a merge of four of
 * them, then the merge iterator alone.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { orderHash } from "../../src/base/order-hash.ts";
import { RECORD_HEADER_BYTES, RecordType, recordBytes } from "../../src/base/record.ts";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { type FlushSource, OFFSET_COUNT_UNKNOWN } from "../../src/lsm/flush.ts";
import { SortedSources } from "../../src/lsm/flush-sort.ts";
import { JobRunner } from "../../src/lsm/job-runner.ts";
import { DEFAULT_TUNING } from "../../src/lsm/lsm-options.ts";
import { MergingIterator } from "../../src/lsm/merging-iterator.ts";
import { RecordView } from "../../src/lsm/order-key.ts";
import { RunIterator } from "../../src/lsm/run-iterator.ts";
import type { OutputOptions, StorageJob, StorageResult } from "../../src/lsm/storage-job.ts";
import { TablePool } from "../../src/lsm/table-pool.ts";
import { LEVEL_COUNT, type TableMeta } from "../../src/lsm/version-edit.ts";

const smoke = process.argv.includes("--smoke");
const RECORDS = smoke ? 5000 : 600_000;
const KEYS = smoke ? 20_000 : 10_000_000;
const ROUNDS = smoke ? 1 : 4;
const KEY_BYTES = 16;
const VALUE_BYTES = 70;
const TABLE_IDS_PER_JOB = 100;

const fileSystem = new DiskFileSystem();
const directory = mkdtempSync(`${tmpdir()}/dkv-bench-flush-`);
const runner = new JobRunner(fileSystem, () => 0);
let random = 12345;
let nextTableId = 1;

function nextRandom(): number {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
  return random / 0x1_0000_0000;
}

function fillArena(firstSequence: number): FlushSource {
  const each = recordBytes(0, KEY_BYTES, 0, VALUE_BYTES);
  const bytes = new SharedArrayBuffer(Math.max(RECORDS * each, 4096));
  const offsets = new SharedArrayBuffer(RECORDS * 4);
  const arena = Buffer.from(bytes);
  const words = new Uint32Array(offsets);
  for (let i = 0; i < RECORDS; i++) {
    const at = i * each;
    const key = at + RECORD_HEADER_BYTES;
    arena.write(`key:${String(Math.floor(nextRandom() * KEYS)).padStart(12, "0")}`, key);
    arena[at] = RecordType.VALUE;
    arena.writeUInt16LE(slotOf(arena, key, key + KEY_BYTES), at + 2);
    arena.writeUInt32LE(orderHash(arena, key, key + KEY_BYTES, 1, 2), at + 4);
    arena.writeUInt32LE(VALUE_BYTES, at + 8);
    arena.writeUInt16LE(KEY_BYTES, at + 12);
    words[i] = at | OFFSET_COUNT_UNKNOWN;
  }
  return { bytes, offsets, firstRecord: 0, recordCount: RECORDS, firstSequence };
}

function outputOptions(level: number): OutputOptions {
  const firstTableId = nextTableId;
  nextTableId += TABLE_IDS_PER_JOB;
  return {
    directory,
    firstTableId,
    tableIdCount: TABLE_IDS_PER_JOB,
    targetTableBytes: DEFAULT_TUNING.targetTableBytes,
    partitions: level === 0 ? DEFAULT_TUNING.partitions : 1,
    blockBytes: DEFAULT_TUNING.blockBytes,
    filterBitsPerKey: DEFAULT_TUNING.filterBitsPerKey,
    compression: "none",
    level,
    clockMs: 0,
  };
}

function run(job: StorageJob): StorageResult {
  let result: StorageResult | undefined;
  let failure: Error | undefined;
  runner.add(job, {
    resolve: (value) => {
      result = value;
    },
    reject: (error) => {
      failure = error;
    },
  });
  while (runner.step());
  if (result === undefined) throw failure ?? new Error("the job did not end");
  return result;
}

/** Runs an action and prints wall and processor time; answers what it answers. */
function measure<T>(name: string, records: number, action: () => T): T {
  const cpu = process.cpuUsage();
  const started = Bun.nanoseconds();
  const value = action();
  const wallMs = (Bun.nanoseconds() - started) / 1e6;
  const used = process.cpuUsage(cpu);
  const cpuMs = (used.user + used.system) / 1000;
  const line = `${wallMs.toFixed(1).padStart(8)} ms wall ${cpuMs.toFixed(1).padStart(8)} ms cpu`;
  console.log(
    `${name.padEnd(34)} ${line} ${((cpuMs * 1e6) / records).toFixed(0).padStart(6)} ns/record`,
  );
  return value;
}

function scanRuns(tables: readonly TableMeta[][]): number {
  const pool = new TablePool(fileSystem, () => 0);
  const runs = tables.map(
    (run) =>
      new RunIterator(run, (table) =>
        pool.reader(directory, table).iterator({ readAheadBytes: 256 * 1024, useCache: false }),
      ),
  );
  const merged = new MergingIterator(runs);
  let count = 0;
  for (merged.seek(0); merged.isValid(); merged.next()) count++;
  pool.close();
  return count;
}

const flushed: TableMeta[][] = [];
const view = new RecordView();
let checksum = 0;
for (let round = 0; round < ROUNDS; round++) {
  const source = fillArena(round * RECORDS + 1);
  measure(`sort alone, round ${round}`, RECORDS, () => {
    const sorted = new SortedSources([source]);
    sorted.read(0, view);
    checksum += view.hash + sorted.count;
  });
  const levels: TableMeta[][] = Array.from({ length: LEVEL_COUNT }, () => []);
  levels[0] = flushed.flat().reverse();
  const result = measure(`flush, round ${round}`, RECORDS, () =>
    run({
      kind: "flush",
      sources: [source],
      levels,
      rangeDeletions: [],
      output: outputOptions(0),
      expiredMax: 1,
    }),
  );
  checksum += result.deltas.reduce((sum, delta) => sum + delta, 0);
  flushed.push([...result.tables]);
}
const records = flushed.flat().reduce((sum, table) => sum + table.recordCount, 0);
checksum += measure("merge iterators alone", records, () => scanRuns(flushed));
const merged = measure("compaction", records, () =>
  run({
    kind: "compact",
    runs: [...flushed].reverse(),
    below: [],
    rangeDeletions: [],
    cleanSequence: 0,
    keepSequences: new Uint8Array(SLOT_COUNT),
    output: outputOptions(LEVEL_COUNT - 1),
    bytesPerSecond: 0,
    expiredMax: 1,
  }),
);
checksum += merged.tables.reduce((sum, table) => sum + table.recordCount, 0);
console.log(`checksum ${checksum}`);
runner.close();
rmSync(directory, { recursive: true });
