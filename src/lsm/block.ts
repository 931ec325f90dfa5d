/**
 * The data block: a run of records, found by number. The payload:
 *
 *   offset     size
 *        0        2  n, the number of records, ≥ 1
 *        2        2  slot of the first record
 *        4        4  order hash of the first record
 *        8       4n  per record: its position minus the first record's (a block spans less than 2^32 positions)
 *   8 + 4n       2n  per record: offset of its body behind these columns
 *   8 + 6n        …  bodies
 *
 * A body: kind u8 (type in bits 0 … 3, flags in bits 4 … 6, bit 7: has a sub-key), varint key length,
 * [varint sub-key length, ≥ 1], varint value length, varint sequence, [expiry u48], key, sub-key, value.
 *
 * In the file the payload, possibly compressed, is followed by a trailer of 16 bytes:
 *
 *        0        4  payload bytes (bits 0 … 23) and compression (bits 24 … 31: 0 none, 1 zstd)
 *        4        4  number of this block in its table
 *        8        8  XXH64 of the stored payload and of the trailer up to here
 *
 * Full positions in four bytes make lookups exact without the records; the block number catches a block that
 * was read from the wrong place.
 *
 * Hot: findInBlock and decodeBody work on offsets and allocate nothing.
 */
import { assert } from "../base/assert.ts";
import { compareBytes, copyBytes, equalBytes } from "../base/bytes.ts";
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from "../base/checksum.ts";
import { CorruptionError } from "../base/errors.ts";
import { RecordFlag } from "../base/record.ts";
import { readVarint, varintBytes, varintEnd, writeVarint } from "../base/varint.ts";
import type { KeyQuery, RecordView } from "./order-key.ts";

const BLOCK_HEADER_BYTES = 8;
export const BLOCK_TRAILER_BYTES = 16;
const COLUMN_BYTES = 6;
const TYPE_MASK = 0x0f;
const FLAGS_SHIFT = 4;
const FLAGS_MASK = 0x07;
const HAS_SUB_KEY = 0x80;
const EXPIRY_BYTES = 6;
const TWO_32 = 0x1_0000_0000;
/** Trailer word: payload bytes below, compression above. */
const PAYLOAD_BYTES_MAX = 0xff_ffff;
const COMPRESSION_SHIFT = 24;
const BODY_OFFSET_MAX = 0xffff;
const ZSTD = 1;
/** Compression must save at least this share to be kept: reading costs a decompression. */
const COMPRESSION_GAIN_MIN = 0.12;
const ZSTD_LEVEL = 1;

/** Bytes of a record's body. */
export function bodyBytes(record: RecordView): number {
  const keyBytes = record.keyEnd - record.keyStart;
  const subKeyBytes = record.subKeyEnd - record.subKeyStart;
  const valueBytes = record.valueEnd - record.valueStart;
  return (
    1 +
    varintBytes(keyBytes) +
    keyBytes +
    (subKeyBytes === 0 ? 0 : varintBytes(subKeyBytes) + subKeyBytes) +
    varintBytes(valueBytes) +
    valueBytes +
    varintBytes(record.sequence) +
    (record.flags & RecordFlag.EXPIRES ? EXPIRY_BYTES : 0)
  );
}

/** Writes a record's body and returns the offset behind it. */
function writeBody(record: RecordView, bytes: Uint8Array, offset: number): number {
  const subKeyBytes = record.subKeyEnd - record.subKeyStart;
  assert(record.type <= TYPE_MASK, "record type does not fit a block");
  assert(record.flags <= FLAGS_MASK, "record flags do not fit a block");
  let at = offset;
  bytes[at++] = record.type | (record.flags << FLAGS_SHIFT) | (subKeyBytes === 0 ? 0 : HAS_SUB_KEY);
  at = writeVarint(bytes, at, record.keyEnd - record.keyStart);
  if (subKeyBytes !== 0) at = writeVarint(bytes, at, subKeyBytes);
  at = writeVarint(bytes, at, record.valueEnd - record.valueStart);
  at = writeVarint(bytes, at, record.sequence);
  if (record.flags & RecordFlag.EXPIRES) {
    const low = record.expiry >>> 0;
    const high = Math.floor(record.expiry / TWO_32);
    for (let shift = 0; shift < 32; shift += 8) bytes[at++] = low >>> shift;
    bytes[at++] = high;
    bytes[at++] = high >>> 8;
  }
  copyBytes(record.bytes, record.keyStart, record.keyEnd, bytes, at);
  at += record.keyEnd - record.keyStart;
  if (subKeyBytes !== 0) {
    copyBytes(record.bytes, record.subKeyStart, record.subKeyEnd, bytes, at);
    at += subKeyBytes;
  }
  copyBytes(record.bytes, record.valueStart, record.valueEnd, bytes, at);
  return at + record.valueEnd - record.valueStart;
}

/** Gathers the records of one block, then writes it as it is stored. Reused for all blocks of a table. */
export class BlockBuilder {
  readonly #positions = new Uint32Array(0x1_0000);
  readonly #offsets = new Uint16Array(0x1_0000);
  #bodies: Uint8Array;
  #bodiesEnd = 0;
  #count = 0;
  #basePosition = 0;
  #baseSlot = 0;
  #baseHash = 0;

  constructor(blockBytes: number) {
    this.#bodies = new Uint8Array(blockBytes * 2);
  }

  get count(): number {
    return this.#count;
  }

  /** Bytes of the block if it were stored now, without compression. */
  get storedBytes(): number {
    return BLOCK_HEADER_BYTES + this.#count * COLUMN_BYTES + this.#bodiesEnd + BLOCK_TRAILER_BYTES;
  }

  /** Whether a further record leaves the payload within `payloadBytes` and can be expressed at all. */
  fits(bodyLength: number, position: number, payloadBytes: number): boolean {
    if (this.#count === 0) return true;
    const bytes = this.storedBytes - BLOCK_TRAILER_BYTES + COLUMN_BYTES + bodyLength;
    return (
      bytes <= payloadBytes &&
      position - this.#basePosition < TWO_32 &&
      this.#bodiesEnd <= BODY_OFFSET_MAX &&
      this.#count < BODY_OFFSET_MAX
    );
  }

  add(record: RecordView, bodyLength: number, position: number): void {
    if (this.#count === 0) {
      this.#basePosition = position;
      this.#baseSlot = record.slot;
      this.#baseHash = record.hash;
    }
    const end = this.#bodiesEnd + bodyLength;
    if (end > this.#bodies.length) {
      const grown = new Uint8Array(end * 2);
      grown.set(this.#bodies.subarray(0, this.#bodiesEnd));
      this.#bodies = grown;
    }
    this.#positions[this.#count] = position - this.#basePosition;
    this.#offsets[this.#count] = this.#bodiesEnd;
    this.#count++;
    const written = writeBody(record, this.#bodies, this.#bodiesEnd);
    assert(written === end, "a record body has not the length that was announced");
    this.#bodiesEnd = end;
  }

  /**
   * Writes the stored block to the start of `target`, begins the next block and returns the bytes written.
   * REQUIRES: count > 0; target holds storedBytes.
   */
  finish(target: Uint8Array, blockNumber: number, compress: boolean): number {
    const count = this.#count;
    assert(count > 0, "an empty block is never written");
    const payloadBytes = this.storedBytes - BLOCK_TRAILER_BYTES;
    assert(payloadBytes <= PAYLOAD_BYTES_MAX, "block payload is too large");
    const view = new DataView(target.buffer, target.byteOffset, payloadBytes);
    view.setUint16(0, count, true);
    view.setUint16(2, this.#baseSlot, true);
    view.setUint32(4, this.#baseHash, true);
    const offsetsAt = BLOCK_HEADER_BYTES + 4 * count;
    for (let i = 0; i < count; i++) {
      view.setUint32(BLOCK_HEADER_BYTES + 4 * i, this.#positions[i]!, true);
      view.setUint16(offsetsAt + 2 * i, this.#offsets[i]!, true);
    }
    copyBytes(this.#bodies, 0, this.#bodiesEnd, target, offsetsAt + 2 * count);
    this.#count = 0;
    this.#bodiesEnd = 0;
    let stored = payloadBytes;
    let compression = 0;
    if (compress) {
      const packed = Bun.zstdCompressSync(target.subarray(0, payloadBytes), { level: ZSTD_LEVEL });
      if (packed.length <= payloadBytes * (1 - COMPRESSION_GAIN_MIN)) {
        target.set(packed);
        stored = packed.length;
        compression = ZSTD;
      }
    }
    const trailer = new DataView(target.buffer, target.byteOffset + stored, BLOCK_TRAILER_BYTES);
    trailer.setUint32(0, payloadBytes + compression * (1 << COMPRESSION_SHIFT), true);
    trailer.setUint32(4, blockNumber, true);
    const covered = stored + BLOCK_TRAILER_BYTES - CHECKSUM_BYTES;
    writeChecksum(target.subarray(0, covered), target, covered);
    return stored + BLOCK_TRAILER_BYTES;
  }
}

/** Where a stored block lies, for errors. */
export interface BlockPlace {
  readonly path: string;
  readonly offset: number;
}

/**
 * Verifies a stored block and returns its payload: a view of `stored`, or new memory when it was compressed.
 * Throws CorruptionError.
 */
export function openBlock(stored: Uint8Array, blockNumber: number, place: BlockPlace): Uint8Array {
  const payloadEnd = stored.length - BLOCK_TRAILER_BYTES;
  const fail = (message: string, cause?: unknown): never => {
    throw new CorruptionError(message, { ...place, cause });
  };
  if (payloadEnd < BLOCK_HEADER_BYTES) fail("block is too short");
  const covered = stored.length - CHECKSUM_BYTES;
  if (!checksumMatches(stored.subarray(0, covered), stored, covered)) {
    fail("block checksum mismatch");
  }
  const trailer = new DataView(stored.buffer, stored.byteOffset + payloadEnd, 8);
  if (trailer.getUint32(4, true) !== blockNumber) fail("another block lies here");
  const payloadBytes = trailer.getUint32(0, true) & PAYLOAD_BYTES_MAX;
  const compression = trailer.getUint32(0, true) >>> COMPRESSION_SHIFT;
  if (compression > ZSTD) fail("unknown block compression");
  let payload = stored.subarray(0, payloadEnd);
  if (compression === ZSTD) {
    try {
      payload = Bun.zstdDecompressSync(payload);
    } catch (cause) {
      fail("block does not decompress", cause);
    }
  }
  if (payload.length !== payloadBytes) fail("block payload has the wrong length");
  const count = payload[0]! | (payload[1]! << 8);
  const columnsEnd = BLOCK_HEADER_BYTES + count * COLUMN_BYTES;
  if (count === 0 || columnsEnd >= payloadBytes) fail("block record count is wrong");
  return payload;
}

/*
 * A block's payload seen in place, here and below: `bytes` and `words` over one buffer, the payload at `base`, a
 * multiple of 4.
 */

export function recordCountAt(words: Uint32Array, base: number): number {
  return words[base >>> 2]! & 0xffff;
}

/** Fills type, flags, expiry, sequence and ranges from the body at `offset`; slot and hash are the caller's. */
function decodeBody(bytes: Uint8Array, offset: number, into: RecordView): void {
  let at = offset;
  const kind = bytes[at++]!;
  into.bytes = bytes;
  into.type = kind & TYPE_MASK;
  into.flags = (kind >>> FLAGS_SHIFT) & FLAGS_MASK;
  into.fingerprint = 0;
  let keyBytes = bytes[at]!;
  if (keyBytes < 0x80) at++;
  else {
    keyBytes = readVarint(bytes, at);
    at = varintEnd(bytes, at);
  }
  let subKeyBytes = 0;
  if (kind & HAS_SUB_KEY) {
    subKeyBytes = readVarint(bytes, at);
    at = varintEnd(bytes, at);
  }
  let valueBytes = bytes[at]!;
  if (valueBytes < 0x80) at++;
  else {
    valueBytes = readVarint(bytes, at);
    at = varintEnd(bytes, at);
  }
  let sequence = bytes[at]!;
  if (sequence < 0x80) at++;
  else {
    sequence = readVarint(bytes, at);
    at = varintEnd(bytes, at);
  }
  into.sequence = sequence;
  into.expiry = 0;
  if (into.flags & RecordFlag.EXPIRES) {
    into.expiry =
      (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)) +
      (bytes[at + 3]! | (bytes[at + 4]! << 8) | (bytes[at + 5]! << 16)) * 0x100_0000;
    at += EXPIRY_BYTES;
  }
  into.keyStart = at;
  at += keyBytes;
  into.keyEnd = at;
  into.subKeyStart = at;
  at += subKeyBytes;
  into.subKeyEnd = at;
  into.valueStart = at;
  into.valueEnd = at + valueBytes;
}

function decodeAt(
  bytes: Uint8Array,
  base: number,
  count: number,
  i: number,
  into: RecordView,
): void {
  const offsetAt = base + BLOCK_HEADER_BYTES + 4 * count + 2 * i;
  const offset = bytes[offsetAt]! | (bytes[offsetAt + 1]! << 8);
  decodeBody(bytes, base + BLOCK_HEADER_BYTES + COLUMN_BYTES * count + offset, into);
}

/** Fills `into` with record i of the block. REQUIRES: i < recordCountAt. */
export function readRecord(
  bytes: Uint8Array,
  words: Uint32Array,
  base: number,
  i: number,
  into: RecordView,
): void {
  const head = words[base >>> 2]!;
  const hash = words[(base >>> 2) + 1]! + words[(base >>> 2) + 2 + i]!;
  // A block spans less than 2^32 positions, so it reaches into the next slot at most.
  const carry = hash >= TWO_32 ? 1 : 0;
  into.slot = (head >>> 16) + carry;
  into.hash = hash >>> 0;
  decodeAt(bytes, base, head & 0xffff, i, into);
}

/** Ordinal of the first record at or behind (slot, hash); the record count when there is none. */
export function lowerBound(words: Uint32Array, base: number, slot: number, hash: number): number {
  const head = words[base >>> 2]!;
  const delta = (slot - (head >>> 16)) * TWO_32 + hash - words[(base >>> 2) + 1]!;
  const column = (base >>> 2) + 2;
  let low = 0;
  let high = head & 0xffff;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (words[column + middle]! < delta) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Order of the query's (key, sub-key) and a record's, both at one position. */
function compareQuery(query: KeyQuery, record: RecordView): number {
  const keyBytes = query.keyEnd - query.keyStart;
  const recordKeyBytes = record.keyEnd - record.keyStart;
  const order = compareBytes(
    query.bytes,
    query.keyStart,
    record.bytes,
    record.keyStart,
    Math.min(keyBytes, recordKeyBytes),
  );
  if (order !== 0) return order;
  if (keyBytes !== recordKeyBytes) return keyBytes - recordKeyBytes;
  const subKeyBytes = query.subKeyEnd - query.subKeyStart;
  const recordSubKeyBytes = record.subKeyEnd - record.subKeyStart;
  const subOrder = compareBytes(
    query.subBytes,
    query.subKeyStart,
    record.bytes,
    record.subKeyStart,
    Math.min(subKeyBytes, recordSubKeyBytes),
  );
  return subOrder !== 0 ? subOrder : subKeyBytes - recordSubKeyBytes;
}

function matches(query: KeyQuery, record: RecordView): boolean {
  const keyBytes = query.keyEnd - query.keyStart;
  const subKeyBytes = query.subKeyEnd - query.subKeyStart;
  return (
    keyBytes === record.keyEnd - record.keyStart &&
    subKeyBytes === record.subKeyEnd - record.subKeyStart &&
    equalBytes(query.bytes, query.keyStart, record.bytes, record.keyStart, keyBytes) &&
    equalBytes(query.subBytes, query.subKeyStart, record.bytes, record.subKeyStart, subKeyBytes)
  );
}

/** Fills `into` with the record of the query's (key, sub-key) if this block holds it. */
export function findInBlock(
  bytes: Uint8Array,
  words: Uint32Array,
  base: number,
  query: KeyQuery,
  into: RecordView,
): boolean {
  const first = base >>> 2;
  const head = words[first]!;
  // The columns of a usual block lie in four cache lines. Asking for all at once overlaps their misses: 300 to 450
  // instead of 500 to 550 ns when the cache exceeds the processor's (table-find.bench.ts).
  const lines = head & words[first + 16]! & words[first + 32]! & words[first + 48]!;
  assert(lines !== -1, "the slot of a block is out of range");
  const count = head & 0xffff;
  const delta = (query.slot - (head >>> 16)) * TWO_32 + query.hash - words[first + 1]!;
  const column = first + 2;
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (words[column + middle]! < delta) low = middle + 1;
    else high = middle;
  }
  if (low === count || words[column + low]! !== delta) return false;
  into.slot = query.slot;
  into.hash = query.hash;
  decodeAt(bytes, base, count, low, into);
  if (matches(query, into)) return true;
  // Several records have this position: parts of one key, or a collision of the order hash.
  high = count;
  low++;
  while (low < high) {
    const middle = (low + high) >>> 1;
    let behind = words[column + middle]! > delta;
    if (!behind) {
      decodeAt(bytes, base, count, middle, into);
      const order = compareQuery(query, into);
      if (order === 0) return true;
      behind = order < 0;
    }
    if (behind) high = middle;
    else low = middle + 1;
  }
  return false;
}
