/**
 * The life of a segment in memory.
 *
 *   active → frozen → flushing → flushed → retired
 *
 * The active one takes records. A frozen one is full. Segments form groups, and a group is flushed as a whole once all
 * its frames are committed: only its newest record of a key is written. So a group whose keys are written again and
 * again is let grow. A flushed segment stays as a cache of recent writes until its arena is needed.
 */

import { SLOT_COUNT } from "../base/slot.ts";
import type { FlushSource } from "../lsm/flush.ts";
import type { Lsm } from "../lsm/lsm.ts";
import { MemorySegment } from "../lsm/memory-segment.ts";
import type { Memtable } from "../lsm/memtable.ts";
import type { Log } from "../wal/log.ts";
import type { Arena, ArenaPool, Segment } from "../wal/segment.ts";
import type { CommitPipeline } from "./commit-pipeline.ts";
import type { KeyCounts } from "./key-counts.ts";

type Phase = "active" | "frozen" | "flushing" | "flushed";

export interface Resident {
  readonly segment: Segment;
  readonly memory: MemorySegment;
  phase: Phase;
}

export interface SegmentsParts {
  /** Deletes log files whose records are all in tables. */
  deleteLogsBefore(segment: Segment): void;
  readonly counts: KeyCounts;
  readonly lsm: Lsm;
  readonly memtable: Memtable;
  readonly pool: ArenaPool;
  /** Arenas that there are. */
  readonly segmentCount: number;
  onFatal(error: Error): void;
  /** There are so many arenas now. */
  onExtended(segmentCount: number): void;
  /**
   * A flush has ended: arenas may be free, counts have settled. Unless it has found no room on the disk: then nothing
   * more may be written until one has.
   */
  onFlushed(hadRoom: boolean): void;
}

/** Segments flushed at once. */
const FLUSH_SEGMENTS_MAX = 8;
/** Arenas that a group leaves besides those which fill while it is flushed: the active one and one to be safe. */
const GROUP_SPARE = 2;
/** One in so many arenas is kept for small writes while large values arrive faster than they are flushed. */
const RESERVE_DIVISOR = 4;
/** Log that stays unflushed however long nothing is written. */
const TIDY_LOG_BYTES = 8 * 1024 * 1024;
/** Bytes above the last level, and their share of all, from which an idle store merges everything. */
const TIDY_TABLE_BYTES = 8 * 1024 * 1024;
const TIDY_TABLE_SHARE = 0.04;
/** Calls of retry(), each about a second after the one before, until a flush that found no room is tried again. */
const RETRY_CALLS = 5;
/** A recovered segment with less room than this is not worth going on in. */
const RESUME_ROOM_BYTES = 64 * 1024;

export class Segments {
  readonly #parts: SegmentsParts;
  /** Oldest first; the last one is active. */
  readonly #residents: Resident[] = [];
  readonly #spare: MemorySegment[] = [];
  #log: Log | undefined;
  #pipeline: CommitPipeline | undefined = undefined;
  #resolving: Promise<void> | undefined = undefined;
  #flushing: Promise<void> | undefined = undefined;
  #isClosing = false;
  #isTidying = false;
  #isDiskFull = false;
  #retryCalls = 0;
  /** The group of the active segment. */
  #group = 0;
  readonly #waiters: (() => void)[] = [];
  flushCount = 0;
  /** Times that a unit had to wait for a flush to free an arena. */
  stallCount = 0;

  constructor(parts: SegmentsParts) {
    this.#parts = parts;
    parts.counts.unflushed = () => this.unflushed.map((resident) => resident.memory);
  }

  /** Recovery is over: from now on only committed segments are flushed. */
  bind(log: Log, pipeline: CommitPipeline): void {
    this.#log = log;
    this.#pipeline = pipeline;
  }

  /** Segments whose records are not in tables, oldest first. */
  get unflushed(): Resident[] {
    return this.#residents.filter((resident) => resident.phase !== "flushed");
  }

  /** Whether all records of a resident segment are in tables too. */
  isFlushed(memory: MemorySegment): boolean {
    for (const resident of this.#residents) {
      if (resident.memory === memory) return resident.phase === "flushed";
    }
    return false;
  }

  /** Starts no more flushes; resolves when none is in progress. */
  async close(): Promise<void> {
    this.#isClosing = true;
    while (this.#flushing !== undefined || this.#resolving !== undefined) {
      await (this.#flushing ?? this.#resolving);
    }
  }

  /**
   * Recovery found segments that a flush had put into tables before their files were deleted. Of `partlyApplied` no
   * record may have been indexed yet.
   */
  markFlushedBefore(sequence: number, partlyApplied?: Segment): void {
    for (const resident of this.#residents) {
      const { firstSequence, recordCount } = resident.memory;
      if (resident.segment === partlyApplied && firstSequence >= sequence) continue;
      const isEmpty = recordCount === 0 && firstSequence < sequence;
      if (isEmpty || firstSequence + recordCount <= sequence) resident.phase = "flushed";
    }
  }

  /** Whether records can still be appended to this recovered segment. */
  canResume(segment: Segment): boolean {
    const last = this.#residents.at(-1);
    return (
      last?.segment === segment &&
      last.phase === "active" &&
      !last.memory.isFull &&
      segment.end + RESUME_ROOM_BYTES < segment.bytes.length
    );
  }

  get residents(): readonly Resident[] {
    return this.#residents;
  }

  /** Whether a flush is on that will free arenas, and few are free until then. */
  get isShort(): boolean {
    if (this.#flushing === undefined || this.#isClosing) return false;
    let free = this.#parts.pool.freeCount;
    let used = 0;
    for (const { phase } of this.#residents) {
      if (phase === "flushed") free++;
      else used++;
    }
    return free * RESERVE_DIVISOR < free + used;
  }

  /** Whether the last flush has found no room: the segments wait for the next try. */
  get isDiskFull(): boolean {
    return this.#isDiskFull;
  }

  get isFlushing(): boolean {
    return this.#flushing !== undefined;
  }

  /** Whether a flush is on, or begins as soon as counts are resolved. */
  get isBusy(): boolean {
    return this.#flushing !== undefined || this.#resolving !== undefined;
  }

  /** Takes in a segment that recovery has read; the caller indexes its records. */
  adopt(segment: Segment, firstSequence: number): MemorySegment {
    for (const resident of this.#residents) {
      if (resident.phase === "active") resident.phase = "frozen";
    }
    if (this.#isGroupDone()) this.#group++;
    const memory =
      this.#spare.pop() ?? new MemorySegment(this.#parts.pool.segmentBytes, SLOT_COUNT);
    memory.attach(segment, firstSequence, this.#group);
    this.#residents.push({ segment, memory, phase: "active" });
    this.#parts.memtable.activate(memory);
    return memory;
  }

  /** Closes the active segment and starts the next; false when every arena is still needed. */
  roll(): boolean {
    const arena = this.takeArena();
    if (arena === undefined) {
      this.stallCount++;
      this.maybeFlush();
      return false;
    }
    const log = this.#log!;
    this.adopt(log.roll(arena), log.nextSequence);
    this.maybeFlush();
    return true;
  }

  /** A free arena, if need be that of the oldest flushed segment. */
  takeArena(): Arena | undefined {
    const arena = this.#parts.pool.take();
    if (arena !== undefined) return arena;
    while (this.#residents[0]?.phase === "flushed") {
      this.#retire(this.#residents.shift()!);
      // Not one that the pool had been extended by.
      const freed = this.#parts.pool.take();
      if (freed !== undefined) return freed;
    }
    return undefined;
  }

  /** An arena beyond those that there should be: none can be freed. */
  extend(): Arena {
    const { pool, segmentCount } = this.#parts;
    const arena = pool.extend();
    this.#parts.onExtended(segmentCount + pool.extraCount);
    return arena;
  }

  /** Takes back the arena of a segment that was never adopted. */
  giveArena(segment: Segment): void {
    segment.isResident = false;
    this.#parts.pool.give(segment.arena);
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  /** What the segments' arenas come from. */
  get arenas(): ArenaPool {
    return this.#parts.pool;
  }

  /** Whoever waits for an arena looks again now. */
  letGo(): void {
    this.#wake();
  }

  /** Resolves when a flush has ended, so that roll() can be tried again. */
  arenaFreed(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
      this.maybeFlush();
    });
  }

  /**
   * Nothing has been written for a while: gives back the space of the log, then of what tables hold twice, where that
   * is worth the work.
   */
  tidy(pipeline: CommitPipeline): void {
    if (this.#flushing !== undefined || this.#isClosing || this.#isTidying) return;
    if (this.#isDiskFull) return;
    const unflushed = this.unflushed.reduce((sum, resident) => sum + resident.segment.end, 0);
    if (unflushed > TIDY_LOG_BYTES) {
      pipeline.endTurn();
      if (this.roll()) this.#report(this.flush());
      return;
    }
    const bytes = this.#parts.lsm.info.levels.map((level) => level.bytes);
    const total = bytes.reduce((sum, level) => sum + level, 0);
    const last = bytes.findLastIndex((level) => level > 0);
    const above = last < 0 ? 0 : total - bytes[last]!;
    if (above < TIDY_TABLE_BYTES || above < total * TIDY_TABLE_SHARE) return;
    this.#isTidying = true;
    const merged = this.#parts.lsm.compactAll().finally(() => {
      this.#isTidying = false;
    });
    this.#report(merged);
  }

  #report(work: Promise<void>): void {
    work.catch((error: Error) => {
      if (!this.#isClosing) this.#parts.onFatal(error);
    });
  }

  /** The commit index has grown: what units wait for can be flushed. */
  onCommitted(): void {
    if (this.#waiters.length > 0) this.maybeFlush();
  }

  /**
   * Whether the active segment's group ends with it. While a group is flushed, as many arenas fill as it has segments'
   * worth of records that are not overwritten, about: so many must be left.
   */
  #isGroupDone(): boolean {
    let size = 0;
    let records = 0;
    let dead = 0;
    for (const { memory } of this.#residents) {
      if (memory.group !== this.#group) continue;
      size++;
      records += memory.recordCount;
      dead += memory.deadCount;
    }
    if (size === 0) return false;
    const live = size * (1 - dead / Math.max(1, records));
    return size === FLUSH_SEGMENTS_MAX || size + live >= this.#parts.segmentCount - GROUP_SPARE;
  }

  /** Flushes the oldest group when it is complete and committed, or what there is when arenas are short. */
  maybeFlush(): void {
    if (!this.#isClosing && !this.#isDiskFull) this.#flushDue();
  }

  /** Once a second: the disk may have room again. */
  retry(): void {
    if (!this.#isDiskFull || this.#isClosing || this.#flushing !== undefined) return;
    if (++this.#retryCalls % RETRY_CALLS === 0) this.#flushDue();
  }

  #flushDue(): void {
    const ready = this.#ready();
    const isShort = this.#parts.pool.freeCount === 0 && this.#residents[0]?.phase !== "flushed";
    const complete = ready.filter((resident) => this.#isComplete(resident, ready));
    if (complete.length > 0) this.#report(this.#flush(complete));
    else if (isShort && ready.length > 0) this.#report(this.#flush(ready));
  }

  /** Whether the resident's whole group is in `ready`, the oldest unflushed segments. */
  #isComplete(resident: Resident, ready: readonly Resident[]): boolean {
    const next = this.unflushed[ready.length];
    return next === undefined || next.memory.group !== resident.memory.group;
  }

  /** Flushes all that is frozen and committed now. */
  flush(): Promise<void> {
    return this.#flush(undefined);
  }

  #flush(wanted: readonly Resident[] | undefined): Promise<void> {
    // A resolution changes the same counts; it is short.
    if (this.#resolving !== undefined) {
      return this.#resolving.then(() => (wanted === undefined ? this.flush() : this.maybeFlush()));
    }
    if (this.#flushing !== undefined) return this.#flushing;
    const ready = wanted ?? this.#ready();
    if (ready.length === 0) return Promise.resolve();
    this.#flushing = this.#run(ready).then(
      (hadRoom) => this.#finish(hadRoom),
      (error: Error) => this.#parts.onFatal(error),
    );
    return this.#flushing;
  }

  /** False: there was no room for the tables. */
  async #run(ready: readonly Resident[]): Promise<boolean> {
    const deltas = new Float64Array(SLOT_COUNT);
    const sources = ready.map((resident) => {
      const source = sourceOf(resident);
      // What overwrote a record may not be in this flush, and then could be lost without the record.
      return this.#isComplete(resident, ready) ? source : withoutDead(source);
    });
    for (const resident of ready) {
      resident.phase = "flushing";
      for (let slot = 0; slot < SLOT_COUNT; slot++) {
        deltas[slot]! += resident.memory.knownDeltas[slot]!;
      }
    }
    const before = this.#parts.lsm.baseCounts;
    const hadRoom = await this.#parts.lsm.flush(sources, deltas);
    for (const resident of ready) resident.phase = hadRoom ? "flushed" : "frozen";
    if (!hadRoom) return false;
    const after = this.#parts.lsm.baseCounts;
    this.#parts.counts.settleFlush(
      after.map((count, slot) => count - before[slot]! - deltas[slot]!),
    );
    const firstKept = this.#residents.find((resident) => resident.phase !== "flushed");
    if (firstKept !== undefined) this.#parts.deleteLogsBefore(firstKept.segment);
    this.flushCount++;
    return true;
  }

  /** Finds out, off the event loop, what the marked records of unflushed segments count for. */
  async resolveCounts(): Promise<void> {
    while (this.#resolving !== undefined || this.#flushing !== undefined) {
      await (this.#resolving ?? this.#flushing);
    }
    this.#resolving = this.#resolve();
    try {
      await this.#resolving;
    } finally {
      this.#resolving = undefined;
    }
  }

  async #resolve(): Promise<void> {
    const { counts, lsm } = this.#parts;
    for (const resident of this.unflushed) {
      const { memory } = resident;
      if (memory.unknownCounts === 0) continue;
      const generation = counts.generation;
      const source = { ...sourceOf(resident), firstRecord: memory.resolvedRecords };
      const deltas = await lsm.resolveCounts([source]);
      if (counts.generation !== generation) return;
      counts.resolve(memory, source.recordCount, deltas);
    }
  }

  #finish(hadRoom: boolean): void {
    this.#flushing = undefined;
    this.#isDiskFull = !hadRoom;
    this.#parts.onFlushed(hadRoom);
    // Without room they wait again, or are refused.
    this.#wake();
    this.maybeFlush();
  }

  #ready(): Resident[] {
    const flushable = this.#pipeline?.flushableIndex ?? Number.POSITIVE_INFINITY;
    const ready: Resident[] = [];
    for (const resident of this.#residents) {
      if (resident.phase === "flushed") continue;
      if (resident.phase !== "frozen" || resident.segment.lastIndex > flushable) break;
      if (ready.push(resident) === FLUSH_SEGMENTS_MAX) break;
    }
    return ready;
  }

  #retire(resident: Resident): void {
    this.#parts.memtable.retire(resident.memory);
    resident.segment.isResident = false;
    this.#parts.pool.give(resident.segment.arena);
    resident.memory.arena = undefined;
    this.#spare.push(resident.memory);
  }
}

function withoutDead({ dead: _, ...source }: FlushSource): FlushSource {
  return source;
}

/** The records of a segment as a flush or a count resolution reads them. */
export function sourceOf(resident: Resident): FlushSource {
  const memory = resident.memory;
  return {
    bytes: resident.segment.shared,
    offsets: memory.offsetsShared,
    dead: memory.deadShared,
    firstRecord: 0,
    recordCount: memory.recordCount,
    firstSequence: memory.firstSequence,
  };
}
