/**
 * The log: segments of frames, appended in the active segment's arena and written once a turn.
 *
 *   reserve(bytes) → the caller fills the record in place → closeFrame(clock) → write() → sync()
 *
 *   index:     … durable <= written <= closed < open frame
 *
 * Frames of another node come in with appendFrames(), verbatim; where segments end is each node's own affair. What the
 * node that made them did not get committed goes again with truncateAfter().
 *
 * Records of an unfinished unit lie after `unitStart`; rollback() takes them back. Frames of one segment are
 * contiguous, so writing is one write of [writtenEnd, end). A sync covers every file with unsynced frames,
 * oldest first, then the names of new files. A write or sync that fails is final: it is thrown, never retried.
 */
import { assert } from "../base/assert.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { HashSeed } from "../base/order-hash.ts";
import { type EpochRun, EpochRuns } from "./epoch-runs.ts";
import {
  FRAME_HEADER_BYTES,
  type FrameFields,
  readFrame,
  SEGMENT_HEADER_BYTES,
  sealFrame,
  writeSegmentHeader,
} from "./frame.ts";
import { LogFiles, type Retention } from "./log-files.ts";
import { type FrameBytes, LogReader } from "./log-reader.ts";
import { endBehind, positionAfter, type ReceivedFrame, verifyFrames } from "./received-frames.ts";
import { type Arena, Segment, segmentFileName } from "./segment.ts";

/** Where the log goes on: after recovery, or at the start of an empty directory. */
export interface LogPosition {
  readonly nextIndex: number;
  readonly nextSequence: number;
  readonly previousChecksum: bigint;
  readonly clockMs: number;
  readonly epoch: number;
}

export const LOG_START: LogPosition = {
  nextIndex: 1,
  nextSequence: 1,
  previousChecksum: 0n,
  clockMs: 0,
  epoch: 0,
};

export interface LogOptions {
  readonly seed: HashSeed;
  readonly position: LogPosition;
  /** What recovery has kept. */
  readonly segments: readonly Segment[];
  readonly epochs?: EpochRuns | undefined;
  /** Records that a segment takes at most when they come from another node. */
  readonly segmentRecordsMax?: number;
}

/** Whom received frames are given to. */
export interface AppendEffects {
  /** An arena for the next segment; undefined when there is none now. */
  nextArena(): Arena | undefined;
  onSegment(segment: Segment): void;
  /** The frame at segment.bytes[start, end). */
  onFrame(segment: Segment, start: number, end: number, fields: FrameFields): void;
}

export class Log {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #seed: HashSeed;
  readonly #files: LogFiles;
  /** Oldest first; the last one is active. Their files exist. */
  readonly #segments: Segment[];
  #active!: Segment;
  #epoch: number;
  readonly #epochs: EpochRuns;
  readonly #segmentRecordsMax: number;
  readonly #reader: LogReader;
  #previousChecksum: bigint;
  #frameStart = 0;
  #frameRecords = 0;
  #unitStart = 0;
  #unitRecords = 0;
  /** Bytes written to log files since the start, for statistics. */
  writtenBytes = 0;
  syncCount = 0;
  /** Index that the open frame will have. */
  openIndex: number;
  /** Sequence that the next record will have. */
  nextSequence: number;
  writtenIndex: number;
  durableIndex: number;
  /** The newest frame's clock. */
  clockMs: number;
  /**
   * New frames call frames durable up to here and up to durableIndex. Others may append these frames before they have
   * synced what is called durable, and would take an unsynced tail that a power failure has torn for damage: the
   * cluster says here what is durable on all members.
   */
  durableEverywhere = Number.POSITIVE_INFINITY;
  /** Frames behind it may be truncated, so the log keeps one before them to go on from. */
  commitIndex = Number.POSITIVE_INFINITY;

  constructor(fileSystem: FileSystem, directory: string, options: LogOptions) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#seed = options.seed;
    this.#epochs = options.epochs ?? new EpochRuns();
    this.#files = new LogFiles(fileSystem, directory, options.segments, this.#epochs);
    this.#segments = this.#files.segments;
    this.#reader = new LogReader(this.#segments);
    this.#segmentRecordsMax = options.segmentRecordsMax ?? Number.POSITIVE_INFINITY;
    const position = options.position;
    this.#epoch = position.epoch;
    this.#previousChecksum = position.previousChecksum;
    this.openIndex = position.nextIndex;
    this.nextSequence = position.nextSequence;
    this.writtenIndex = position.nextIndex - 1;
    this.durableIndex = position.nextIndex - 1;
    this.clockMs = position.clockMs;
  }

  /** Of the newest frame; new frames get it too. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Which epoch each frame has, those that are deleted included. */
  get epochRuns(): readonly EpochRun[] {
    if (this.openIndex === 1) return [];
    // Closing a frame does not look at it: only the first one of an epoch is noted.
    const runs = this.#epochs.all;
    return runs.length === 0 ? [{ epoch: 0, first: 1 }] : runs;
  }

  /** Index of the first frame that is not deleted, or will be written. */
  get firstIndex(): number {
    return this.#segments[0]?.firstIndex ?? this.openIndex;
  }

  get #position(): LogPosition {
    return {
      nextIndex: this.openIndex,
      nextSequence: this.nextSequence,
      previousChecksum: this.#previousChecksum,
      clockMs: this.clockMs,
      epoch: this.#epoch,
    };
  }

  get active(): Segment {
    return this.#active;
  }

  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** Number of the segment that roll() would create. */
  get nextSegmentNumber(): number {
    const last = this.#segments.at(-1);
    return last === undefined ? 1 : last.number + 1;
  }

  /** True when the open frame holds a record. */
  get hasOpenRecords(): boolean {
    return this.#frameRecords > 0;
  }

  /** Offset at which the open frame starts in the active segment. */
  get openFrameStart(): number {
    return this.#frameStart;
  }

  /** Most bytes of records that one unit can have. */
  get unitBytesMax(): number {
    return this.#active.bytes.length - SEGMENT_HEADER_BYTES - FRAME_HEADER_BYTES;
  }

  /** Bytes of records in the open unit. */
  get unitBytes(): number {
    return this.#active.end - this.#unitStart;
  }

  /**
   * Starts a new active segment in `arena`. REQUIRES: no open records; what was closed is written.
   * The new file's name becomes durable with the next sync.
   */
  roll(arena: Arena): Segment {
    assert(this.#frameRecords === 0, "the log rolls with an open frame");
    const number = this.nextSegmentNumber;
    const path = `${this.#directory}/${segmentFileName(number)}`;
    const file = this.#fileSystem.open(path, "create");
    const segment = new Segment({ number, start: this.#position }, arena, file, false);
    writeSegmentHeader(arena, { number, seed: this.#seed, firstIndex: this.openIndex });
    this.#segments.push(segment);
    this.#active = segment;
    this.#openFrame();
    return segment;
  }

  /** Goes on in the last segment that recovery kept. */
  resume(segment: Segment): void {
    this.#active = segment;
    this.#openFrame();
  }

  /** Remembers where a unit starts, so that rollback() can take it back. */
  beginUnit(): void {
    this.#unitStart = this.#active.end;
    this.#unitRecords = this.#frameRecords;
  }

  /** Drops the records reserved since beginUnit(). */
  rollback(): void {
    this.nextSequence -= this.#frameRecords - this.#unitRecords;
    this.#active.end = this.#unitStart;
    this.#frameRecords = this.#unitRecords;
  }

  /** Room for a record of `bytes` (a multiple of 8) in the open frame: its offset, or −1 when it does not fit. */
  reserve(bytes: number): number {
    const segment = this.#active;
    const offset = segment.end;
    if (offset + bytes > segment.bytes.length) return -1;
    segment.end = offset + bytes;
    this.#frameRecords++;
    this.nextSequence++;
    return offset;
  }

  /** Seals the open frame, even an empty one; write() takes it to the file. */
  closeFrame(clockMs: number): void {
    const segment = this.#active;
    assert(clockMs >= this.clockMs, "the log's clock goes back");
    this.clockMs = clockMs;
    if (this.#frameStart >= segment.markFrom) segment.mark(this.openIndex, this.#frameStart);
    this.#previousChecksum = sealFrame(
      segment.arena,
      this.#frameStart,
      segment.end,
      this.#previousChecksum,
      {
        epoch: this.#epoch,
        index: this.openIndex,
        durableIndex: Math.min(this.durableIndex, this.durableEverywhere),
        clockMs,
        firstSequence: this.nextSequence - this.#frameRecords,
        recordCount: this.#frameRecords,
      },
    );
    segment.lastIndex = this.openIndex;
    segment.recordCount += this.#frameRecords;
    this.openIndex++;
    this.#openFrame();
  }

  /**
   * Begins an epoch with an empty frame; the frames after it are of that epoch. False when there is no arena that it
   * fits in. REQUIRES: no open records.
   */
  appendEpochStart(epoch: number, clockMs: number, effects: AppendEffects): boolean {
    assert(this.#frameRecords === 0, "an epoch starts within a frame");
    assert(epoch > this.#epoch || this.openIndex === 1, "an epoch that is not a later one");
    if (!this.hasRoomForFrame && !this.#rollFor(effects)) return false;
    const start = this.#frameStart;
    this.#epoch = epoch;
    this.#epochs.note(epoch, this.openIndex);
    this.closeFrame(clockMs);
    const end = this.#frameStart;
    effects.onFrame(this.#active, start, end, readFrame(this.#active.arena, start));
    return true;
  }

  /**
   * Puts frames of another node behind the log's last one; write() and sync() as for its own. Returns how many bytes of
   * them: fewer than there are when an arena is missing. Throws BadFrameError when one of them is not whole or does not
   * follow; then none is appended. REQUIRES: no open records.
   */
  appendFrames(bytes: Buffer, effects: AppendEffects): number {
    assert(this.#frameRecords === 0, "frames arrive within a frame");
    const frames = verifyFrames(
      bytes,
      this.#position,
      this.#active.bytes.length - SEGMENT_HEADER_BYTES,
    );
    for (const frame of frames) {
      if (!this.#fits(frame) && !this.#rollFor(effects)) return frame.start;
      this.#appendFrame(bytes, frame, effects);
    }
    return bytes.length;
  }

  #fits({ start, end, fields }: ReceivedFrame): boolean {
    const segment = this.#active;
    // A segment's records have consecutive sequences.
    if (fields.firstSequence !== this.nextSequence) return false;
    if (segment.recordCount + fields.recordCount > this.#segmentRecordsMax) return false;
    return this.#frameStart + end - start <= segment.bytes.length;
  }

  #rollFor(effects: AppendEffects): boolean {
    const arena = effects.nextArena();
    if (arena === undefined) return false;
    this.write();
    effects.onSegment(this.roll(arena));
    return true;
  }

  #appendFrame(bytes: Buffer, frame: ReceivedFrame, effects: AppendEffects): void {
    const { fields } = frame;
    const segment = this.#active;
    const start = this.#frameStart;
    bytes.copy(segment.bytes, start, frame.start, frame.end);
    if (start >= segment.markFrom) segment.mark(fields.index, start);
    if (fields.epoch !== this.#epoch || fields.index === 1)
      this.#epochs.note(fields.epoch, fields.index);
    this.#goOnAt(positionAfter(fields, frame.checksum));
    segment.lastIndex = fields.index;
    segment.recordCount += fields.recordCount;
    segment.end = start + frame.end - frame.start;
    this.#openFrame();
    effects.onFrame(segment, start, this.#frameStart, fields);
  }

  #goOnAt(position: LogPosition): void {
    this.openIndex = position.nextIndex;
    this.nextSequence = position.nextSequence;
    this.#previousChecksum = position.previousChecksum;
    this.clockMs = position.clockMs;
    this.#epoch = position.epoch;
  }

  /**
   * Drops all frames behind `index`, durably: files newest first, so that whatever a crash leaves is a log without a gap.
   * Returns the segments that are gone. REQUIRES: no sync is on, no open records; all that is behind is resident.
   */
  truncateAfter(index: number): readonly Segment[] {
    assert(index >= this.commitIndex, "a truncation of what is committed");
    assert(index < this.openIndex, "a truncation behind the end");
    assert(!this.#files.isSyncing && this.#frameRecords === 0, "a truncation of a log in use");
    this.write();
    const segments = this.#segments;
    let kept = segments.findLastIndex((segment) => segment.firstIndex <= index);
    if (segments[kept + 1]?.firstIndex === index + 1) kept++;
    const removed = this.#files.removeBehind(kept + 1);
    this.#cut(segments[kept]!, index);
    this.#epochs.truncate(index);
    this.write();
    this.syncNow();
    return removed;
  }

  /** Makes the frames of `segment` up to `index` the log's last ones. */
  #cut(segment: Segment, index: number): void {
    assert(segment.isResident, "a truncation of a segment that is not in memory");
    const { position, offset, records } = endBehind(segment, index);
    if (offset < segment.writtenEnd) {
      segment.file.truncate(offset);
      // Whatever was synced, this is not.
      segment.syncedEnd = 0;
    }
    segment.forgetMarks(offset);
    segment.recordCount = records;
    segment.lastIndex = index >= segment.firstIndex ? index : 0;
    segment.end = offset;
    segment.writtenEnd = offset;
    this.#active = segment;
    this.#goOnAt(position);
    this.#openFrame();
  }

  /**
   * Frames from `from` to `to` for another node, of those that are written: as many as fit `bytesMax`, at least one.
   * Undefined: the log does not hold `from`, or, after a wait, no longer.
   */
  readFrames(
    from: number,
    to: number,
    bytesMax: number,
  ): FrameBytes | Promise<FrameBytes | undefined> | undefined {
    return this.#reader.read(from, Math.min(to, this.writtenIndex), bytesMax);
  }

  /** True when a frame header still fits; otherwise the caller rolls before anything else. */
  get hasRoomForFrame(): boolean {
    return this.#active.end <= this.#active.bytes.length;
  }

  /** Writes all closed frames to the active segment's file. */
  write(): void {
    const segment = this.#active;
    const end = this.#frameStart;
    if (end > segment.writtenEnd) {
      segment.file.write(segment.bytes.subarray(segment.writtenEnd, end), segment.writtenEnd);
      this.writtenBytes += end - segment.writtenEnd;
      segment.writtenEnd = end;
    }
    this.writtenIndex = this.openIndex - 1;
  }

  /** Makes everything written so far durable; resolves with the index up to which it is. One at a time. */
  async sync(): Promise<number> {
    const target = this.writtenIndex;
    if (target === this.durableIndex) return target;
    assert(!this.#files.isSyncing, "two syncs at a time");
    await this.#files.sync();
    this.syncCount++;
    this.durableIndex = Math.max(this.durableIndex, target);
    this.#files.deleteOld(this.#deletableIndex);
    return target;
  }

  /** As sync(), on this thread; for shutdown and recovery. */
  syncNow(): void {
    this.#files.syncNow();
    this.durableIndex = this.writtenIndex;
  }

  /** The records of all segments before `segment` are in tables: their files go. */
  deleteBefore(segment: Segment): void {
    this.#files.deleteBefore(segment.number, this.#deletableIndex);
  }

  /** What is kept of those files for other nodes. */
  retain(retention: Retention): void {
    this.#files.retain(retention, this.#deletableIndex);
  }

  /** Told when files have been deleted: the first frame that is left, and whether one to be kept has gone. */
  set onDeleted(action: (firstIndex: number, wasToBeKept: boolean) => void) {
    this.#files.onDeleted = action;
  }

  close(): void {
    this.#files.close();
  }

  get #deletableIndex(): number {
    return Math.min(this.durableIndex, this.commitIndex);
  }

  #openFrame(): void {
    this.#frameStart = this.#active.end;
    this.#frameRecords = 0;
    this.#active.end += FRAME_HEADER_BYTES;
    this.beginUnit();
  }
}
