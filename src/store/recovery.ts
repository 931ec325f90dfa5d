/**
 * Start from what the disk holds: every frame of the log that follows the tables, into the memtable.
 *
 *   files, oldest first → arena → frames in chain order → records with sequence ≥ flushedSequence → memtable
 *
 * The log ends at its first bad frame: torn, unchained or missing. If a valid frame further on says that the bad
 * one was durable, bytes that were promised are gone: CorruptionError, nothing is changed. Otherwise the rest is
 * cut off, and the cut and all that is kept are synced before anything is served. Files before a gap are what is
 * left of a deletion that a crash interrupted, if all that comes before the gap's end is in tables: they go.
 *
 * Invariant: a log without a good frame begins with segment 1. Its name is durable before anything is written, and it
 * goes only when a later frame is durable. So if segments before the first file are missing and no frame is good,
 * files are lost: CorruptionError.
 */
import { CorruptionError } from "../base/errors.ts";
import type { File, FileSystem } from "../base/file-system.ts";
import type { HashSeed } from "../base/order-hash.ts";
import { type EpochRuns, runsBefore } from "../wal/epoch-runs.ts";
import {
  type ArenaViews,
  FRAME_HEADER_BYTES,
  type FrameFields,
  frameChecksumAt,
  frameLengthAt,
  framePreviousAt,
  readFrame,
  readSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "../wal/frame.ts";
import { LOG_START, type LogPosition } from "../wal/log.ts";
import { type Arena, Segment, segmentFileName, segmentNumberOf } from "../wal/segment.ts";
import { callsDurable, leftOverCount, readSegmentFile, type SegmentFile } from "./segment-file.ts";

export interface RecoveryEffects {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly seed: HashSeed;
  /** Everything before it is in tables. */
  readonly flushedSequence: number;
  /**
   * What earlier frames call durable was so elsewhere, not here: this node got them while it was no member of a replica
   * set yet, and may have lost some that it had not synced.
   */
  readonly marksFrom: number;
  /** An arena for the next segment; may wait for a flush. */
  takeArena(): Promise<Arena>;
  giveArena(arena: Arena): void;
  /** The segment's records follow, in frames. */
  beginSegment(segment: Segment, firstSequence: number): void;
  /** Records of the frame arena[start, end). */
  replay(segment: Segment, start: number, end: number, fields: FrameFields): void;
  onProgress(doneBytes: number, totalBytes: number): void;
}

export interface Recovered {
  readonly position: LogPosition;
  readonly segments: readonly Segment[];
  /** Undefined when the log has no frame. */
  readonly epochs: EpochRuns | undefined;
  readonly replayedBytes: number;
  /** Bytes after the last good frame that were cut off. */
  readonly cutBytes: number;
}

/** Bytes of the largest log file: arenas must hold it. */
export function largestSegmentBytes(fileSystem: FileSystem, directory: string): number {
  return Math.max(0, ...logSizes(fileSystem, directory));
}

/** Bytes of all log files. */
export function logBytes(fileSystem: FileSystem, directory: string): number {
  return logSizes(fileSystem, directory).reduce((sum, size) => sum + size, 0);
}

function logSizes(fileSystem: FileSystem, directory: string): number[] {
  return logFiles(fileSystem, directory).map((name) => {
    const file = fileSystem.open(`${directory}/${name}`, "read");
    const size = file.size();
    file.close();
    return size;
  });
}

function logFiles(fileSystem: FileSystem, directory: string): string[] {
  return fileSystem.list(directory).filter((name) => segmentNumberOf(name) !== undefined);
}

export async function recover(effects: RecoveryEffects): Promise<Recovered> {
  const recovery = new Recovery(effects);
  return await recovery.run();
}

class Recovery {
  readonly #effects: RecoveryEffects;
  readonly #segments: Segment[] = [];
  #last: FrameFields | undefined = undefined;
  #lastChecksum = 0n;
  #epochs: EpochRuns | undefined = undefined;
  #replayedBytes = 0;
  #cutBytes = 0;

  constructor(effects: RecoveryEffects) {
    this.#effects = effects;
  }

  async run(): Promise<Recovered> {
    const { fileSystem, directory } = this.#effects;
    const all = logFiles(fileSystem, directory);
    const { flushedSequence } = this.#effects;
    const names = all.slice(leftOverCount(all, flushedSequence, (name) => this.#load(name)));
    const total = names.reduce((sum, name) => sum + this.#sizeOf(name), 0);
    let done = 0;
    for (let i = 0; i < names.length; i++) {
      const bytes = this.#sizeOf(names[i]!);
      const isWhole = await this.#readSegment(names[i]!, names.slice(i + 1));
      done += bytes;
      this.#effects.onProgress(done, total);
      if (!isWhole) break;
    }
    for (const name of all) if (!names.includes(name)) fileSystem.remove(`${directory}/${name}`);
    this.#syncKept();
    return {
      position: this.#position(),
      segments: this.#segments,
      epochs: this.#epochs,
      replayedBytes: this.#replayedBytes,
      cutBytes: this.#cutBytes,
    };
  }

  /** A whole file, in memory of its own. */
  #load(name: string): SegmentFile {
    const { fileSystem, directory } = this.#effects;
    return readSegmentFile(fileSystem, directory, name, newViews);
  }

  #sizeOf(name: string): number {
    const file = this.#effects.fileSystem.open(`${this.#effects.directory}/${name}`, "read");
    const size = file.size();
    file.close();
    return size;
  }

  /** Index that the next frame must have; undefined before the first segment. */
  get #nextIndex(): number | undefined {
    return this.#last === undefined ? this.#segments.at(-1)?.firstIndex : this.#last.index + 1;
  }

  #position(): LogPosition {
    const last = this.#last;
    if (last === undefined) {
      return {
        ...LOG_START,
        // As the header of a kept segment without frames says, or the next recovery would not take its frames.
        nextIndex: this.#segments.at(-1)?.firstIndex ?? LOG_START.nextIndex,
        nextSequence: Math.max(1, this.#effects.flushedSequence),
      };
    }
    return {
      nextIndex: last.index + 1,
      nextSequence: Math.max(last.firstSequence + last.recordCount, this.#effects.flushedSequence),
      previousChecksum: this.#lastChecksum,
      clockMs: last.clockMs,
      epoch: last.epoch,
    };
  }

  /** Replays one file; false when the log ends in it. */
  async #readSegment(name: string, rest: string[]): Promise<boolean> {
    const { fileSystem, directory } = this.#effects;
    const path = `${directory}/${name}`;
    const arena = await this.#effects.takeArena();
    const file = fileSystem.open(path, "read-write");
    const size = file.read(arena.bytes.subarray(0, Math.min(file.size(), arena.bytes.length)), 0);
    const header = readSegmentHeader(arena, size);
    const number = segmentNumberOf(name)!;
    const isOfName = header !== undefined && header.number === number;
    if (isOfName && !this.#isOwn(header.seed)) {
      throw new CorruptionError("the log belongs to another data directory", { path, offset: 0 });
    }
    // Begun behind frames that are lost, it would not be taken for the log's first segment once it is that.
    const isRight = isOfName && header.firstIndex === (this.#nextIndex ?? header.firstIndex);
    const segmentStart = { ...this.#position(), nextIndex: header?.firstIndex ?? 0 };
    const segment = new Segment({ number, start: segmentStart }, arena, file, true);
    const end = isRight ? this.#replayFrames(segment, size, header.firstIndex) : 0;
    if (end === size && isRight && this.#continues(segment, rest)) {
      this.#keep(segment, end);
      return true;
    }
    if (this.#last === undefined) this.#requireStart(path, number, header);
    const isLast = end === size && isRight && rest.length === 0;
    if (!isLast) {
      const missing =
        this.#last === undefined ? this.#firstMissing(arena, size, header) : this.#last.index + 1;
      this.#requireNotDurable({ path, missing }, { arena, end, size }, rest);
    }
    this.#cut(segment, end, { size, isRight, rest });
    return false;
  }

  /** Throws when the log has no good frame, though it began before the file in which it ends. */
  #requireStart(path: string, number: number, header: SegmentHeader | undefined): void {
    const first = this.#segments[0] ?? { number, firstIndex: header?.firstIndex };
    // Segments without a frame before the first one may go, once there is one.
    if (first.number === 1 || first.firstIndex === 1) return;
    const before =
      first.firstIndex === undefined ? "its frames" : `frames before ${first.firstIndex}`;
    throw new CorruptionError(
      `the log does not hold ${before}: ${segmentFileName(first.number - 1)} is missing`,
      { path, offset: 0 },
    );
  }

  /** Whether nothing is missing between what is in tables and the log's first frame. */
  #followsTables(first: FrameFields): boolean {
    return first.firstSequence <= Math.max(1, this.#effects.flushedSequence);
  }

  /**
   * Index of the first frame that should be there, when none of the log is good: that of the file's first one, or the
   * one before it when the file is whole and what comes before it is missing.
   */
  #firstMissing(arena: Arena, size: number, header: SegmentHeader | undefined): number {
    // A segment without frames before it says where they begin.
    if (header === undefined) return this.#segments.at(-1)?.firstIndex ?? 1;
    if (frameLengthAt(arena, SEGMENT_HEADER_BYTES, size) === 0) return header.firstIndex;
    const isHole = !this.#followsTables(readFrame(arena, SEGMENT_HEADER_BYTES));
    return isHole ? Math.max(1, header.firstIndex - 1) : header.firstIndex;
  }

  #isOwn(seed: HashSeed): boolean {
    return seed.low === this.#effects.seed.low && seed.high === this.#effects.seed.high;
  }

  /** Whether the next file is the next segment (its own content is judged when it is read). */
  #continues(segment: Segment, rest: string[]): boolean {
    return rest.length > 0 && segmentNumberOf(rest[0]!) === segment.number + 1;
  }

  /** Replays frames while they chain; returns where the first one that does not starts. */
  #replayFrames(segment: Segment, size: number, firstIndex: number): number {
    const arena = segment.arena;
    let offset = SEGMENT_HEADER_BYTES;
    let isFirst = true;
    for (;;) {
      const length = frameLengthAt(arena, offset, size);
      if (length === 0) return offset;
      const fields = readFrame(arena, offset);
      const chains =
        this.#last === undefined
          ? fields.index === firstIndex && this.#followsTables(fields)
          : fields.index === this.#last.index + 1 &&
            framePreviousAt(arena, offset) === this.#lastChecksum;
      if (!chains) return offset;
      if (isFirst) this.#effects.beginSegment(segment, fields.firstSequence);
      isFirst = false;
      this.#noteFrame(segment, offset, fields);
      this.#effects.replay(segment, offset + FRAME_HEADER_BYTES, offset + length, fields);
      this.#last = fields;
      this.#lastChecksum = frameChecksumAt(arena, offset);
      this.#replayedBytes += length;
      offset += length;
    }
  }

  #noteFrame(segment: Segment, offset: number, fields: FrameFields): void {
    const { fileSystem, directory } = this.#effects;
    this.#epochs ??= runsBefore(fileSystem, directory, fields);
    if (fields.epoch !== this.#last?.epoch) this.#epochs.note(fields.epoch, fields.index);
    if (offset >= segment.markFrom) segment.mark(fields.index, offset);
    segment.recordCount += fields.recordCount;
    segment.lastIndex = fields.index;
  }

  #keep(segment: Segment, end: number): void {
    if (segment.lastIndex === 0) {
      // Nothing but a header: a segment that was just begun.
      this.#effects.beginSegment(segment, this.#position().nextSequence);
    }
    segment.end = end;
    segment.writtenEnd = end;
    // Before anything is served, #syncKept() makes it true.
    segment.syncedEnd = end;
    this.#segments.push(segment);
  }

  /** Ends the log at `end` of `segment`: drops the rest of its file and all later files, newest first. */
  #cut(
    segment: Segment,
    end: number,
    found: { size: number; isRight: boolean; rest: string[] },
  ): void {
    const { fileSystem, directory } = this.#effects;
    for (const name of [...found.rest].reverse()) {
      this.#cutBytes += this.#sizeOf(name);
      fileSystem.remove(`${directory}/${name}`);
    }
    // A later file must not outlive the first one, or it would look like one whose predecessors are lost.
    if (found.rest.length > 0) fileSystem.syncDirectory(directory);
    if (!found.isRight) {
      this.#cutBytes += found.size;
      segment.file.close();
      fileSystem.remove(segment.file.path);
      this.#effects.giveArena(segment.arena);
      return;
    }
    if (end < found.size) {
      this.#cutBytes += found.size - end;
      segment.file.truncate(end);
    }
    this.#keep(segment, end);
  }

  /** Throws when a valid frame after the end of the log says that the next frame was durable. */
  #requireNotDurable(
    at: { path: string; missing: number },
    bad: { arena: Arena; end: number; size: number },
    rest: string[],
  ): void {
    const { path, missing } = at;
    const { marksFrom } = this.#effects;
    const place = { path, offset: bad.end };
    if (callsDurable(bad.arena, bad.end, bad.size, missing, marksFrom)) {
      throw new CorruptionError(
        `frame ${missing} of the log is damaged, though it was synced`,
        place,
      );
    }
    for (const name of rest) {
      const { arena, size } = this.#load(name);
      if (callsDurable(arena, SEGMENT_HEADER_BYTES, size, missing, marksFrom)) {
        throw new CorruptionError(
          `frame ${missing} of the log is damaged or missing, though ${segmentFileName(segmentNumberOf(name)!)} follows it`,
          place,
        );
      }
    }
  }

  #syncKept(): void {
    const { fileSystem, directory } = this.#effects;
    for (const segment of this.#segments) (segment.file as File).sync();
    fileSystem.syncDirectory(directory);
  }
}

/** Memory that is not shared, since shared memory is freed late. */
function newViews(bytes: number): ArenaViews {
  const buffer = new ArrayBuffer(bytes);
  return {
    bytes: Buffer.from(buffer),
    words: new Int32Array(buffer),
    words64: new BigUint64Array(buffer),
  };
}
