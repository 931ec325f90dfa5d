/**
 * Keys in (slot, order hash) order, merged from memory and tables, one page at a time.
 *
 * A cursor is the position slot * 2^32 + hash at which the next page starts; 0 starts and ends a scan. It holds
 * no state anywhere, so it stays valid after a restart: a key that exists during the whole scan is returned at
 * least once, all keys of one position together. No page costs more than a bounded number of records.
 */
import {
  CHUNK_SUB_KEY_BYTES,
  hashAt,
  keyBytesAt,
  keyStartAt,
  slotAt,
  typeAt,
} from "../base/record.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import { OFFSET_COUNT_UNKNOWN } from "../lsm/flush.ts";
import type { RecordIterator } from "../lsm/iterator.ts";
import type { Lsm } from "../lsm/lsm.ts";
import { CHAIN_COUNT } from "../lsm/memory-segment.ts";
import type { Memtable } from "../lsm/memtable.ts";
import {
  emptyQuery,
  isLiveType,
  type KeyQuery,
  positionOf,
  prefixOf,
  RecordView,
} from "../lsm/order-key.ts";
import { ColdReadError } from "../lsm/table-iterator.ts";
import { FindStatus } from "../lsm/table-reader.ts";
import type { KeyCounts } from "./key-counts.ts";
import { ownQuery } from "./records.ts";
import type { Resident, Segments } from "./segments.ts";
import type { SlotMoves } from "./slot-moves.ts";

const TWO_32 = 0x1_0000_0000;
/** Cursors are below. */
export const POSITIONS = SLOT_COUNT * TWO_32;
const CHAIN_POSITIONS = POSITIONS / CHAIN_COUNT;
/** Records of tables that one page looks at beyond what it returns: tombstones, chunks, overwritten ones. */
const EXAMINED_MAX = 4096;
/** Pages without a key after which the search for a random one goes on in another turn. */
const RANDOM_PAGES_MAX = 8;
/** Longer than any part's sub-key and made of the highest bytes. */
const BEHIND_ALL_PARTS = Buffer.alloc(CHUNK_SUB_KEY_BYTES + 1, 0xff);
/** Shorter chains are sorted anew for each page. */
const REMEMBERED_MIN = 256;
/** A candidate's place in its chain: hash below the chain's bits * ORDER_STEP + index; exact below 2^53. */
const ORDER_STEP = 2 ** 27;
const ORDER_INITIAL = 64;
const NO_KEYS: readonly ScannedKey[] = [];

export interface ScannedKey {
  readonly key: Buffer;
  readonly position: number;
}

export interface ScanPage {
  /** Cursor of the next page; 0: this was the last one. */
  readonly next: number;
  readonly keys: ScannedKey[];
}

/**
 * Records of one chain of all unflushed segments: the first of each key in each segment, and older ones. A whole scan
 * passes tens of thousands of chains, nearly all with a record or two: their arrays are used again.
 */
class Candidates {
  chain = -1;
  /** Segment number and head of the chain, for each segment that has the chain. */
  readonly heads: number[] = [];
  readonly residents: Resident[] = [];
  readonly offsets: number[] = [];
  /** The first `offsets.length`, ascending: position within the chain * ORDER_STEP + index into the other two. */
  order = new Float64Array(ORDER_INITIAL);
  #resident: Resident | undefined = undefined;

  get count(): number {
    return this.offsets.length;
  }

  /** Empties the list, for another chain. */
  begin(chain: number): void {
    this.chain = chain;
    this.residents.length = 0;
    this.offsets.length = 0;
  }

  addAll(resident: Resident, memtable: Memtable): void {
    this.#resident = resident;
    memtable.eachInChain(resident.memory, this.chain, this.#add);
  }

  sort(): void {
    if (this.count > 1) this.order.subarray(0, this.count).sort();
  }

  readonly #add = (offset: number): void => {
    const index = this.count;
    if (index === this.order.length) {
      const grown = new Float64Array(index * 2);
      grown.set(this.order);
      this.order = grown;
    }
    const resident = this.#resident!;
    const place = hashAt(resident.segment.words, offset) % CHAIN_POSITIONS;
    this.order[index] = place * ORDER_STEP + index;
    this.residents.push(resident);
    this.offsets.push(offset);
  };
}

export interface ScanParts {
  readonly lsm: Lsm;
  readonly memtable: Memtable;
  readonly counts: KeyCounts;
  readonly segments: Segments;
  readonly slotMoves: SlotMoves;
}

export class KeyScan {
  readonly #parts: ScanParts;
  readonly #query = emptyQuery();
  readonly #view = new RecordView();
  /** Records of tables that the current page has looked at. */
  #examined = 0;
  /** Of the current page. */
  #nowMs = 0;
  /** The position up to which tableKeys() has returned all keys. */
  #tablesEnd = 0;
  #candidates = new Candidates();
  /** The long chain that was sorted last: the pages of a hash tag's keys are many. */
  #remembered: Candidates | undefined = undefined;

  constructor(parts: ScanParts) {
    this.#parts = parts;
  }

  /**
   * Live keys from position `cursor` on: at least `count` of them unless the bound on work or the end comes first.
   * `isSettled`: no unit is open that has written, so that what is found may be remembered. `limit`: what is there or
   * behind it is not asked for, though the last chain may show some of it; with nothing before it, it is the end.
   */
  page(
    cursor: number,
    count: number,
    nowMs: number,
    isSettled: boolean,
    limit = POSITIONS,
  ): ScanPage {
    const keys: ScannedKey[] = [];
    if (cursor >= limit) return { next: 0, keys };
    const tables = this.#tablesFrom(cursor);
    const unflushed = this.#parts.segments.unflushed;
    this.#examined = 0;
    this.#nowMs = nowMs;
    let position = cursor;
    while (position < limit) {
      const chain = this.#nextChain(unflushed, position, limit, tables);
      if (chain * CHAIN_POSITIONS >= limit) return { next: 0, keys };
      const start = Math.max(position, chain * CHAIN_POSITIONS);
      const end = (chain + 1) * CHAIN_POSITIONS;
      const room = count - keys.length;
      const fromTables = this.#tableKeys(tables, end, room);
      const candidates = this.#candidatesOf(unflushed, chain, isSettled);
      position = this.#merge(keys, fromTables, candidates, start, room);
      if (position < end || keys.length >= count || this.#examined > EXAMINED_MAX) break;
    }
    return { next: position < limit ? position : 0, keys };
  }

  /**
   * A live key near a random place, or what is known when the bound on work comes first: `next` is where to go on.
   * Slots are chosen by how many keys they hold, so that keys of one hash tag come up alike.
   */
  randomKey(random: number, nowMs: number, isSettled: boolean): { key?: Buffer; next: number } {
    const start = this.#randomPosition(random);
    const slotStart = Math.floor(start / TWO_32) * TWO_32;
    let pages = RANDOM_PAGES_MAX;
    for (const from of [start, slotStart, 0]) {
      let cursor = from;
      do {
        const page = this.page(cursor, 1, nowMs, isSettled);
        const found = page.keys[0];
        // The keys before a random place are as good as those behind it, as long as they are of its slot.
        const isFar =
          from === start && from !== 0 && isBehind(found?.position ?? page.next, slotStart);
        if (isFar) break;
        if (found !== undefined) return { key: found.key, next: 0 };
        cursor = page.next;
        if (--pages === 0) return { next: cursor };
      } while (cursor !== 0);
    }
    return { next: 0 };
  }

  #randomPosition(random: number): number {
    const { counts, slotMoves } = this.#parts;
    let rest = random * counts.total;
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const known = slotMoves.isImporting(slot) ? 0 : counts.known(slot);
      if (rest < known) return slot * TWO_32 + Math.floor((rest / known) * TWO_32);
      if (known > 0) rest -= known;
    }
    // Nothing is known to exist: keys whose records have unresolved marks may.
    return Math.floor(random * POSITIONS);
  }

  /**
   * Keys that records with unresolved marks add. `settles` keeps the result in the counts: not while a unit is
   * open that could still be taken back. `slot`: only keys of that slot.
   */
  unresolvedKeys(settles: boolean, slot?: number): number {
    let total = 0;
    const cold: KeyQuery[] = [];
    for (const resident of this.#parts.segments.unflushed) {
      const { memory, phase } = resident;
      if (memory.unknownCounts === 0) continue;
      // Tables hold the marked records themselves, and the flush has not told the counts yet.
      if (memory.firstSequence < this.#parts.lsm.flushedSequence) {
        throw new ColdReadError(() => this.#parts.segments.flush());
      }
      const deltas = new Float64Array(SLOT_COUNT);
      for (let at = memory.resolvedRecords; at < memory.recordCount; at++) {
        const entry = memory.offsets[at]!;
        if ((entry & OFFSET_COUNT_UNKNOWN) === 0) continue;
        const offset = entry & ~OFFSET_COUNT_UNKNOWN;
        const delta = this.#markDelta(resident, offset, cold);
        deltas[slotAt(resident.segment.words, offset)]! += delta;
      }
      if (cold.length > 0) continue;
      if (settles && phase !== "flushing") {
        this.#parts.counts.resolve(memory, memory.recordCount, deltas);
      } else {
        total += slot === undefined ? this.#sumVisible(deltas) : deltas[slot]!;
      }
    }
    if (cold.length > 0) throw new ColdReadError(() => this.#parts.lsm.prefetch(cold));
    return total;
  }

  #sumVisible(deltas: Float64Array): number {
    const { slotMoves } = this.#parts;
    return deltas.reduce((sum, delta, slot) => sum + (slotMoves.isImporting(slot) ? 0 : delta), 0);
  }

  /** What the record at `offset` adds to the number of keys; one that tables must be read for goes to `cold`. */
  #markDelta(resident: Resident, offset: number, cold: KeyQuery[]): number {
    const { memtable } = this.#parts;
    // The keys of its slot were deleted after it was written.
    if (memtable.isHidden(memtable.positionOf(resident.segment.number, offset))) return 0;
    const live = isLiveType(typeAt(resident.segment.words, offset)) ? 1 : 0;
    this.#queryAt(resident, offset);
    const status = this.#parts.lsm.find(this.#query, this.#view);
    if (status === FindStatus.COLD) cold.push(ownQuery(this.#query));
    return live - (status === FindStatus.FOUND && isLiveType(this.#view.type) ? 1 : 0);
  }

  #tablesFrom(cursor: number): RecordIterator {
    const iterator = this.#parts.lsm.iterator();
    iterator.seek(cursor);
    return iterator;
  }

  /** The first chain at or after `position` in which memory or tables have anything; none before `limit`: its chain. */
  #nextChain(
    unflushed: readonly Resident[],
    position: number,
    limit: number,
    tables: RecordIterator,
  ): number {
    const limitChain = Math.ceil(limit / CHAIN_POSITIONS);
    const view = tables.isValid() ? tables.current : undefined;
    const tableChain =
      view === undefined
        ? CHAIN_COUNT
        : Math.floor(positionOf(view.slot, view.hash) / CHAIN_POSITIONS);
    const end = Math.min(tableChain, limitChain);
    for (let chain = Math.floor(position / CHAIN_POSITIONS); chain < end; chain++) {
      for (const { memory } of unflushed) {
        if (memory.chains[chain] !== 0) return chain;
      }
    }
    return end;
  }

  /** Records of one chain of the unflushed segments, sorted by position; valid until the next call. */
  #candidatesOf(unflushed: readonly Resident[], chain: number, isSettled: boolean): Candidates {
    const candidates = this.#candidates;
    const { heads } = candidates;
    heads.length = 0;
    for (const { segment, memory } of unflushed) {
      if (memory.chains[chain] !== 0) heads.push(segment.number, memory.chains[chain]!);
    }
    const remembered = this.#remembered;
    if (remembered?.chain === chain && isSameList(remembered.heads, heads)) return remembered;
    candidates.begin(chain);
    for (const resident of unflushed) candidates.addAll(resident, this.#parts.memtable);
    candidates.sort();
    // Records are only ever added to a chain, and the newest one is its head: the same heads, the same records.
    if (isSettled && candidates.count > REMEMBERED_MIN) {
      this.#remembered = candidates;
      this.#candidates = new Candidates();
    }
    return candidates;
  }

  /**
   * Appends up to `room` keys, all of one position or none, of memory and tables; returns where the next ones start.
   */
  #merge(
    keys: ScannedKey[],
    fromTables: readonly ScannedKey[],
    candidates: Candidates,
    start: number,
    room: number,
  ): number {
    const { order, count } = candidates;
    const base = candidates.chain * CHAIN_POSITIONS;
    const full = keys.length + room;
    let at = lowerBound(order, count, (start - base) * ORDER_STEP);
    let table = 0;
    let looked = 0;
    let previous = -1;
    let next = this.#tablesEnd;
    for (;;) {
      const inMemory = at < count ? base + Math.floor(order[at]! / ORDER_STEP) : POSITIONS;
      const inTables = fromTables[table]?.position ?? POSITIONS;
      const position = Math.min(inMemory, inTables);
      if (position >= this.#tablesEnd) break;
      const isFull = keys.length >= full || looked > EXAMINED_MAX;
      if (isFull && position !== previous) {
        next = position;
        break;
      }
      previous = position;
      if (inTables === position) {
        keys.push(fromTables[table++]!);
      } else {
        looked++;
        this.#addIfNewest(keys, candidates, order[at++]! % ORDER_STEP);
      }
    }
    this.#examined += looked;
    return next;
  }

  /** Appends the key of a candidate if that is live, and its newest record lies in the candidate's segment. */
  #addIfNewest(keys: ScannedKey[], candidates: Candidates, index: number): void {
    const { memtable } = this.#parts;
    const resident = candidates.residents[index]!;
    const offset = candidates.offsets[index]!;
    this.#queryAt(resident, offset);
    const newest = memtable.find(this.#query, this.#query.hash);
    // The key is in the chain of each segment that it was written to; the newest one speaks for it.
    if (newest === 0 || memtable.segmentAt(newest) !== resident.memory) return;
    const view = this.#view;
    memtable.view(newest, view);
    if (!isLiveType(view.type) || (view.expiry !== 0 && view.expiry <= this.#nowMs)) return;
    if (this.#parts.slotMoves.isImporting(view.slot)) return;
    const position = positionOf(view.slot, view.hash);
    const key = Buffer.from(view.bytes.subarray(view.keyStart, view.keyEnd));
    // A deletion of all keys can leave a key twice in a chain.
    for (let i = keys.length - 1; i >= 0 && keys[i]!.position === position; i--) {
      if (keys[i]!.key.equals(key)) return;
    }
    keys.push({ key, position });
  }

  /** About `room` live keys of tables before position `end`: all up to #tablesEnd. */
  #tableKeys(tables: RecordIterator, end: number, room: number): readonly ScannedKey[] {
    this.#tablesEnd = end;
    if (!tables.isValid() || positionOf(tables.current.slot, tables.current.hash) >= end)
      return NO_KEYS;
    const keys: ScannedKey[] = [];
    let previous = -1;
    for (; tables.isValid(); tables.next()) {
      const view = tables.current;
      const position = positionOf(view.slot, view.hash);
      if (position >= end) break;
      const isFull = keys.length >= room || this.#examined > EXAMINED_MAX;
      if (isFull && previous >= 0 && position !== previous) {
        this.#tablesEnd = position;
        return keys;
      }
      previous = position;
      this.#examined++;
      if (view.subKeyStart !== view.subKeyEnd) {
        this.#skipParts(tables);
        continue;
      }
      if (!isLiveType(view.type)) continue;
      if (view.expiry !== 0 && view.expiry <= this.#nowMs) continue;
      if (this.#parts.slotMoves.isImporting(view.slot)) continue;
      if (this.#isNewerInMemory(view)) continue;
      keys.push({ key: Buffer.from(view.bytes.subarray(view.keyStart, view.keyEnd)), position });
    }
    return keys;
  }

  /** The parts of a large value are thousands of blocks: the current record is the last one of them that is read. */
  #skipParts(tables: RecordIterator): void {
    const { bytes, keyStart, keyEnd, slot, hash } = tables.current;
    const query = this.#query;
    query.bytes = Buffer.from(bytes.subarray(keyStart, keyEnd));
    query.keyStart = 0;
    query.keyEnd = query.bytes.length;
    query.subBytes = BEHIND_ALL_PARTS;
    query.subKeyStart = 0;
    query.subKeyEnd = BEHIND_ALL_PARTS.length;
    query.slot = slot;
    query.hash = hash;
    query.prefix = prefixOf(slot, hash);
    tables.skipTowards?.(query);
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

/** Whether a position, or the end of a scan, lies behind the slot that starts at `slotStart`. */
function isBehind(position: number, slotStart: number): boolean {
  return position === 0 || position >= slotStart + TWO_32;
}

function isSameList(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((value, index) => value === other[index]);
}

/** Index of the first of the `count` ascending values that is at least `value`. */
function lowerBound(values: Float64Array, count: number, value: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
