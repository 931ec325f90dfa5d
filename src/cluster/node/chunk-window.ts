/**
 * Which parts of several files are here, asked for, or to be asked for: a few at a time, in order, each again when it has
 * not come for long. Pure: who uses it sends and writes.
 *
 *     file 0   ███████████▒▒░▒▒·······      █ here   ▒ asked for   ░ asked for and here   · not asked for
 *     file 1   ·········
 *
 * Invariant: a chunk is asked for once, unless it is overdue; it counts once, however often it comes.
 */
import { assert } from "../../base/assert.ts";

export interface Chunk {
  readonly file: number;
  readonly offset: number;
  readonly length: number;
}

export interface ChunkWindowOptions {
  readonly chunkBytes: number;
  /** Chunks asked for at a time. */
  readonly chunksMax: number;
  readonly retryMs: number;
}

interface Asked extends Chunk {
  askedMs: number;
}

export class ChunkWindow {
  readonly #options: ChunkWindowOptions;
  readonly #sizes: number[] = [];
  /** Bytes of each file that are not here. */
  readonly #missing: number[] = [];
  /** The next chunk that was never asked for. */
  #file = 0;
  #offset = 0;
  readonly #asked: Asked[] = [];
  /** Bytes that are here. */
  doneBytes = 0;

  constructor(options: ChunkWindowOptions) {
    this.#options = options;
  }

  /** One more file. REQUIRES: not empty. */
  add(bytes: number): void {
    assert(bytes > 0, "a file without content");
    this.#sizes.push(bytes);
    this.#missing.push(bytes);
  }

  /** Whether all of all files is here. */
  get isDone(): boolean {
    return this.#asked.length === 0 && this.#file === this.#sizes.length;
  }

  isFileDone(file: number): boolean {
    return this.#missing[file] === 0;
  }

  /** What to ask for now; from then on it counts as asked for. */
  due(nowMs: number): Chunk[] {
    const { chunksMax, retryMs } = this.#options;
    const due: Chunk[] = [];
    for (const asked of this.#asked) {
      if (nowMs - asked.askedMs < retryMs) continue;
      asked.askedMs = nowMs;
      due.push(asked);
    }
    while (this.#asked.length < chunksMax && this.#file < this.#sizes.length) {
      const next = { ...this.#next(), askedMs: nowMs };
      this.#asked.push(next);
      due.push(next);
    }
    return due;
  }

  /** Whether these bytes are wanted; they are here from then on. */
  take(file: number, offset: number, length: number): boolean {
    const at = this.#asked.findIndex((asked) => asked.file === file && asked.offset === offset);
    if (at < 0 || this.#asked[at]!.length !== length) return false;
    this.#asked.splice(at, 1);
    this.#missing[file]! -= length;
    this.doneBytes += length;
    return true;
  }

  #next(): Chunk {
    const file = this.#file;
    const offset = this.#offset;
    const length = Math.min(this.#options.chunkBytes, this.#sizes[file]! - offset);
    this.#offset += length;
    if (this.#offset === this.#sizes[file]) {
      this.#file++;
      this.#offset = 0;
    }
    return { file, offset, length };
  }
}
