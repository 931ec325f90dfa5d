/**
 * Iterates over a table's records and checks all of it on the way: every block's checksum, that each record is well
 * formed and where its key belongs, ascending order, and that index, filter, fingerprints and properties say what
 * the blocks say. A damaged block is reported and passed over.
 *
 * One pass does for the check of the table and for the count of keys, so a directory is read once.
 *
 * Hot: #check runs for every record; it allocates nothing.
 */
import { copyBytes } from "../../base/bytes.ts";
import { CorruptionError } from "../../base/errors.ts";
import { orderHash } from "../../base/order-hash.ts";
import {
  CHUNK_SUB_KEY_BYTES,
  RecordFlag,
  RecordType,
  SLOT_MOVES_SUB_KEY,
} from "../../base/record.ts";
import { slotOf } from "../../base/slot.ts";
import { openBlock, readRecord, recordCountAt } from "../../lsm/block.ts";
import type { RecordIterator } from "../../lsm/iterator.ts";
import {
  compareRecords,
  emptyQuery,
  FINGERPRINT_LIVE,
  fingerprintOf,
  isLiveType,
  positionOf,
  prefixOf,
  RecordView,
} from "../../lsm/order-key.ts";
import type { TableProperties } from "../../lsm/table-format.ts";
import type { TableIndex } from "../../lsm/table-index.ts";
import { BlockBuffer } from "../../lsm/table-iterator.ts";
import { TableStatistics } from "../../lsm/table-statistics.ts";
import type { TableContext, TableParts } from "./table-parts.ts";

const READ_AHEAD_BYTES = 1 << 20;
const KNOWN_FLAGS = RecordFlag.EXPIRES | RecordFlag.EXPIRED;
/** A key and a sub-key. */
const SCRATCH_BYTES = 2 * 0x1_0000;

export class CheckedTable implements RecordIterator {
  readonly #context: TableContext;
  readonly #parts: TableParts;
  readonly #index: TableIndex;
  readonly #path: string;
  readonly #buffer = new BlockBuffer();
  readonly #statistics = new TableStatistics();
  /** What has been reported: once per kind, or one broken table would report every record. */
  readonly #faults = new Set<string>();
  /** A block's first record, and the question for it. */
  readonly #first = new RecordView();
  readonly #query = emptyQuery();
  #current = new RecordView();
  #previous = new RecordView();
  #scratch: Uint8Array | undefined = undefined;
  #hasPrevious = false;
  readonly #readAhead = new Uint8Array(READ_AHEAD_BYTES);
  /** #readAhead holds the stored blocks [readFirst, readEnd). */
  #readFirst = 0;
  #readEnd = 0;
  #block = -1;
  #payloadBytes = 0;
  #record = 0;
  #count = 0;
  #fingerprint = 0;
  #skippedBlocks = 0;
  #isDamaged = false;
  readonly #seedLow: number;
  readonly #seedHigh: number;
  readonly #onEnd: (isDamaged: boolean) => void;

  /** REQUIRES: the index is not damaged. Owns the parts' file; calls onEnd behind the last record. */
  constructor(
    context: TableContext,
    parts: TableParts,
    index: TableIndex,
    onEnd: (isDamaged: boolean) => void,
  ) {
    this.#onEnd = onEnd;
    this.#context = context;
    this.#parts = parts;
    this.#isDamaged = parts.isDamaged;
    this.#index = index;
    this.#path = parts.file.path;
    this.#seedLow = context.seed?.low ?? 0;
    this.#seedHigh = context.seed?.high ?? 0;
  }

  get current(): RecordView {
    return this.#current;
  }

  isValid(): boolean {
    return this.#record < this.#count;
  }

  /** Moves to the first record, whatever the position: a table is checked as a whole, once. */
  seek(): void {
    this.#nextBlock();
  }

  next(): void {
    this.#record++;
    this.#hasPrevious = true;
    if (this.#record === this.#count || !this.#read()) this.#nextBlock();
  }

  /** Reads and checks the record to which #record points; false: the rest of its block makes no sense. */
  #read(): boolean {
    const record = this.#previous;
    const last = this.#current;
    this.#previous = last;
    this.#current = record;
    readRecord(this.#buffer.bytes, this.#buffer.words, 0, this.#record, record);
    // Not `>`: lengths that run out of the block may have decoded to NaN.
    if (!(record.valueEnd <= this.#payloadBytes)) {
      this.#fault("a record does not fit its block");
      this.#skipBlock();
      this.#previous = record;
      this.#current = last;
      return false;
    }
    this.#check(record);
    return true;
  }

  #check(record: RecordView): void {
    const { filter, fingerprints } = this.#parts;
    const { bytes, keyStart, keyEnd, slot, hash } = record;
    if (this.#hasPrevious && compareRecords(this.#previous, record) >= 0) {
      this.#fault("records do not ascend");
    }
    if (
      this.#context.seed !== undefined &&
      (slotOf(bytes, keyStart, keyEnd) !== slot ||
        orderHash(bytes, keyStart, keyEnd, this.#seedLow, this.#seedHigh) !== hash)
    ) {
      this.#fault(
        "a key is not where this directory's identity puts it: another directory's table",
      );
    }
    if (filter?.mayContain(slot, hash) === false) this.#fault("the filter denies a key");
    if (!isWellFormed(record)) this.#fault("a record is malformed");
    if (record.subKeyStart === record.subKeyEnd) {
      if (fingerprints !== undefined) {
        const at = this.#fingerprint;
        const live = isLiveType(record.type) ? FINGERPRINT_LIVE : 0;
        const expected = (fingerprintOf(bytes, keyStart, keyEnd) | live) >>> 0;
        if (fingerprints.at(at) !== expected || fingerprints.lowHashAt(at) !== (hash & 0xff)) {
          this.#fault("a fingerprint differs from its key");
        }
      }
      this.#fingerprint++;
    }
    this.#statistics.add(record, positionOf(slot, hash));
  }

  #nextBlock(): void {
    this.#keepPrevious();
    while (++this.#block < this.#index.blockCount) {
      const payload = this.#context.findings.attempt(() => this.#openBlock(this.#block));
      this.#context.onRead(this.#index.storedBytesOf(this.#block));
      if (payload === undefined) {
        this.#skipBlock();
        continue;
      }
      this.#buffer.set(payload, 0, payload.length);
      this.#payloadBytes = payload.length;
      this.#count = recordCountAt(this.#buffer.words, 0);
      this.#record = 0;
      this.#beginBlock();
      if (this.#read()) return;
    }
    this.#count = 0;
    this.#record = 0;
    this.#finish();
  }

  #beginBlock(): void {
    const { fingerprints } = this.#parts;
    const { bytes, words } = this.#buffer;
    if (fingerprints !== undefined) {
      const first = fingerprints.firstOf(this.#block);
      if (this.#skippedBlocks === 0 && first !== this.#fingerprint) {
        this.#fault("fingerprints are not aligned with blocks");
      }
      this.#fingerprint = first;
    }
    const record = this.#first;
    readRecord(bytes, words, 0, 0, record);
    const prefix = prefixOf(record.slot, record.hash);
    const query = this.#query;
    query.bytes = bytes;
    query.subBytes = bytes;
    query.keyStart = record.keyStart;
    query.keyEnd = record.keyEnd;
    query.subKeyStart = record.subKeyStart;
    query.subKeyEnd = record.subKeyEnd;
    query.slot = record.slot;
    query.hash = record.hash;
    query.prefix = prefix;
    const isIndexed =
      this.#index.prefixOfBlock(this.#block) === prefix &&
      this.#index.locate(query) === this.#block;
    if (!isIndexed) this.#fault("the index does not lead to a block's first record");
  }

  #openBlock(block: number): Uint8Array {
    if (block < this.#readFirst || block >= this.#readEnd) this.#readFrom(block);
    const index = this.#index;
    const offset = index.offsetOf(block);
    const start = offset - index.offsetOf(this.#readFirst);
    const stored = this.#readAhead.subarray(start, start + index.storedBytesOf(block));
    return openBlock(stored, block, { path: this.#path, offset });
  }

  #readFrom(block: number): void {
    const index = this.#index;
    const start = index.offsetOf(block);
    let end = block + 1;
    let bytes = index.storedBytesOf(block);
    while (end < index.blockCount && bytes + index.storedBytesOf(end) <= READ_AHEAD_BYTES) {
      bytes += index.storedBytesOf(end++);
    }
    this.#readEnd = 0;
    const read = this.#parts.file.read(this.#readAhead.subarray(0, bytes), start);
    if (read !== bytes) {
      const place = { path: this.#path, offset: start + read };
      throw new CorruptionError("table is cut short", place);
    }
    this.#readFirst = block;
    this.#readEnd = end;
  }

  /** The block of the previous record leaves memory before the next record is compared with it. */
  #keepPrevious(): void {
    if (!this.#hasPrevious) return;
    const record = this.#current;
    if (record.bytes !== this.#buffer.bytes) return;
    this.#scratch ??= new Uint8Array(SCRATCH_BYTES);
    copyBytes(record.bytes, record.keyStart, record.subKeyEnd, this.#scratch, 0);
    record.bytes = this.#scratch;
    record.subKeyEnd -= record.keyStart;
    record.subKeyStart -= record.keyStart;
    record.keyEnd -= record.keyStart;
    record.keyStart = 0;
  }

  #skipBlock(): void {
    this.#skippedBlocks++;
    this.#isDamaged = true;
    this.#context.findings.isContentWhole = false;
  }

  #fault(message: string): void {
    if (this.#faults.has(message)) return;
    this.#faults.add(message);
    this.#isDamaged = true;
    const block = Math.min(this.#block, this.#index.blockCount - 1);
    this.#context.findings.addDamage(message, this.#path, this.#index.offsetOf(block));
  }

  /** All blocks have been read. */
  #finish(): void {
    this.#parts.file.close();
    if (this.#skippedBlocks === 0) this.#checkSums();
    this.#onEnd(this.#isDamaged);
  }

  #checkSums(): void {
    const { properties, fingerprints } = this.#parts;
    if (fingerprints !== undefined && fingerprints.count !== this.#fingerprint) {
      this.#fault("the number of fingerprints differs from that of keys");
    }
    if (properties === undefined) return;
    const index = this.#index;
    const last = index.blockCount - 1;
    const found: Partial<TableProperties> = {
      ...this.#statistics.finish(),
      blockCount: index.blockCount,
      dataBytes: index.offsetOf(last) + index.storedBytesOf(last),
    };
    for (const [name, value] of Object.entries(found)) {
      if (Bun.deepEquals(value, properties[name as keyof TableProperties])) continue;
      this.#isDamaged = true;
      this.#context.findings.addDamage(
        `property ${name} differs from the table's content`,
        this.#path,
      );
    }
  }
}

function isWellFormed(record: RecordView): boolean {
  const subKeyBytes = record.subKeyEnd - record.subKeyStart;
  if ((record.flags & ~KNOWN_FLAGS) !== 0) return false;
  if (record.type === RecordType.CHUNK) return subKeyBytes === CHUNK_SUB_KEY_BYTES;
  if (record.type === RecordType.SLOT_MOVES) return subKeyBytes === SLOT_MOVES_SUB_KEY.length;
  if (record.type === RecordType.TOMBSTONE) return record.valueStart === record.valueEnd;
  return subKeyBytes === 0 && isLiveType(record.type);
}
