/** The records of whole frames into the memtable, and into the counts: at recovery, and in a replica. */
import { assert } from "../base/assert.ts";
import type { HashSeed } from "../base/order-hash.ts";
import {
  expiryAt,
  hashAt,
  keyBytesAt,
  keyStartAt,
  RecordType,
  recordBytesAt,
  slotAt,
  subKeyBytesAt,
  typeAt,
  valueBytesAt,
} from "../base/record.ts";
import type { Lsm } from "../lsm/lsm.ts";
import { indexHashOf, type Memtable } from "../lsm/memtable.ts";
import { emptyQuery, isLiveType, prefixOf } from "../lsm/order-key.ts";
import type { FrameFields } from "../wal/frame.ts";
import { type Segment, segmentFileName } from "../wal/segment.ts";
import type { KeyCounts } from "./key-counts.ts";
import { applyRangeDeletion } from "./range-deletion.ts";
import { decodeSlotMoves, type SlotMoves } from "./slot-moves.ts";

const NO_DELETIONS: readonly number[] = [];

export interface ReplayParts {
  readonly lsm: Lsm;
  readonly memtable: Memtable;
  readonly counts: KeyCounts;
  readonly seed: HashSeed;
  readonly slotMoves: SlotMoves;
}

export class Replay {
  readonly #parts: ReplayParts;
  readonly #flushedSequence: number;
  #tablesMayHoldKeys: boolean;
  readonly #query = emptyQuery();
  records = 0;
  /** Told of each key that a record is of, while there is somebody to tell. */
  onKey: ((bytes: Uint8Array, start: number, end: number) => void) | undefined = undefined;
  #deletions: number[] = [];

  constructor(parts: ReplayParts) {
    this.#parts = parts;
    this.#flushedSequence = parts.lsm.flushedSequence;
    this.#tablesMayHoldKeys = parts.lsm.info.levels.some((level) => level.tables > 0);
  }

  /** Sequences of the range deletions since the last call: to be committed once their frames are durable. */
  takeDeletions(): readonly number[] {
    if (this.#deletions.length === 0) return NO_DELETIONS;
    const deletions = this.#deletions;
    this.#deletions = [];
    return deletions;
  }

  /** Indexes the records arena[start, end) of one frame. */
  frame(segment: Segment, start: number, end: number, fields: FrameFields): void {
    // A flush takes whole segments, so a segment's records are all in tables or none is.
    if (fields.firstSequence < this.#flushedSequence) return;
    const { memtable, counts, lsm } = this.#parts;
    // Recovery flushes when the log has more segments than there are arenas.
    if (lsm.flushedSequence > this.#flushedSequence) this.#tablesMayHoldKeys = true;
    if (memtable.isCrowded) memtable.grow();
    memtable.begin();
    let offset = start;
    for (let i = 0; i < fields.recordCount; i++) {
      this.#record(segment, offset, fields.firstSequence + i);
      offset += recordBytesAt(segment.words, offset);
      if (memtable.isCrowded) memtable.grow();
    }
    assert(offset === end, "a frame's records fill it");
    counts.endUnit();
    this.records += fields.recordCount;
  }

  #record(segment: Segment, offset: number, sequence: number): void {
    const { memtable, counts, lsm } = this.#parts;
    const words = segment.words;
    const type = typeAt(words, offset);
    const keyStart = keyStartAt(words, offset);
    if (type === RecordType.RANGE_DELETION) {
      memtable.insertUnindexed(offset);
      const valueStart = keyStart + keyBytesAt(words, offset);
      const startSlot = segment.bytes.readUInt16LE(valueStart);
      const endSlot = segment.bytes.readUInt16LE(valueStart + 2);
      const deletion = { offset, sequence, startSlot, endSlot };
      applyRangeDeletion({ memtable, counts, lsm }, segment.number, deletion);
      this.#deletions.push(sequence);
      return;
    }
    const query = this.#query;
    const keyEnd = keyStart + keyBytesAt(words, offset);
    query.bytes = segment.bytes;
    query.keyStart = keyStart;
    query.keyEnd = keyEnd;
    query.subBytes = segment.bytes;
    query.subKeyStart = keyEnd;
    query.subKeyEnd = keyEnd + subKeyBytesAt(words, offset);
    query.slot = slotAt(words, offset);
    query.hash = hashAt(words, offset);
    query.prefix = prefixOf(query.slot, query.hash);
    const isPart = query.subKeyStart !== query.subKeyEnd;
    const previous = memtable.insert(query, isPart ? indexHashOf(query) : query.hash, offset);
    if (expiryAt(words, offset) !== 0) memtable.active.expiringCount++;
    if (type === RecordType.SLOT_MOVES) this.#noteSlotMoves(segment, query.subKeyEnd, offset);
    if (isPart) return;
    this.onKey?.(segment.bytes, keyStart, keyEnd);
    const live = isLiveType(type) ? 1 : 0;
    if (previous !== 0) {
      const delta = live - (isLiveType(memtable.typeAt(previous)) ? 1 : 0);
      if (delta !== 0) counts.add(query.slot, delta);
    } else if (this.#tablesMayHoldKeys) {
      memtable.markUnknown();
    } else if (live === 1) {
      counts.add(query.slot, 1);
    }
  }

  #noteSlotMoves(segment: Segment, valueStart: number, offset: number): void {
    const valueEnd = valueStart + valueBytesAt(segment.words, offset);
    const value = segment.bytes.subarray(valueStart, valueEnd);
    this.#parts.slotMoves.set(decodeSlotMoves(value, segmentFileName(segment.number)));
  }
}
