/**
 * What becomes of a slot's keys when it moves between replica sets. Each change is one unit, so one frame of this set's
 * log: replicas, recovery and the next writer see all of it or nothing.
 *
 *     source        freeze ──► end(removes)                destination    begin ──► importPiece … ──► end
 *                          └─► end                                                       └──► end(removes)
 *
 * Every change resolves to the index of its frame: it counts once that is committed.
 *
 * The keys of an importing slot are ordinary records under their own slot. Chunks of a large value need another version
 * here, since a version is a sequence of the log that it was begun in (base/record.ts): the first chunk of each gets the
 * sequence that it is written with, and the CHUNKED record keeps what the version was at the source.
 */
import { assert } from "../base/assert.ts";
import {
  CHUNK_SUB_KEY_BYTES,
  CHUNKED_VALUE_BYTES,
  expiryAt,
  flagsAt,
  keyBytesAt,
  keyStartAt,
  MOVED_CHUNKED_VALUE_BYTES,
  RecordFlag,
  RecordType,
  SLOT_MOVES_SUB_KEY,
  subKeyBytesAt,
  typeAt,
  valueBytesAt,
} from "../base/record.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import type { SlotRange } from "../base/slot-ranges.ts";
import { RecordView } from "../lsm/order-key.ts";
import type { Log } from "../wal/log.ts";
import { SUSPENDED } from "./interrupt.ts";
import {
  encodeSlotMoves,
  type ImportingSlots,
  NO_CHAIN,
  pieceChain,
  type ResumePoint,
  type SlotMove,
  type SlotMoves,
} from "./slot-moves.ts";
import { deletedRange, eachRecord, type RecordBytes } from "./slot-records.ts";
import { SlotSnapshot, type SnapshotParts } from "./slot-snapshot.ts";
import type { Values } from "./values.ts";

const NO_BYTES = Buffer.alloc(0);
const VERSION_BYTES = 6;
const ORIGIN_OFFSET = 12;

export interface SlotPiece {
  /** Counts from 0. */
  readonly number: number;
  /** pieceChain() of those before it. */
  readonly before: string;
  readonly records: RecordBytes;
  /** Where the source goes on after it. */
  readonly resume: ResumePoint;
  /** Of the last piece: the source's clock when it froze the slots. */
  readonly sourceClockMs?: number | undefined;
}

export interface SlotDataParts extends SnapshotParts {
  readonly log: Log;
  readonly values: Values;
  readonly moves: SlotMoves;
}

export class SlotData {
  readonly #parts: SlotDataParts;
  readonly #view = new RecordView();
  readonly #subKey = Buffer.alloc(CHUNK_SUB_KEY_BYTES);
  readonly #meta = Buffer.alloc(MOVED_CHUNKED_VALUE_BYTES);

  constructor(parts: SlotDataParts) {
    this.#parts = parts;
  }

  get moves(): SlotMoves {
    return this.#parts.moves;
  }

  /** Deletes all keys that can be seen, within the open unit. REQUIRES: no slot is frozen. */
  removeVisible(): void {
    const { moves } = this;
    if (moves.isIdle) {
      this.#remove(0, SLOT_COUNT);
      return;
    }
    for (const { start, end } of moves.visibleRuns()) this.#remove(start, end);
    // It lies in a slot, too, and may have been deleted.
    this.#write(moves.all);
  }

  /** Nobody reads or writes these slots from now on. */
  freeze(id: string, slots: readonly SlotRange[]): Promise<number> {
    return this.#run(() => {
      const { moves } = this;
      if (moves.frozen(id) !== undefined) return;
      this.#write(moves.with({ kind: "frozen", id, slots: [...slots] }));
    });
  }

  /** Makes room for keys of these slots, or begins anew. */
  begin(id: string, slots: readonly SlotRange[]): Promise<number> {
    return this.#run(() => {
      for (const { start, end } of slots) this.#remove(start, end + 1);
      const move = { kind: "importing", id, slots: [...slots] } as const;
      this.#write(this.moves.withComing({ ...move, pieces: 0, chain: NO_CHAIN, versions: [] }));
    });
  }

  /** Writes a piece, if it is the next one; undefined: it is not. */
  async importPiece(id: string, piece: SlotPiece): Promise<number | undefined> {
    let isNext = false;
    const index = await this.#run(() => {
      const move = this.moves.importing(id);
      isNext =
        move?.pieces === piece.number &&
        move.chain === piece.before &&
        move.sourceClockMs === undefined;
      if (isNext) this.#import(move!, piece);
    });
    return isNext ? index : undefined;
  }

  /**
   * The move is over: its slots are served as those of any owner, or their keys are gone (`removes`). Keys that came were
   * seen at the source by its clock, so the log's clock is not less.
   */
  end(id: string, removes: boolean): Promise<number> {
    return this.#run(() => {
      const move = this.moves.all.find((other) => other.id === id);
      if (move === undefined) return;
      if (removes) for (const { start, end } of move.slots) this.#remove(start, end + 1);
      const { log } = this.#parts;
      if (!removes && move.kind === "importing") {
        assert(move.sourceClockMs !== undefined, "a slot that opens is complete");
        log.clockMs = Math.max(log.clockMs, move.sourceClockMs);
      }
      this.#write(removes ? this.moves.withLeft(id) : this.moves.without(id));
    });
  }

  /** Reads the keys of slots for another replica set; `from` is where an earlier reading had come to. */
  snapshot(
    slots: readonly SlotRange[],
    from: { readonly slot: number; readonly cursor: number } | undefined,
  ): SlotSnapshot {
    return new SlotSnapshot(this.#parts, slots, from);
  }

  /** Runs a unit; resolves to the frame that its effect depends on. */
  async #run(action: () => void): Promise<number> {
    const { records, store } = this.#parts;
    if (store.replica !== undefined) throw SUSPENDED;
    let index = 0;
    await store.runUnit(() => {
      action();
      records.tagNewest();
      index = records.tag;
    });
    return index;
  }

  #remove(startSlot: number, endSlot: number): void {
    const { values, records } = this.#parts;
    values.noteDeletion(startSlot, endSlot);
    records.appendDeletion(startSlot, endSlot);
  }

  #write(moves: readonly SlotMove[]): void {
    const { records } = this.#parts;
    const value = encodeSlotMoves(moves);
    records.select(NO_BYTES, 0, 0);
    records.selectPart(SLOT_MOVES_SUB_KEY, 0, SLOT_MOVES_SUB_KEY.length);
    records.append(RecordType.SLOT_MOVES, 0, value, 0, value.length, 0);
    records.addUndo(this.moves.set(moves));
  }

  #import(move: ImportingSlots, piece: SlotPiece): void {
    const versions = new Map(move.versions);
    eachRecord(piece.records, (offset) =>
      this.#importRecord(move, piece.records, offset, versions),
    );
    this.#write(
      this.moves.with({
        ...move,
        pieces: move.pieces + 1,
        chain: pieceChain(move.chain, piece.records.bytes, piece.resume),
        resume: piece.resume,
        versions: [...versions],
        ...(piece.sourceClockMs === undefined ? {} : { sourceClockMs: piece.sourceClockMs }),
      }),
    );
  }

  #importRecord(
    move: ImportingSlots,
    source: RecordBytes,
    offset: number,
    versions: Map<number, number>,
  ): void {
    const { records } = this.#parts;
    const { bytes, words } = source;
    const type = typeAt(words, offset);
    if (type === RecordType.RANGE_DELETION) {
      const [start, end] = deletedRange(source, offset);
      for (const range of move.slots)
        this.#removeIn(Math.max(range.start, start), Math.min(range.end + 1, end));
      return;
    }
    const keyStart = keyStartAt(words, offset);
    const keyEnd = keyStart + keyBytesAt(words, offset);
    const valueStart = keyEnd + subKeyBytesAt(words, offset);
    const valueEnd = valueStart + valueBytesAt(words, offset);
    const flags = flagsAt(words, offset) & ~RecordFlag.EXPIRES;
    const expiry = expiryAt(words, offset);
    records.select(bytes, keyStart, keyEnd);
    if (type === RecordType.CHUNKED) {
      this.#importChunked(bytes, valueStart, expiry, versions);
    } else if (type === RecordType.CHUNK) {
      this.#importChunk(source, { keyEnd, valueStart, valueEnd }, versions);
    } else {
      records.append(type, flags, bytes, valueStart, valueEnd, expiry);
    }
  }

  #removeIn(start: number, end: number): void {
    if (start < end) this.#remove(start, end);
  }

  #importChunk(
    { bytes }: RecordBytes,
    place: { readonly keyEnd: number; readonly valueStart: number; readonly valueEnd: number },
    versions: Map<number, number>,
  ): void {
    const { records } = this.#parts;
    const { keyEnd, valueStart, valueEnd } = place;
    const origin = bytes.readUIntBE(keyEnd, VERSION_BYTES);
    const version = this.#versionOf(origin, versions);
    versions.set(origin, version);
    bytes.copy(this.#subKey, 0, keyEnd, valueStart);
    this.#subKey.writeUIntBE(version, 0, VERSION_BYTES);
    records.selectPart(this.#subKey, 0, CHUNK_SUB_KEY_BYTES);
    records.append(RecordType.CHUNK, 0, bytes, valueStart, valueEnd, 0);
  }

  #importChunked(
    bytes: Buffer,
    valueStart: number,
    expiry: number,
    versions: Map<number, number>,
  ): void {
    const { records } = this.#parts;
    const origin = bytes.readUIntLE(valueStart + VERSION_BYTES, VERSION_BYTES);
    const version = this.#versionOf(origin, versions);
    versions.delete(origin);
    bytes.copy(this.#meta, 0, valueStart, valueStart + CHUNKED_VALUE_BYTES);
    this.#meta.writeUIntLE(version, VERSION_BYTES, VERSION_BYTES);
    this.#meta.writeUIntLE(origin, ORIGIN_OFFSET, VERSION_BYTES);
    records.append(RecordType.CHUNKED, 0, this.#meta, 0, MOVED_CHUNKED_VALUE_BYTES, expiry);
  }

  /** What a version of the source is here, for the selected key: of a value on its way, of the one that is here, or new. */
  #versionOf(origin: number, versions: ReadonlyMap<number, number>): number {
    const { records } = this.#parts;
    const known = versions.get(origin);
    if (known !== undefined) return known;
    const view = this.#view;
    const isMoved =
      records.find(view) &&
      view.type === RecordType.CHUNKED &&
      view.valueEnd - view.valueStart === MOVED_CHUNKED_VALUE_BYTES;
    if (isMoved) {
      const { bytes, valueStart } = view;
      const value = Buffer.from(bytes.buffer, bytes.byteOffset + valueStart, ORIGIN_OFFSET + 6);
      if (value.readUIntLE(ORIGIN_OFFSET, VERSION_BYTES) === origin)
        return value.readUIntLE(VERSION_BYTES, VERSION_BYTES);
    }
    return records.nextSequence;
  }
}
