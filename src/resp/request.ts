/**
 * One request as offsets into the bytes it arrived in: argument i is bytes[starts[i], ends[i]).
 *
 * Hot: one Request per connection, reused; nothing is allocated per command. Arguments longer than
 * LARGE_ARGUMENT_BYTES do not lie in `bytes`: they lie in slabs, a piece in each, and
 * `starts[i]` is −1 − (their index in `large`).
 */
import { SlabPool, SlabWriter } from "../base/slab-pool.ts";

/** Longer arguments are never copied into one buffer: a 100 MB copy would stall every other client. */
export const LARGE_ARGUMENT_BYTES = 1 << 20;

const ARGUMENTS_INITIAL = 64;
const ARGUMENTS_KEPT_MAX = 4096;
const NO_BYTES = Buffer.alloc(0);

/** Where arguments go whose connection has no pool of its own. */
const UNPOOLED = new SlabPool(0);

/** An argument copied into slabs as it arrives: chunks of a socket are garbage at once, whatever their number. */
export class LargeArgument {
  readonly byteLength: number;
  received = 0;
  readonly #pool: SlabPool;
  readonly #slabs: Buffer[] = [];
  readonly #writer: SlabWriter;

  constructor(byteLength: number, pool: SlabPool = UNPOOLED) {
    this.byteLength = byteLength;
    this.#pool = pool;
    this.#writer = new SlabWriter(pool, this.#slabs);
  }

  get pieces(): readonly Buffer[] {
    return this.#writer.pieces;
  }

  /** Takes what it lacks from source[start, end); returns the bytes taken. */
  take(source: Uint8Array, start: number, end: number): number {
    const taken = Math.min(end - start, this.byteLength - this.received);
    this.#writer.write(source, start, start + taken);
    this.received += taken;
    return taken;
  }

  /** Gives its memory back. REQUIRES: nobody uses its pieces any more. */
  release(): void {
    this.#writer.pieces.length = 0;
    this.#pool.giveAll(this.#slabs);
  }

  get isComplete(): boolean {
    return this.received === this.byteLength;
  }
}

export class Request {
  /** Borrowed until the next call of the parser that filled it. */
  bytes: Buffer = NO_BYTES;
  count = 0;
  starts = new Int32Array(ARGUMENTS_INITIAL);
  ends = new Int32Array(ARGUMENTS_INITIAL);
  large: LargeArgument[] = [];

  /** Bytes of argument `index`. */
  byteLength(index: number): number {
    const start = this.starts[index]!;
    return start < 0 ? this.large[-1 - start]!.byteLength : this.ends[index]! - start;
  }

  isLarge(index: number): boolean {
    return this.starts[index]! < 0;
  }

  /** Argument `index` in pieces, one for what is not large. */
  pieces(index: number): readonly Uint8Array[] {
    const start = this.starts[index]!;
    if (start < 0) return this.large[-1 - start]!.pieces;
    return [this.bytes.subarray(start, this.ends[index]!)];
  }

  /**
   * Moves large arguments into one contiguous buffer, for commands that have no use for pieces.
   * Cost: a copy of the whole request, only when it has a large argument.
   */
  materialize(): void {
    if (this.large.length === 0) return;
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let index = 0; index < this.count; index++) {
      const start = this.starts[index]!;
      const end = this.ends[index]!;
      this.starts[index] = length;
      if (start < 0) {
        const large = this.large[-1 - start]!;
        parts.push(...large.pieces);
        length += large.byteLength;
      } else {
        parts.push(this.bytes.subarray(start, end));
        length += end - start;
      }
      this.ends[index] = length;
    }
    this.bytes = Buffer.concat(parts);
    this.large = [];
  }

  /** Copies argument `index` into target at `at`; used where a handler keeps the bytes. */
  copyTo(index: number, target: Uint8Array, at: number): void {
    const start = this.starts[index]!;
    if (start >= 0) {
      this.bytes.copy(target, at, start, this.ends[index]!);
      return;
    }
    let position = at;
    for (const piece of this.large[-1 - start]!.pieces) {
      target.set(piece, position);
      position += piece.length;
    }
  }

  /** Argument as text (UTF-8); for options, patterns and messages, not for the hot path. */
  text(index: number): string {
    if (this.isLarge(index)) this.materialize();
    return this.bytes.toString("utf8", this.starts[index]!, this.ends[index]!);
  }

  /** Argument as one character per byte, which keeps arbitrary bytes apart and restorable. */
  latin1(index: number): string {
    if (this.isLarge(index)) this.materialize();
    return this.bytes.toString("latin1", this.starts[index]!, this.ends[index]!);
  }

  /** A copy that owns its bytes, for commands that are kept (MULTI, slow log). */
  clone(): Request {
    const copy = new Request();
    copy.count = this.count;
    copy.starts = this.starts.slice(0, this.count);
    copy.ends = this.ends.slice(0, this.count);
    copy.large = this.large;
    let first = this.bytes.length;
    let last = 0;
    for (let index = 0; index < this.count; index++) {
      if (copy.starts[index]! < 0) continue;
      first = Math.min(first, copy.starts[index]!);
      last = Math.max(last, copy.ends[index]!);
    }
    if (first > last) first = last;
    copy.bytes = Buffer.from(this.bytes.subarray(first, last));
    for (let index = 0; index < this.count; index++) {
      if (copy.starts[index]! < 0) continue;
      copy.starts[index]! -= first;
      copy.ends[index]! -= first;
    }
    return copy;
  }

  /** Gives its arguments, but not the bytes they lie in, to `other` and takes those of `other`. */
  exchange(other: Request): void {
    const { count, starts, ends, large } = this;
    this.count = other.count;
    this.starts = other.starts;
    this.ends = other.ends;
    this.large = other.large;
    other.count = count;
    other.starts = starts;
    other.ends = ends;
    other.large = large;
  }

  /** Room for `count` arguments; what is already there stays. */
  reserve(count: number): void {
    if (count <= this.starts.length) return;
    const capacity = Math.max(count, this.starts.length * 2);
    const starts = new Int32Array(capacity);
    const ends = new Int32Array(capacity);
    starts.set(this.starts);
    ends.set(this.ends);
    this.starts = starts;
    this.ends = ends;
  }

  /** Forgets the arguments, and buffers that one unusual request made large. */
  reset(): void {
    this.count = 0;
    if (this.large.length > 0) this.large = [];
    if (this.starts.length > ARGUMENTS_KEPT_MAX) {
      this.starts = new Int32Array(ARGUMENTS_INITIAL);
      this.ends = new Int32Array(ARGUMENTS_INITIAL);
    }
  }
}
