/**
 * Values by key, whatever their length.
 *
 * A value of at most CHUNK_BYTES is one VALUE record. A longer one is a CHUNKED record (length, version) and one
 * CHUNK record per CHUNK_BYTES, so that changing a bit rewrites a chunk, not the value (base/record.ts). A chunk
 * that is absent, or shorter than its place, stands for zeros. What is longer than SYNC_BYTES_MAX is moved in
 * slices over several turns, before the unit that makes it visible runs: a 100 MB value stalls nobody.
 */
import { assert } from "../base/assert.ts";
import { copyBytes } from "../base/bytes.ts";
import {
  CHUNK_BYTES,
  CHUNK_SUB_KEY_BYTES,
  CHUNKED_VALUE_BYTES,
  RecordType,
} from "../base/record.ts";
import { type SlabPool, SlabWriter } from "../base/slab-pool.ts";
import { slotOf } from "../base/slot.ts";
import { isLiveType, RecordView } from "../lsm/order-key.ts";
import { Refusal } from "./interrupt.ts";
import type { Records } from "./records.ts";

/** Longer values are moved in slices of this size, one per turn of the event loop. */
export const SYNC_BYTES_MAX = 1 << 20;
const NO_BYTES = Buffer.alloc(0);
const TWO_32 = 0x1_0000_0000;
/** Attempts at moving a large value that other clients keep changing. */
const ATTEMPTS_MAX = 8;

const CHANGED = new Refusal("TRYAGAIN other clients keep changing this large value");

/** Large values on their way: broken by a write of one of their keys. */
export interface Move {
  readonly keys: readonly string[];
  isBroken: boolean;
}

/** What is made of values whose bytes come slice by slice. */
export interface Fold {
  /**
   * Takes bytes from `at` on of each value, no longer than SYNC_BYTES_MAX and shorter where a value ends. Borrows the
   * slices. False: it needs no more.
   */
  take(slices: readonly Buffer[], at: number): boolean;
  /** It has been shown values that are no longer current: what it holds can go. */
  discard?(): void;
}

/** A copy of one value, in slabs. */
export class PiecesFold implements Fold {
  readonly #pool: SlabPool;
  readonly #slabs: Buffer[] = [];
  readonly #writer: SlabWriter;

  constructor(pool: SlabPool) {
    this.#pool = pool;
    this.#writer = new SlabWriter(pool, this.#slabs);
  }

  get pieces(): readonly Buffer[] {
    return this.#writer.pieces;
  }

  take(slices: readonly Buffer[]): boolean {
    this.#writer.write(slices[0]!, 0, slices[0]!.length);
    return true;
  }

  /** From now on the owner of the list gives the slabs back. */
  giveTo(list: Buffer[]): void {
    list.push(...this.#slabs.splice(0));
  }

  discard(): void {
    this.#writer.pieces.length = 0;
    this.#pool.giveAll(this.#slabs);
  }
}

export interface StagedValue {
  readonly move: Move;
  readonly version: number;
}

export interface FoldedValues<T> {
  readonly move: Move;
  readonly fold: T;
}

export interface ValueEffects {
  /** Runs `action` as a unit of its own, as often as interrupts demand. */
  runUnit(action: () => void): Promise<void>;
  /** Resolves in a later turn. */
  nextTurn(): Promise<void>;
  /** Resolves once the log has room for more of a large value, beyond what small writes need. */
  logRoom(): Promise<void>;
}

export class Values {
  readonly #records: Records;
  readonly #effects: ValueEffects;
  readonly #part = new RecordView();
  readonly #subKey = Buffer.alloc(CHUNK_SUB_KEY_BYTES);
  readonly #meta = Buffer.alloc(CHUNKED_VALUE_BYTES);
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  /** Moves under way, or done and not yet used, by key; an abandoned one stays until its key is written. */
  readonly #moving = new Map<string, Set<Move>>();
  /** Keys that the open unit has written, and moves that it has used; they count once it has ended. */
  readonly #written: string[] = [];
  readonly #used: Move[] = [];
  /** Slots [start, end) whose keys the open unit has deleted. */
  readonly #deletedSlots: [number, number][] = [];

  constructor(records: Records, effects: ValueEffects) {
    this.#records = records;
    this.#effects = effects;
  }

  /** Bytes of the value whose record `found` shows. */
  length(found: RecordView): number {
    if (found.type === RecordType.VALUE) return found.valueEnd - found.valueStart;
    return readUint48(found.bytes, found.valueStart);
  }

  /** Writes value[start, end) as the selected key's value. */
  put(value: Uint8Array, start: number, end: number, expiry: number): void {
    if (end - start <= CHUNK_BYTES) {
      this.#records.append(RecordType.VALUE, 0, value, start, end, expiry);
      return;
    }
    const version = this.#records.nextSequence;
    for (let at = start, index = 0; at < end; at += CHUNK_BYTES, index++) {
      this.#appendChunk(version, index, value, at, Math.min(end, at + CHUNK_BYTES));
    }
    this.putStaged(version, end - start, expiry);
  }

  /** Makes the chunks of `version`, already written, the selected key's value. */
  putStaged(version: number, length: number, expiry: number): void {
    writeUint48(this.#meta, 0, length);
    writeUint48(this.#meta, 6, version);
    this.#records.selectPart(NO_BYTES, 0, 0);
    this.#records.append(RecordType.CHUNKED, 0, this.#meta, 0, CHUNKED_VALUE_BYTES, expiry);
  }

  /** Copies bytes [from, to) of the selected key's value, whose record `found` shows, to target at `at`. */
  read(found: RecordView, range: { from: number; to: number }, target: Buffer, at: number): void {
    const { from, to } = range;
    if (found.type === RecordType.VALUE) {
      copyBytes(found.bytes, found.valueStart + from, found.valueStart + to, target, at);
      return;
    }
    const version = readUint48(found.bytes, found.valueStart + 6);
    for (let position = from; position < to; ) {
      const index = Math.floor(position / CHUNK_BYTES);
      const start = position - index * CHUNK_BYTES;
      const end = Math.min(CHUNK_BYTES, to - index * CHUNK_BYTES);
      this.#readChunk({ version, index }, { from: start, to: end }, target, at + position - from);
      position += end - start;
    }
    this.#records.selectPart(NO_BYTES, 0, 0);
  }

  /**
   * Overwrites the selected key's value from `offset` on with source[start, end), filling a gap with zeros; keeps
   * its expiry. `found` shows its record, undefined when the key does not exist. Returns the new length.
   */
  patch(
    found: RecordView | undefined,
    offset: number,
    source: Uint8Array,
    start: number,
    end: number,
  ): number {
    const oldLength = found === undefined ? 0 : this.length(found);
    const expiry = found === undefined ? 0 : found.expiry;
    const length = Math.max(oldLength, offset + end - start);
    const isSmall = found === undefined || found.type === RecordType.VALUE;
    if (isSmall) {
      // At most CHUNK_BYTES: all of it fits the scratch chunk.
      this.#chunk.fill(0);
      if (found !== undefined) {
        copyBytes(found.bytes, found.valueStart, found.valueEnd, this.#chunk, 0);
      }
      if (length <= CHUNK_BYTES) {
        copyBytes(source, start, end, this.#chunk, offset);
        this.#records.append(RecordType.VALUE, 0, this.#chunk, 0, length, expiry);
        return length;
      }
    }
    const version = isSmall
      ? this.#records.nextSequence
      : readUint48(found.bytes, found.valueStart + 6);
    if (isSmall && oldLength > 0) {
      this.#appendChunk(version, 0, this.#chunk, 0, oldLength);
    }
    this.#patchChunks(version, offset, source, start, end);
    this.putStaged(version, length, expiry);
    return length;
  }

  /** Gives the selected key another expiry (0: none); `found` shows its record. */
  setExpiry(found: RecordView, expiry: number): void {
    const { type, bytes, valueStart, valueEnd } = found;
    this.#records.append(type, 0, bytes, valueStart, valueEnd, expiry);
  }

  /**
   * Writes pieces as chunks of the key over several turns. The move is broken by any write of the key until
   * putStaged(): that write's record may hide the chunks, so they must be staged again.
   */
  async stage(key: Buffer, pieces: readonly Uint8Array[]): Promise<StagedValue> {
    const move = this.#beginMove([key]);
    return { move, version: await this.#stageOnce(move, key, pieces) };
  }

  /** Shows a fold bytes [from, to) of the keys' values, over several turns. */
  async fold<T extends Fold>(
    keys: readonly Buffer[],
    range: { from: number; to: number },
    fold: T,
  ): Promise<FoldedValues<T>> {
    const move = this.#beginMove(keys);
    const step = sliceBytes(keys.length);
    const scratch = Buffer.allocUnsafeSlow(step * keys.length);
    for (let at = range.from; at < range.to && !move.isBroken; at += step) {
      let slices: Buffer[] = [];
      await this.#effects.runUnit(() => {
        slices = this.#slices(keys, { from: at, to: Math.min(range.to, at + step) }, scratch);
      });
      if (!fold.take(slices, at)) break;
      await this.#effects.nextTurn();
    }
    if (move.isBroken) fold.discard?.();
    return { move, fold };
  }

  /** The same at once, as the open unit sees the values; selects the last key. */
  foldNow(keys: readonly Buffer[], range: { from: number; to: number }, fold: Fold): void {
    const step = sliceBytes(keys.length);
    const scratch = Buffer.allocUnsafeSlow(step * keys.length);
    for (let at = range.from; at < range.to; at += step) {
      const to = Math.min(range.to, at + step);
      if (!fold.take(this.#slices(keys, { from: at, to }, scratch), at)) return;
    }
  }

  /** The first result of `attempt` that no write has broken. */
  unbroken<T extends { readonly move: Move }>(attempt: () => T): T {
    for (let attempts = 0; attempts < ATTEMPTS_MAX; attempts++) {
      const result = attempt();
      if (!result.move.isBroken) {
        this.#used.push(result.move);
        return result;
      }
    }
    throw CHANGED;
  }

  /** A key was written: moves of its value are broken, unless the unit is aborted. */
  noteWrite(bytes: Uint8Array, start: number, end: number): void {
    if (this.#moving.size === 0) return;
    this.#written.push(Buffer.from(bytes.subarray(start, end)).toString("latin1"));
  }

  /** A replica has applied a write of a key: it is there at once. */
  noteApplied(bytes: Uint8Array, start: number, end: number): void {
    if (this.#moving.size === 0) return;
    const key = Buffer.from(bytes.subarray(start, end)).toString("latin1");
    for (const move of this.#moving.get(key) ?? []) this.#break(move);
  }

  /** Nothing that is on its way is to be used. */
  breakAll(): void {
    for (const moves of this.#moving.values()) for (const move of moves) move.isBroken = true;
    this.#moving.clear();
  }

  /** The unit has ended: its writes have happened, and what it used is no longer needed. */
  endUnit(): void {
    for (const move of this.#used) this.#forget(move);
    for (const key of this.#written) {
      for (const move of this.#moving.get(key) ?? []) this.#break(move);
    }
    for (const [startSlot, endSlot] of this.#deletedSlots) this.#breakSlots(startSlot, endSlot);
    this.abortUnit();
  }

  abortUnit(): void {
    this.#used.length = 0;
    this.#written.length = 0;
    this.#deletedSlots.length = 0;
  }

  #break(move: Move): void {
    move.isBroken = true;
    this.#forget(move);
  }

  #forget(move: Move): void {
    for (const key of move.keys) {
      const moves = this.#moving.get(key);
      if (moves?.delete(move) === true && moves.size === 0) this.#moving.delete(key);
    }
  }

  get isMoving(): boolean {
    return this.#moving.size > 0;
  }

  /** The keys of slots [startSlot, endSlot) were deleted: their moves are broken, unless the unit is aborted. */
  noteDeletion(startSlot: number, endSlot: number): void {
    if (this.#moving.size > 0) this.#deletedSlots.push([startSlot, endSlot]);
  }

  #breakSlots(startSlot: number, endSlot: number): void {
    for (const [name, moves] of this.#moving) {
      const key = Buffer.from(name, "latin1");
      const slot = slotOf(key, 0, key.length);
      if (slot < startSlot || slot >= endSlot) continue;
      for (const move of moves) this.#break(move);
    }
  }

  async #stageOnce(move: Move, key: Buffer, pieces: readonly Uint8Array[]): Promise<number> {
    let version = 0;
    let index = 0;
    let filled = 0;
    let slice = 0;
    const chunk = Buffer.alloc(CHUNK_BYTES);
    const write = async (end: number) => {
      await this.#effects.runUnit(() => {
        this.#records.select(key, 0, key.length);
        if (index === 0) version = this.#records.nextSequence;
        this.#appendChunk(version, index, chunk, 0, end);
      });
      index++;
      filled = 0;
      slice += end;
      if (slice < SYNC_BYTES_MAX) return;
      slice = 0;
      await this.#effects.nextTurn();
      await this.#effects.logRoom();
    };
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; ) {
        const count = Math.min(CHUNK_BYTES - filled, piece.length - at);
        copyBytes(piece, at, at + count, chunk, filled);
        filled += count;
        at += count;
        if (filled === CHUNK_BYTES) await write(CHUNK_BYTES);
        if (move.isBroken) return version;
      }
    }
    if (filled > 0) await write(filled);
    return version;
  }

  /** Bytes [from, to) of the keys' values, each shorter where its value ends, in `scratch`. */
  #slices(
    keys: readonly Buffer[],
    { from, to }: { readonly from: number; readonly to: number },
    scratch: Buffer,
  ): Buffer[] {
    const view = new RecordView();
    return keys.map((key, index) => {
      this.#records.select(key, 0, key.length);
      if (!this.#records.find(view) || !isLiveType(view.type)) return NO_BYTES;
      const end = Math.min(to, this.length(view));
      if (end <= from) return NO_BYTES;
      const start = index * (to - from);
      this.read(view, { from, to: end }, scratch, start);
      return scratch.subarray(start, start + end - from);
    });
  }

  #beginMove(keys: readonly Buffer[]): Move {
    const names = keys.map((key) => key.toString("latin1"));
    const move = { keys: names, isBroken: false };
    for (const name of names) {
      const moves = this.#moving.get(name) ?? new Set();
      this.#moving.set(name, moves.add(move));
    }
    return move;
  }

  #patchChunks(
    version: number,
    offset: number,
    source: Uint8Array,
    start: number,
    end: number,
  ): void {
    const stop = offset + end - start;
    for (let position = offset; position < stop; ) {
      const index = Math.floor(position / CHUNK_BYTES);
      const from = position - index * CHUNK_BYTES;
      const to = Math.min(CHUNK_BYTES, stop - index * CHUNK_BYTES);
      const old = this.#loadChunk(version, index);
      const at = start + position - offset;
      copyBytes(source, at, at + to - from, this.#chunk, from);
      this.#appendChunk(version, index, this.#chunk, 0, Math.max(old, to));
      position += to - from;
    }
  }

  /** Fills the scratch chunk with what is stored, zeros behind it; returns the stored length. */
  #loadChunk(version: number, index: number): number {
    this.#chunk.fill(0);
    this.#selectChunk(version, index);
    if (!this.#findChunk()) return 0;
    const { bytes, valueStart, valueEnd } = this.#part;
    copyBytes(bytes, valueStart, valueEnd, this.#chunk, 0);
    return valueEnd - valueStart;
  }

  #readChunk(
    chunk: { version: number; index: number },
    range: { from: number; to: number },
    target: Buffer,
    at: number,
  ): void {
    const { from, to } = range;
    this.#selectChunk(chunk.version, chunk.index);
    let stored = 0;
    if (this.#findChunk()) {
      const { bytes, valueStart, valueEnd } = this.#part;
      stored = Math.max(0, Math.min(to, valueEnd - valueStart) - from);
      if (stored > 0) copyBytes(bytes, valueStart + from, valueStart + from + stored, target, at);
    }
    target.fill(0, at + stored, at + to - from);
  }

  #findChunk(): boolean {
    return this.#records.find(this.#part) && this.#part.type === RecordType.CHUNK;
  }

  #appendChunk(
    version: number,
    index: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#selectChunk(version, index);
    this.#records.append(RecordType.CHUNK, 0, bytes, start, end, 0);
  }

  #selectChunk(version: number, index: number): void {
    assert(index < TWO_32, "a chunk number has 32 bits");
    this.#subKey.writeUIntBE(version, 0, 6);
    this.#subKey.writeUInt32BE(index, 6);
    this.#records.selectPart(this.#subKey, 0, CHUNK_SUB_KEY_BYTES);
  }
}

/** Bytes of each of `count` values that are moved in one turn, whole chunks where that is possible. */
function sliceBytes(count: number): number {
  return Math.max(1, Math.floor(SYNC_BYTES_MAX / CHUNK_BYTES / count)) * CHUNK_BYTES;
}

function readUint48(bytes: Uint8Array, at: number): number {
  const low = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
  const high = bytes[at + 3]! | (bytes[at + 4]! << 8) | (bytes[at + 5]! << 16);
  return low + high * 0x100_0000;
}

function writeUint48(target: Buffer, at: number, value: number): void {
  target.writeUIntLE(value, at, 6);
}
