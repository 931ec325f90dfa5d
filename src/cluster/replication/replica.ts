/**
 * How a member reacts to a writer's Append, a claimant's Seal and Fetch; the writer's and the claimant's own nodes
 * are members like the others.
 *
 * Append (e, previous, frames, commit, send time, L)
 *   1. e below the promise: refuse. Above: raise the promise to e, and answer with the epoch table once it is
 *      persisted; the frames come again then.
 *   2. Grant the lease: this node answers no seal before receipt + 1.1 L. L is persisted first if it is the largest.
 *   3. `previous` is not in the log: reject with the epoch table.
 *   4. A frame of the message has another epoch than the log has at its index: truncate to before it (never below
 *      what is committed: halt), and answer with the epoch table once that is done.
 *   5. Append what is new; commit index = min(the writer's, matched). Acknowledge at once, and again once it is
 *      durable: min(durable, matched in this epoch), with the newest send time granted.
 *
 * Seal (e)
 *   1. e below the promise: refuse. Above: raise the promise; from now on nothing below e is acknowledged.
 *   2. Sync the log. Wait until the promise is persisted and every grant has run out; after a restart, which forgets
 *      grants, 1.1 × the largest L ever granted from then.
 *   3. Answer with the epoch table and the incarnation; again whenever the claimant asks again.
 *
 * Invariants: I1 one node per epoch appends and seals. I2 an answer in epoch e leaves only while e is the persisted
 * promise. I8 what is acknowledged as durable is on stable storage. I9 a seal answer means that no grant is left.
 */
import { assert } from "../../base/assert.ts";
import type { Context } from "./context.ts";
import { EpochTable } from "./epoch-table.ts";
import type { Boot, PersistedPromise } from "./event.ts";
import {
  type Append,
  describeFrames,
  epochInMessage,
  type Fetch,
  NO_GRANT,
  type Seal,
} from "./message.ts";
import { grantMs } from "./options.ts";
import { EpochPromise } from "./promise.ts";

export class Replica {
  readonly #context: Context;
  readonly #promise: EpochPromise;
  /** The node that claimed the promised epoch, once it has said something. */
  #leader: string | undefined;
  /** Up to here the log is the leader's, as far as messages of this epoch have shown. */
  #matched = 0;
  /** Newest of this epoch: append, round, granted send time. */
  #sequence = 0;
  #round = 0;
  #sendTime = NO_GRANT;
  #durableOnAll = 0;
  /** No seal is answered before. */
  #grantedUntilMs: number;
  /** The claimant waits for an answer to its seal of the promised epoch. */
  #owesSealAnswer = false;
  /** The leader waits to be told where this log stands. */
  #owesStanding = false;

  constructor(context: Context, boot: Boot, nowMs: number) {
    this.#context = context;
    this.#promise = new EpochPromise(boot.promise, context.out);
    this.#grantedUntilMs = nowMs + grantMs(boot.promise.leaseMs);
  }

  /** As the writers have said: frames up to here are durable on all members. */
  get durableOnAll(): number {
    return this.#durableOnAll;
  }

  get promisedEpoch(): number {
    return this.#promise.epoch;
  }

  onAppend(from: string, message: Append, nowMs: number): void {
    if (!this.#admits(from, message.epoch, message.leaseMs)) return;
    const { log, out } = this.#context;
    this.#sequence = Math.max(this.#sequence, message.sequence);
    if (!this.#promise.isPersisted) {
      this.#owesStanding = true;
      return;
    }
    this.#grant(message, nowMs);
    if (!log.isSteady) {
      this.#owesStanding = log.isComplete;
      return;
    }
    if (!log.table.has(message.previous)) {
      this.#sendStanding();
      return;
    }
    const conflict = this.#firstConflict(message);
    if (conflict !== undefined) {
      assert(conflict > this.#matched, "a leader that takes back its own frames");
      out.log(`frames from ${conflict} are not those of epoch ${message.epoch}: truncating`);
      this.#owesStanding = log.truncate(conflict - 1);
      return;
    }
    this.#appendFrames(message);
    this.#matched = Math.max(this.#matched, message.last);
    this.#round = Math.max(this.#round, message.round);
    this.#durableOnAll = Math.max(this.#durableOnAll, message.durableOnAll);
    log.advanceCommit(Math.min(message.commit, this.#matched));
    this.#acknowledge();
  }

  onSeal(from: string, message: Seal, nowMs: number): void {
    if (!this.#admits(from, message.epoch, 0)) return;
    this.#owesSealAnswer = true;
    if (!this.#context.log.isDurable) this.#context.out.push({ type: "sync" });
    this.advance(nowMs);
  }

  onFetch(from: string, message: Fetch): void {
    const { log, out, options } = this.#context;
    if (!this.#admits(from, message.epoch, 0)) return;
    if (!this.#promise.isPersisted || !log.isSteady) return;
    const { epoch, previous } = message;
    const first = previous.index + 1;
    const isAvailable = log.table.has(previous) && first >= log.firstRetained;
    if (!isAvailable || first > log.lastIndex) {
      const nothing = { previous, runs: [], last: previous.index };
      out.send(from, { type: "fetch-reply", epoch, isAvailable, ...nothing });
      return;
    }
    const last = Math.min(log.lastIndex, previous.index + options.batchFramesMax);
    const frames = describeFrames(log.table, first, last);
    const reply = { type: "fetch-reply", epoch, isAvailable, ...frames } as const;
    out.push({ type: "ship", to: from, message: reply });
  }

  /** The writer of `epoch` reads under no lease any more: what was granted to it and to all before it is void. */
  onLeaseRevoked(epoch: number, nowMs: number): void {
    if (epoch === this.#promise.epoch) this.#grantedUntilMs = nowMs;
  }

  onPromisePersisted(promise: PersistedPromise, nowMs: number): void {
    this.#promise.onPersisted(promise);
    this.advance(nowMs);
  }

  onDurable(): void {
    if (this.#leader !== undefined && this.#canAnswer() && this.#matched > 0) this.#acknowledge();
  }

  /** A checkpoint took the log's place: nothing is known to match. */
  onCheckpoint(): void {
    this.#matched = 0;
    this.#owesStanding = true;
  }

  /** Sends what is owed and no longer has to wait. */
  advance(nowMs: number): void {
    if (!this.#canAnswer()) return;
    if (this.#owesStanding) this.#sendStanding();
    const { log } = this.#context;
    if (!this.#owesSealAnswer || nowMs < this.#grantedUntilMs || !log.isDurable) return;
    this.#owesSealAnswer = false;
    this.#answerSeal(true);
  }

  #canAnswer(): boolean {
    const { log } = this.#context;
    if (this.#owesSealAnswer && !log.isComplete && this.#promise.isPersisted) {
      this.#owesSealAnswer = false;
      this.#answerSeal(false);
    }
    return this.#promise.isPersisted && log.isSteady;
  }

  /** Step 1 of Append and Seal: whether `from` may speak in `epoch`. Raises the promise. */
  #admits(from: string, epoch: number, leaseMs: number): boolean {
    const { out } = this.#context;
    if (epoch < this.#promise.epoch) {
      out.send(from, { type: "refusal", epoch: this.#promise.epoch });
      return false;
    }
    const isNew = epoch > this.#promise.epoch;
    this.#promise.raise(epoch, leaseMs);
    if (isNew) {
      this.#matched = 0;
      this.#sequence = 0;
      this.#round = 0;
      this.#sendTime = NO_GRANT;
      this.#owesSealAnswer = false;
      this.#owesStanding = false;
      this.#leader = from;
    }
    this.#leader ??= from;
    if (this.#leader !== from) out.log(`${from} and ${this.#leader} both lead epoch ${epoch}`);
    return this.#leader === from;
  }

  #grant(message: Append, nowMs: number): void {
    if (!this.#promise.covers(message.leaseMs)) return;
    this.#grantedUntilMs = Math.max(this.#grantedUntilMs, nowMs + grantMs(message.leaseMs));
    this.#sendTime = Math.max(this.#sendTime, message.sendTime);
  }

  /** The first frame of the message that the log has with another epoch. */
  #firstConflict(message: Append): number | undefined {
    const { table } = this.#context.log;
    const end = Math.min(message.last, table.lastIndex);
    for (let at = message.previous.index + 1; at <= end; at++) {
      if (table.epochAt(at) !== epochInMessage(message, at)) return at;
    }
    return undefined;
  }

  #appendFrames(message: Append): void {
    const { log, out } = this.#context;
    const first = log.lastIndex + 1;
    if (message.last < first) return;
    out.push({ type: "append", first, last: message.last });
    appendRuns(log.table, message);
  }

  /** Says how far the log is the leader's: true at any later time of this epoch, too. */
  #acknowledge(): void {
    assert(this.#promise.isPersisted, "an acknowledgement under a promise that is not durable");
    const { log, out, incarnation } = this.#context;
    out.send(this.#leader!, {
      type: "append-ack",
      epoch: this.#promise.epoch,
      incarnation,
      sequence: this.#sequence,
      round: this.#round,
      sendTime: this.#sendTime,
      matched: this.#matched,
      durable: Math.min(log.durable, this.#matched),
    });
  }

  /** Says where this log stands, for the leader to go on from there. */
  #sendStanding(): void {
    this.#owesStanding = false;
    if (this.#leader === undefined) return;
    const { log, out, incarnation } = this.#context;
    out.send(this.#leader, {
      type: "append-reject",
      epoch: this.#promise.epoch,
      incarnation,
      sequence: this.#sequence,
      runs: [...log.table.runs],
      last: log.lastIndex,
    });
  }

  #answerSeal(isComplete: boolean): void {
    assert(this.#promise.isPersisted, "a seal answered before its promise is durable");
    const { log, out, incarnation } = this.#context;
    const table = isComplete ? log.table : new EpochTable();
    out.send(this.#leader!, {
      type: "seal-answer",
      epoch: this.#promise.epoch,
      incarnation,
      isComplete,
      runs: [...table.runs],
      last: table.lastIndex,
    });
  }
}

/** Appends to `table` the frames of `message` behind its end. */
export function appendRuns(table: EpochTable, message: Pick<Append, "runs" | "last">): void {
  for (const [at, run] of message.runs.entries()) {
    const last = (message.runs[at + 1]?.first ?? message.last + 1) - 1;
    if (last > table.lastIndex) table.append(run.epoch, last);
  }
}
