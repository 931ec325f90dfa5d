/**
 * Nanoseconds per operation on one table of 16-byte keys and 100-byte values on disk: building, filter answers, find
 * with the block in the cache, find with the block in the page cache only, fingerprints, iteration.
 *
 * Keys are asked for in random order, but lie in memory in the order of asking, as those of a request do. Two
 * sizes: 20,000 keys (fits the processor's caches) and 1,000,000 (every find waits for memory a few times).
 * `--smoke` runs it small.
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

/** Keys with their slots and order hashes, one behind the other. */
class Keys {
  readonly bytes: Uint8Array;
  readonly slots: Uint16Array;
  readonly hashes: Uint32Array;

  /** numbers[i] is what key i is made of. */
  constructor(numbers: Uint32Array) {
    this.bytes = new Uint8Array(numbers.length * KEY_BYTES);
    this.slots = new Uint16Array(numbers.length);
    this.hashes = new Uint32Array(numbers.length);
    numbers.forEach((number, i) => {
      const start = i * KEY_BYTES;
      this.bytes.set(Buffer.from(`key:${String(number).padStart(12, "0")}`), start);
      this.slots[i] = slotOf(this.bytes, start, start + KEY_BYTES);
      this.hashes[i] = orderHash(this.bytes, start, start + KEY_BYTES, 1, 2);
    });
  }

  fill(query: KeyQuery, i: number): void {
    query.bytes = this.bytes;
    query.subBytes = this.bytes;
    query.keyStart = i * KEY_BYTES;
    query.keyEnd = query.keyStart + KEY_BYTES;
    query.slot = this.slots[i]!;
    query.hash = this.hashes[i]!;
    query.prefix = prefixOf(query.slot, query.hash);
  }
}

/** A fixed pseudo-random walk over first … first + count − 1. */
function walk(first: number, count: number): Uint32Array {
  const order = new Uint32Array(OPERATIONS);
  let state = 12345;
  for (let i = 0; i < OPERATIONS; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    order[i] = first + Math.floor((state / 0x1_0000_0000) * count);
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
  const keys = new Keys(Uint32Array.from({ length: count }, (_, i) => i));
  const present = new Keys(walk(0, count));
  const absent = new Keys(walk(count, count));
  console.log(`${count} keys`);
  const fileBytes = build(path, keys, count);
  report("build, sort and sync, per key", count, () => build(path, keys, count));
  console.log(`  ${(fileBytes / count).toFixed(1)} bytes of file per key`);
  const nowMicros = (): number => Bun.nanoseconds() / 1000;
  const cache = new BlockCache(CACHE_BYTES);
  const reader = TableReader.open(fileSystem, path, 1, { cache, nowMicros });
  console.log(`  ${(reader.memoryBytes / count).toFixed(2)} bytes of memory per key`);
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
  const filterAnswers = (asked: Keys): number => {
    let passed = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      if (reader.mayContain(asked.slots[i]!, asked.hashes[i]!)) passed++;
    }
    return passed;
  };
  const finds = (table: TableReader, asked: Keys, operations: number): number => {
    let sum = 0;
    for (let i = 0; i < operations; i++) {
      asked.fill(query, i);
      if (table.find(query, found) === FindStatus.FOUND) sum += found.sequence;
    }
    return sum;
  };
  report("filter, absent", OPERATIONS, () => filterAnswers(absent));
  report("filter, present", OPERATIONS, () => filterAnswers(present));
  finds(reader, present, OPERATIONS);
  report("find, present, cached", OPERATIONS, () => finds(reader, present, OPERATIONS));
  report("find, absent, cached", OPERATIONS, () => finds(reader, absent, OPERATIONS));
  const small = TableReader.open(fileSystem, path, 1, { cache: new BlockCache(0), nowMicros });
  const coldFinds = OPERATIONS / 20;
  report("find, 2 MiB of cache", coldFinds, () => finds(small, present, coldFinds));
  const column = reader.fingerprints();
  report("fingerprint, present", OPERATIONS, () => {
    let sum = 0;
    for (let i = 0; i < OPERATIONS; i++) {
      present.fill(query, i);
      sum += column.find(query, fingerprintOf(present.bytes, query.keyStart, query.keyEnd));
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
