/**
 * The epoch table: which epoch each frame of a log belongs to, as runs [(epoch, first index)] and the last index.
 *
 *     index   1 2 3 4 5 6 7 8 9
 *     epoch   1 1 1 3 3 3 3 4 4      runs (1,1) (3,4) (4,8), last 9
 *
 * Equal (epoch, index) means equal frames up to there, in any two logs (invariant I3). So two tables say all that
 * replication must know about two logs: how far they agree, and which one is ahead. An index alone says neither.
 *
 * Invariants: epochs and first indexes ascend strictly; the first run starts at 1; no run starts behind `last`.
 * An empty log is at (epoch 0, index 0), which every log has passed. Epoch 0 is a standalone directory's.
 *
 * Encoded, all varints: last index, run count, then per run the differences to the run before: epoch, first index.
 */
import { assert } from "../../base/assert.ts";
import { varintBytes, writeVarint } from "../../base/varint.ts";
import type { FieldReader } from "./field-reader.ts";

/** A place in a log. */
export interface Position {
  readonly epoch: number;
  readonly index: number;
}

/** Frames from `first` up to the next run's are of `epoch`. */
export interface EpochRun {
  readonly epoch: number;
  readonly first: number;
}

export const LOG_ORIGIN: Position = { epoch: 0, index: 0 };
/** What a peer's table may have: an epoch each second for half a day. */
export const EPOCH_RUNS_MAX = 65_536;

/** Order of logs by what they end with: negative, 0 or positive. */
export function comparePositions(a: Position, b: Position): number {
  return a.epoch - b.epoch || a.index - b.index;
}

export class EpochTable {
  readonly #runs: EpochRun[];
  #last: number;

  /** REQUIRES: runs as the invariants say. Copies them. */
  constructor(runs: readonly EpochRun[] = [], last = 0) {
    this.#runs = [...runs];
    this.#last = last;
    assert(isEpochTable(runs, last), "an epoch table whose runs do not ascend");
  }

  get runs(): readonly EpochRun[] {
    return this.#runs;
  }

  get lastIndex(): number {
    return this.#last;
  }

  get last(): Position {
    return { epoch: this.#runs.at(-1)?.epoch ?? 0, index: this.#last };
  }

  copy(): EpochTable {
    return new EpochTable(this.#runs, this.#last);
  }

  /** REQUIRES: 0 ≤ index ≤ lastIndex. */
  epochAt(index: number): number {
    assert(index >= 0 && index <= this.#last, "the epoch of a frame that the log does not have");
    return this.#runs[this.#runAt(index)]?.epoch ?? 0;
  }

  positionAt(index: number): Position {
    return { epoch: this.epochAt(index), index };
  }

  /** Whether the log has this very frame, and so (I3) the same prefix. */
  has(position: Position): boolean {
    return position.index <= this.#last && this.epochAt(position.index) === position.epoch;
  }

  /** Frames of `epoch` follow, up to `last`. */
  append(epoch: number, last: number): void {
    assert(last > this.#last, "an append that adds nothing");
    const newest = this.#runs.at(-1);
    assert(newest === undefined || epoch >= newest.epoch, "an append of an older epoch");
    if (newest?.epoch !== epoch) this.#runs.push({ epoch, first: this.#last + 1 });
    this.#last = last;
  }

  /** Drops all frames behind `last`. */
  truncate(last: number): void {
    assert(last >= 0 && last <= this.#last, "a truncation behind the end");
    while (this.#runs.length > 0 && this.#runs.at(-1)!.first > last) this.#runs.pop();
    this.#last = last;
  }

  /** Runs of the frames [first, last]; the first one starts at `first`. */
  slice(first: number, last: number): EpochRun[] {
    const slice: EpochRun[] = [];
    if (first > last) return slice;
    for (let at = this.#runAt(first); at < this.#runs.length; at++) {
      const run = this.#runs[at]!;
      if (run.first > last) break;
      slice.push(run.first < first ? { epoch: run.epoch, first } : run);
    }
    return slice;
  }

  /** The greatest index up to which both logs hold the same frames: from the top, run by run. */
  commonPrefix(other: EpochTable): number {
    let index = Math.min(this.#last, other.#last);
    while (index > 0) {
      const mine = this.#runs[this.#runAt(index)]!;
      const theirs = other.#runs[other.#runAt(index)]!;
      if (mine.epoch === theirs.epoch) return index;
      index = (mine.epoch > theirs.epoch ? mine.first : theirs.first) - 1;
    }
    return 0;
  }

  /** Number of the run that holds `index`: the last one that starts at or before it; −1 for index 0. */
  #runAt(index: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#runs[middle]!.first <= index) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** Whether runs and last index, from wherever they came, are a table. */
export function isEpochTable(runs: readonly EpochRun[], last: number): boolean {
  if (runs.length === 0) return last === 0;
  return runs[0]!.first === 1 && areRuns(runs, last);
}

/** Whether these can be runs of frames that end with `last`. */
export function areRuns(runs: readonly EpochRun[], last: number): boolean {
  for (let at = 1; at < runs.length; at++) {
    const before = runs[at - 1]!;
    const run = runs[at]!;
    if (run.epoch <= before.epoch || run.first <= before.first) return false;
  }
  return runs.length === 0 || runs.at(-1)!.first <= last;
}

export function runsBytes(runs: readonly EpochRun[], last: number): number {
  let bytes = varintBytes(last) + varintBytes(runs.length);
  let before: EpochRun = { epoch: 0, first: 0 };
  for (const run of runs) {
    bytes += varintBytes(run.epoch - before.epoch) + varintBytes(run.first - before.first);
    before = run;
  }
  return bytes;
}

/** Writes runs and last index, and returns the offset behind them. */
export function writeRuns(
  bytes: Uint8Array,
  offset: number,
  runs: readonly EpochRun[],
  last: number,
): number {
  let at = writeVarint(bytes, offset, last);
  at = writeVarint(bytes, at, runs.length);
  let before: EpochRun = { epoch: 0, first: 0 };
  for (const run of runs) {
    at = writeVarint(bytes, at, run.epoch - before.epoch);
    at = writeVarint(bytes, at, run.first - before.first);
    before = run;
  }
  return at;
}

/** Runs and last index; the reader fails when they are not that. */
export function readRuns(reader: FieldReader): { runs: EpochRun[]; last: number } {
  const last = reader.varint();
  const count = reader.varint();
  const runs: EpochRun[] = [];
  if (count > EPOCH_RUNS_MAX) reader.fail();
  let epoch = 0;
  let first = 0;
  for (let at = 0; at < count && !reader.hasFailed; at++) {
    epoch += reader.varint();
    first += reader.varint();
    runs.push({ epoch, first });
  }
  if (!areRuns(runs, last)) reader.fail();
  return { runs, last };
}
