/** Tables in memory for tests: records as plain objects, a file as a byte array that a test may damage. */
import type { File, FileSystem } from "../../src/base/file-system.ts";
import { RecordFlag, RecordType } from "../../src/base/record.ts";
import { BlockCache } from "../../src/lsm/block-cache.ts";
import type { RecordIterator } from "../../src/lsm/iterator.ts";
import {
  compareRecords,
  type KeyQuery,
  positionOf,
  prefixOf,
  RecordView,
} from "../../src/lsm/order-key.ts";
import { TableBuilder } from "../../src/lsm/table-builder.ts";
import {
  DEFAULT_TABLE_OPTIONS,
  type TableOptions,
  type TableProperties,
} from "../../src/lsm/table-format.ts";
import { TableReader, type TableReaderOptions } from "../../src/lsm/table-reader.ts";

export interface PlainRecord {
  type: number;
  flags: number;
  slot: number;
  hash: number;
  expiry: number;
  sequence: number;
  key: string;
  subKey: string;
  value: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function plain(fields: Partial<PlainRecord>): PlainRecord {
  return {
    type: RecordType.VALUE,
    flags: fields.expiry === undefined || fields.expiry === 0 ? 0 : RecordFlag.EXPIRES,
    slot: 0,
    hash: 0,
    expiry: 0,
    sequence: 1,
    key: "key",
    subKey: "",
    value: "",
    ...fields,
  };
}

/** A view over memory of its own; `margin` bytes of garbage stand before the key. */
export function viewOf(record: PlainRecord, margin = 3): RecordView {
  const key = encoder.encode(record.key);
  const subKey = encoder.encode(record.subKey);
  const value = encoder.encode(record.value);
  const view = new RecordView();
  view.bytes = new Uint8Array(margin + key.length + subKey.length + value.length + 5).fill(0xee);
  view.bytes.set(key, margin);
  view.bytes.set(subKey, margin + key.length);
  view.bytes.set(value, margin + key.length + subKey.length);
  view.type = record.type;
  view.flags = record.flags;
  view.slot = record.slot;
  view.hash = record.hash;
  view.expiry = record.expiry;
  view.sequence = record.sequence;
  view.keyStart = margin;
  view.keyEnd = margin + key.length;
  view.subKeyStart = view.keyEnd;
  view.subKeyEnd = view.keyEnd + subKey.length;
  view.valueStart = view.subKeyEnd;
  view.valueEnd = view.subKeyEnd + value.length;
  return view;
}

export function plainOf(view: RecordView): PlainRecord {
  const text = (start: number, end: number): string => decoder.decode(view.bytes.slice(start, end));
  return {
    type: view.type,
    flags: view.flags,
    slot: view.slot,
    hash: view.hash,
    expiry: view.expiry,
    sequence: view.sequence,
    key: text(view.keyStart, view.keyEnd),
    subKey: text(view.subKeyStart, view.subKeyEnd),
    value: text(view.valueStart, view.valueEnd),
  };
}

export function queryOf(record: {
  slot: number;
  hash: number;
  key: string;
  subKey: string;
}): KeyQuery {
  const bytes = encoder.encode(`..${record.key}..`);
  const subBytes = encoder.encode(`.${record.subKey}.`);
  return {
    bytes,
    keyStart: 2,
    keyEnd: bytes.length - 2,
    subBytes,
    subKeyStart: 1,
    subKeyEnd: subBytes.length - 1,
    slot: record.slot,
    hash: record.hash,
    prefix: prefixOf(record.slot, record.hash),
  };
}

export function positionOfPlain(record: PlainRecord): number {
  return positionOf(record.slot, record.hash);
}

/** In table order, one record per (key, sub-key). */
export function sortRecords(records: readonly PlainRecord[]): PlainRecord[] {
  const views = records.map((record) => ({ record, view: viewOf(record) }));
  views.sort((a, b) => compareRecords(a.view, b.view));
  return views
    .filter((entry, i) => i === 0 || compareRecords(views[i - 1]!.view, entry.view) !== 0)
    .map((entry) => entry.record);
}

/** A seeded generator (mulberry32): 0 ≤ value < bound. */
export function seededRandom(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return Math.floor((((word ^ (word >>> 14)) >>> 0) / 0x1_0000_0000) * bound);
  };
}

export class MemoryFile implements File {
  readonly path: string = "/memory/000001.table";
  bytes: Uint8Array = new Uint8Array(0);
  syncs = 0;
  reads = 0;
  closed = false;
  /** Called within every read. */
  onRead: () => void = () => undefined;

  read(into: Uint8Array, position: number): number {
    this.reads++;
    this.onRead();
    const part = this.bytes.subarray(position, position + into.length);
    into.set(part);
    return part.length;
  }

  /** Gives 1000 bytes at a time: short reads are allowed. */
  async readAsync(into: Uint8Array, position: number): Promise<number> {
    await Promise.resolve();
    return this.read(into.subarray(0, 1000), position);
  }

  write(bytes: Uint8Array, position: number): void {
    if (position + bytes.length > this.bytes.length) {
      const grown = new Uint8Array(position + bytes.length);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes.set(bytes, position);
  }

  sync(): void {
    this.syncs++;
  }

  syncAsync(): Promise<void> {
    this.syncs++;
    return Promise.resolve();
  }

  size(): number {
    return this.bytes.length;
  }

  truncate(bytes: number): void {
    this.bytes = this.bytes.slice(0, bytes);
  }

  close(): void {
    this.closed = true;
  }
}

/** A file system that knows one file. */
export function fileSystemOf(file: File): FileSystem {
  return { open: () => file } as unknown as FileSystem;
}

export function buildTable(
  records: readonly PlainRecord[],
  options: Partial<TableOptions> = {},
): { file: MemoryFile; properties: TableProperties } {
  const file = new MemoryFile();
  const builder = new TableBuilder(file, { ...DEFAULT_TABLE_OPTIONS, ...options });
  for (const record of records) builder.add(viewOf(record));
  const properties = builder.finish();
  return { file, properties };
}

export function openTable(file: File, options: Partial<TableReaderOptions> = {}): TableReader {
  return TableReader.open(fileSystemOf(file), file.path, 1, {
    cache: options.cache ?? new BlockCache(2 * 1024 * 1024),
    nowMicros: () => 0,
    ...options,
  });
}

export function collect(iterator: RecordIterator, position = 0): PlainRecord[] {
  const records: PlainRecord[] = [];
  for (iterator.seek(position); iterator.isValid(); iterator.next()) {
    records.push(plainOf(iterator.current));
  }
  return records;
}

/** Records of all kinds, with shared positions, chunk runs and long values, in order. */
export function randomRecords(seed: number, count: number): PlainRecord[] {
  const random = seededRandom(seed);
  const records: PlainRecord[] = [];
  const slots = 1 + random(8);
  while (records.length < count) {
    const slot = random(4) === 0 ? 1023 - random(slots) : random(slots);
    // Few hashes in some slots: several keys at one position.
    const hash = slot % 3 === 0 ? random(4) * 0x4000_0001 : random(0x1_0000_0000);
    const key = `key-${random(1_000_000_000)}${"k".repeat(random(8) === 0 ? random(300) : 0)}`;
    records.push(...randomKey({ slot, hash, key }, random));
  }
  return sortRecords(records);
}

/** A value, a tombstone, or a chunked value with its chunks. */
function randomKey(
  key: Pick<PlainRecord, "slot" | "hash" | "key">,
  random: (bound: number) => number,
): PlainRecord[] {
  const expiry = random(4) === 0 ? 1_700_000_000_000 + random(1_000_000) : 0;
  const sequence = random(2) === 0 ? 0 : random(0x7fff_ffff) * 0x1_0000 + random(0x1_0000);
  const kind = random(10);
  if (kind < 7) {
    const length = random(20) === 0 ? random(9000) : random(80);
    return [plain({ ...key, sequence, expiry, value: "v".repeat(length) })];
  }
  if (kind < 9) return [plain({ ...key, sequence, type: RecordType.TOMBSTONE })];
  const head = plain({ ...key, sequence, expiry, type: RecordType.CHUNKED, value: "123456789012" });
  const chunks = Array.from({ length: random(12) }, (_, chunk) => {
    const subKey = `0000${String(chunk).padStart(6, "0")}`;
    const value = `${chunk}`.repeat(random(800));
    return plain({ ...key, sequence, type: RecordType.CHUNK, subKey, value });
  });
  return [head, ...chunks];
}
