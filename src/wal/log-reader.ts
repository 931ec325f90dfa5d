/**
 * Frames as the bytes that they have in the log, for other nodes: out of an arena as long as it is there, without a copy,
 * else out of the file, off the event loop.
 */
import { type ArenaViews, FRAME_HEADER_BYTES, FRAME_MAGIC, readUint64 } from "./frame.ts";
import type { Segment } from "./segment.ts";

export interface FrameBytes {
  /** Whole frames. Borrowed from an arena: valid until the end of the turn. */
  readonly bytes: Buffer;
  readonly first: number;
  readonly last: number;
}

/** Of a file so much is read at least: a marked frame before the wanted one, and that. */
const FILE_READ_BYTES_MIN = 64 * 1024;

export class LogReader {
  readonly #segments: readonly Segment[];

  /** Segments whose files exist, oldest first; changes as the log does. */
  constructor(segments: readonly Segment[]) {
    this.#segments = segments;
  }

  /**
   * Frames from `from` on, all of one segment: up to `to`, and as many as fit `bytesMax`, but at least one. Undefined:
   * the log does not hold `from`, or, after a wait, no longer.
   */
  read(
    from: number,
    to: number,
    bytesMax: number,
  ): FrameBytes | Promise<FrameBytes | undefined> | undefined {
    const segment = this.#segments.findLast(
      ({ firstIndex, lastIndex }) => firstIndex <= from && from <= lastIndex,
    );
    if (segment === undefined) return undefined;
    const last = Math.min(to, segment.lastIndex);
    if (!segment.isResident) return readFile(segment, from, last, bytesMax);
    const mark = segment.markBefore(from);
    const wanted = { mark: mark.index, from, last, bytesMax };
    return framesIn(segment.arena, mark.offset, segment.writtenEnd, wanted);
  }
}

interface Wanted {
  /** Index of the frame that comes first. */
  readonly mark: number;
  readonly from: number;
  readonly last: number;
  readonly bytesMax: number;
}

/** What is wanted of the frames arena[start, end). */
function framesIn(
  arena: ArenaViews,
  start: number,
  end: number,
  wanted: Wanted,
): FrameBytes | undefined {
  let at = start;
  for (let index = wanted.mark; index < wanted.from; index++) {
    const length = lengthAt(arena, at, end);
    if (length === 0) return undefined;
    at += length;
  }
  const first = at;
  let last = wanted.from - 1;
  while (last < wanted.last) {
    const length = lengthAt(arena, at, end);
    if (length === 0 || (at > first && at + length - first > wanted.bytesMax)) break;
    at += length;
    last++;
  }
  if (last < wanted.from || readUint64(arena.words, first + 32) !== wanted.from) return undefined;
  return { bytes: arena.bytes.subarray(first, at), first: wanted.from, last };
}

/** Length of the frame at `at`, 0 when it is not whole. Who gets it verifies its checksum. */
function lengthAt(arena: ArenaViews, at: number, end: number): number {
  if (at + FRAME_HEADER_BYTES > end || arena.words[at >>> 2] !== FRAME_MAGIC) return 0;
  const length = arena.words[(at >>> 2) + 1]!;
  return at + length > end ? 0 : length;
}

async function readFile(
  segment: Segment,
  from: number,
  last: number,
  bytesMax: number,
): Promise<FrameBytes | undefined> {
  const mark = segment.markBefore(from);
  const wanted = { mark: mark.index, from, last, bytesMax };
  const rest = segment.writtenEnd - mark.offset;
  segment.beginRead();
  try {
    // A frame may be as long as a segment.
    for (let size = Math.max(bytesMax, FILE_READ_BYTES_MIN); ; size *= 4) {
      const views = newViews(Math.min(size, rest));
      const read = await segment.file.readAsync(views.bytes, mark.offset);
      const frames = framesIn(views, 0, read, wanted);
      if (frames !== undefined || size >= rest) return frames;
    }
  } finally {
    segment.endRead();
  }
}

function newViews(bytes: number): ArenaViews {
  const buffer = new ArrayBuffer(Math.ceil(bytes / 8) * 8);
  return {
    bytes: Buffer.from(buffer, 0, bytes),
    words: new Int32Array(buffer),
    words64: new BigUint64Array(buffer),
  };
}
