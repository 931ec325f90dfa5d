/**
 * Nanoseconds per operation on one table of 16-byte keys and 100-byte values on disk, keys in random order: building,
 * filter answers, find with the block in the cache, find with the block in the page cache only, fingerprints,
 * iteration. Two sizes: 20,000 keys (fits the processor's caches) and 1,000,000. `--smoke` runs it small.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { orderHash } from "../../src/base/order-hash.ts";
import { RecordType } from "../../src/base/record.ts";
import { slotOf } from "../../src/base/slot.ts";
import { BlockCache } from "../../src/lsm/block-cache.ts";
import {
  fingerprintOf,
  type KeyQuery,
  positionOf,
  prefixOf,
  RecordView,
} from "../../src/lsm/order-key.ts";
import { TableBuilder } from "../../src/lsm/table-builder.ts";
import { DEFAULT_TABLE_OPTIONS } from "../../src/lsm/table-format.ts";
import { FindStatus, TableReader } from "../../src/lsm/table-reader.ts";

const smoke = process.argv.includes("--smoke");
const SIZES = smoke ? [2000] : [20_000, 1_000_000];
const OPERATIONS = smoke ? 2000 : 2_000_000;
const ROUNDS = smoke ? 1 : 5;
const KEY_BYTES = 16;
const VALUE_BYTES = 100;
const CACHE_BYTES = 512 * 1024 * 1024;

/** Keys 0 … count − 1 are in the table, count … 2 count − 1 are not. */
class Keys {
  readonly bytes: Uint8Array;
  readonly slots: Uint16Array;
  readonly hashes: Uint32Array;

  constructor(count: number) {
    this.bytes = new Uint8Array(count * KEY_BYTES);
    this.slots = new Uint16Array(count);
    this.hashes = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const start = i * KEY_BYTES;
      this.bytes.set(Buffer.from(`key:${String(i).padStart(12, "0")}`), start);
      this.slots[i] = slotOf(this.bytes, start, start + KEY_BYTES);
      this.hashes[i] = orderHash(this.bytes, start, start + KEY_BYTES, 1, 2);
    }
  }

  fill(query: KeyQuery, i: number): void {
    query.keyStart = i * KEY_BYTES;
    query.keyEnd = query.keyStart + KEY_BYTES;
    query.slot = this.slots[i]!;
    query.hash = this.hashes[i]!;
    query.prefix = prefixOf(query.slot, query.hash);
  }
}

/** A fixed pseudo-random walk over 0 … count − 1. */
function walk(count: number): Uint32Array {
  const order = new Uint32Array(OPERATIONS);
  let state = 12345;
  for (let i = 0; i < OPERATIONS; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    order[i] = Math.floor((state / 0x1_0000_0000) * count);
  }
  return order;
}

function report(name: string, operations: number, action: () => number): void {
  let best = Number.POSITIVE_INFINITY;
  let checksum = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const started = Bun.nanoseconds();
    checksum = action();
    best = Math.min(best, (Bun.nanoseconds() - started) / operations);
  }
  console.log(`  ${name.padEnd(30)} ${best.toFixed(1).padStart(8)} ns  checksum ${checksum}`);
}

function build(path: string, keys: Keys, count: number): number {
  const order = Array.from({ length: count }, (_, i) => i);
  const positions = Float64Array.from(order, (i) => positionOf(keys.slots[i]!, keys.hashes[i]!));
  order.sort((a, b) => positions[a]! - positions[b]! || a - b);
  const value = Buffer.alloc(VALUE_BYTES, "v");
  const bytes = new Uint8Array(keys.bytes.length + VALUE_BYTES);
  bytes.set(keys.bytes);
  bytes.set(value, keys.bytes.length);
  const view = new RecordView();
  view.bytes = bytes;
  view.type = RecordType.VALUE;
  view.valueStart = keys.bytes.length;
  view.valueEnd = bytes.length;
  const file = fileSystem.open(path, "create");
  const builder = new TableBuilder(file, DEFAULT_TABLE_OPTIONS);
  for (const i of order) {
    view.slot = keys.slots[i]!;
    view.hash = keys.hashes[i]!;
    view.sequence = i + 1;
    view.keyStart = i * KEY_BYTES;
    view.keyEnd = view.keyStart + KEY_BYTES;
    view.subKeyStart = view.keyEnd;
    view.subKeyEnd = view.keyEnd;
    builder.add(view);
  }
  const { fileBytes } = builder.finish();
  file.close();
  return fileBytes;
}

function measureTable(path: string, count: number): void {
  const keys = new Keys(2 * count);
  console.log(`${count} keys`);
  const fileBytes = build(path, keys, count);
  report("build, sort and sync, per key", count, () => build(path, keys, count));
  console.log(`  ${(fileBytes / count).toFixed(1)} bytes of file per key`);
  const nowMicros = (): number => Bun.nanoseconds() / 1000;
  const cache = new BlockCache(CACHE_BYTES);
  const reader = TableReader.open(fileSystem, path, 1, { cache, nowMicros });
  console.log(`  ${(reader.memoryBytes / count).toFixed(2)} bytes of memory per key`);
  const order = walk(count);
  const query: KeyQuery = {
    bytes: keys.bytes,
    keyStart: 0,
    keyEnd: 0,
    subBytes: keys.bytes,
    subKeyStart: 0,
    subKeyEnd: 0,
    slot: 0,
    hash: 0,
    prefix: 0,
  };
  const found = new RecordView();
  const filterAnswers = (first: number): number => {
    let passed = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      const key = first + order[i]!;
      if (reader.mayContain(keys.slots[key]!, keys.hashes[key]!)) passed++;
    }
    return passed;
  };
  const finds = (table: TableReader, first: number, operations: number): number => {
    let sum = 0;
    for (let i = 0; i < operations; i++) {
      keys.fill(query, first + order[i]!);
      if (table.find(query, found) === FindStatus.FOUND) sum += found.sequence;
    }
    return sum;
  };
  report("filter, absent", OPERATIONS, () => filterAnswers(count));
  report("filter, present", OPERATIONS, () => filterAnswers(0));
  finds(reader, 0, OPERATIONS);
  report("find, present, cached", OPERATIONS, () => finds(reader, 0, OPERATIONS));
  report("find, absent, cached", OPERATIONS, () => finds(reader, count, OPERATIONS));
  const small = TableReader.open(fileSystem, path, 1, { cache: new BlockCache(0), nowMicros });
  const coldFinds = OPERATIONS / 20;
  report("find, 2 MiB of cache", coldFinds, () => finds(small, 0, coldFinds));
  const column = reader.fingerprints();
  report("fingerprint, present", OPERATIONS, () => {
    let sum = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      keys.fill(query, order[i]!);
      sum += column.find(query, fingerprintOf(keys.bytes, query.keyStart, query.keyEnd));
    }
    return sum;
  });
  report("iterate, per record", count, () => {
    const iterator = reader.iterator({ readAheadBytes: 1024 * 1024, useCache: false });
    let sum = 0;
    for (iterator.seek(0); iterator.isValid(); iterator.next()) sum += iterator.current.sequence;
    return sum;
  });
  small.close();
  reader.close();
}

const fileSystem = new DiskFileSystem();
const directory = mkdtempSync(join(tmpdir(), "dkv-table-find-"));
try {
  for (const count of SIZES) measureTable(join(directory, "000001.table"), count);
} finally {
  rmSync(directory, { recursive: true });
}
