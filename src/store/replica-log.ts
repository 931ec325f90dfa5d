/**
 * The log of a replica: frames that the writer has made, indexed once they are committed.
 *
 *     … applied = committed │ waiting: in arenas and files, not indexed │ end of the log
 *        └ memtable, counts │                                           │ appendFrames →
 *                           └ truncateAfter() drops from the end
 *
 * A segment is adopted (memtable, flushes) when its first record is applied, or when nothing else is there. So nobody sees,
 * and no table gets, what is not committed. Time is the clock of the newest applied frame.
 *
 * What waits must be in memory. When every arena is full of it, nothing can be flushed before something is committed, and
 * nothing may be committed before more has been appended (a new epoch's first frame): then the pool is extended. The
 * writer's own arenas bound by how much, since it cannot flush these frames either.
 */
import { assert } from "../base/assert.ts";
import { FRAME_HEADER_BYTES, type FrameFields } from "../wal/frame.ts";
import type { AppendEffects, Log } from "../wal/log.ts";
import type { Arena, Segment } from "../wal/segment.ts";
import type { CommitPipeline, PendingFrame } from "./commit-pipeline.ts";
import type { Replay } from "./replay.ts";
import type { Segments } from "./segments.ts";

interface WaitingFrame {
  readonly segment: Segment;
  readonly start: number;
  readonly end: number;
  readonly fields: FrameFields;
}

/** Applied frames are removed from the front of the queue when there are so many. */
const TRIM_FRAMES = 1024;

function pendingOf({ segment, end, fields }: WaitingFrame): PendingFrame {
  const nextSequence = fields.firstSequence + fields.recordCount;
  return { index: fields.index, segment: segment.number, end, nextSequence };
}

export class ReplicaLog implements AppendEffects {
  readonly #segments: Segments;
  readonly #replay: Replay;
  readonly #onDeletion: (deletion: { sequence: number; index: number }) => unknown;
  #log: Log | undefined = undefined;
  #pipeline: CommitPipeline | undefined = undefined;
  /** Segments behind the adopted ones, oldest first. */
  readonly #unadopted: Segment[] = [];
  /** From #next on: frames that are not applied, oldest first. */
  readonly #waiting: WaitingFrame[] = [];
  #next = 0;
  #applied: PendingFrame = { index: 0, segment: 0, end: 0, nextSequence: 0 };
  /** Of the newest applied frame: what has expired by then is absent. */
  clockMs = 0;

  /** `onDeletion` is told of each deletion of all keys that is applied. */
  constructor(
    segments: Segments,
    replay: Replay,
    onDeletion: (deletion: { sequence: number; index: number }) => unknown,
  ) {
    this.#segments = segments;
    this.#replay = replay;
    this.#onDeletion = onDeletion;
  }

  /** Told of each key whose write is applied. */
  set onApplied(told: Replay["onKey"]) {
    this.#replay.onKey = told;
  }

  /** Index of the newest frame that reads see. */
  get appliedIndex(): number {
    return this.#applied.index;
  }

  /** The adopted segment of which only a part is applied. */
  get partlyApplied(): Segment | undefined {
    const segment = this.#waiting[this.#next]?.segment;
    return segment === this.#segments.residents.at(-1)?.segment ? segment : undefined;
  }

  /** Recovery has read the log: where it goes on. */
  async start(log: Log, takeArena: () => Promise<Arena>): Promise<void> {
    this.#log = log;
    const last = log.segments.at(-1);
    const resident = this.#segments.residents.find(({ segment }) => segment === last);
    const goesOn = resident === undefined ? last !== undefined : resident.phase !== "flushed";
    if (goesOn) log.resume(last!);
    else this.onSegment(log.roll(await takeArena()));
    if (this.#segments.residents.length === 0) {
      const waiting = this.#waiting.slice(this.#next);
      const first = waiting.find(({ segment }) => segment === this.#unadopted[0]) ?? waiting[0];
      this.#adopt(first?.fields.firstSequence ?? log.nextSequence);
    }
    // What is deleted was committed, whether or not anything tells of later frames.
    if (this.#applied.index === 0) this.#applied = { ...this.#applied, index: log.firstIndex - 1 };
    log.commitIndex = this.#applied.index;
    // Until somebody knows what the other members have.
    log.durableEverywhere = 0;
  }

  /** The store is open. Log is kept for other nodes, up to `retainBytesMax`, until the cluster says otherwise. */
  bind(pipeline: CommitPipeline, retainBytesMax: number): void {
    this.#pipeline = pipeline;
    this.#log!.retain({ from: 0, bytesMax: retainBytesMax });
    pipeline.commitApplied(this.#applied);
  }

  /** What a start finds: `knownCommitted` is the highest index that is known by then. */
  recover(frame: WaitingFrame, knownCommitted: number): void {
    this.#waiting.push(frame);
    this.#apply(knownCommitted);
  }

  /**
   * Puts frames of the writer behind the log's end and writes them. Returns how many bytes of them: the rest is to come
   * again after arenaFreed(). Throws BadFrameError, and then nothing has changed.
   */
  appendFrames(bytes: Buffer): number {
    const taken = this.#log!.appendFrames(bytes, this);
    this.#pipeline!.writeReceived();
    return taken;
  }

  /** Begins an epoch of this node with an empty frame. False: no arena is free, see arenaFreed(). */
  appendEpochStart(epoch: number, wallMs: number): boolean {
    const log = this.#log!;
    if (!log.appendEpochStart(epoch, Math.max(log.clockMs, wallMs), this)) return false;
    this.#pipeline!.writeReceived();
    return true;
  }

  arenaFreed(): Promise<void> {
    return this.#segments.arenaFreed();
  }

  /** Frames up to `index` are committed. */
  commit(index: number): void {
    if (index <= this.#applied.index) return;
    this.#log!.commitIndex = index;
    this.#apply(index);
    assert(this.#applied.index === index, "a commit of what the log does not have");
    this.#pipeline!.commitReceived(this.#applied);
    this.#segments.maybeFlush();
  }

  /** Drops all frames behind `index`, durably. Nothing is appended meanwhile. */
  async truncateAfter(index: number): Promise<void> {
    await this.#pipeline!.settle();
    assert(index >= this.#applied.index, "a truncation of what is applied");
    while (this.#waiting.length > this.#next && this.#waiting.at(-1)!.fields.index > index)
      this.#waiting.pop();
    for (const segment of this.#log!.truncateAfter(index)) {
      assert(this.#unadopted.includes(segment), "a truncation of an adopted segment");
      this.#unadopted.splice(this.#unadopted.indexOf(segment), 1);
      this.#segments.giveArena(segment);
    }
  }

  /** Indexes the rest: from now on this node makes the frames. Returns those that are not committed. */
  lead(): PendingFrame[] {
    const log = this.#log!;
    const uncommitted = this.#waiting.slice(this.#next).map(pendingOf);
    this.#apply(log.openIndex - 1);
    while (this.#unadopted.length > 0) this.#adopt(log.nextSequence);
    assert(this.#segments.residents.at(-1)!.segment === log.active, "the log's end is adopted");
    return uncommitted;
  }

  /** Another node makes the frames again. REQUIRES: all of the log is committed and indexed. */
  follow(): void {
    const log = this.#log!;
    assert(this.#unadopted.length === 0, "a writer's segments are adopted");
    this.#waiting.length = 0;
    this.#next = 0;
    const { openIndex, openFrameStart: end, nextSequence } = log;
    this.#applied = { index: openIndex - 1, segment: log.active.number, end, nextSequence };
    this.clockMs = log.clockMs;
    this.#pipeline!.commitApplied(this.#applied);
  }

  nextArena(): Arena | undefined {
    const segments = this.#segments;
    const arena = segments.takeArena();
    if (arena !== undefined) return arena;
    segments.maybeFlush();
    return segments.isBusy ? undefined : segments.extend();
  }

  onSegment(segment: Segment): void {
    this.#unadopted.push(segment);
  }

  onFrame(segment: Segment, start: number, end: number, fields: FrameFields): void {
    this.#waiting.push({ segment, start: start + FRAME_HEADER_BYTES, end, fields });
  }

  #adopt(firstSequence: number): void {
    this.#segments.adopt(this.#unadopted.shift()!, firstSequence);
  }

  #apply(index: number): void {
    for (;;) {
      const frame = this.#waiting[this.#next];
      if (frame === undefined || frame.fields.index > index) break;
      this.#next++;
      this.#applyFrame(frame);
    }
    if (this.#next === this.#waiting.length || this.#next >= TRIM_FRAMES) {
      this.#waiting.splice(0, this.#next);
      this.#next = 0;
    }
  }

  #applyFrame(frame: WaitingFrame): void {
    const { segment, start, end, fields } = frame;
    // The segment of an empty frame may be in tables, and its arena in use for another.
    if (fields.recordCount > 0) {
      while (this.#segments.residents.at(-1)?.segment !== segment)
        this.#adopt(fields.firstSequence);
      this.#replay.frame(segment, start, end, fields);
    }
    for (const sequence of this.#replay.takeDeletions())
      this.#onDeletion({ sequence, index: fields.index });
    this.clockMs = fields.clockMs;
    this.#applied = pendingOf(frame);
  }
}
