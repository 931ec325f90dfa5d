/**
 * A segment of the log: an arena in memory and the file that its used prefix is written to.
 *
 * Arenas come from a fixed pool and are recycled: a SharedArrayBuffer is freed only when the collectors of
 * all threads that saw it agree.
 */
import { assert } from "../base/assert.ts";
import type { File } from "../base/file-system.ts";
import { SEGMENT_HEADER_BYTES } from "./frame.ts";
import type { LogPosition } from "./log.ts";

/** Of the frames in so many bytes one is marked, so that the others are near. */
const MARK_BYTES = 16 * 1024;

export class Arena {
  readonly shared: SharedArrayBuffer;
  readonly bytes: Buffer;
  readonly words: Int32Array;
  readonly words64: BigUint64Array;

  constructor(segmentBytes: number) {
    this.shared = new SharedArrayBuffer(segmentBytes);
    this.bytes = Buffer.from(this.shared);
    this.words = new Int32Array(this.shared);
    this.words64 = new BigUint64Array(this.shared);
  }
}

export class ArenaPool {
  readonly segmentBytes: number;
  readonly #free: Arena[] = [];
  /** Those too that are in use. */
  readonly #made = new Set<Arena>();
  #unmade: number;
  /** Arenas that there are beyond `count`. */
  #extra = 0;

  constructor(segmentBytes: number, count: number) {
    this.segmentBytes = segmentBytes;
    this.#unmade = count;
  }

  get freeCount(): number {
    return this.#free.length + this.#unmade;
  }

  /** An arena whose content is unspecified, or undefined when all are in use. */
  take(): Arena | undefined {
    const arena = this.#free.pop();
    if (arena !== undefined) return arena;
    if (this.#unmade === 0) return undefined;
    this.#unmade--;
    return this.#make();
  }

  /** Takes all arenas back, for another log. REQUIRES: nobody uses one any more. */
  reclaim(): void {
    this.#free.splice(0, this.#free.length, ...[...this.#made].slice(this.#extra));
    for (const arena of [...this.#made].slice(0, this.#extra)) this.#made.delete(arena);
    this.#extra = 0;
  }

  #make(): Arena {
    const arena = new Arena(this.segmentBytes);
    this.#made.add(arena);
    return arena;
  }

  /** Makes one more arena than the pool was meant for: what waits for one would wait for ever. */
  extend(): Arena {
    this.#extra++;
    return this.#make();
  }

  get extraCount(): number {
    return this.#extra;
  }

  give(arena: Arena): void {
    assert(arena.bytes.length === this.segmentBytes, "an arena of another pool");
    if (this.#extra === 0) {
      this.#free.push(arena);
      return;
    }
    this.#extra--;
    this.#made.delete(arena);
  }
}

export class Segment {
  readonly number: number;
  readonly arena: Arena;
  /** The arena's views, one step nearer for hot code. */
  readonly shared: SharedArrayBuffer;
  readonly bytes: Buffer;
  readonly words: Int32Array;
  readonly file: File;
  /** Index that its first frame has, or will have. */
  readonly firstIndex: number;
  /** The end of the log before it. */
  readonly start: LogPosition;
  /** Used bytes. Invariant: syncedEnd <= writtenEnd <= end <= arena size. */
  end = SEGMENT_HEADER_BYTES;
  writtenEnd = 0;
  syncedEnd = 0;
  /** Index of the last closed frame in it; 0 while it has none. */
  lastIndex = 0;
  /** Records of all its frames. */
  recordCount = 0;
  /** False once its arena is used for something else. */
  isResident = true;
  /** Offset from which on the next frame is marked. */
  markFrom = SEGMENT_HEADER_BYTES;
  /** Indexes and offsets of marked frames, ascending. */
  readonly #marked: number[] = [];
  readonly #markedAt: number[] = [];
  #readers = 0;
  /** False until the directory entry of its file is durable. */
  isNameDurable: boolean;
  isFileOpen = true;

  constructor(
    header: { readonly number: number; readonly start: LogPosition },
    arena: Arena,
    file: File,
    isNameDurable: boolean,
  ) {
    this.number = header.number;
    this.start = header.start;
    this.firstIndex = header.start.nextIndex;
    this.arena = arena;
    this.shared = arena.shared;
    this.bytes = arena.bytes;
    this.words = arena.words;
    this.file = file;
    this.isNameDurable = isNameDurable;
  }

  /** REQUIRES: start >= markFrom. */
  mark(index: number, start: number): void {
    this.#marked.push(index);
    this.#markedAt.push(start);
    this.markFrom = start + MARK_BYTES;
  }

  /** The last marked frame at or before `index`. REQUIRES: the segment holds `index`. */
  markBefore(index: number): { readonly index: number; readonly offset: number } {
    let low = 0;
    let high = this.#marked.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#marked[middle]! <= index) low = middle + 1;
      else high = middle;
    }
    return { index: this.#marked[low - 1]!, offset: this.#markedAt[low - 1]! };
  }

  /** Its frames from offset `end` on are gone. */
  forgetMarks(end: number): void {
    while (this.#markedAt.length > 0 && this.#markedAt.at(-1)! >= end) {
      this.#marked.pop();
      this.#markedAt.pop();
    }
    this.markFrom =
      this.#markedAt.length === 0 ? SEGMENT_HEADER_BYTES : this.#markedAt.at(-1)! + MARK_BYTES;
  }

  /** Reads of the file in the background, which keep it open. */
  beginRead(): void {
    this.#readers++;
  }

  endRead(): void {
    this.#readers--;
    if (this.#readers === 0 && !this.isFileOpen) this.file.close();
  }

  closeFile(): void {
    if (!this.isFileOpen) return;
    this.isFileOpen = false;
    if (this.#readers === 0) this.file.close();
  }
}

/** Name of the file of segment `number`. */
export function segmentFileName(number: number): string {
  return `${String(number).padStart(12, "0")}.log`;
}

/** Segment number of a file name, or undefined for any other name. */
export function segmentNumberOf(name: string): number | undefined {
  return /^[0-9]{12}\.log$/.test(name) ? Number(name.slice(0, 12)) : undefined;
}
