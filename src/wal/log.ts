/**
 * The log: segments of frames, appended in the active segment's arena and written once a turn.
 *
 *   reserve(bytes) → the caller fills the record in place → closeFrame(clock) → write() → sync()
 *
 *   index:     … durable <= written <= closed < open frame
 *
 * Records of an unfinished unit lie after `unitStart`; rollback() takes them back. Frames of one segment are
 * contiguous, so writing is one write of [writtenEnd, end). A sync covers every file with unsynced frames,
 * oldest first, then the names of new files. A write or sync that fails is final: it is thrown, never retried.
 */
import { assert } from "../base/assert.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { HashSeed } from "../base/order-hash.ts";
import {
  FRAME_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  sealFrame,
  writeSegmentHeader,
} from "./frame.ts";
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

export class Log {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #seed: HashSeed;
  /** Segments whose files exist, oldest first; the last one is active. */
  readonly #segments: Segment[] = [];
  #active!: Segment;
  readonly #epoch: number;
  #previousChecksum: bigint;
  #isSyncing = false;
  /** Segments whose files are removed but still open. */
  readonly #deleted: Segment[] = [];
  /** A power failure may bring a removed file back, as replay expects: the next sync of the directory ends that. */
  #hasRemovedNames = false;
  /** Number of the first segment whose records are not all in tables. */
  #deletableBefore = 0;
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

  constructor(
    fileSystem: FileSystem,
    directory: string,
    options: { seed: HashSeed; position: LogPosition; segments: readonly Segment[] },
  ) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#seed = options.seed;
    this.#segments.push(...options.segments);
    const position = options.position;
    this.#epoch = position.epoch;
    this.#previousChecksum = position.previousChecksum;
    this.openIndex = position.nextIndex;
    this.nextSequence = position.nextSequence;
    this.writtenIndex = position.nextIndex - 1;
    this.durableIndex = position.nextIndex - 1;
    this.clockMs = position.clockMs;
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

  get openFrameBytes(): number {
    return this.#active.end - this.#frameStart;
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
    const segment = new Segment({ number, firstIndex: this.openIndex }, arena, file, false);
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
    this.#previousChecksum = sealFrame(
      segment.arena,
      this.#frameStart,
      segment.end,
      this.#previousChecksum,
      {
        epoch: this.#epoch,
        index: this.openIndex,
        durableIndex: this.durableIndex,
        clockMs,
        firstSequence: this.nextSequence - this.#frameRecords,
        recordCount: this.#frameRecords,
      },
    );
    segment.lastIndex = this.openIndex;
    this.openIndex++;
    this.#openFrame();
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
    assert(!this.#isSyncing, "two syncs at a time");
    this.#isSyncing = true;
    for (const segment of [...this.#segments]) {
      // A header alone counts: without it recovery would not read on to the segments behind it.
      const end = segment.writtenEnd;
      if (segment.syncedEnd === end || !segment.isFileOpen) continue;
      await segment.file.syncAsync();
      segment.syncedEnd = end;
    }
    if (this.#hasRemovedNames || this.#segments.some((segment) => !segment.isNameDurable)) {
      this.#hasRemovedNames = false;
      const named = this.#segments.filter((segment) => !segment.isNameDurable);
      await this.#fileSystem.syncDirectoryAsync(this.#directory);
      for (const segment of named) segment.isNameDurable = true;
    }
    this.#isSyncing = false;
    this.#closeDeleted();
    this.syncCount++;
    this.durableIndex = Math.max(this.durableIndex, target);
    this.#deleteOld();
    return target;
  }

  /** As sync(), on this thread; for shutdown and recovery. */
  syncNow(): void {
    for (const segment of this.#segments) {
      if (segment.syncedEnd < segment.writtenEnd && segment.isFileOpen) segment.file.sync();
      segment.syncedEnd = segment.writtenEnd;
      segment.isNameDurable = true;
    }
    this.#fileSystem.syncDirectory(this.#directory);
    this.durableIndex = this.writtenIndex;
  }

  /**
   * Deletes the files of all segments before `segment`: their records are in tables. The newest durable frame stays
   * until a later one is durable, so that index, chain and clock go on from it whatever a crash takes.
   */
  deleteBefore(segment: Segment): void {
    this.#deletableBefore = segment.number;
    this.#deleteOld();
  }

  #deleteOld(): void {
    let count = 0;
    const segments = this.#segments;
    while (
      count + 1 < segments.length &&
      segments[count]!.number < this.#deletableBefore &&
      segments[count + 1]!.firstIndex <= this.durableIndex
    ) {
      count++;
    }
    if (count === 0) return;
    const doomed = segments.splice(0, count);
    for (const old of doomed) this.#fileSystem.remove(old.file.path);
    this.#deleted.push(...doomed);
    this.#hasRemovedNames = true;
    if (!this.#isSyncing) this.#closeDeleted();
  }

  /** A descriptor that a running sync may use stays open until the sync ends. */
  #closeDeleted(): void {
    for (const segment of this.#deleted.splice(0)) {
      segment.file.close();
      segment.isFileOpen = false;
    }
  }

  close(): void {
    for (const segment of this.#segments) {
      if (segment.isFileOpen) segment.file.close();
      segment.isFileOpen = false;
    }
  }

  #openFrame(): void {
    this.#frameStart = this.#active.end;
    this.#frameRecords = 0;
    this.#active.end += FRAME_HEADER_BYTES;
    this.beginUnit();
  }
}
