/**
 * Frames that another node has made, before they are appended: all that can be known of them is verified, so that a
 * node's own log never holds what its next start would refuse.
 */
import { xxh64 } from "../base/checksum.ts";
import {
  FRAME_HEADER_BYTES,
  FRAME_MAGIC,
  type FrameFields,
  frameChecksumAt,
  readFrame,
  SEGMENT_HEADER_BYTES,
} from "./frame.ts";
import type { LogPosition } from "./log.ts";
import type { Segment } from "./segment.ts";

const TWO_32 = 0x1_0000_0000;

/** Frames of another node are not whole, or do not continue the log. Nothing has changed. */
export class BadFrameError extends Error {
  override readonly name = "BadFrameError";
  /** Index that the frame should have. */
  readonly index: number;

  constructor(index: number, what: string) {
    super(`frame ${index} cannot be appended: ${what}`);
    this.index = index;
  }
}

export interface ReceivedFrame {
  /** Its bytes are [start, end) of those received. */
  readonly start: number;
  readonly end: number;
  readonly fields: FrameFields;
  readonly checksum: bigint;
}

/**
 * The frames that fill `bytes`, which need not be aligned. Throws BadFrameError unless they continue a log that ends at
 * `position`. `frameBytesMax`: what fits in a segment of this node.
 */
export function verifyFrames(
  bytes: Buffer,
  position: LogPosition,
  frameBytesMax: number,
): ReceivedFrame[] {
  const frames: ReceivedFrame[] = [];
  let after = position;
  let start = 0;
  while (start < bytes.length) {
    const end = start + wholeLengthAt(bytes, start, frameBytesMax, after.nextIndex);
    const fields = readFields(bytes, start);
    const problem = problemOf(bytes, start, fields, after);
    if (problem !== undefined) throw new BadFrameError(after.nextIndex, problem);
    const checksum = bytes.readBigUInt64LE(start + 8);
    frames.push({ start, end, fields, checksum });
    after = positionAfter(fields, checksum);
    start = end;
  }
  return frames;
}

/** Where a log goes on behind a frame. */
export function positionAfter(fields: FrameFields, checksum: bigint): LogPosition {
  return {
    nextIndex: fields.index + 1,
    nextSequence: fields.firstSequence + fields.recordCount,
    previousChecksum: checksum,
    clockMs: fields.clockMs,
    epoch: fields.epoch,
  };
}

/** Where a segment, and so the log, would end if `index` were its last frame. REQUIRES: it is in memory. */
export function endBehind(
  segment: Segment,
  index: number,
): { position: LogPosition; offset: number; records: number } {
  const { arena } = segment;
  let position = segment.start;
  let offset = SEGMENT_HEADER_BYTES;
  let records = 0;
  for (let at = segment.firstIndex; at <= index; at++) {
    const fields = readFrame(arena, offset);
    position = positionAfter(fields, frameChecksumAt(arena, offset));
    records += fields.recordCount;
    offset += arena.words[(offset >>> 2) + 1]!;
  }
  return { position, offset, records };
}

function wholeLengthAt(bytes: Buffer, start: number, lengthMax: number, index: number): number {
  if (bytes.length - start < FRAME_HEADER_BYTES || bytes.readUInt32LE(start) !== FRAME_MAGIC)
    throw new BadFrameError(index, "there is no frame");
  const length = bytes.readUInt32LE(start + 4);
  if (length < FRAME_HEADER_BYTES || length % 8 !== 0 || start + length > bytes.length)
    throw new BadFrameError(index, "it is not whole");
  if (length > lengthMax) throw new BadFrameError(index, "it is larger than a segment");
  if (xxh64(bytes.subarray(start + 16, start + length)) !== bytes.readBigUInt64LE(start + 8))
    throw new BadFrameError(index, "its checksum is wrong");
  return length;
}

function readFields(bytes: Buffer, start: number): FrameFields {
  const uint64 = (offset: number) =>
    bytes.readUInt32LE(start + offset) + bytes.readUInt32LE(start + offset + 4) * TWO_32;
  return {
    epoch: uint64(24),
    index: uint64(32),
    durableIndex: uint64(40),
    clockMs: uint64(48),
    firstSequence: uint64(56),
    recordCount: bytes.readUInt32LE(start + 64),
  };
}

function problemOf(
  bytes: Buffer,
  start: number,
  fields: FrameFields,
  after: LogPosition,
): string | undefined {
  if (fields.index !== after.nextIndex) return `it is frame ${fields.index}`;
  if (bytes.readBigUInt64LE(start + 16) !== after.previousChecksum)
    return "the frame before it is another one";
  if (fields.epoch < after.epoch) return `its epoch ${fields.epoch} is below ${after.epoch}`;
  if (fields.clockMs < after.clockMs) return "its clock goes back";
  if (fields.firstSequence < after.nextSequence) return "its sequences go back";
  if (fields.durableIndex >= fields.index) return "it calls itself durable";
  return undefined;
}
