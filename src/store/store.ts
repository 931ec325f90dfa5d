/**
 * The store: keys and values with expiry, on top of log, memtable and tables. The only writer of data.
 *
 *   select(key) → find() / put(value) / patch(…) / remove()       within beginUnit() … endUnit() or abortUnit()
 *
 * A unit is indivisible: it either ends, or abortUnit() takes back all that it did. What a unit cannot do now is
 * thrown as an Interrupt (interrupt.ts); resolve() says what to wait for before the unit runs again.
 *
 * Replies of a batch may leave once `committed` has reached the batch's `tag`.
 */
import { assert } from "../base/assert.ts";
import { CHUNK_BYTES, RecordFlag, RecordType } from "../base/record.ts";
import type { SlabPool } from "../base/slab-pool.ts";
import { isLiveType, RecordView } from "../lsm/order-key.ts";
import { ColdReadError } from "../lsm/table-iterator.ts";
import type { CommitPipeline } from "./commit-pipeline.ts";
import { Housekeeping } from "./housekeeping.ts";
import {
  COLD_READ,
  INDEX_FULL,
  Interrupt,
  PREPARING,
  Refusal,
  refusalOf,
  SEGMENT_FULL,
  UnitWork,
} from "./interrupt.ts";
import { firstKeyFrom } from "./key-search.ts";
import { forceLarge, holdLarge } from "./large-hold.ts";
import { type KeyBatch, ownQuery, Records } from "./records.ts";
import type { ReplicaLog } from "./replica-log.ts";
import { Rest, runUnit } from "./rest.ts";
import { KeyScan, type ScanPage } from "./scan.ts";
import { SlotData } from "./slot-data.ts";
import type { StoreParts } from "./store-parts.ts";
import { type Fold, PiecesFold, SYNC_BYTES_MAX, Values } from "./values.ts";

const NO_BYTES = Buffer.alloc(0);
/** Marks that DBSIZE resolves on the spot; more go to the Worker. */
const INLINE_MARKS_MAX = 256;
/** Marks keep coming while writes go on; what is left after some rounds is resolved on the spot. */
const RESOLVE_ROUNDS = 4;
export class Store {
  readonly #parts: StoreParts;
  readonly #records: Records;
  readonly #values: Values;
  readonly #scan: KeyScan;
  /** Longest value that is written within a unit: its chunks with the longest keys fit a segment of any size. */
  readonly #unitValueBytesMax: number;
  /** What the store does by itself. */
  readonly housekeeping: Housekeeping;
  /** Slots that move between replica sets. */
  readonly slots: SlotData;
  #replica: ReplicaLog | undefined;
  #work = new UnitWork();
  #hasPins = false;
  /** The newest record of the selected key after a find() that was true. Valid until the next call. */
  readonly found = new RecordView();
  /** The batch's time: milliseconds since the epoch, never less than the log's clock. */
  nowMs = 0;
  expiredKeys = 0;
  readonly #rest = new Rest();
  #watcher: ((bytes: Uint8Array, start: number, end: number) => void) | undefined = undefined;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    this.#replica = parts.replica;
    this.#records = new Records(parts);
    this.#values = new Values(this.#records, {
      runUnit: (action) => this.runUnit(action),
      nextTurn: () => this.nextTurn(),
      logRoom: () => this.housekeeping.logRoom(),
    });
    this.#scan = new KeyScan(parts);
    const access = { records: this.#records, values: this.#values, scan: this.#scan };
    this.slots = new SlotData({ log: parts.log, moves: parts.slotMoves, store: this, ...access });
    const segmentShare = Math.floor(parts.options.segmentBytes / 4);
    this.#unitValueBytesMax = Math.max(CHUNK_BYTES, Math.min(SYNC_BYTES_MAX, segmentShare));
    this.nowMs = parts.options.clock.wallMs();
    this.housekeeping = new Housekeeping(parts, this);
  }

  /** Highest frame index whose writes are as durable as configured. */
  get committed(): number {
    return this.#parts.pipeline.committed;
  }

  /** Where the log comes from while another node makes it. Then nothing is written here, expired keys included. */
  get replica(): ReplicaLog | undefined {
    return this.#replica;
  }

  /** From now on this node makes the frames, and clients may write. REQUIRES: its log begins the epoch. */
  lead(): void {
    assert(this.#replica !== undefined, "a writer that becomes the writer");
    const uncommitted = this.#replica.lead();
    this.#replica = undefined;
    this.#parts.pipeline.beginOwn(uncommitted);
  }

  /** As lead(), and back: only as long as nothing is indexed that is not committed. False: it is; nothing has changed. */
  follow(): boolean {
    const { log, pipeline, replica } = this.#parts;
    if (log.hasOpenRecords || pipeline.committed !== log.openIndex - 1) return false;
    replica!.follow();
    this.#replica = replica;
    this.#values.breakAll();
    return true;
  }

  /** Highest frame index that the current batch's replies depend on; 0: none. */
  get tag(): number {
    return this.#records.tag;
  }

  get pipeline(): CommitPipeline {
    return this.#parts.pipeline;
  }

  /** Longest value in bytes. */
  get valueBytesMax(): number {
    return this.#parts.options.valueBytesMax;
  }

  /** Told of every key that is written, while there is one to tell. */
  set watcher(watcher: ((bytes: Uint8Array, start: number, end: number) => void) | undefined) {
    this.#watcher = watcher;
    this.#hookWrites();
  }

  /** Starts a batch of units: time is the same for all of them. */
  beginBatch(): void {
    this.#records.tag = 0;
    const { options, log } = this.#parts;
    if (this.#replica !== undefined) this.nowMs = this.#replica.clockMs;
    else this.nowMs = Math.max(options.clock.wallMs(), log.clockMs);
  }

  /** `work` carries what prepare() has done for earlier runs of this unit. */
  beginUnit(work: UnitWork): void {
    this.#work = work;
    work.rewind();
    this.#records.beginUnit();
  }

  endUnit(): void {
    this.#records.endUnit();
    if (this.#hasPins) {
      this.#hasPins = false;
      this.#parts.lsm.unpin();
    }
    if (this.#values.isMoving) this.#values.endUnit();
  }

  /** Takes back everything since beginUnit(). */
  abortUnit(): void {
    this.#records.abortUnit();
    this.#values.abortUnit();
  }

  /**
   * Result of slow work that must not block others: the first run of the unit starts it and is interrupted, the
   * next one gets the result. What it reads is as of some time within the call. A run that finds other values may
   * take another way: `kind` keeps it from getting the result of other work.
   */
  prepare<T>(start: () => Promise<T>, kind = ""): T {
    const work = this.#work;
    const prepared = work.results[work.next];
    if (prepared !== undefined && prepared.kind === kind) {
      work.next++;
      if (prepared.value instanceof Refusal) throw prepared.value;
      return prepared.value as T;
    }
    work.results.length = work.next;
    // Not at once: what is started runs units of its own, and this one has not been taken back yet.
    work.pending = Promise.resolve()
      .then(start)
      .catch(refusalOf)
      .then((value) => ({ kind, value }));
    throw PREPARING;
  }

  /** Makes the batch's replies wait for all that has been written: they depend on what prepare() has read. */
  tagNewest(): void {
    this.#records.tagNewest();
  }

  /** What an interrupted unit must wait for before it runs again; undefined: nothing. REQUIRES: it was aborted. */
  resolve(interrupt: unknown): Promise<void> | undefined {
    if (interrupt === INDEX_FULL) {
      this.#parts.memtable.grow();
      return undefined;
    }
    if (interrupt === SEGMENT_FULL) {
      this.#parts.pipeline.endTurn();
      return this.#parts.segments.roll() ? undefined : this.#parts.segments.arenaFreed();
    }
    if (interrupt instanceof ColdReadError) return this.#pinning(interrupt.load());
    assert(interrupt === COLD_READ, "an interrupt that the store does not know");
    return this.prefetch([]);
  }

  /**
   * As resolve() of COLD_READ, for all keys that are known to be needed soon: their blocks are loaded together.
   */
  prefetch(keys: readonly Buffer[]): Promise<void> {
    const queries = keys.map((key) => this.#records.queryOf(key));
    return this.#pinning(this.#parts.lsm.prefetch([ownQuery(this.#records.query), ...queries]));
  }

  /** What has been loaded for a waiting unit stays in the cache until the next unit ends. */
  async #pinning(load: Promise<void>): Promise<void> {
    await this.#rest.during(load);
    this.#hasPins = true;
  }

  /** Whether resolve() understands this error. */
  isInterrupt(error: unknown): boolean {
    return error instanceof Interrupt || error instanceof ColdReadError;
  }

  /**
   * No unit may run until resume(): who waits for an arena is let go, and units outside of commands end as SUSPENDED. Done
   * when the store has come to rest, so that another one can take its place.
   */
  suspend(): Promise<void> {
    const isAtRest = this.#rest.suspend();
    this.#parts.segments.letGo();
    this.slots.moves.letGo();
    return isAtRest;
  }

  resume(): void {
    this.#rest.isSuspended = false;
  }

  get isSuspended(): boolean {
    return this.#rest.isSuspended;
  }

  /** Runs `action` as a unit outside any command, as often as interrupts demand. */
  runUnit(action: () => void): Promise<void> {
    return this.#rest.during(runUnit(this, this.#rest, action));
  }

  /** Tells which keys come next: their lookups then wait less for memory. */
  warm(keys: KeyBatch): void {
    this.#records.warm(keys);
  }

  /** Makes bytes[start, end) the key that the other calls mean. Borrows the bytes. Hot. */
  select(bytes: Uint8Array, start: number, end: number): void {
    this.#records.select(bytes, start, end);
  }

  get selectedSlot(): number {
    return this.#records.slot;
  }

  /** Whether the selected key exists now; `found` then shows its newest record. Hot. */
  find(): boolean {
    const found = this.found;
    if (!this.#records.find(found) || !isLiveType(found.type)) return false;
    if (found.expiry === 0 || found.expiry > this.nowMs) return true;
    // A read must not wait for room to write down what it sees, and a replica writes nothing.
    if (this.#parts.segments.isDiskFull || this.#replica !== undefined) return false;
    this.expiredKeys++;
    this.#records.append(RecordType.TOMBSTONE, RecordFlag.EXPIRED, NO_BYTES, 0, 0, 0);
    return false;
  }

  get valueLength(): number {
    return this.#values.length(this.found);
  }

  /** Whether the found value lies in one piece at found.bytes[valueStart, valueEnd). */
  get isInline(): boolean {
    return this.found.type === RecordType.VALUE;
  }

  /** Copies bytes [from, to) of the found value to target at `at`. REQUIRES: to <= valueLength. */
  readValue(from: number, to: number, target: Buffer, at: number): void {
    this.#values.read(this.found, { from, to }, target, at);
  }

  /** The found value, copied into a buffer of its own. For values that are known not to be huge. */
  copyValue(): Buffer {
    const bytes = Buffer.allocUnsafe(this.valueLength);
    this.readValue(0, bytes.length, bytes, 0);
    return bytes;
  }

  /**
   * The found value in pieces. A large one is copied over several turns first: the unit is interrupted and run
   * again, and so must come here in the same state.
   */
  valuePieces(): readonly Buffer[] {
    const length = this.valueLength;
    if (length <= SYNC_BYTES_MAX) return [this.copyValue()];
    const { bytes, keyStart, keyEnd } = this.#records.query;
    const key = Buffer.from(bytes.subarray(keyStart, keyEnd));
    this.#admit(length);
    const { slabs } = this;
    const fold = this.foldValues([key], { from: 0, to: length }, () => new PiecesFold(slabs));
    fold.giveTo(this.#work.slabs);
    return fold.pieces;
  }

  /** Waits until `length` bytes of memory are free for a copy of a large value. */
  #admit(length: number): void {
    const work = this.#work;
    // Who has written cannot wait.
    if (this.#records.hasWrites) forceLarge(this.#parts.options.largeBytes, work, length);
    else this.prepare(() => this.hold(work, length), `admit ${length}`);
  }

  /** Takes memory for large values and replies as soon as it is free; the owner of `work` gives it back. */
  hold(work: UnitWork, bytes: number): Promise<void> {
    return holdLarge(this.#parts.options.largeBytes, work, bytes);
  }

  /** What one reply may take, and all large values together. */
  get largeBytesMax(): number {
    return this.#parts.options.largeBytes.capacity;
  }

  /** Where large replies may be put; the owner of the unit's work gives slabs back that are noted there. */
  get slabs(): SlabPool {
    return this.#parts.options.largeBytes.slabs;
  }

  /**
   * Shows a fold bytes [from, to) of the keys' values slice by slice, over several turns, and returns it. Begun anew
   * when one of the values is written meanwhile. In a unit that has written already, as EXEC may, it is done at once:
   * nobody else sees what such a unit sees. Selects another key.
   */
  foldValues<T extends Fold>(
    keys: readonly Buffer[],
    range: { from: number; to: number },
    begin: () => T,
  ): T {
    if (this.#records.hasWrites) {
      const fold = begin();
      this.#values.foldNow(keys, range, fold);
      return fold;
    }
    this.#hookWrites();
    const kind = `fold ${keys.map((key) => key.toString("latin1")).join(" ")}`;
    const start = () => this.#values.fold(keys, range, begin());
    return this.#values.unbroken(() => this.prepare(start, kind)).fold;
  }

  /** Writes value[start, end) for the selected key. expiry: milliseconds since the epoch, 0: never. Hot. */
  put(value: Uint8Array, start: number, end: number, expiry: number): void {
    const length = end - start;
    if (this.#fitsUnit(length)) {
      this.#values.put(value, start, end, expiry);
      return;
    }
    const piece = value.subarray(start, end);
    // Staging outlasts this call, which borrows values that are not large.
    this.putPieces([length <= SYNC_BYTES_MAX ? Buffer.from(piece) : piece], expiry);
  }

  /** Whether a value is written within the unit: one that was staged before would be hidden by a deletion in it. */
  #fitsUnit(length: number): boolean {
    return length <= this.#unitValueBytesMax || this.#records.hasDeleted;
  }

  /** Writes a value in pieces for the selected key; a large one over several turns before the unit ends. */
  putPieces(pieces: readonly Uint8Array[], expiry: number): void {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (this.#fitsUnit(length)) {
      const bytes = Buffer.concat(pieces);
      this.#values.put(bytes, 0, bytes.length, expiry);
      return;
    }
    const { bytes, keyStart, keyEnd } = this.#records.query;
    const key = Buffer.from(bytes.subarray(keyStart, keyEnd));
    this.#hookWrites();
    const kind = `stage ${key.toString("latin1")}`;
    const stage = () => this.#values.stage(key, pieces);
    const staged = this.#values.unbroken(() => this.prepare(stage, kind));
    this.#values.putStaged(staged.version, length, expiry);
  }

  /**
   * Overwrites the selected key's value from `offset` with source[start, end), zeros in a gap; keeps the expiry.
   * `exists` is what find() has just answered. Returns the new length.
   */
  patch(exists: boolean, offset: number, source: Uint8Array, start: number, end: number): number {
    return this.#values.patch(exists ? this.found : undefined, offset, source, start, end);
  }

  /** Gives the found key another expiry; 0: none. REQUIRES: find() was true. */
  setExpiry(expiry: number): void {
    this.#values.setExpiry(this.found, expiry);
  }

  /** Deletes the selected key; whether it existed. */
  remove(): boolean {
    if (!this.find()) return false;
    this.#records.append(RecordType.TOMBSTONE, 0, NO_BYTES, 0, 0, 0);
    return true;
  }

  /** Deletes all keys, but for those of slots that are being imported: nobody sees them. */
  removeAll(): void {
    const { slots } = this;
    while (slots.moves.hasFrozen) this.prepare(() => slots.moves.changed(), "thaw");
    slots.removeVisible();
  }

  /** Number of keys, of one slot or of all, exact; keys that have expired count until they are removed. */
  size(slot?: number): number {
    const { counts, segments, slotMoves } = this.#parts;
    this.#records.tagNewest();
    for (let round = 0; counts.unresolved > INLINE_MARKS_MAX && round < RESOLVE_ROUNDS; round++)
      this.prepare(() => segments.resolveCounts());
    const unsettled = this.#scan.unresolvedKeys(!this.#records.hasWrites, slot);
    return (slot === undefined ? counts.visible(slotMoves) : counts.known(slot)) + unsettled;
  }

  /** Number of keys without waiting: what marks stand for is assumed new. For INFO. */
  get approximateSize(): number {
    const { counts, slotMoves } = this.#parts;
    return counts.visible(slotMoves) + counts.unresolved;
  }

  /** Up to about `count` keys from `cursor` on; REQUIRES within a unit. */
  scan(cursor: number, count: number): ScanPage {
    this.#records.tagNewest();
    return this.#scan.page(cursor, count, this.nowMs, !this.#records.hasWrites);
  }

  /** Any key, undefined when there is none. `random`: uniform in [0, 1). */
  randomKey(random: number): Buffer | undefined {
    this.#records.tagNewest();
    const { key, next } = this.#scan.randomKey(random, this.nowMs, !this.#records.hasWrites);
    if (key !== undefined || next === 0) return key;
    // Rare: thousands of deleted or expired keys that are still in tables.
    for (;;) {
      const later = this.prepare(() => firstKeyFrom(this, next), "randomkey");
      if (later === undefined) return undefined;
      this.select(later, 0, later.length);
      if (this.find()) return later;
    }
  }

  /** Resolves in a later turn of the event loop. */
  nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#parts.options.clock.immediate(resolve));
  }

  /** The commit index has grown. */
  onCommitted(): void {
    this.#records.onCommitted();
    this.housekeeping.throttle();
  }

  /** A range deletion has been applied whose frame is not known to be committed and durable. */
  noteDeletion(deletion: { sequence: number; index: number }): void {
    this.#records.noteDeletion(deletion);
    this.#values.breakAll();
  }

  /** A flush has ended; `hadRoom`: the disk had room for its tables. */
  onFlushed(hadRoom: boolean): void {
    if (hadRoom) this.#records.tablesMayHoldKeys = true;
    else this.housekeeping.checkDisk();
  }

  get internals(): Omit<StoreParts, "seed" | "options"> {
    return this.#parts;
  }

  /** Syncs everything and lets go of the files. No command may be running; what runs beside commands is given up. */
  async close(): Promise<void> {
    await this.suspend();
    await this.housekeeping.close();
    await this.#parts.pipeline.finish();
    await this.#parts.segments.close();
    await this.#parts.lsm.close();
    this.#parts.log.close();
  }

  #hookWrites(): void {
    this.#records.onWrite = (bytes, start, end) => {
      this.#values.noteWrite(bytes, start, end);
      this.#watcher?.(bytes, start, end);
      if (this.#watcher === undefined && !this.#values.isMoving) this.#records.onWrite = undefined;
    };
    const { replica } = this.#parts;
    if (replica === undefined) return;
    replica.onApplied = (bytes, start, end) => {
      this.#values.noteApplied(bytes, start, end);
      if (!this.#values.isMoving) replica.onApplied = undefined;
    };
  }
}
