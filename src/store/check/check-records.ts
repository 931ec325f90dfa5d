/** The check of one frame's records (base/record.ts): they fill it, are well formed and lie where their keys belong. */
import { type HashSeed, orderHash } from "../../base/order-hash.ts";
import {
  CHUNK_SUB_KEY_BYTES,
  CHUNKED_VALUE_BYTES,
  expiryAt,
  flagsAt,
  hashAt,
  keyBytesAt,
  keyStartAt,
  MOVED_CHUNKED_VALUE_BYTES,
  RECORD_HEADER_BYTES,
  RecordFlag,
  RecordType,
  recordBytesAt,
  SLOT_MOVES_SUB_KEY,
  slotAt,
  subKeyBytesAt,
  typeAt,
  valueBytesAt,
} from "../../base/record.ts";
import { SLOT_COUNT, slotOf } from "../../base/slot.ts";
import type { Uint32List } from "../../base/uint32-list.ts";
import type { ArenaViews } from "../../wal/frame.ts";

const KNOWN_FLAGS = RecordFlag.EXPIRES | RecordFlag.EXPIRED;
const RANGE_BYTES = 4;

export interface FrameRecords {
  readonly arena: ArenaViews;
  /** Undefined: keys are not checked. */
  readonly seed: HashSeed | undefined;
  readonly recordCount: number;
}

/**
 * Checks the records arena[start, end) and gathers their offsets in `into`. The first problem and where it is; the
 * records behind it are not gathered.
 */
export function checkRecords(
  frame: FrameRecords,
  start: number,
  end: number,
  into: Uint32List | undefined,
): { message: string; offset: number } | undefined {
  const { arena, seed } = frame;
  const words = arena.words;
  let offset = start;
  for (let i = 0; i < frame.recordCount; i++) {
    const fits =
      offset + RECORD_HEADER_BYTES <= end && offset + recordBytesAt(words, offset) <= end;
    if (!fits) return { message: `record ${i} of the frame does not fit it`, offset };
    const problem = problemOf(arena, seed, offset);
    if (problem !== undefined) return { message: `record ${i} of the frame ${problem}`, offset };
    into?.push(offset);
    offset += recordBytesAt(words, offset);
  }
  return offset === end ? undefined : { message: "a frame's records do not fill it", offset };
}

function problemOf(
  arena: ArenaViews,
  seed: HashSeed | undefined,
  offset: number,
): string | undefined {
  const { words, bytes } = arena;
  const valueEnd =
    keyStartAt(words, offset) +
    keyBytesAt(words, offset) +
    subKeyBytesAt(words, offset) +
    valueBytesAt(words, offset);
  for (let at = valueEnd; at < offset + recordBytesAt(words, offset); at++) {
    if (bytes[at] !== 0) return "has padding that is not zero";
  }
  if (typeAt(words, offset) === RecordType.RANGE_DELETION) {
    const startSlot = bytes.readUInt16LE(valueEnd - RANGE_BYTES);
    const endSlot = bytes.readUInt16LE(valueEnd - RANGE_BYTES + 2);
    const isRange = valueBytesAt(words, offset) === RANGE_BYTES;
    return isRange && startSlot < endSlot && endSlot <= SLOT_COUNT
      ? undefined
      : "deletes an impossible range";
  }
  if (!isWellFormed(words, offset)) return "is malformed";
  if (seed === undefined) return undefined;
  const keyStart = keyStartAt(words, offset);
  const keyEnd = keyStart + keyBytesAt(words, offset);
  const isPlaced =
    slotOf(bytes, keyStart, keyEnd) === slotAt(words, offset) &&
    orderHash(bytes, keyStart, keyEnd, seed.low, seed.high) === hashAt(words, offset);
  return isPlaced ? undefined : "is not where this directory's identity puts its key";
}

function isWellFormed(words: Int32Array, offset: number): boolean {
  const type = typeAt(words, offset);
  const flags = flagsAt(words, offset);
  const subKeyBytes = subKeyBytesAt(words, offset);
  const valueBytes = valueBytesAt(words, offset);
  if ((flags & ~KNOWN_FLAGS) !== 0) return false;
  if ((flags & RecordFlag.EXPIRES) !== 0 && expiryAt(words, offset) === 0) return false;
  if (type === RecordType.VALUE) return subKeyBytes === 0;
  if (type === RecordType.TOMBSTONE) return valueBytes === 0;
  if (type === RecordType.CHUNKED) {
    const isChunked =
      valueBytes === CHUNKED_VALUE_BYTES || valueBytes === MOVED_CHUNKED_VALUE_BYTES;
    return subKeyBytes === 0 && isChunked;
  }
  if (type === RecordType.SLOT_MOVES) return subKeyBytes === SLOT_MOVES_SUB_KEY.length;
  return type === RecordType.CHUNK && subKeyBytes === CHUNK_SUB_KEY_BYTES;
}
