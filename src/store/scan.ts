/**
 * Keys in (slot, order hash) order, merged from memory and tables, one page at a time.
 *
 * A cursor is the position slot * 2^32 + hash at which the next page starts; 0 starts and ends a scan. It holds
 * no state anywhere, so it stays valid after a restart: a key that exists during the whole scan is returned at
 * least once, all keys of one position together. No page costs more than a bounded number of records.
 */
import {
  expiryAt,
  hashAt,
  keyBytesAt,
  keyStartAt,
  RecordType,
  slotAt,
  subKeyBytesAt,
  typeAt,
} from "../base/record.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import { OFFSET_COUNT_UNKNOWN } from "../lsm/flush.ts";
import type { RecordIterator } from "../lsm/iterator.ts";
import type { Lsm } from "../lsm/lsm.ts";
import { CHAIN_COUNT, type Memtable } from "../lsm/memtable.ts";
import { isLiveType, positionOf, prefixOf, RecordView } from "../lsm/order-key.ts";
import { FindStatus } from "../lsm/table-reader.ts";
import { COLD_READ } from "./interrupt.ts";
import type { KeyCounts } from "./key-counts.ts";
import { emptyQuery } from "./records.ts";
import type { Resident, Segments } from "./segments.ts";

const TWO_32 = 0x1_0000_0000;
const POSITIONS = SLOT_COUNT * TWO_32;
const CHAIN_POSITIONS = POSITIONS / CHAIN_COUNT;
/** Records of tables that one page looks at beyond what it returns: tombstones, chunks, overwritten ones. */
const EXAMINED_MAX = 4096;

export interface ScannedKey {
  readonly key: Buffer;
  readonly position: number;
}

export interface ScanParts {
  readonly lsm: Lsm;
  readonly memtable: Memtable;
  readonly counts: KeyCounts;
  readonly segments: Segments;
}

export class KeyScan {
  readonly #parts: ScanParts;
  readonly #query = emptyQuery();
  readonly #view = new RecordView();

  constructor(parts: ScanParts) {
    this.#parts = parts;
  }

  /** Live keys from position `cursor` on: at least `count` of them unless the bound on work or the end comes first. */
  page(cursor: number, count: number, nowMs: number): { next: number; keys: ScannedKey[] } {
    const keys: ScannedKey[] = [];
    const tables = this.#tablesFrom(cursor);
    const unflushed = this.#parts.segments.unflushed;
    let examined = 0;
    let position = cursor;
    while (position < POSITIONS) {
      const chain = this.#nextChain(unflushed, position, tables);
      if (chain === CHAIN_COUNT) return { next: 0, keys };
      const end = (chain + 1) * CHAIN_POSITIONS;
      const start = Math.max(position, chain * CHAIN_POSITIONS);
      const found = this.#memoryKeys(unflushed, chain, start, nowMs);
      examined += this.#tableKeys(tables, end, found, nowMs);
      found.sort((a, b) => a.position - b.position);
      // A chain is taken whole, unless it alone is more than what was asked for.
      const room = count - keys.length;
      const cut = cutAfter(found, room);
      for (let i = 0; i < cut; i++) keys.push(found[i]!);
      if (cut < found.length) return { next: found[cut]!.position, keys };
      position = end;
      if (keys.length >= count || examined > EXAMINED_MAX) break;
    }
    return { next: position < POSITIONS ? position : 0, keys };
  }

  /** The first live key at or after a random position. */
  randomKey(random: number, nowMs: number): Buffer | undefined {
    const start = Math.floor(random * POSITIONS);
    for (const from of [start, 0]) {
      let cursor = from;
      do {
        const page = this.page(cursor, 1, nowMs);
        if (page.keys.length > 0) return page.keys[0]!.key;
        cursor = page.next;
      } while (cursor !== 0);
      if (from === 0) break;
    }
    return undefined;
  }

  /**
   * Keys that records with unresolved marks add. `settles` keeps the result in the counts: not while a unit is
   * open that could still be taken back.
   */
  unresolvedKeys(settles: boolean): number {
    let total = 0;
    for (const resident of this.#parts.segments.unflushed) {
      const { memory, phase } = resident;
      if (memory.unknownCounts === 0) continue;
      const deltas = new Float64Array(SLOT_COUNT);
      let sum = 0;
      for (let at = memory.resolvedRecords; at < memory.recordCount; at++) {
        const entry = memory.offsets[at]!;
        if ((entry & OFFSET_COUNT_UNKNOWN) === 0) continue;
        const offset = entry & ~OFFSET_COUNT_UNKNOWN;
        const delta = this.#markDelta(resident, offset);
        deltas[slotAt(resident.segment.words, offset)]! += delta;
        sum += delta;
      }
      if (settles && phase !== "flushing") {
        this.#parts.counts.resolve(memory, memory.recordCount, deltas);
      } else {
        total += sum;
      }
    }
    return total;
  }

  #markDelta(resident: Resident, offset: number): number {
    const live = isLiveType(typeAt(resident.segment.words, offset)) ? 1 : 0;
    this.#queryAt(resident, offset);
    const status = this.#parts.lsm.find(this.#query, this.#view);
    if (status === FindStatus.COLD) throw COLD_READ;
    return live - (status === FindStatus.FOUND && isLiveType(this.#view.type) ? 1 : 0);
  }

  #tablesFrom(cursor: number): RecordIterator {
    const iterator = this.#parts.lsm.iterator();
    iterator.seek(cursor);
    return iterator;
  }

  /** The first chain at or after `position` in which memory or tables have anything. */
  #nextChain(unflushed: readonly Resident[], position: number, tables: RecordIterator): number {
    const view = tables.isValid() ? tables.current : undefined;
    const tableChain =
      view === undefined
        ? CHAIN_COUNT
        : Math.floor(positionOf(view.slot, view.hash) / CHAIN_POSITIONS);
    for (let chain = Math.floor(position / CHAIN_POSITIONS); chain < tableChain; chain++) {
      for (const { memory } of unflushed) {
        if (memory.chains[chain] !== 0) return chain;
      }
    }
    return tableChain;
  }

  /** Live keys of one chain whose newest record lies in an unflushed segment. */
  #memoryKeys(
    unflushed: readonly Resident[],
    chain: number,
    start: number,
    nowMs: number,
  ): ScannedKey[] {
    const { memtable } = this.#parts;
    const keys: ScannedKey[] = [];
    for (const resident of unflushed) {
      memtable.eachInChain(resident.memory, chain, (offset) => {
        const words = resident.segment.words;
        const position = positionOf(slotAt(words, offset), hashAt(words, offset));
        if (position < start) return;
        this.#queryAt(resident, offset);
        const newest = memtable.find(this.#query, this.#query.hash);
        // The key is in the chain of each segment that it was written to; the newest one speaks for it.
        if (newest === 0 || memtable.segmentAt(newest) !== resident.memory) return;
        this.#addLive(keys, newest, position, nowMs);
      });
    }
    return keys;
  }

  #addLive(keys: ScannedKey[], newest: number, position: number, nowMs: number): void {
    const view = this.#view;
    this.#parts.memtable.view(newest, view);
    if (!isLiveType(view.type) || (view.expiry !== 0 && view.expiry <= nowMs)) return;
    const key = Buffer.from(view.bytes.subarray(view.keyStart, view.keyEnd));
    // A deletion of all keys can leave a key twice in a chain.
    if (keys.some((other) => other.position === position && other.key.equals(key))) return;
    keys.push({ key, position });
  }

  /** Adds the live keys of tables before position `end`; returns the records looked at. */
  #tableKeys(tables: RecordIterator, end: number, keys: ScannedKey[], nowMs: number): number {
    let examined = 0;
    for (; tables.isValid(); tables.next()) {
      const view = tables.current;
      const position = positionOf(view.slot, view.hash);
      if (position >= end) break;
      examined++;
      if (view.subKeyStart !== view.subKeyEnd || !isLiveType(view.type)) continue;
      if (view.expiry !== 0 && view.expiry <= nowMs) continue;
      if (this.#isNewerInMemory(view)) continue;
      keys.push({ key: Buffer.from(view.bytes.subarray(view.keyStart, view.keyEnd)), position });
    }
    return examined;
  }

  #isNewerInMemory(view: RecordView): boolean {
    const { memtable, segments } = this.#parts;
    const query = this.#query;
    query.bytes = view.bytes;
    query.keyStart = view.keyStart;
    query.keyEnd = view.keyEnd;
    query.subKeyStart = 0;
    query.subKeyEnd = 0;
    query.slot = view.slot;
    query.hash = view.hash;
    const newest = memtable.find(query, view.hash);
    return newest !== 0 && !segments.isFlushed(memtable.segmentAt(newest));
  }

  #queryAt(resident: Resident, offset: number): void {
    const { words, bytes } = resident.segment;
    const query = this.#query;
    query.bytes = bytes;
    query.keyStart = keyStartAt(words, offset);
    query.keyEnd = query.keyStart + keyBytesAt(words, offset);
    query.subKeyStart = 0;
    query.subKeyEnd = 0;
    query.slot = slotAt(words, offset);
    query.hash = hashAt(words, offset);
    query.prefix = prefixOf(query.slot, query.hash);
  }
}

/** How many of the sorted keys to take for `room`: all of one position or none. */
function cutAfter(keys: readonly ScannedKey[], room: number): number {
  if (keys.length <= room) return keys.length;
  let cut = Math.max(1, room);
  while (cut < keys.length && keys[cut]!.position === keys[cut - 1]!.position) cut++;
  return cut;
}

/**
 * Looks through records that carry an expiry in unflushed segments, a bounded number per call, and tells of each
 * one whose time has come.
 */
export class ExpirySweep {
  readonly #segments: Segments;
  #number = 0;
  #ordinal = 0;

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  /** Looks at `count` records; `visit` gets the key of each that has expired at `nowMs`. */
  step(
    count: number,
    nowMs: number,
    visit: (bytes: Buffer, start: number, end: number) => void,
  ): void {
    let left = count;
    for (const { segment, memory } of this.#segments.unflushed) {
      if (memory.expiringCount === 0 || segment.number < this.#number) continue;
      if (segment.number > this.#number) {
        this.#number = segment.number;
        this.#ordinal = 0;
      }
      for (; this.#ordinal < memory.recordCount; this.#ordinal++) {
        if (left-- === 0) return;
        const offset = memory.offsets[this.#ordinal]! & ~OFFSET_COUNT_UNKNOWN;
        const words = segment.words;
        const expiry = expiryAt(words, offset);
        if (expiry === 0 || expiry > nowMs || subKeyBytesAt(words, offset) !== 0) continue;
        if (typeAt(words, offset) === RecordType.RANGE_DELETION) continue;
        const start = keyStartAt(words, offset);
        visit(segment.bytes, start, start + keyBytesAt(words, offset));
      }
    }
    this.#number = 0;
    this.#ordinal = 0;
  }
}
