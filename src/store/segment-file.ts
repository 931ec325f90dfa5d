/**
 * A log file in memory, as recovery and the check of a directory look at it: its header, what in it calls frames
 * durable, and which of the log's files are left over.
 */
import { assert } from "../base/assert.ts";
import type { FileSystem } from "../base/file-system.ts";
import {
  type ArenaViews,
  FRAME_HEADER_BYTES,
  frameLengthAt,
  readFrame,
  readSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "../wal/frame.ts";
import { segmentNumberOf } from "../wal/segment.ts";

export interface SegmentFile<T extends ArenaViews = ArenaViews> {
  readonly path: string;
  /** By its name. */
  readonly number: number;
  /** Not smaller than a header. */
  readonly arena: T;
  readonly size: number;
  /** Undefined when it is damaged or not whole. */
  readonly header: SegmentHeader | undefined;
}

/** Reads the whole file `name` into memory that `newArena` gives. */
export function readSegmentFile<T extends ArenaViews>(
  fileSystem: FileSystem,
  directory: string,
  name: string,
  newArena: (bytes: number) => T,
): SegmentFile<T> {
  const path = `${directory}/${name}`;
  const file = fileSystem.open(path, "read");
  try {
    const bytes = file.size();
    const arena = newArena(Math.max(SEGMENT_HEADER_BYTES, (bytes + 7) & ~7));
    const size = file.read(arena.bytes.subarray(0, bytes), 0);
    const header = readSegmentHeader(arena, size);
    return { path, number: segmentNumberOf(name)!, arena, size, header };
  } finally {
    file.close();
  }
}

/**
 * Number of files at the start whose records are all in tables: of files removed together before a crash, any may
 * have come back. They end at a gap behind which the first frame follows what is in tables; segments without frames
 * may come before it.
 */
export function leftOverCount(
  names: readonly string[],
  flushedSequence: number,
  read: (name: string) => SegmentFile,
): number {
  for (let i = names.length - 1; i > 0; i--) {
    if (segmentNumberOf(names[i]!) === segmentNumberOf(names[i - 1]!)! + 1) continue;
    const firstSequence = firstSequenceOf(names.slice(i), read);
    if (firstSequence !== undefined && firstSequence <= flushedSequence) return i;
  }
  return 0;
}

/** Sequence that the first frame in these files starts with; undefined when damage comes before it. */
function firstSequenceOf(
  names: readonly string[],
  read: (name: string) => SegmentFile,
): number | undefined {
  for (const name of names) {
    const { arena, size, header } = read(name);
    if (header === undefined) return undefined;
    if (frameLengthAt(arena, SEGMENT_HEADER_BYTES, size) > 0)
      return readFrame(arena, SEGMENT_HEADER_BYTES).firstSequence;
    if (size > SEGMENT_HEADER_BYTES) return undefined;
  }
  return undefined;
}

/** Offset of the first whole frame in arena[from, end); `end` when there is none. Looks everywhere: slow. */
export function nextFrame(arena: ArenaViews, from: number, end: number): number {
  assert(from % 8 === 0, "frames start at multiples of 8");
  for (let offset = from; offset + FRAME_HEADER_BYTES <= end; offset += 8) {
    if (frameLengthAt(arena, offset, end) > 0) return offset;
  }
  return end;
}

/**
 * Whether a valid frame in arena[from, end), of index `marksFrom` or a later one, has a durable index of at least `index`.
 * Only after damage: slow.
 */
export function callsDurable(
  arena: ArenaViews,
  from: number,
  end: number,
  index: number,
  marksFrom = 0,
): boolean {
  for (let offset = nextFrame(arena, from, end); offset < end; ) {
    const frame = readFrame(arena, offset);
    if (frame.index >= marksFrom && frame.durableIndex >= index) return true;
    offset = nextFrame(arena, offset + 8, end);
  }
  return false;
}
