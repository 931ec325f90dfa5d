/**
 * The table file: sorted records, written once, never modified. All integers are little-endian.
 *
 *   data blocks     one behind the other, in record order (block.ts)
 *   fingerprints    u32 × (blocks + 1): index of each block's first fingerprint, then the number of fingerprints
 *                   u32 × fingerprints: 31-bit second hash of the key << 1 | live bit (fingerprintOf)
 *                   u8 × fingerprints: the low 8 bits of the order hash
 *                   one per record with an empty sub-key, in record order
 *   filter          u32 words of the blocked Bloom filter (filter.ts)
 *   index           u32 × blocks: prefix of each block's first record (order-key.ts)
 *                   u32 × blocks: file offset of each block; a block ends where the next one starts
 *                   u32 number of ties, then per tie: u32 block, u32 hash, u16 key length, u16 sub-key length,
 *                   key, sub-key. A block is a tie when its first record has the prefix of the record before
 *                   it; the entry is that first record's key, so that a lookup reads one block always.
 *   properties      JSON (TableProperties)
 *   footer          128 bytes
 *
 *   footer offset  size
 *               0     4  format version, 1
 *               4     4  number of blocks
 *               8     4  file size
 *              12     4  probes per filter lookup
 *              16    64  fingerprints, filter, index, properties: u32 offset, u32 bytes, u64 XXH64 each
 *              80    32  zeros
 *             112     8  XXH64 of the footer up to here
 *             120     8  magic "dkvtbl01"
 *
 * A mix of 39 bits identifies a fingerprint within its block (35 records): a key that is not there is taken
 * for present once in 10^10 lookups, and those happen only behind a false positive of the filter.
 *
 * A file stays below 4 GiB. Records are unique by (key, sub-key).
 */
import { checksumMatches, writeChecksum } from "../base/checksum.ts";
import { CorruptionError } from "../base/errors.ts";

export const FOOTER_BYTES = 128;
export const TABLE_BYTES_MAX = 0xffff_ffff;
export const EXPIRY_QUANTILES = 16;
const FORMAT_VERSION = 1;
const MAGIC = "dkvtbl01";
const SECTIONS_OFFSET = 16;
const SECTION_ENTRY_BYTES = 16;
const CHECKSUM_OFFSET = 112;
const MAGIC_OFFSET = 120;

export type Compression = "none" | "zstd";

/** What a writer of tables chooses. */
export interface TableOptions {
  /** Payload at which a data block is closed: BLOCK_BYTES_MIN … BLOCK_BYTES_MAX. */
  readonly blockBytes: number;
  /** Filter bits per key: 0 (no filter) … 20. */
  readonly filterBitsPerKey: number;
  readonly compression: Compression;
  /** For information only. */
  readonly level: number;
  /** For information only: the caller's clock, milliseconds since the epoch. */
  readonly createdMs: number;
}

export const BLOCK_BYTES_MIN = 256;
/** Body offsets are u16, and one record may follow the last offset. */
export const BLOCK_BYTES_MAX = 32 * 1024;

export const DEFAULT_TABLE_OPTIONS: TableOptions = {
  blockBytes: 4096,
  filterBitsPerKey: 10,
  compression: "none",
  level: 0,
  createdMs: 0,
};

export interface TableProperties {
  readonly recordCount: number;
  /** Records of keys themselves that say the key exists (VALUE, CHUNKED). */
  readonly liveKeyCount: number;
  readonly tombstoneCount: number;
  readonly chunkCount: number;
  /** Records with an empty sub-key. */
  readonly keyCount: number;
  readonly blockCount: number;
  /** Of the records with a sequence other than 0; both 0 when there is none. */
  readonly minSequence: number;
  readonly maxSequence: number;
  /** Of the first and the last record. */
  readonly minPosition: number;
  readonly maxPosition: number;
  /** Records per slot, from the slot of minPosition to that of maxPosition. */
  readonly slotRecordCounts: readonly number[];
  /** Keys and sub-keys as given, without encoding. */
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly expiringCount: number;
  /** Quantile i is the expiry that (i + 1) / 16 of the expiring records reach; empty when none expires. */
  readonly expiryQuantilesMs: readonly number[];
  readonly fileBytes: number;
  readonly dataBytes: number;
  readonly level: number;
  readonly createdMs: number;
}

/** A part of the file behind the data blocks, under its own checksum. */
export interface Section {
  offset: number;
  bytes: number;
}

export interface Footer {
  readonly blockCount: number;
  readonly fileBytes: number;
  readonly filterProbes: number;
  readonly fingerprints: Section;
  readonly filter: Section;
  readonly index: Section;
  readonly properties: Section;
}

type SectionName = "fingerprints" | "filter" | "index" | "properties";
const SECTION_NAMES: readonly SectionName[] = ["fingerprints", "filter", "index", "properties"];

/** The footer, and in it the checksums of the sections' bytes (in the order of the file). */
export function encodeFooter(footer: Footer, sections: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, FORMAT_VERSION, true);
  view.setUint32(4, footer.blockCount, true);
  view.setUint32(8, footer.fileBytes, true);
  view.setUint32(12, footer.filterProbes, true);
  SECTION_NAMES.forEach((name, ordinal) => {
    const at = SECTIONS_OFFSET + ordinal * SECTION_ENTRY_BYTES;
    view.setUint32(at, footer[name].offset, true);
    view.setUint32(at + 4, footer[name].bytes, true);
    writeChecksum(sections[ordinal]!, bytes, at + 8);
  });
  writeChecksum(bytes.subarray(0, CHECKSUM_OFFSET), bytes, CHECKSUM_OFFSET);
  bytes.set(new TextEncoder().encode(MAGIC), MAGIC_OFFSET);
  return bytes;
}

/** REQUIRES: FOOTER_BYTES bytes, the last of a file of `fileBytes`. */
export function decodeFooter(bytes: Uint8Array, path: string, fileBytes: number): Footer {
  const offset = fileBytes - FOOTER_BYTES;
  const fail = (message: string): never => {
    throw new CorruptionError(message, { path, offset });
  };
  const magic = new TextDecoder().decode(bytes.subarray(MAGIC_OFFSET));
  if (magic !== MAGIC) fail("not a table: wrong magic");
  if (!checksumMatches(bytes.subarray(0, CHECKSUM_OFFSET), bytes, CHECKSUM_OFFSET)) {
    fail("table footer checksum mismatch");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, FOOTER_BYTES);
  if (view.getUint32(0, true) !== FORMAT_VERSION) fail("unknown table format version");
  if (view.getUint32(8, true) !== fileBytes) fail("table file size differs from its footer");
  const section = (ordinal: number): Section => {
    const at = SECTIONS_OFFSET + ordinal * SECTION_ENTRY_BYTES;
    return { offset: view.getUint32(at, true), bytes: view.getUint32(at + 4, true) };
  };
  const footer: Footer = {
    blockCount: view.getUint32(4, true),
    fileBytes,
    filterProbes: view.getUint32(12, true),
    fingerprints: section(0),
    filter: section(1),
    index: section(2),
    properties: section(3),
  };
  let end = footer.fingerprints.offset;
  for (const name of SECTION_NAMES) {
    if (footer[name].offset !== end) fail(`table ${name} section is not where it should be`);
    end += footer[name].bytes;
  }
  if (end !== offset) fail("table sections do not end at the footer");
  return footer;
}

/** Verifies a section's bytes against the footer's checksum. */
export function checkSection(
  name: SectionName,
  bytes: Uint8Array,
  footerBytes: Uint8Array,
  place: { readonly path: string; readonly offset: number },
): void {
  const at = SECTIONS_OFFSET + SECTION_NAMES.indexOf(name) * SECTION_ENTRY_BYTES + 8;
  if (!checksumMatches(bytes, footerBytes, at)) {
    throw new CorruptionError(`table ${name} checksum mismatch`, place);
  }
}

/** The file size is in the footer: it depends on the length of this JSON. */
export function encodeProperties(properties: Omit<TableProperties, "fileBytes">): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(properties));
}

const NUMBER_FIELDS = [
  "recordCount",
  "liveKeyCount",
  "tombstoneCount",
  "chunkCount",
  "keyCount",
  "blockCount",
  "minSequence",
  "maxSequence",
  "minPosition",
  "maxPosition",
  "keyBytes",
  "valueBytes",
  "expiringCount",
  "dataBytes",
  "level",
  "createdMs",
] as const satisfies readonly (keyof TableProperties)[];

interface Place {
  readonly path: string;
  readonly offset: number;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The checksum held, so a wrong field means a writer of another format, not a bad disk. */
export function decodeProperties(
  bytes: Uint8Array,
  fileBytes: number,
  place: Place,
): TableProperties {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new CorruptionError("table properties are not JSON", { ...place, cause });
  }
  const fields = value as Record<string, unknown> | null;
  const wellFormed =
    typeof fields === "object" &&
    fields !== null &&
    NUMBER_FIELDS.every((name) => isCount(fields[name])) &&
    Array.isArray(fields["slotRecordCounts"]) &&
    fields["slotRecordCounts"].every(isCount) &&
    Array.isArray(fields["expiryQuantilesMs"]) &&
    fields["expiryQuantilesMs"].every(isCount);
  if (!wellFormed) throw new CorruptionError("table properties lack a field", place);
  return { ...(fields as unknown as TableProperties), fileBytes };
}
