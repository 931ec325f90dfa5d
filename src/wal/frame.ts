/**
 * The frame: all records of one turn of the event loop; the unit of atomicity, of log writes, of replication
 * and of recovery.
 *
 *   offset  size
 *        0     4  magic           "dkvF"
 *        4     4  frame length    in bytes, header included; a multiple of 8
 *        8     8  checksum        XXH64 of bytes [16, frame length)
 *       16     8  previous        checksum of the frame before, 0 for the first: frames chain
 *       24     8  epoch           of the writer that made the frame (0 standalone)
 *       32     8  index           1, 2, 3 …
 *       40     8  durable index   highest index known durable when this frame was closed
 *       48     8  clock           milliseconds since the epoch; never less than the previous frame's
 *       56     8  first sequence  of the frame's first record
 *       64     4  record count
 *       68     4  zero
 *       72     …  records (base/record.ts), each at a multiple of 8
 *
 * A segment is an arena whose used prefix is, byte for byte, one file of the log. It starts with
 *
 *        0     8  magic           "dkvlog01"
 *        8     8  segment number
 *       16     8  hash seed       of the directory (low, high)
 *       24     8  first index     that a frame in it has
 *       32     8  checksum        XXH64 of bytes [0, 32)
 *
 * All integers are little-endian.
 */
import { xxh64 } from "../base/checksum.ts";
import type { HashSeed } from "../base/order-hash.ts";

export const FRAME_MAGIC = 0x46766b64;
export const FRAME_HEADER_BYTES = 72;
export const SEGMENT_HEADER_BYTES = 40;

const TWO_32 = 0x1_0000_0000;
const SEGMENT_MAGIC = Buffer.from("dkvlog01", "latin1");

/** The views of one arena that frames are read and written through. */
export interface ArenaViews {
  readonly bytes: Buffer;
  readonly words: Int32Array;
  readonly words64: BigUint64Array;
}

export function readUint64(words: Int32Array, offset: number): number {
  return (words[offset >>> 2]! >>> 0) + (words[(offset >>> 2) + 1]! >>> 0) * TWO_32;
}

export function writeUint64(words: Int32Array, offset: number, value: number): void {
  words[offset >>> 2] = value | 0;
  words[(offset >>> 2) + 1] = (value / TWO_32) | 0;
}

export interface FrameFields {
  readonly epoch: number;
  readonly index: number;
  readonly durableIndex: number;
  readonly clockMs: number;
  readonly firstSequence: number;
  readonly recordCount: number;
}

/** Writes the header of the frame arena[start, end) and its checksum. `previous`: the frame before's checksum. */
export function sealFrame(
  arena: ArenaViews,
  start: number,
  end: number,
  previous: bigint,
  fields: FrameFields,
): bigint {
  const words = arena.words;
  words[start >>> 2] = FRAME_MAGIC;
  words[(start >>> 2) + 1] = end - start;
  arena.words64[(start + 16) >>> 3] = previous;
  writeUint64(words, start + 24, fields.epoch);
  writeUint64(words, start + 32, fields.index);
  writeUint64(words, start + 40, fields.durableIndex);
  writeUint64(words, start + 48, fields.clockMs);
  writeUint64(words, start + 56, fields.firstSequence);
  words[(start + 64) >>> 2] = fields.recordCount;
  words[(start + 68) >>> 2] = 0;
  const checksum = xxh64(arena.bytes.subarray(start + 16, end));
  arena.words64[(start + 8) >>> 3] = checksum;
  return checksum;
}

/** The frame at `start`: fields as written. Meaningful only after frameLengthAt() said that it is whole. */
export function readFrame(arena: ArenaViews, start: number): FrameFields {
  const words = arena.words;
  return {
    epoch: readUint64(words, start + 24),
    index: readUint64(words, start + 32),
    durableIndex: readUint64(words, start + 40),
    clockMs: readUint64(words, start + 48),
    firstSequence: readUint64(words, start + 56),
    recordCount: words[(start + 64) >>> 2]! >>> 0,
  };
}

export function frameChecksumAt(arena: ArenaViews, start: number): bigint {
  return arena.words64[(start + 8) >>> 3]!;
}

export function framePreviousAt(arena: ArenaViews, start: number): bigint {
  return arena.words64[(start + 16) >>> 3]!;
}

/** Length of the whole, checksummed frame at `start` of arena[0, end); 0 when there is none. */
export function frameLengthAt(arena: ArenaViews, start: number, end: number): number {
  if (end - start < FRAME_HEADER_BYTES) return 0;
  if (arena.words[start >>> 2] !== FRAME_MAGIC) return 0;
  const length = arena.words[(start >>> 2) + 1]! >>> 0;
  if (length < FRAME_HEADER_BYTES || length % 8 !== 0 || start + length > end) return 0;
  const checksum = xxh64(arena.bytes.subarray(start + 16, start + length));
  return checksum === frameChecksumAt(arena, start) ? length : 0;
}

export interface SegmentHeader {
  readonly number: number;
  readonly seed: HashSeed;
  readonly firstIndex: number;
}

export function writeSegmentHeader(arena: ArenaViews, header: SegmentHeader): void {
  SEGMENT_MAGIC.copy(arena.bytes, 0);
  writeUint64(arena.words, 8, header.number);
  arena.words[4] = header.seed.low;
  arena.words[5] = header.seed.high;
  writeUint64(arena.words, 24, header.firstIndex);
  arena.words64[4] = xxh64(arena.bytes.subarray(0, 32));
}

/** The header that arena.bytes starts with, or undefined when it is not whole. */
export function readSegmentHeader(arena: ArenaViews, end: number): SegmentHeader | undefined {
  if (end < SEGMENT_HEADER_BYTES) return undefined;
  if (SEGMENT_MAGIC.compare(arena.bytes, 0, SEGMENT_MAGIC.length) !== 0) return undefined;
  if (xxh64(arena.bytes.subarray(0, 32)) !== arena.words64[4]) return undefined;
  return {
    number: readUint64(arena.words, 8),
    seed: { low: arena.words[4]!, high: arena.words[5]! },
    firstIndex: readUint64(arena.words, 24),
  };
}
