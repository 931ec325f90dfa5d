/**
 * Turns into frames, frames into committed writes.
 *
 *   records of a turn → closeFrame → write → (sync) → committed advances → gated replies leave
 *
 * `committed` is the index of the newest frame that the replicator has committed: in a node by itself, the newest one
 * that is as durable as configured (replicator.ts). One sync runs at a time and covers all that was
 * written before it started (group commit). A write or sync that fails is fatal: nothing is acknowledged after.
 *
 * Clients wait for one sync and then all write again, while the next sync has begun for those who came meanwhile: two
 * groups would take turns, each waiting for two syncs. So the next one waits a moment for as many records as the last
 * one let go; one client alone has brought its own by then.
 *
 *   committed <= log.writtenIndex < log.openIndex
 */
import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../wal/log.ts";
import { type Replicator, StandaloneReplicator } from "./replicator.ts";

export type SyncPolicy = "always" | "everysec" | "no";

const SYNC_INTERVAL_MS = 1000;
/** A sync waits for the clients that the last one has answered until none has come for so many turns … */
const QUIET_TURNS_MAX = 20;
/** … and at most as long as this many syncs take. */
const GATHER_SYNCS_MAX = 2;

export interface CommitEffects {
  readonly clock: Clock;
  /** Called after `committed`, or the log's durable index, has advanced. */
  onCommitted(): void;
  /** The log can no longer be trusted to keep what it is given; must end the process. */
  onFatal(error: Error): void;
}

/** A closed frame of this node's log. */
export interface PendingFrame {
  readonly index: number;
  readonly segment: number;
  /** Offset behind it. */
  readonly end: number;
  /** Sequence of the record after its last. */
  readonly nextSequence: number;
}

export class CommitPipeline {
  readonly #log: Log;
  readonly #effects: CommitEffects;
  #policy: SyncPolicy;
  #replicator: Replicator = new StandaloneReplicator((index) => this.commit(index));
  #isTurnScheduled = false;
  #syncing: Promise<void> | undefined = undefined;
  #failed = false;
  readonly #ticker: Timer;
  /** Closed frames that are not committed, oldest first. */
  readonly #pending: PendingFrame[] = [];
  #committedSegment: number;
  #committedEnd: number;
  /** Sequence that the next record had when the newest committed frame was closed. */
  #committedSequence: number;
  /** As #committedSequence, of the newest written frame, and what that must be for the next sync to wait no longer. */
  #writtenSequence: number;
  #gatherSequence = 0;
  /** What it was when it last grew, and the turns since. */
  #gatheredSequence = 0;
  #quietTurns = 0;
  #isGathering = false;
  /** Index of the newest committed frame. */
  committed: number;
  /** Another node makes the frames. */
  isReceiving = false;
  /** Milliseconds on the monotonic clock at which the last sync ended, and how long it took. */
  lastSyncMs = 0;
  lastSyncDurationMs = 0;

  constructor(log: Log, policy: SyncPolicy, effects: CommitEffects) {
    this.#log = log;
    this.#policy = policy;
    this.#effects = effects;
    this.committed = log.writtenIndex;
    this.#committedSegment = log.active.number;
    this.#committedEnd = log.openFrameStart;
    this.#committedSequence = log.nextSequence;
    this.#writtenSequence = log.nextSequence;
    this.#ticker = effects.clock.every(SYNC_INTERVAL_MS, () => this.#tick());
  }

  get policy(): SyncPolicy {
    return this.#policy;
  }

  set policy(policy: SyncPolicy) {
    this.#policy = policy;
    if (policy === "always") this.#startSync();
    else this.#replicator.onDurable(this.#log.writtenIndex);
  }

  /** Who commits from now on. */
  set replicator(replicator: Replicator) {
    this.#replicator = replicator;
  }

  /**
   * Frames up to here may go into tables. Others may have committed what is not on this node's stable storage: tables that
   * survive a power failure must not be ahead of a log that does.
   */
  get flushableIndex(): number {
    const { committed } = this;
    return this.#policy === "always" ? Math.min(committed, this.#log.durableIndex) : committed;
  }

  get isSyncing(): boolean {
    return this.#syncing !== undefined;
  }

  /** Whether the record at `offset` of segment `number` lies in a committed frame. Hot. */
  isCommitted(number: number, offset: number): boolean {
    if (number !== this.#committedSegment) return number < this.#committedSegment;
    return offset < this.#committedEnd;
  }

  /** Ends the turn once all sockets that are ready now have been served. Hot: called for every write. */
  schedule(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    this.#effects.clock.immediate(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    this.#isTurnScheduled = false;
    this.endTurn();
  };

  /** Closes the open frame, if it holds records, and writes what is closed. */
  endTurn(): void {
    if (this.#failed) return;
    try {
      if (this.#log.hasOpenRecords) this.closeFrame();
      this.#log.write();
      this.#writtenSequence = this.#log.nextSequence;
    } catch (error) {
      this.#fail(error as Error);
      return;
    }
    this.#replicator.onWritten(this.#log.writtenIndex);
    if (this.#policy === "always") this.#gather();
    else this.#replicator.onDurable(this.#log.writtenIndex);
  }

  /** Writes frames that another node has made, and syncs them as configured. */
  writeReceived(): void {
    if (this.#failed) return;
    try {
      this.#log.write();
    } catch (error) {
      this.#fail(error as Error);
      return;
    }
    if (this.#policy === "always") this.#startSync();
    else this.#replicator.onDurable(this.#log.writtenIndex);
  }

  /** A replica has been opened: it has indexed frames up to `frame`. */
  commitApplied(frame: PendingFrame): void {
    this.isReceiving = true;
    this.#setCommitted(frame);
    this.committed = frame.index;
  }

  /** A replica has indexed committed frames up to the end of `frame`. */
  commitReceived(frame: PendingFrame): void {
    this.commitApplied(frame);
    this.#effects.onCommitted();
  }

  /** A replica that becomes the writer has these frames, not yet committed. */
  beginOwn(frames: readonly PendingFrame[]): void {
    this.isReceiving = false;
    this.#pending.push(...frames);
    this.#writtenSequence = this.#log.nextSequence;
  }

  /** Resolves when no sync is on. */
  async settle(): Promise<void> {
    while (this.#syncing !== undefined) await this.#syncing;
  }

  /** Begins nothing more, and closes no frame: what is written stays as it is. */
  async abandon(): Promise<void> {
    this.#failed = true;
    this.#ticker.cancel();
    await this.settle();
  }

  /** Seals what the turn has so far; endTurn() or a roll writes it. */
  closeFrame(): void {
    const log = this.#log;
    assert(!this.isReceiving, "a replica that writes");
    log.closeFrame(Math.max(log.clockMs, this.#effects.clock.wallMs()));
    this.#pending.push({
      index: log.openIndex - 1,
      segment: log.active.number,
      end: log.openFrameStart,
      nextSequence: log.nextSequence,
    });
  }

  /** Writes what there is and syncs it soon, whatever the policy. */
  sync(): void {
    this.endTurn();
    this.#startSync();
  }

  /** Writes and syncs everything, once the sync in progress is over: shutdown. */
  async finish(): Promise<void> {
    this.#ticker.cancel();
    await this.settle();
    if (this.#failed) return;
    if (this.#log.hasOpenRecords) this.closeFrame();
    this.#log.write();
    this.#log.syncNow();
    this.#replicator.onDurable(this.#log.writtenIndex);
  }

  /** Syncs what is written, whatever the policy: old files of the log wait for it. */
  requestSync(): void {
    this.#startSync();
  }

  #tick(): void {
    if (this.#policy === "everysec") this.#startSync();
  }

  /** Starts a sync once the clients that the last one has answered are back, or have had the time to be. */
  #gather(): void {
    if (this.#syncing !== undefined || this.#failed) return;
    if (this.#writtenSequence >= this.#gatherSequence) {
      this.#startSync();
    } else if (!this.#isGathering) {
      this.#quietTurns = 0;
      this.#isGathering = true;
      this.#effects.clock.immediate(this.#onGatherTurn);
    }
  }

  readonly #onGatherTurn = (): void => {
    this.#isGathering = false;
    if (this.#syncing !== undefined || this.#failed) return;
    this.#quietTurns = this.#writtenSequence === this.#gatheredSequence ? this.#quietTurns + 1 : 0;
    this.#gatheredSequence = this.#writtenSequence;
    const waitedMs = this.#effects.clock.monotonicMs() - this.lastSyncMs;
    const waitsMs = this.lastSyncDurationMs * GATHER_SYNCS_MAX;
    if (this.#quietTurns >= QUIET_TURNS_MAX || waitedMs >= waitsMs) {
      this.#startSync();
      return;
    }
    this.#isGathering = true;
    this.#effects.clock.immediate(this.#onGatherTurn);
  };

  #startSync(): void {
    if (this.#syncing !== undefined || this.#failed) return;
    if (this.#log.durableIndex === this.#log.writtenIndex) {
      this.#replicator.onDurable(this.#log.writtenIndex);
      return;
    }
    const startMs = this.#effects.clock.monotonicMs();
    this.#syncing = this.#log.sync().then(
      (index) => {
        this.#syncing = undefined;
        this.lastSyncMs = this.#effects.clock.monotonicMs();
        this.lastSyncDurationMs = this.lastSyncMs - startMs;
        if (this.#policy !== "always") {
          this.#effects.onCommitted();
          return;
        }
        const sequence = this.#committedSequence;
        const { committed } = this;
        this.#replicator.onDurable(index);
        if (this.committed === committed) this.#effects.onCommitted();
        const answered = this.#committedSequence - sequence;
        this.#gatherSequence = this.#writtenSequence + answered;
        if (this.#log.writtenIndex > index) this.#gather();
      },
      (error: Error) => {
        this.#syncing = undefined;
        this.#fail(error);
      },
    );
  }

  /** Frames up to `index` are committed: the replicator says so. */
  commit(index: number): void {
    if (index <= this.committed) return;
    this.committed = index;
    while (this.#pending.length > 0 && this.#pending[0]!.index <= index) {
      this.#setCommitted(this.#pending.shift()!);
    }
    this.#effects.onCommitted();
  }

  #setCommitted(frame: PendingFrame): void {
    this.#committedSegment = frame.segment;
    this.#committedEnd = frame.end;
    this.#committedSequence = frame.nextSequence;
  }

  #fail(error: Error): void {
    this.#failed = true;
    this.#effects.onFatal(error);
  }
}
