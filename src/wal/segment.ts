/**
 * A segment of the log: an arena in memory and the file that its used prefix is written to.
 *
 * Arenas come from a fixed pool and are recycled: a SharedArrayBuffer is freed only when the collectors of
 * all threads that saw it agree.
 */
import { assert } from "../base/assert.ts";
import type { File } from "../base/file-system.ts";
import { SEGMENT_HEADER_BYTES } from "./frame.ts";

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
  #unmade: number;

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
    return new Arena(this.segmentBytes);
  }

  give(arena: Arena): void {
    assert(arena.bytes.length === this.segmentBytes, "an arena of another pool");
    this.#free.push(arena);
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
  /** Used bytes. Invariant: syncedEnd <= writtenEnd <= end <= arena size. */
  end = SEGMENT_HEADER_BYTES;
  writtenEnd = 0;
  syncedEnd = 0;
  /** Index of the last closed frame in it; 0 while it has none. */
  lastIndex = 0;
  /** False until the directory entry of its file is durable. */
  isNameDurable: boolean;
  isFileOpen = true;

  constructor(
    header: { readonly number: number; readonly firstIndex: number },
    arena: Arena,
    file: File,
    isNameDurable: boolean,
  ) {
    this.number = header.number;
    this.firstIndex = header.firstIndex;
    this.arena = arena;
    this.shared = arena.shared;
    this.bytes = arena.bytes;
    this.words = arena.words;
    this.file = file;
    this.isNameDurable = isNameDurable;
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
