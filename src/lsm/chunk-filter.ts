/**
 * Tells chunks that their key's newest record hides (base/record.ts): of an older version than a CHUNKED record
 * names, or begun before a VALUE or TOMBSTONE. Shown every record that a merge keeps, in order.
 */
import { copyBytes, equalBytes } from "../base/bytes.ts";
import { CHUNK_SUB_KEY_BYTES, CHUNKED_VALUE_BYTES, RecordType } from "../base/record.ts";
import type { RecordView } from "./order-key.ts";

const TWO_32 = 0x1_0000_0000;
const KEY_BYTES_INITIAL = 256;
const CHUNKED_VERSION_OFFSET = 6;

export class ChunkFilter {
  /** The last record of a key itself. */
  #slot = -1;
  #hash = -1;
  #key = new Uint8Array(KEY_BYTES_INITIAL);
  #keyBytes = 0;
  /** Chunks of that key with a lower version are hidden. */
  #hidesBelow = 0;

  /** Whether the record must be kept as far as chunks are concerned. */
  keeps(record: RecordView): boolean {
    if (record.subKeyEnd === record.subKeyStart) {
      this.#remember(record);
      return true;
    }
    if (record.type !== RecordType.CHUNK) return true;
    if (record.hash !== this.#hash || record.slot !== this.#slot) return true;
    if (record.subKeyEnd - record.subKeyStart !== CHUNK_SUB_KEY_BYTES) return true;
    if (record.keyEnd - record.keyStart !== this.#keyBytes) return true;
    if (!equalBytes(record.bytes, record.keyStart, this.#key, 0, this.#keyBytes)) return true;
    return chunkVersion(record.bytes, record.subKeyStart) >= this.#hidesBelow;
  }

  #remember(record: RecordView): void {
    const keyBytes = record.keyEnd - record.keyStart;
    if (keyBytes > this.#key.length) this.#key = new Uint8Array(2 * keyBytes);
    copyBytes(record.bytes, record.keyStart, record.keyEnd, this.#key, 0);
    this.#keyBytes = keyBytes;
    this.#slot = record.slot;
    this.#hash = record.hash;
    const hasVersion =
      record.type === RecordType.CHUNKED &&
      record.valueEnd - record.valueStart >= CHUNKED_VALUE_BYTES;
    this.#hidesBelow = hasVersion ? chunkedVersion(record) : record.sequence;
  }
}

function chunkedVersion(record: RecordView): number {
  const at = record.valueStart + CHUNKED_VERSION_OFFSET;
  return readU48(record.bytes, at);
}

function readU48(bytes: Uint8Array, at: number): number {
  const low =
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  return low + (bytes[at + 4]! | (bytes[at + 5]! << 8)) * TWO_32;
}

/** The version that starts a chunk's sub-key: u48 big-endian. */
function chunkVersion(bytes: Uint8Array, at: number): number {
  const low =
    ((bytes[at + 2]! << 24) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 8) | bytes[at + 5]!) >>>
    0;
  return ((bytes[at]! << 8) | bytes[at + 1]!) * TWO_32 + low;
}
