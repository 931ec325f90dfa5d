/**
 * Records by key: the newest one of a (key, sub-key) in memory or tables, and new ones into the open frame.
 *
 *   select(key) [→ selectPart(sub-key)] → find() / append(type, value)      between beginUnit and endUnit/abortUnit
 *
 * Knows nothing of expiry or of what values mean; store.ts does. `tag` gathers the highest frame index that the
 * units of a batch wrote or read.
 *
 * Hot: select, find and append run once per command, on offsets, without allocation.
 */
import { copyBytes } from "../base/bytes.ts";
import { type HashSeed, orderHash } from "../base/order-hash.ts";
import {
  alignRecord,
  RECORD_EXPIRY_BYTES,
  RECORD_HEADER_BYTES,
  RecordFlag,
  RecordType,
} from "../base/record.ts";
import { slotOf } from "../base/slot.ts";
import type { Lsm } from "../lsm/lsm.ts";
import { indexHashOf, type Memtable, WARMED_MAX } from "../lsm/memtable.ts";
import {
  emptyQuery,
  isLiveType,
  type KeyQuery,
  prefixOf,
  type RecordView,
} from "../lsm/order-key.ts";
import { FindStatus } from "../lsm/table-reader.ts";
import type { Log } from "../wal/log.ts";
import type { CommitPipeline } from "./commit-pipeline.ts";
import { COLD_READ, INDEX_FULL, SEGMENT_FULL, TOO_LARGE } from "./interrupt.ts";
import type { KeyCounts } from "./key-counts.ts";
import { applyRangeDeletion } from "./range-deletion.ts";

const TWO_32 = 0x1_0000_0000;
const NO_BYTES = Buffer.alloc(0);
const NO_SLOT = -1;
/** Buckets checked for stale entries per turn that wrote. */
const SWEEP_BUCKETS = 512;

export interface RecordsParts {
  readonly log: Log;
  readonly lsm: Lsm;
  readonly memtable: Memtable;
  readonly pipeline: CommitPipeline;
  readonly counts: KeyCounts;
  readonly seed: HashSeed;
}

/** A copy with bytes of its own, for a wait: what it borrows may be gone afterwards. */
export function ownQuery(query: KeyQuery): KeyQuery {
  const copy = { ...query };
  copy.bytes = Buffer.from(query.bytes.subarray(query.keyStart, query.keyEnd));
  copy.keyEnd -= copy.keyStart;
  copy.keyStart = 0;
  copy.subBytes = Buffer.from(query.subBytes);
  return copy;
}

/** Keys that are about to be looked up. */
export interface KeyBatch {
  readonly bytes: Uint8Array[];
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  count: number;
}

export class Records {
  /** The keys of the last warm(), their hashes, and the first one that select() has not met. */
  readonly #warmBytes = new Array<Uint8Array>(WARMED_MAX).fill(NO_BYTES);
  readonly #warmStarts = new Int32Array(WARMED_MAX);
  readonly #hashes = new Int32Array(WARMED_MAX);
  #warmNext = 0;
  #warmCount = 0;
  readonly #log: Log;
  readonly #lsm: Lsm;
  readonly #memtable: Memtable;
  readonly #pipeline: CommitPipeline;
  readonly #counts: KeyCounts;
  readonly #seedLow: number;
  readonly #seedHigh: number;
  readonly #undo: (() => void)[] = [];
  #indexHash = 0;
  #hasWrites = false;
  #hasDeleted = false;
  /** `tag` when the open unit began. */
  #unitTag = 0;
  /** Frame index of the newest range deletion: "absent" may depend on it. */
  #deletionIndex = 0;
  /** Range deletions whose frames are not committed and durable: sequence and frame index, oldest first. */
  readonly #uncommittedDeletions: { sequence: number; index: number }[] = [];
  /** What select() set. */
  readonly query: KeyQuery = emptyQuery();
  /** Highest frame index that the current batch's replies depend on; 0: none. */
  tag = 0;
  /** False while no table exists: then memory knows every key. */
  tablesMayHoldKeys: boolean;
  /** Told of every key that is written. */
  onWrite: ((bytes: Uint8Array, start: number, end: number) => void) | undefined = undefined;

  constructor(parts: RecordsParts) {
    this.#log = parts.log;
    this.#lsm = parts.lsm;
    this.#memtable = parts.memtable;
    this.#pipeline = parts.pipeline;
    this.#counts = parts.counts;
    this.#seedLow = parts.seed.low;
    this.#seedHigh = parts.seed.high;
    this.tablesMayHoldKeys = parts.lsm.info.levels.some((level) => level.tables > 0);
  }

  get hasWrites(): boolean {
    return this.#hasWrites;
  }

  /** Whether the open unit has deleted all keys of some slots. */
  get hasDeleted(): boolean {
    return this.#hasWrites && this.#hasDeleted;
  }

  /** Sequence that the next record will have. */
  get nextSequence(): number {
    return this.#log.nextSequence;
  }

  /** Bytes that one unit can write at most, and that the open one has written. */
  get unitBytesMax(): number {
    return this.#log.unitBytesMax;
  }

  get unitBytes(): number {
    return this.#hasWrites ? this.#log.unitBytes : 0;
  }

  beginUnit(): void {
    this.#hasWrites = false;
    this.#unitTag = this.tag;
  }

  endUnit(): void {
    if (!this.#hasWrites) return;
    this.#hasWrites = false;
    // Setting the length is a call into the runtime.
    if (this.#undo.length > 0) this.#undo.length = 0;
    this.#counts.endUnit();
    this.#memtable.sweep(SWEEP_BUCKETS / 64);
    this.#pipeline.schedule();
  }

  /** Takes back everything since beginUnit(). */
  abortUnit(): void {
    if (!this.#hasWrites) return;
    // What is taken back is in no frame, and nothing may wait for that.
    this.tag = this.#unitTag;
    this.#hasWrites = false;
    while (this.#undo.length > 0) this.#undo.pop()!();
    this.#memtable.undo();
    this.#log.rollback();
    this.#counts.undoUnit();
  }

  /** Makes bytes[start, end) the key that find and append mean. Borrows the bytes. */
  select(bytes: Uint8Array, start: number, end: number): void {
    const query = this.query;
    const hash = this.#hashOf(bytes, start, end);
    query.bytes = bytes;
    query.keyStart = start;
    query.keyEnd = end;
    query.subKeyStart = 0;
    query.subKeyEnd = 0;
    query.hash = hash;
    query.slot = NO_SLOT;
    this.#indexHash = hash;
  }

  /** The order hash, from warm() when it has just been worked out there. */
  #hashOf(bytes: Uint8Array, start: number, end: number): number {
    for (let i = this.#warmNext; i < this.#warmCount; i++) {
      if (this.#warmStarts[i] !== start || this.#warmBytes[i] !== bytes) continue;
      this.#warmNext = i + 1;
      return this.#hashes[i]! >>> 0;
    }
    return orderHash(bytes, start, end, this.#seedLow, this.#seedHigh);
  }

  /** Works out the slot of the selection: a key that memory knows can be read without. */
  #needSlot(): void {
    const query = this.query;
    if (query.slot !== NO_SLOT) return;
    query.slot = slotOf(query.bytes, query.keyStart, query.keyEnd);
    query.prefix = prefixOf(query.slot, query.hash);
  }

  /** Slot of the selection. */
  get slot(): number {
    this.#needSlot();
    return this.query.slot;
  }

  /** Brings what lookups of the i-th request's first key will need into the processor's cache. */
  warm(keys: KeyBatch): void {
    const count = Math.min(keys.count, WARMED_MAX);
    this.#warmNext = 0;
    this.#warmCount = count;
    for (let i = 0; i < count; i++) {
      this.#warmBytes[i] = keys.bytes[i]!;
      this.#warmStarts[i] = keys.starts[i]!;
      this.#hashes[i] = orderHash(
        keys.bytes[i]!,
        keys.starts[i]!,
        keys.ends[i]!,
        this.#seedLow,
        this.#seedHigh,
      );
    }
    this.#memtable.warm(this.#hashes, count);
  }

  /** A query for a key of its own, which the selection does not change. */
  queryOf(key: Buffer): KeyQuery {
    const query = emptyQuery();
    query.bytes = key;
    query.keyEnd = key.length;
    query.hash = orderHash(key, 0, key.length, this.#seedLow, this.#seedHigh);
    query.slot = slotOf(key, 0, key.length);
    query.prefix = prefixOf(query.slot, query.hash);
    return query;
  }

  /** Narrows the selection to one part of the selected key; an empty sub-key selects the key itself again. */
  selectPart(subBytes: Uint8Array, start: number, end: number): void {
    const query = this.query;
    query.subBytes = subBytes;
    query.subKeyStart = start;
    query.subKeyEnd = end;
    this.#indexHash = start === end ? query.hash : indexHashOf(query);
  }

  /** Whether the selection has a record, a tombstone included; `view` then shows the newest. */
  find(view: RecordView): boolean {
    const position = this.#memtable.find(this.query, this.#indexHash);
    if (position !== 0) {
      this.#gate(position);
      this.#memtable.view(position, view);
      return true;
    }
    if (this.#deletionIndex > this.#pipeline.committed) this.tagAtLeast(this.#deletionIndex);
    if (!this.tablesMayHoldKeys) return false;
    this.#needSlot();
    const status = this.#lsm.find(this.query, view);
    if (status === FindStatus.COLD) throw COLD_READ;
    return status === FindStatus.FOUND;
  }

  /** Makes the batch's replies wait for frame `index`. */
  tagAtLeast(index: number): void {
    if (index > this.tag) this.tag = index;
  }

  /** Makes the batch's replies wait for all that has been written: they depend on more than their keys. */
  tagNewest(): void {
    // A replica shows nothing that is not committed.
    if (this.#pipeline.isReceiving) return;
    const log = this.#log;
    this.tagAtLeast(log.hasOpenRecords ? log.openIndex : log.openIndex - 1);
  }

  /** Notes that the batch's replies depend on the record at `position`, unless it is committed. */
  #gate(position: number): void {
    const number = this.#memtable.segmentAt(position).arena!.number;
    const offset = this.#memtable.offsetAt(position);
    if (this.#pipeline.isCommitted(number, offset)) return;
    const log = this.#log;
    const isOpen = number === log.active.number && offset >= log.openFrameStart;
    this.tagAtLeast(isOpen ? log.openIndex : log.openIndex - 1);
  }

  /**
   * Writes a record of the selection with value[start, end). expiry: milliseconds since the epoch, 0 for none.
   * Throws an Interrupt when the unit has to move to another segment.
   */
  // biome-ignore lint/complexity/useMaxParams: hot, and an options object costs an allocation per write.
  append(
    type: number,
    flags: number,
    value: Uint8Array,
    start: number,
    end: number,
    expiry: number,
  ): void {
    this.#needSlot();
    const query = this.query;
    const memtable = this.#memtable;
    const keyBytes = query.keyEnd - query.keyStart;
    const subKeyBytes = query.subKeyEnd - query.subKeyStart;
    const valueBytes = end - start;
    const headerBytes = RECORD_HEADER_BYTES + (expiry === 0 ? 0 : RECORD_EXPIRY_BYTES);
    const bytes = alignRecord(headerBytes + keyBytes + subKeyBytes + valueBytes);
    const offset = this.#reserve(bytes);
    const segment = this.#log.active;
    const words = segment.words;
    const word = offset >>> 2;
    const allFlags = expiry === 0 ? flags : flags | RecordFlag.EXPIRES;
    // The padding is part of the record's bytes, so it is always zero.
    words[(offset + bytes - 8) >>> 2] = 0;
    words[(offset + bytes - 4) >>> 2] = 0;
    words[word] = type | (allFlags << 8) | (query.slot << 16);
    words[word + 1] = query.hash;
    words[word + 2] = valueBytes;
    words[word + 3] = keyBytes | (subKeyBytes << 16);
    if (expiry !== 0) {
      words[word + 4] = expiry | 0;
      words[word + 5] = (expiry / TWO_32) | 0;
      memtable.active.expiringCount++;
    }
    const keyAt = offset + headerBytes;
    copyBytes(query.bytes, query.keyStart, query.keyEnd, segment.bytes, keyAt);
    if (subKeyBytes !== 0) {
      copyBytes(
        query.subBytes,
        query.subKeyStart,
        query.subKeyEnd,
        segment.bytes,
        keyAt + keyBytes,
      );
    }
    copyBytes(value, start, end, segment.bytes, keyAt + keyBytes + subKeyBytes);
    const previous = memtable.insert(query, this.#indexHash, offset);
    if (subKeyBytes === 0) this.#count(isLiveType(type) ? 1 : 0, previous);
  }

  /** Deletes the keys of slots [startSlot, endSlot). */
  appendDeletion(startSlot: number, endSlot: number): void {
    const bytes = alignRecord(RECORD_HEADER_BYTES + 4);
    const offset = this.#reserve(bytes);
    this.#hasDeleted = true;
    const sequence = this.#log.nextSequence - 1;
    const { words, number } = this.#log.active;
    const word = offset >>> 2;
    words.fill(0, word, word + (bytes >>> 2));
    words[word] = RecordType.RANGE_DELETION;
    words[word + 2] = 4;
    words[word + 4] = startSlot | (endSlot << 16);
    this.#memtable.insertUnindexed(offset);
    const parts = { memtable: this.#memtable, counts: this.#counts, lsm: this.#lsm };
    const record = { offset, sequence, startSlot, endSlot };
    this.#undo.push(applyRangeDeletion(parts, number, record));
    const deletion = { sequence, index: this.#log.openIndex };
    const before = this.#deletionIndex;
    this.#deletionIndex = deletion.index;
    this.#uncommittedDeletions.push(deletion);
    this.#undo.push(() => {
      this.#deletionIndex = before;
      this.#uncommittedDeletions.pop();
    });
  }

  /** What else abortUnit() is to take back. REQUIRES: the open unit has written. */
  addUndo(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** A deletion that another node has made is applied. */
  noteDeletion(deletion: { sequence: number; index: number }): void {
    this.#deletionIndex = deletion.index;
    this.#uncommittedDeletions.push(deletion);
  }

  /**
   * The commit index has grown: deletions that it covers give their tables back. Their frames must be on stable storage
   * too: a deletion that outlives its log would hide what later gets the same sequences.
   */
  onCommitted(): void {
    const deletions = this.#uncommittedDeletions;
    const committed = Math.min(this.#pipeline.committed, this.#log.durableIndex);
    const done: number[] = [];
    while (deletions.length > 0) {
      const { sequence, index } = deletions[0]!;
      const isFlushed = sequence < this.#lsm.flushedSequence;
      if (!isFlushed && index > committed) break;
      deletions.shift();
      // A flush has made it durable along with the tables.
      if (!isFlushed) done.push(sequence);
    }
    this.#lsm.commitRangeDeletions(done);
  }

  #reserve(bytes: number): number {
    const log = this.#log;
    const memtable = this.#memtable;
    if (!this.#hasWrites) {
      if (memtable.isCrowded) memtable.grow();
      this.#hasWrites = true;
      this.#hasDeleted = false;
      log.beginUnit();
      memtable.begin();
    } else if (memtable.isCrowded) {
      throw INDEX_FULL;
    }
    if (memtable.active.isFull) throw SEGMENT_FULL;
    const offset = log.reserve(bytes);
    if (offset < 0) throw log.unitBytes + bytes > log.unitBytesMax ? TOO_LARGE : SEGMENT_FULL;
    this.tag = log.openIndex;
    return offset;
  }

  #count(live: number, previous: number): void {
    const query = this.query;
    if (this.onWrite !== undefined) this.onWrite(query.bytes, query.keyStart, query.keyEnd);
    if (previous !== 0) {
      const delta = live - (isLiveType(this.#memtable.typeAt(previous)) ? 1 : 0);
      if (delta !== 0) this.#counts.add(query.slot, delta);
    } else if (this.tablesMayHoldKeys) {
      this.#memtable.markUnknown();
    } else if (live === 1) {
      this.#counts.add(query.slot, 1);
    }
  }
}
