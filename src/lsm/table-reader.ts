/**
 * Reads one table (table-format.ts). Filter and index stay in memory; data blocks come through the cache.
 *
 * A block that is not cached is read synchronously: in the page cache that costs about 2 µs, less than a thread
 * hop. Whether it is there cannot be known, so a read that took long makes the table asynchronous for a while:
 * find answers COLD, the caller awaits prefetch and runs its command again from the start.
 *
 * Hot: mayContain and find.
 */
import { assert } from "../base/assert.ts";
import { CorruptionError } from "../base/errors.ts";
import type { File, FileSystem } from "../base/file-system.ts";
import { findInBlock, openBlock } from "./block.ts";
import { type BlockCache, type CacheSlots, OFFSET_MASK, SLAB_SHIFT } from "./block-cache.ts";
import { Filter } from "./filter.ts";
import { FingerprintColumn } from "./fingerprint-column.ts";
import type { RecordIterator } from "./iterator.ts";
import type { KeyQuery, RecordView } from "./order-key.ts";
import {
  checkSection,
  decodeFooter,
  decodeProperties,
  FOOTER_BYTES,
  type Footer,
  type Section,
  TABLE_BYTES_MAX,
  type TableProperties,
} from "./table-format.ts";
import { TableIndex } from "./table-index.ts";
import {
  type BlockBuffer,
  type BlockSource,
  ColdReadError,
  SequentialBlocks,
  TableIterator,
} from "./table-iterator.ts";

export const FindStatus = { ABSENT: 0, FOUND: 1, COLD: 2 } as const;
export type FindStatus = (typeof FindStatus)[keyof typeof FindStatus];

export interface TableReaderOptions {
  readonly cache: BlockCache;
  /** A monotonic clock, microseconds. */
  readonly nowMicros: () => number;
  /** A synchronous read slower than this makes the table asynchronous … (default 1000) */
  readonly slowReadMicros?: number;
  /** … for this long (default 100). */
  readonly asyncForMs?: number;
  /** For tests: never read synchronously on behalf of find. */
  readonly forceAsync?: boolean;
}

export interface TableIteratorOptions {
  readonly readAheadBytes: number;
  /** True: through the cache, and ColdReadError where find would say COLD. False: from the file, ahead. */
  readonly useCache: boolean;
}

const SLOW_READ_MICROS = 1000;
const ASYNC_FOR_MS = 100;
/** The first slow read costs 1/64 of the longest asynchronous time, each further one four times as much. */
const PENALTY_STEPS = 64;
const PENALTY_GROWTH = 4;
const NO_LOCATION = 0;

interface TableParts {
  readonly file: File;
  readonly id: number;
  readonly footer: Footer;
  readonly footerBytes: Uint8Array;
  readonly filter: Filter;
  readonly index: TableIndex;
  readonly properties: TableProperties;
}

/** Buffers of asynchronous reads, kept: thousands of them a second would outrun the collector. */
const spareBuffers: Uint8Array[] = [];
const SPARE_BUFFERS_MAX = 64;
const SPARE_BYTES = 8 * 1024;

function takeBuffer(bytes: number): Uint8Array {
  if (bytes > SPARE_BYTES) return new Uint8Array(bytes);
  return spareBuffers.pop() ?? new Uint8Array(new ArrayBuffer(SPARE_BYTES));
}

function giveBuffer(buffer: Uint8Array): void {
  if (buffer.length !== SPARE_BYTES || spareBuffers.length === SPARE_BUFFERS_MAX) return;
  spareBuffers.push(buffer);
}

export class TableReader implements BlockSource {
  readonly id: number;
  readonly properties: TableProperties;
  /** Filter, index and cache locations; not the cached blocks. */
  readonly memoryBytes: number;
  readonly #file: File;
  readonly #footer: Footer;
  readonly #footerBytes: Uint8Array;
  readonly #filter: Filter;
  readonly #index: TableIndex;
  readonly #cache: BlockCache;
  readonly #slots: CacheSlots;
  readonly #locations: Uint32Array;
  readonly #nowMicros: () => number;
  readonly #slowReadMicros: number;
  readonly #asyncForMicros: number;
  readonly #forceAsync: boolean;
  #asyncUntil = Number.NEGATIVE_INFINITY;
  /** For how long the next slow read makes reads asynchronous. */
  #penaltyMicros: number;
  /** Blocks that are being read asynchronously. */
  readonly #loading = new Map<number, Promise<void>>();
  #closed = false;

  private constructor(parts: TableParts, options: TableReaderOptions) {
    this.id = parts.id;
    this.properties = parts.properties;
    this.#file = parts.file;
    this.#footer = parts.footer;
    this.#footerBytes = parts.footerBytes;
    this.#filter = parts.filter;
    this.#index = parts.index;
    this.#cache = options.cache;
    this.#slots = options.cache.register(parts.index.blockCount);
    this.#locations = this.#slots.locations;
    this.#nowMicros = options.nowMicros;
    this.#slowReadMicros = options.slowReadMicros ?? SLOW_READ_MICROS;
    this.#asyncForMicros = (options.asyncForMs ?? ASYNC_FOR_MS) * 1000;
    this.#penaltyMicros = this.#asyncForMicros / PENALTY_STEPS;
    this.#forceAsync = options.forceAsync ?? false;
    this.memoryBytes =
      parts.filter.memoryBytes + parts.index.memoryBytes + this.#locations.byteLength;
  }

  /** Reads and verifies the metadata. Throws CorruptionError or DiskError. */
  static open(
    fileSystem: FileSystem,
    path: string,
    tableId: number,
    options: TableReaderOptions,
  ): TableReader {
    const file = fileSystem.open(path, "read");
    try {
      return new TableReader(readMetadata(file, tableId), options);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  get path(): string {
    return this.#file.path;
  }

  /** Hot. False: the table holds no record of any key with this slot and order hash. */
  mayContain(slot: number, hash: number): boolean {
    return this.#filter.mayContain(slot, hash);
  }

  /**
   * Hot. Looks for the record of (key, sub-key) without asking the filter. When FOUND, `into` points into the cache:
   * valid until the next read of a block that is not cached, by this or any table of the cache.
   * Throws CorruptionError or DiskError.
   */
  find(query: KeyQuery, into: RecordView): FindStatus {
    const block = this.#index.locate(query);
    if (block < 0) return FindStatus.ABSENT;
    let location = this.#locations[block]!;
    if (location === NO_LOCATION) {
      if (this.#isAsync()) return FindStatus.COLD;
      location = this.#load(block);
    } else this.#cache.hits++;
    const slab = this.#cache.slabs[location >>> SLAB_SHIFT]!;
    const base = (location & OFFSET_MASK) << 3;
    const words = slab.words;
    // The word before the payload earns the block a second chance; a write only when it is news.
    if (words[(base >>> 2) - 1] === 0) words[(base >>> 2) - 1] = 1;
    return findInBlock(slab.bytes, words, base, query, into) ? FindStatus.FOUND : FindStatus.ABSENT;
  }

  /** Loads the block that find(query) needs and pins it until the cache's unpinAll. */
  async prefetch(query: KeyQuery): Promise<void> {
    const block = this.#index.locate(query);
    if (block < 0) return;
    await this.loadBlock(block);
  }

  /** Loads a block asynchronously and pins it until the cache's unpinAll. */
  async loadBlock(block: number): Promise<void> {
    // Between a load and the end of a wait for it the block may have left again.
    while (this.#locations[block] === NO_LOCATION) {
      assert(!this.#closed, "a closed table is not read");
      let loading = this.#loading.get(block);
      if (loading === undefined) {
        loading = this.#loadAsync(block).finally(() => this.#loading.delete(block));
        this.#loading.set(block, loading);
      }
      await loading;
    }
    this.#cache.pin(this.#locations[block]!);
  }

  /** Copies a payload for an iterator through the cache. Throws ColdReadError where find would say COLD. */
  copyBlock(block: number, into: BlockBuffer): void {
    let location = this.#locations[block]!;
    if (location === NO_LOCATION) {
      if (this.#isAsync()) throw new ColdReadError(() => this.loadBlock(block));
      location = this.#load(block);
    } else this.#cache.hits++;
    const base = (location & OFFSET_MASK) << 3;
    const bytes = this.#cache.slabs[location >>> SLAB_SHIFT]!.bytes;
    into.set(bytes, base, base + this.#cache.payloadBytesAt(location));
  }

  iterator(options: TableIteratorOptions): RecordIterator {
    const source = options.useCache
      ? this
      : new SequentialBlocks(this.#file, this.#index, options.readAheadBytes);
    return new TableIterator(source, this.#index);
  }

  /** Reads and verifies the fingerprints; the caller holds them as long as it counts. */
  fingerprints(): FingerprintColumn {
    const section = this.#footer.fingerprints;
    const bytes = readSection(this.#file, section);
    const place = { path: this.#file.path, offset: section.offset };
    checkSection("fingerprints", bytes, this.#footerBytes, place);
    return new FingerprintColumn(bytes, this.#index, place);
  }

  close(): void {
    assert(!this.#closed, "a table is closed once");
    this.#closed = true;
    this.#cache.release(this.#slots);
    this.#file.close();
  }

  #isAsync(): boolean {
    return this.#forceAsync || this.#nowMicros() < this.#asyncUntil;
  }

  /** Reads a block synchronously into the cache; its location. */
  #load(block: number): number {
    assert(!this.#closed, "a closed table is not read");
    this.#cache.misses++;
    const offset = this.#index.offsetOf(block);
    const stored = this.#cache.begin(this.#index.storedBytesOf(block));
    const start = this.#nowMicros();
    const read = this.#file.read(stored, offset);
    const end = this.#nowMicros();
    // A thread that was not scheduled looks like a slow disk once; a slow disk does so again.
    if (end - start > this.#slowReadMicros) {
      this.#asyncUntil = end + this.#penaltyMicros;
      this.#penaltyMicros = Math.min(this.#penaltyMicros * PENALTY_GROWTH, this.#asyncForMicros);
    } else {
      this.#penaltyMicros = this.#asyncForMicros / PENALTY_STEPS;
    }
    return this.#insert(block, stored, read);
  }

  async #loadAsync(block: number): Promise<void> {
    this.#cache.misses++;
    const offset = this.#index.offsetOf(block);
    const bytes = this.#index.storedBytesOf(block);
    const buffer = takeBuffer(bytes);
    const stored = buffer.subarray(0, bytes);
    let done = 0;
    while (done < bytes) {
      const count = await this.#file.readAsync(stored.subarray(done), offset + done);
      if (count === 0) break;
      done += count;
    }
    if (!this.#closed) this.#insert(block, stored, done);
    giveBuffer(buffer);
  }

  /** Verifies a stored block of which `read` bytes came, and inserts its payload. */
  #insert(block: number, stored: Uint8Array, read: number): number {
    const place = { path: this.#file.path, offset: this.#index.offsetOf(block) };
    if (read !== stored.length) throw new CorruptionError("table is cut short", place);
    const payload = openBlock(stored, block, place);
    if (payload.length > this.#cache.payloadBytesMax) {
      throw new CorruptionError("block is larger than any record", place);
    }
    // A payload that was read into the cache and is not compressed is where it belongs.
    const target = this.#cache.begin(payload.length);
    if (target.buffer !== payload.buffer || target.byteOffset !== payload.byteOffset) {
      target.set(payload);
    }
    return this.#cache.commit(this.#slots, block, payload.length);
  }
}

function readSection(file: File, section: Section): Uint8Array {
  const bytes = new Uint8Array(section.bytes);
  const read = file.read(bytes, section.offset);
  if (read !== bytes.length) {
    throw new CorruptionError("table is cut short", {
      path: file.path,
      offset: section.offset + read,
    });
  }
  return bytes;
}

function readMetadata(file: File, id: number): TableParts {
  const path = file.path;
  const fileBytes = file.size();
  if (fileBytes < FOOTER_BYTES || fileBytes > TABLE_BYTES_MAX) {
    throw new CorruptionError("not a table: impossible size", { path, offset: fileBytes });
  }
  const footerAt = fileBytes - FOOTER_BYTES;
  const footerBytes = readSection(file, { offset: footerAt, bytes: FOOTER_BYTES });
  const footer = decodeFooter(footerBytes, path, fileBytes);
  const load = (name: "filter" | "index" | "properties"): Uint8Array => {
    const bytes = readSection(file, footer[name]);
    checkSection(name, bytes, footerBytes, { path, offset: footer[name].offset });
    return bytes;
  };
  const filterBytes = load("filter");
  if (filterBytes.length % 64 !== 0) {
    throw new CorruptionError("table filter is not whole lines", {
      path,
      offset: footer.filter.offset,
    });
  }
  const properties = decodeProperties(load("properties"), fileBytes, {
    path,
    offset: footer.properties.offset,
  });
  const index = new TableIndex(load("index"), footer.blockCount, footer.fingerprints.offset, {
    path,
    offset: footer.index.offset,
  });
  const filter = new Filter(new Uint32Array(filterBytes.buffer), footer.filterProbes);
  return { file, id, footer, footerBytes, filter, index, properties };
}
