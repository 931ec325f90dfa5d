/**
 * Records of slots on their way from one replica set to another: as the log lays them out (base/record.ts), one behind
 * the other, so that both sides read them in place.
 *
 *     keys     the newest record of each key, the parts of a large value before the record that shows it
 *     log      what frames hold of these slots, in order, deletions of slots included
 */
import {
  keyBytesAt,
  keyStartAt,
  RECORD_EXPIRY_BYTES,
  RECORD_HEADER_BYTES,
  RecordFlag,
  RecordType,
  recordBytes,
  recordBytesAt,
  slotAt,
  subKeyBytesAt,
  typeAt,
  valueBytesAt,
} from "../base/record.ts";
import { hasSlot, type SlotRange } from "../base/slot-ranges.ts";
import type { RecordView } from "../lsm/order-key.ts";
import { FRAME_HEADER_BYTES, readUint64 } from "../wal/frame.ts";

const FRAME_LENGTH_OFFSET = 4;
const FRAME_INDEX_OFFSET = 32;
const FRAME_RECORDS_OFFSET = 64;
const RANGE_BYTES = 4;

/** The bytes of a record that a view shows, `valueBytesMax` of its value at most. */
export function encodeRecord(view: RecordView, valueBytesMax: number): Buffer {
  const keyBytes = view.keyEnd - view.keyStart;
  const subKeyBytes = view.subKeyEnd - view.subKeyStart;
  const valueBytes = Math.min(view.valueEnd - view.valueStart, valueBytesMax);
  const flags = view.expiry === 0 ? 0 : RecordFlag.EXPIRES;
  const record = Buffer.alloc(recordBytes(flags, keyBytes, subKeyBytes, valueBytes));
  record[0] = view.type;
  record[1] = flags;
  record.writeUInt16LE(view.slot, 2);
  record.writeUInt32LE(view.hash, 4);
  record.writeUInt32LE(valueBytes, 8);
  record.writeUInt16LE(keyBytes, 12);
  record.writeUInt16LE(subKeyBytes, 14);
  let at = RECORD_HEADER_BYTES;
  if (flags !== 0) {
    record.writeBigUInt64LE(BigInt(view.expiry), at);
    at += RECORD_EXPIRY_BYTES;
  }
  record.set(view.bytes.subarray(view.keyStart, view.keyEnd), at);
  record.set(view.bytes.subarray(view.subKeyStart, view.subKeyEnd), at + keyBytes);
  const value = view.bytes.subarray(view.valueStart, view.valueStart + valueBytes);
  record.set(value, at + keyBytes + subKeyBytes);
  return record;
}

/** Bytes as records are read: aligned, and as words. Copies what is not aligned. */
export interface RecordBytes {
  readonly bytes: Buffer;
  readonly words: Int32Array;
}

export function recordBytesOf(source: Uint8Array): RecordBytes {
  const isAligned = source.byteOffset % 8 === 0;
  const bytes = isAligned
    ? Buffer.from(source.buffer, source.byteOffset, source.length)
    : alignedCopy(source);
  return { bytes, words: new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2) };
}

function alignedCopy(source: Uint8Array): Buffer {
  const copy = Buffer.from(new ArrayBuffer(source.length));
  copy.set(source);
  return copy;
}

/** Whether [0, length) is whole records of these slots. What comes from another node is checked before it is used. */
export function areRecords({ bytes, words }: RecordBytes, slots: readonly SlotRange[]): boolean {
  let offset = 0;
  while (offset < bytes.length) {
    if (offset + RECORD_HEADER_BYTES > bytes.length) return false;
    const end = offset + recordBytesAt(words, offset);
    if (end > bytes.length || end % 8 !== 0) return false;
    if (!isOf(words, bytes, offset, slots)) return false;
    offset = end;
  }
  return true;
}

/** Calls `visit` with the offset of each record. REQUIRES: areRecords(). */
export function eachRecord({ bytes, words }: RecordBytes, visit: (offset: number) => void): void {
  for (let offset = 0; offset < bytes.length; offset += recordBytesAt(words, offset)) visit(offset);
}

/** Slots [start, end) of the RANGE_DELETION at `offset`. */
export function deletedRange({ bytes, words }: RecordBytes, offset: number): [number, number] {
  const at = keyStartAt(words, offset) + keyBytesAt(words, offset) + subKeyBytesAt(words, offset);
  return [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2)];
}

/** What frames hold of some slots, from behind a place on. */
export interface FilteredFrames {
  readonly records: Buffer;
  /** The last frame that is in it as a whole, and the records of the next one that are. */
  readonly index: number;
  readonly skip: number;
}

/**
 * Records of `slots` in whole frames, which begin behind frame `place.index`; `place.skip` records of these slots in the
 * first one are left out. At most `bytesMax`, but at least one record.
 */
export function filterFrames(
  frames: Uint8Array,
  place: { readonly index: number; readonly skip: number },
  slots: readonly SlotRange[],
  bytesMax: number,
): FilteredFrames {
  const source = recordBytesOf(frames);
  const { bytes, words } = source;
  const taken: Buffer[] = [];
  let size = 0;
  let { index, skip } = place;
  for (let at = 0; at < bytes.length; ) {
    const end = at + words[(at + FRAME_LENGTH_OFFSET) >>> 2]!;
    const records = words[(at + FRAME_RECORDS_OFFSET) >>> 2]!;
    let offset = at + FRAME_HEADER_BYTES;
    let seen = 0;
    for (let i = 0; i < records; i++) {
      const next = offset + recordBytesAt(words, offset);
      if (isOf(words, bytes, offset, slots) && ++seen > skip) {
        if (size > 0 && size + next - offset > bytesMax)
          return { records: Buffer.concat(taken), index, skip: seen - 1 };
        taken.push(bytes.subarray(offset, next));
        size += next - offset;
      }
      offset = next;
    }
    index = readUint64(words, at + FRAME_INDEX_OFFSET);
    skip = 0;
    at = end;
  }
  return { records: Buffer.concat(taken), index, skip: 0 };
}

function isOf(
  words: Int32Array,
  bytes: Buffer,
  offset: number,
  slots: readonly SlotRange[],
): boolean {
  const type = typeAt(words, offset);
  if (type === RecordType.SLOT_MOVES) return false;
  if (type !== RecordType.RANGE_DELETION) {
    return hasSlot(slots, slotAt(words, offset));
  }
  if (valueBytesAt(words, offset) !== RANGE_BYTES) return false;
  const [start, end] = deletedRange({ bytes, words }, offset);
  return slots.some((range) => range.start < end && start <= range.end);
}
