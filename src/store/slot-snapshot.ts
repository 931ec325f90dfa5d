/**
 * The keys of slots, read for another replica set while commands go on: some of them per piece, in the order of
 * positions, a large value in as many pieces as it needs.
 *
 * It is no picture of one moment. A key that was written after the frame `index`, which was committed when the reading
 * began, may be shown as it was before or after; the log behind that frame then says what it is. What is shown may
 * depend on frames that are not committed: a piece may leave once the frame that it names is.
 */
import {
  CHUNK_BYTES,
  CHUNK_SUB_KEY_BYTES,
  CHUNKED_VALUE_BYTES,
  RecordType,
} from "../base/record.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import type { SlotRange } from "../base/slot-ranges.ts";
import { isLiveType, RecordView } from "../lsm/order-key.ts";
import type { Records } from "./records.ts";
import { type KeyScan, POSITIONS, type ScannedKey } from "./scan.ts";
import { encodeRecord } from "./slot-records.ts";

const SLOT_POSITIONS = POSITIONS / SLOT_COUNT;
/** Keys that are looked up in one turn. */
const PAGE_KEYS = 128;
/** Nothing is too old to be moved: what has expired is removed where it arrives. */
const EVER = 0;
const VERSION_BYTES = 6;

export interface SnapshotPiece {
  readonly records: Buffer;
  /** The frame that must be committed before others may see it. */
  readonly index: number;
  /** Where to go on after it; undefined: all keys have been read. */
  readonly next: { readonly slot: number; readonly cursor: number } | undefined;
}

export interface SnapshotParts {
  readonly records: Records;
  readonly scan: KeyScan;
  readonly store: {
    /** Undefined: this node is the writer. */
    readonly replica: unknown;
    runUnit(action: () => void): Promise<void>;
    prefetch(keys: readonly Buffer[]): Promise<void>;
  };
}

/** A large value of which some chunks have been read. */
interface LargeValue {
  readonly key: Buffer;
  /** Its CHUNKED record, as it was when it was met. */
  readonly shown: Buffer;
  readonly version: number;
  readonly chunkCount: number;
  nextChunk: number;
}

export class SlotSnapshot {
  readonly #parts: SnapshotParts;
  /** Those whose keys are not all read, ascending. */
  readonly #slots: number[] = [];
  #cursor: number;
  /** Of the current page: where it ends, and large values of it that are still to be read. */
  #pageEnd: number;
  readonly #large: LargeValue[] = [];
  readonly #view = new RecordView();
  readonly #subKey = Buffer.alloc(CHUNK_SUB_KEY_BYTES);

  /** `from`: where an earlier one had come to. */
  constructor(
    parts: SnapshotParts,
    slots: readonly SlotRange[],
    from: { readonly slot: number; readonly cursor: number } | undefined,
  ) {
    this.#parts = parts;
    const first = from?.slot ?? 0;
    for (const { start, end } of slots)
      for (let slot = Math.max(start, first); slot <= end; slot++) this.#slots.push(slot);
    const slot = this.#slots[0] ?? 0;
    this.#cursor = Math.max(from?.cursor ?? 0, slot * SLOT_POSITIONS);
    this.#pageEnd = this.#cursor;
  }

  /** About `bytesMax` of records, fewer at the end of a page; none is a piece, too. */
  async next(bytesMax: number): Promise<SnapshotPiece> {
    const pieces: Buffer[] = [];
    let size = 0;
    let index = 0;
    const take = (records: readonly Buffer[], tag: number): void => {
      for (const record of records) size += record.length;
      pieces.push(...records);
      index = Math.max(index, tag);
    };
    while (size < bytesMax && this.#slots.length > 0) {
      if (this.#large.length > 0) await this.#readChunks(bytesMax - size, take);
      else await this.#readPage(take);
      if (this.#large.length === 0) this.#goOn();
    }
    const [slot] = this.#slots;
    const next = slot === undefined ? undefined : { slot, cursor: this.#cursor };
    return { records: Buffer.concat(pieces), index, next };
  }

  /** The page is read as a whole. */
  #goOn(): void {
    this.#cursor = this.#pageEnd;
    const slotEnd = (this.#slots[0]! + 1) * SLOT_POSITIONS;
    if (this.#cursor < slotEnd) return;
    this.#slots.shift();
    if (this.#slots.length > 0) this.#cursor = this.#slots[0]! * SLOT_POSITIONS;
    this.#pageEnd = this.#cursor;
  }

  async #readPage(take: (records: readonly Buffer[], tag: number) => void): Promise<void> {
    const { records, scan, store } = this.#parts;
    const slotEnd = (this.#slots[0]! + 1) * SLOT_POSITIONS;
    let keys: ScannedKey[] = [];
    let tag = 0;
    await store.runUnit(() => {
      const page = scan.page(this.#cursor, PAGE_KEYS, EVER, true, slotEnd);
      keys = page.keys.filter(({ position }) => position < slotEnd);
      this.#pageEnd = page.next === 0 ? slotEnd : Math.min(page.next, slotEnd);
    });
    await store.prefetch(keys.map(({ key }) => key));
    let found: Buffer[] = [];
    await store.runUnit(() => {
      found = [];
      this.#large.length = 0;
      for (const { key } of keys) this.#readKey(key, found);
      records.tagNewest();
      tag = records.tag;
    });
    take(found, tag);
  }

  #readKey(key: Buffer, found: Buffer[]): void {
    const { records } = this.#parts;
    const view = this.#view;
    records.select(key, 0, key.length);
    if (!records.find(view) || !isLiveType(view.type)) return;
    const record = encodeRecord(
      view,
      view.type === RecordType.CHUNKED ? CHUNKED_VALUE_BYTES : Number.POSITIVE_INFINITY,
    );
    if (view.type === RecordType.VALUE) {
      found.push(record);
      return;
    }
    const value = Buffer.from(view.bytes.subarray(view.valueStart, view.valueEnd));
    this.#large.push({
      key,
      shown: record,
      version: value.readUIntLE(VERSION_BYTES, VERSION_BYTES),
      chunkCount: Math.ceil(value.readUIntLE(0, VERSION_BYTES) / CHUNK_BYTES),
      nextChunk: 0,
    });
  }

  /** Chunks of the first large value, and the record that shows it behind the last one. */
  async #readChunks(
    bytesMax: number,
    take: (records: readonly Buffer[], tag: number) => void,
  ): Promise<void> {
    const { records, store } = this.#parts;
    const large = this.#large[0]!;
    const count = Math.max(1, Math.ceil(bytesMax / CHUNK_BYTES));
    const end = Math.min(large.chunkCount, large.nextChunk + count);
    let found: Buffer[] = [];
    let tag = 0;
    await store.runUnit(() => {
      found = [];
      records.select(large.key, 0, large.key.length);
      for (let chunk = large.nextChunk; chunk < end; chunk++) {
        this.#subKey.writeUIntBE(large.version, 0, VERSION_BYTES);
        this.#subKey.writeUInt32BE(chunk, VERSION_BYTES);
        records.selectPart(this.#subKey, 0, CHUNK_SUB_KEY_BYTES);
        if (!records.find(this.#view) || this.#view.type !== RecordType.CHUNK) continue;
        found.push(encodeRecord(this.#view, Number.POSITIVE_INFINITY));
      }
      records.tagNewest();
      tag = records.tag;
    });
    large.nextChunk = end;
    if (end === large.chunkCount) {
      found.push(large.shown);
      this.#large.shift();
    }
    take(found, tag);
  }
}
