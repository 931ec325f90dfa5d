/**
 * Iterates over the records of one table, a block at a time.
 *
 * Every block is copied into memory of the iterator, so the current record stays valid until the next call whatever
 * happens to the cache meanwhile. Two sources: SequentialBlocks reads ahead and leaves the cache alone
 * (compaction, verification); the reader's cached blocks serve SCAN.
 */
import { assert } from "../base/assert.ts";
import { copyBytes } from "../base/bytes.ts";
import { CorruptionError } from "../base/errors.ts";
import type { File } from "../base/file-system.ts";
import { lowerBound, openBlock, readRecord, recordCountAt } from "./block.ts";
import type { RecordIterator } from "./iterator.ts";
import { hashOfPosition, type KeyQuery, RecordView, slotOfPosition } from "./order-key.ts";
import type { TableIndex } from "./table-index.ts";

/**
 * A block is not in memory and must not be read synchronously now. Await load(), then run the whole
 * operation again from its start: the iterator that threw is not positioned any more.
 */
export class ColdReadError extends Error {
  override readonly name = "ColdReadError";
  readonly load: () => Promise<void>;

  constructor(load: () => Promise<void>) {
    super("a table block must be read from disk");
    this.load = load;
  }
}

/** Memory that holds one payload, at offset 0. Grows, never shrinks. */
export class BlockBuffer {
  bytes: Uint8Array;
  words: Uint32Array;

  constructor() {
    const buffer = new ArrayBuffer(8 * 1024);
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
  }

  /** Copies from[start, end) here. */
  set(from: Uint8Array, start: number, end: number): void {
    const bytes = end - start;
    if (bytes > this.bytes.length) {
      const buffer = new ArrayBuffer((bytes * 2 + 7) & ~7);
      this.bytes = new Uint8Array(buffer);
      this.words = new Uint32Array(buffer);
    }
    copyBytes(from, start, end, this.bytes, 0);
  }
}

export interface BlockSource {
  /** Copies the payload of `block` to `into`. Throws CorruptionError, DiskError or ColdReadError. */
  copyBlock(block: number, into: BlockBuffer): void;
}

/** Blocks read from the file in runs of about `readAheadBytes`. */
export class SequentialBlocks implements BlockSource {
  readonly #file: File;
  readonly #index: TableIndex;
  #buffer: Uint8Array;
  /** The buffer holds the stored blocks [first, end). */
  #first = 0;
  #end = 0;

  constructor(file: File, index: TableIndex, readAheadBytes: number) {
    this.#file = file;
    this.#index = index;
    this.#buffer = new Uint8Array(Math.max(readAheadBytes, 1));
  }

  copyBlock(block: number, into: BlockBuffer): void {
    if (block < this.#first || block >= this.#end) this.#read(block);
    const offset = this.#index.offsetOf(block);
    const start = offset - this.#index.offsetOf(this.#first);
    const stored = this.#buffer.subarray(start, start + this.#index.storedBytesOf(block));
    const payload = openBlock(stored, block, { path: this.#file.path, offset });
    into.set(payload, 0, payload.length);
  }

  #read(block: number): void {
    const index = this.#index;
    const start = index.offsetOf(block);
    let end = block + 1;
    while (
      end < index.blockCount &&
      index.offsetOf(end) + index.storedBytesOf(end) - start <= this.#buffer.length
    ) {
      end++;
    }
    const bytes = index.offsetOf(end - 1) + index.storedBytesOf(end - 1) - start;
    if (bytes > this.#buffer.length) this.#buffer = new Uint8Array(bytes);
    this.#end = 0;
    const read = this.#file.read(this.#buffer.subarray(0, bytes), start);
    if (read !== bytes) {
      throw new CorruptionError("table is cut short", {
        path: this.#file.path,
        offset: start + read,
      });
    }
    this.#first = block;
    this.#end = end;
  }
}

export class TableIterator implements RecordIterator {
  readonly current = new RecordView();
  readonly #source: BlockSource;
  readonly #index: TableIndex;
  readonly #buffer = new BlockBuffer();
  /** The block in the buffer; −1 when there is none. */
  #block = -1;
  #record = 0;
  #count = 0;

  constructor(source: BlockSource, index: TableIndex) {
    this.#source = source;
    this.#index = index;
  }

  isValid(): boolean {
    return this.#record < this.#count;
  }

  /** The block that the current record is in. */
  get block(): number {
    return this.#block;
  }

  next(): void {
    assert(this.#record < this.#count, "next behind the end");
    this.#record++;
    if (this.#record === this.#count && this.#block + 1 < this.#index.blockCount) {
      this.#load(this.#block + 1);
    }
    if (this.#record < this.#count) this.#decode();
  }

  seek(position: number): void {
    const slot = slotOfPosition(position);
    const hash = hashOfPosition(position);
    this.#load(this.#index.blockBefore(position));
    this.#record = lowerBound(this.#buffer.words, 0, slot, hash);
    while (this.#record === this.#count && this.#block + 1 < this.#index.blockCount) {
      this.#load(this.#block + 1);
      this.#record = lowerBound(this.#buffer.words, 0, slot, hash);
    }
    if (this.#record < this.#count) this.#decode();
  }

  /**
   * Moves on towards the query's record, never beyond it, over whole blocks that need not be read. Stays within the
   * block where there are none.
   */
  skipTowards(query: KeyQuery): void {
    if (!this.isValid()) return;
    const block = this.#index.locate(query);
    if (block <= this.#block) return;
    this.#load(block);
    this.#decode();
  }

  #load(block: number): void {
    // Not valid while the source may throw.
    this.#count = 0;
    this.#record = 0;
    if (block !== this.#block) {
      this.#block = -1;
      this.#source.copyBlock(block, this.#buffer);
      this.#block = block;
    }
    this.#count = recordCountAt(this.#buffer.words, 0);
  }

  #decode(): void {
    readRecord(this.#buffer.bytes, this.#buffer.words, 0, this.#record, this.current);
  }
}
