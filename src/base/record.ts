/**
 * The record: one change of one key, in the arena, in the log and on the replication stream alike.
 *
 *   offset  size
 *        0     1  type        RecordType
 *        1     1  flags       RecordFlag bits
 *        2     2  slot        0 … 1023
 *        4     4  order hash  of the user key (order-hash.ts)
 *        8     4  value length in bytes
 *       12     2  key length in bytes (the user key)
 *       14     2  sub-key length in bytes (0 for the record of the key itself)
 *      [16     8  expiry      milliseconds since the epoch, u64; only with RecordFlag.EXPIRES]
 *        …        key, sub-key, value, zeros up to the next multiple of 8
 *
 * All integers are little-endian. A record starts at a multiple of 8.
 *
 * A key's data is one VALUE, or one CHUNKED record followed in order by its CHUNK records, whose sub-key is
 * (version u48 BE, chunk number u32 BE). The value of a CHUNKED record is (length u48 LE, version u48 LE). A version is the
 * sequence at which the chunked value was begun; any newer record of the key itself hides chunks of versions
 * below its own (CHUNKED) or below its sequence (VALUE, TOMBSTONE). A value that came with its slot from another replica
 * set has the version that it had there behind these two, u48 LE.
 * The value of a RANGE_DELETION is (first slot u16, end slot u16): it hides all lower sequences in [first, end).
 * SLOT_MOVES is the state of all slots that are on the move (store/slot-moves.ts): key "", sub-key SLOT_MOVES_SUB_KEY,
 * so that logs, tables and checkpoints keep it as they keep everything, and no lookup of a client meets it.
 */

export const RecordType = {
  VALUE: 1,
  TOMBSTONE: 2,
  CHUNKED: 3,
  CHUNK: 4,
  RANGE_DELETION: 5,
  SLOT_MOVES: 6,
} as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export const RecordFlag = {
  /** The header carries an expiry. */
  EXPIRES: 1,
  /** A TOMBSTONE that removes a key because its time had come (for statistics and notifications). */
  EXPIRED: 2,
} as const;

export const RECORD_HEADER_BYTES = 16;
export const RECORD_EXPIRY_BYTES = 8;
export const KEY_BYTES_MAX = 0xffff;
/** Values longer than this are stored as CHUNK records of this size (the last one shorter). */
export const CHUNK_BYTES = 32 * 1024;
export const CHUNK_SUB_KEY_BYTES = 10;
export const CHUNKED_VALUE_BYTES = 12;
/** Of a CHUNKED record that came from another replica set. */
export const MOVED_CHUNKED_VALUE_BYTES = 18;
/** Shorter than that of any chunk. */
export const SLOT_MOVES_SUB_KEY = Buffer.from([0]);

const TWO_32 = 0x1_0000_0000;

export function alignRecord(bytes: number): number {
  return (bytes + 7) & ~7;
}

/** Bytes that a record takes, padding included. */
export function recordBytes(
  flags: number,
  keyBytes: number,
  subKeyBytes: number,
  valueBytes: number,
): number {
  const expiryBytes = flags & RecordFlag.EXPIRES ? RECORD_EXPIRY_BYTES : 0;
  return alignRecord(RECORD_HEADER_BYTES + expiryBytes + keyBytes + subKeyBytes + valueBytes);
}

/** The fields of the record at `offset` of an arena seen as little-endian words (offset a multiple of 8). */
export function typeAt(words: Int32Array, offset: number): number {
  return words[offset >>> 2]! & 0xff;
}
export function flagsAt(words: Int32Array, offset: number): number {
  return (words[offset >>> 2]! >>> 8) & 0xff;
}
export function slotAt(words: Int32Array, offset: number): number {
  return words[offset >>> 2]! >>> 16;
}
export function hashAt(words: Int32Array, offset: number): number {
  return words[(offset >>> 2) + 1]! >>> 0;
}
export function valueBytesAt(words: Int32Array, offset: number): number {
  return words[(offset >>> 2) + 2]! >>> 0;
}
export function keyBytesAt(words: Int32Array, offset: number): number {
  return words[(offset >>> 2) + 3]! & 0xffff;
}
export function subKeyBytesAt(words: Int32Array, offset: number): number {
  return words[(offset >>> 2) + 3]! >>> 16;
}
/** Milliseconds since the epoch; 0 when the record does not expire. */
export function expiryAt(words: Int32Array, offset: number): number {
  const word = offset >>> 2;
  if (((words[word]! >>> 8) & RecordFlag.EXPIRES) === 0) return 0;
  return (words[word + 4]! >>> 0) + (words[word + 5]! >>> 0) * TWO_32;
}
/** Offset of the key's first byte; the sub-key and the value follow it. */
export function keyStartAt(words: Int32Array, offset: number): number {
  const expires = (words[offset >>> 2]! >>> 8) & RecordFlag.EXPIRES;
  return offset + RECORD_HEADER_BYTES + (expires === 0 ? 0 : RECORD_EXPIRY_BYTES);
}
/** Bytes that the record at `offset` takes, padding included. */
export function recordBytesAt(words: Int32Array, offset: number): number {
  return recordBytes(
    flagsAt(words, offset),
    keyBytesAt(words, offset),
    subKeyBytesAt(words, offset),
    valueBytesAt(words, offset),
  );
}
