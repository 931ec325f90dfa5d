/**
 * The order of records: (slot, order hash, key bytes, sub-key bytes), and among versions of one of these the
 * highest sequence first.
 *
 *   prefix    u32   slot << 22 | hash >>> 10       compared first everywhere; uniform, so searched by interpolation
 *   position  < 2^42   slot * 2^32 + hash          where a scan stands
 *
 * Records with one position are ordered by bytes, a key that is a prefix of another first. A record of the key
 * itself has an empty sub-key and so stands before all parts of that key.
 *
 * Hot: a RecordView and a KeyQuery are allocated once by their owner and refilled.
 */
import { compareBytes } from "../base/bytes.ts";
import { RecordType } from "../base/record.ts";

const PREFIX_SLOT_SHIFT = 22;
const PREFIX_HASH_SHIFT = 10;
const TWO_32 = 0x1_0000_0000;

const NO_BYTES = new Uint8Array(0);
const NO_KEY = Buffer.alloc(0);

/** One record seen in place. Borrows `bytes` from the block, slab or arena that filled it. */
export class RecordView {
  bytes: Uint8Array = NO_BYTES;
  /** A RecordType. */
  type = 0;
  /** RecordFlag bits; EXPIRES is set exactly when `expiry` is not 0. */
  flags = 0;
  slot = 0;
  /** The order hash of the user key, unsigned, all 32 bits. */
  hash = 0;
  /** Milliseconds since the epoch; 0 when the record does not expire. */
  expiry = 0;
  sequence = 0;
  /** 31-bit second hash of the key << 1 | live bit (fingerprintOf) where it is known, else 0. */
  fingerprint = 0;
  keyStart = 0;
  keyEnd = 0;
  /** Empty (start = end) for the record of the key itself. */
  subKeyStart = 0;
  subKeyEnd = 0;
  valueStart = 0;
  valueEnd = 0;
}

/** What a point lookup looks for. Owned and reused by the caller; the bytes are only read. */
export interface KeyQuery {
  bytes: Uint8Array;
  keyStart: number;
  keyEnd: number;
  subBytes: Uint8Array;
  /** Empty (start = end): the record of the key itself. */
  subKeyStart: number;
  subKeyEnd: number;
  slot: number;
  /** Unsigned. */
  hash: number;
  /** prefixOf(slot, hash). */
  prefix: number;
}

/** Looks for nothing yet. Its bytes are a Buffer, as those of queries are. */
export function emptyQuery(): KeyQuery {
  return {
    bytes: NO_KEY,
    keyStart: 0,
    keyEnd: 0,
    subBytes: NO_KEY,
    subKeyStart: 0,
    subKeyEnd: 0,
    slot: 0,
    hash: 0,
    prefix: 0,
  };
}

export function prefixOf(slot: number, hash: number): number {
  return ((slot << PREFIX_SLOT_SHIFT) | (hash >>> PREFIX_HASH_SHIFT)) >>> 0;
}

export function positionOf(slot: number, hash: number): number {
  return slot * TWO_32 + hash;
}

export function slotOfPosition(position: number): number {
  return Math.floor(position / TWO_32);
}

export function hashOfPosition(position: number): number {
  return position >>> 0;
}

/** Order of two records without their sequences: negative, 0 (the same key and sub-key) or positive. */
export function compareRecords(a: RecordView, b: RecordView): number {
  if (a.slot !== b.slot) return a.slot - b.slot;
  if (a.hash !== b.hash) return a.hash - b.hash;
  const order = compareKeys(a, b);
  if (order !== 0) return order;
  const aLength = a.subKeyEnd - a.subKeyStart;
  const bLength = b.subKeyEnd - b.subKeyStart;
  const common = Math.min(aLength, bLength);
  const subOrder = compareBytes(a.bytes, a.subKeyStart, b.bytes, b.subKeyStart, common);
  return subOrder !== 0 ? subOrder : aLength - bLength;
}

/** Order of the user keys alone, for records of one position. */
function compareKeys(a: RecordView, b: RecordView): number {
  const aLength = a.keyEnd - a.keyStart;
  const bLength = b.keyEnd - b.keyStart;
  const common = Math.min(aLength, bLength);
  const order = compareBytes(a.bytes, a.keyStart, b.bytes, b.keyStart, common);
  return order !== 0 ? order : aLength - bLength;
}

/** Whether a record of this type says that its key exists. */
export function isLiveType(type: number): boolean {
  return type === RecordType.VALUE || type === RecordType.CHUNKED;
}

/** Copies every field; the target borrows the same bytes. */
export function copyView(from: RecordView, to: RecordView): void {
  to.bytes = from.bytes;
  to.type = from.type;
  to.flags = from.flags;
  to.slot = from.slot;
  to.hash = from.hash;
  to.expiry = from.expiry;
  to.sequence = from.sequence;
  to.fingerprint = from.fingerprint;
  to.keyStart = from.keyStart;
  to.keyEnd = from.keyEnd;
  to.subKeyStart = from.subKeyStart;
  to.subKeyEnd = from.subKeyEnd;
  to.valueStart = from.valueStart;
  to.valueEnd = from.valueEnd;
}

/** The fingerprint's live bit: clear, the newest record of the key in its table is a tombstone. */
export const FINGERPRINT_LIVE = 1;

/**
 * Fingerprint of the key bytes[start, end): a second 31-bit hash, independent of the order hash, << 1; or in the
 * live bit where the record is live. Part of the table format: never changes. Unkeyed, so keys of one order
 * hash can be made to share it only by who knows the order hash's seed.
 */
export function fingerprintOf(bytes: Uint8Array, start: number, end: number): number {
  // MurmurHash3_x86_32, the length mixed in at the start instead of the end.
  let hash = 0x9747b28c ^ (end - start);
  let i = start;
  for (; i + 4 <= end; i += 4) {
    let word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    word = Math.imul(word, 0xcc9e2d51);
    word = (word << 15) | (word >>> 17);
    hash ^= Math.imul(word, 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let shift = 0; i < end; i++, shift += 8) tail |= bytes[i]! << shift;
  tail = Math.imul(tail, 0xcc9e2d51);
  tail = (tail << 15) | (tail >>> 17);
  hash ^= Math.imul(tail, 0x1b873593);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  hash ^= hash >>> 16;
  return (hash << 1) >>> 0;
}
