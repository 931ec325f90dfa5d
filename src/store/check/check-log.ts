/**
 * The check of the log: every segment's header, every frame's checksum, place in the chain, numbers and clock, every
 * record's form; and what is behind the last good frame.
 *
 * Like recovery: a frame that is bad ends the log, unless a valid frame further on says that it was durable. Then
 * it is damage, and the check goes on behind it.
 */
import type { FileSystem } from "../../base/file-system.ts";
import type { HashSeed } from "../../base/order-hash.ts";
import { Uint32List } from "../../base/uint32-list.ts";
import type { FlushSource } from "../../lsm/flush.ts";
import {
  FRAME_HEADER_BYTES,
  type FrameFields,
  frameChecksumAt,
  frameLengthAt,
  framePreviousAt,
  readFrame,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "../../wal/frame.ts";
import { Arena, segmentFileName, segmentNumberOf } from "../../wal/segment.ts";
import {
  callsDurable,
  leftOverCount,
  nextFrame,
  readSegmentFile,
  type SegmentFile,
} from "../segment-file.ts";
import { checkRecords } from "./check-records.ts";
import type { Findings } from "./findings.ts";

export interface LogContext {
  readonly fileSystem: FileSystem;
  /** Of the log. */
  readonly directory: string;
  /** Its segments' files, oldest first. */
  readonly names: readonly string[];
  /** Undefined when the identity cannot be read. */
  readonly seed: HashSeed | undefined;
  /** Everything before it is in tables; undefined when the manifest cannot be read. */
  readonly flushedSequence: number | undefined;
  readonly findings: Findings;
  onRead(bytes: number): void;
}

export interface LogReport {
  readonly segments: number;
  readonly bytes: number;
  readonly frames: number;
  readonly records: number;
  /** Records that are not in tables. */
  readonly unflushedRecords: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly durableIndex: number;
  readonly clockMs: number;
  /** Bytes behind the last frame that the next start cuts off. */
  readonly tornBytes: number;
}

export interface CheckedLog {
  readonly report: LogReport;
  /** Records that are not in tables, oldest first. */
  readonly sources: readonly FlushSource[];
}

type LoadedSegment = SegmentFile<Arena>;

interface BadPlace {
  readonly path: string;
  readonly offset: number;
  readonly message: string;
}

const RESERVED_WORD_OFFSET = 68;

export function checkLog(context: LogContext): CheckedLog {
  return new LogCheck(context).run();
}

class LogCheck {
  readonly #context: LogContext;
  readonly #findings: Findings;
  readonly #sources: FlushSource[] = [];
  #last: FrameFields | undefined = undefined;
  #lastChecksum = 0n;
  /** False behind damage: the next frame follows one that is not known. */
  #isChainKnown = true;
  #offsets = new Uint32List();
  #sourceSequence = 0;
  #bytes = 0;
  #frames = 0;
  #records = 0;
  #unflushedRecords = 0;
  #firstIndex = 0;
  #durableIndex = 0;
  #tornBytes = 0;

  constructor(context: LogContext) {
    this.#context = context;
    this.#findings = context.findings;
  }

  run(): CheckedLog {
    const { names: all, directory, flushedSequence } = this.#context;
    if (all.length === 0 && (flushedSequence ?? 0) > 0) {
      // The newest durable frame is never deleted.
      this.#findings.addLoss("the log has no segment", directory);
    }
    const names = all.slice(this.#leftOver(all));
    for (let i = 0; i < names.length; i++) {
      if (this.#checkSegment(names[i]!, names.slice(i + 1))) continue;
      for (const name of names.slice(i + 1)) this.#tornBytes += this.#sizeOf(name);
      break;
    }
    if (this.#frames === 0) this.#checkStart(names);
    return { report: this.#report(all.length), sources: this.#sources };
  }

  /** A log without a frame begins with segment 1 (recovery.ts says why). */
  #checkStart(names: readonly string[]): void {
    const name = names[0];
    const number = name === undefined ? 1 : segmentNumberOf(name)!;
    if (name === undefined || number === 1) return;
    const segment = this.#findings.attempt(() => this.#load(name), true);
    if (segment?.header?.firstIndex === 1) return;
    const message = `the log has no frame, and segment ${segmentFileName(number - 1)} before it is missing`;
    this.#findings.addLoss(message, `${this.#context.directory}/${name}`, 0);
  }

  #report(segments: number): LogReport {
    return {
      segments,
      bytes: this.#bytes,
      frames: this.#frames,
      records: this.#records,
      unflushedRecords: this.#unflushedRecords,
      firstIndex: this.#firstIndex,
      lastIndex: this.#last?.index ?? 0,
      durableIndex: this.#durableIndex,
      clockMs: this.#last?.clockMs ?? 0,
      tornBytes: this.#tornBytes,
    };
  }

  /** Files that a crash in the middle of a deletion has left. Their number. */
  #leftOver(names: readonly string[]): number {
    const { directory, flushedSequence } = this.#context;
    if (flushedSequence === undefined) return 0;
    const count = leftOverCount(names, flushedSequence, (name) => this.#load(name));
    for (const name of names.slice(0, count)) {
      const message = "left over from a deletion: all its records are in tables";
      this.#findings.addNote(message, `${directory}/${name}`);
      this.#read(this.#sizeOf(name));
    }
    return count;
  }

  #load(name: string): LoadedSegment {
    const { fileSystem, directory } = this.#context;
    // Shared: its records are counted as a flush would read them.
    return readSegmentFile(fileSystem, directory, name, (bytes) => new Arena(bytes));
  }

  #sizeOf(name: string): number {
    const file = this.#context.fileSystem.open(`${this.#context.directory}/${name}`, "read");
    const size = file.size();
    file.close();
    return size;
  }

  #read(bytes: number): void {
    this.#bytes += bytes;
    this.#context.onRead(bytes);
  }

  /** False: the log ends in this segment. */
  #checkSegment(name: string, rest: readonly string[]): boolean {
    const path = `${this.#context.directory}/${name}`;
    const segment = this.#findings.attempt(() => this.#load(name), true);
    if (segment === undefined) {
      this.#isChainKnown = false;
      return true;
    }
    this.#read(segment.size);
    this.#startSource();
    const goesOn = this.#checkHeader(segment, rest) && this.#checkFrames(segment, rest);
    this.#endSource(segment);
    if (!goesOn) return false;
    const next = rest[0];
    if (next === undefined || segmentNumberOf(next) === segment.number + 1) return true;
    const missing = segmentFileName(segment.number + 1);
    const bad = { path, offset: segment.size, message: `segment ${missing} is missing` };
    return this.#isDamage(bad, segment, segment.size, rest);
  }

  /** False: the log ends before this segment. */
  #checkHeader(segment: LoadedSegment, rest: readonly string[]): boolean {
    const { path, header, number } = segment;
    if (header === undefined || header.number !== number) {
      const what = header === undefined ? "is damaged" : `says segment ${header.number}`;
      const message = `the segment's header ${what}`;
      return this.#isDamage({ path, offset: 0, message }, segment, 0, rest);
    }
    if (!this.#isOwn(header)) {
      const message =
        "the segment belongs to another data directory: its hash seed is not IDENTITY's";
      this.#findings.addLoss(message, path, 16);
    }
    if (
      this.#last !== undefined &&
      this.#isChainKnown &&
      header.firstIndex !== this.#last.index + 1
    ) {
      const message = `the header announces frame ${header.firstIndex}, the segment before ends with ${this.#last.index}`;
      this.#findings.addDamage(message, path, 24);
    }
    return true;
  }

  #isOwn(header: SegmentHeader | undefined): boolean {
    const { seed } = this.#context;
    if (seed === undefined || header === undefined) return true;
    return header.seed.low === seed.low && header.seed.high === seed.high;
  }

  /** False: the log ends in this segment. */
  #checkFrames(segment: LoadedSegment, rest: readonly string[]): boolean {
    const { arena, size, path } = segment;
    let offset = SEGMENT_HEADER_BYTES;
    while (offset < size) {
      const length = frameLengthAt(arena, offset, size);
      if (length > 0 && this.#chains(segment, offset)) {
        this.#checkFrame(segment, offset, length);
        offset += length;
        continue;
      }
      const message =
        length > 0
          ? `frame ${readFrame(arena, offset).index} does not follow frame ${this.#last?.index ?? 0}`
          : `frame ${this.#missing(segment)} is damaged`;
      if (!this.#isDamage({ path, offset, message }, segment, offset, rest)) return false;
      offset = nextFrame(arena, offset, size);
    }
    return true;
  }

  #chains(segment: LoadedSegment, offset: number): boolean {
    if (!this.#isChainKnown) return true;
    const { index } = readFrame(segment.arena, offset);
    const previous = framePreviousAt(segment.arena, offset);
    if (this.#last === undefined) {
      const isFirst = segment.header === undefined || segment.header.firstIndex === index;
      return isFirst && (index !== 1 || previous === 0n);
    }
    return index === this.#last.index + 1 && previous === this.#lastChecksum;
  }

  #missing(segment: LoadedSegment): number {
    return this.#last === undefined ? (segment.header?.firstIndex ?? 1) : this.#last.index + 1;
  }

  /** Checks a whole frame that chains. */
  #checkFrame(segment: LoadedSegment, offset: number, length: number): void {
    const { arena, path } = segment;
    const fields = readFrame(arena, offset);
    for (const problem of this.#problemsOf(fields)) this.#findings.addDamage(problem, path, offset);
    if (arena.words[(offset + RESERVED_WORD_OFFSET) >>> 2] !== 0) {
      this.#findings.addDamage("reserved bytes of a frame are not zero", path, offset);
    }
    if (this.#frames === 0) this.#firstIndex = fields.index;
    const flushed = this.#context.flushedSequence;
    const isUnflushed = flushed !== undefined && fields.firstSequence >= flushed;
    if (isUnflushed) this.#continueSource(segment, fields.firstSequence);
    // Another directory's segment has been reported as a whole.
    const seed = this.#isOwn(segment.header) ? this.#context.seed : undefined;
    const problem = checkRecords(
      { arena, seed, recordCount: fields.recordCount },
      offset + FRAME_HEADER_BYTES,
      offset + length,
      isUnflushed ? this.#offsets : undefined,
    );
    if (problem !== undefined) this.#findings.addLoss(problem.message, path, problem.offset);
    this.#frames++;
    this.#records += fields.recordCount;
    if (isUnflushed) this.#unflushedRecords += fields.recordCount;
    this.#durableIndex = Math.max(this.#durableIndex, fields.durableIndex);
    this.#last = fields;
    this.#lastChecksum = frameChecksumAt(arena, offset);
    this.#isChainKnown = true;
  }

  #problemsOf(fields: FrameFields): string[] {
    const { index, firstSequence } = fields;
    const flushed = this.#context.flushedSequence;
    const problems: string[] = [];
    if (fields.durableIndex >= index) problems.push(`frame ${index} calls itself durable`);
    const last = this.#last;
    if (last === undefined || !this.#isChainKnown) {
      if (last === undefined && flushed !== undefined && firstSequence > Math.max(1, flushed)) {
        this.#findings.isContentWhole = false;
        problems.push(
          `records ${flushed} to ${firstSequence - 1} are neither in tables nor in the log`,
        );
      }
      return problems;
    }
    // A start whose log ends before what is in tables goes on behind the tables.
    const expected = last.firstSequence + last.recordCount;
    const isJump = firstSequence > expected && flushed !== undefined && firstSequence <= flushed;
    if (firstSequence !== expected && !isJump) {
      problems.push(`frame ${index} starts with record ${firstSequence} instead of ${expected}`);
    }
    if (fields.clockMs < last.clockMs) problems.push(`the clock of frame ${index} goes back`);
    if (fields.epoch < last.epoch) problems.push(`the epoch of frame ${index} goes back`);
    // Another writer may know of less.
    if (fields.durableIndex < last.durableIndex && fields.epoch === last.epoch) {
      problems.push(`the durable index of frame ${index} goes back`);
    }
    return problems;
  }

  /** Reports a bad place: as damage (true), or as the end of the log, which a crash may leave. */
  #isDamage(bad: BadPlace, segment: LoadedSegment, from: number, rest: readonly string[]): boolean {
    const missing = this.#missing(segment);
    const isDurable =
      callsDurable(segment.arena, from, segment.size, missing) ||
      rest.some((name) => {
        const { arena, size } = this.#load(name);
        return callsDurable(arena, SEGMENT_HEADER_BYTES, size, missing);
      });
    if (isDurable) {
      this.#findings.addLoss(`${bad.message}, though it was synced`, bad.path, bad.offset);
      this.#isChainKnown = false;
      return true;
    }
    const bytes = segment.size - from;
    this.#tornBytes += bytes;
    const message = `the log ends here: ${bad.message}; it was never called durable, and the next start cuts it off`;
    this.#findings.addNote(message, bad.path, bad.offset);
    return false;
  }

  #startSource(): void {
    this.#offsets = new Uint32List();
    this.#sourceSequence = 0;
  }

  /** A source's records have consecutive sequences. */
  #continueSource(segment: LoadedSegment, firstSequence: number): void {
    if (firstSequence === this.#sourceSequence + this.#offsets.length) return;
    this.#endSource(segment);
    this.#startSource();
    this.#sourceSequence = firstSequence;
  }

  #endSource(segment: LoadedSegment): void {
    const count = this.#offsets.length;
    if (count === 0) return;
    const offsets = new Uint32Array(new SharedArrayBuffer(4 * count));
    offsets.set(this.#offsets.view());
    this.#sources.push({
      bytes: segment.arena.shared,
      offsets: offsets.buffer,
      firstRecord: 0,
      recordCount: count,
      firstSequence: this.#sourceSequence,
    });
    this.#offsets = new Uint32List();
  }
}
