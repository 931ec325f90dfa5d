/**
 * A member's attempt to become the writer of epoch e:
 *
 *   1. claiming     write the document, e − 1 → e, RECOVERING, with an own claim id, on condition of its version
 *   2. sealing      ask every member, itself included, to promise e; wait for |M| − Q + 1 answers of incarnations that
 *                   M lists, its own among them, none of a log that is not complete
 *   3. truncating   the best of these logs is the one with the greatest (last epoch, last index): it holds everything
 *                   that was ever committed. Drop what this log has beyond the prefix that both share
 *   4. fetching     get what it lacks, epochs kept, from the best log's holder
 *   5. syncing      until all of it is durable here. Then, and not before, the writer of e begins (writer.ts)
 *
 * A suffix that is no longer in the holder's log cannot be had this way: the claimant yields, and the holder claims
 * e + 1. A claimant that makes no progress for recoveryMs gives up. Either way the document stays RECOVERING.
 *
 * An empty log seals like every other, but is the best one only in the set's first epoch, or if all members answer and
 * all are empty: otherwise a disk that was exchanged under a node could win. (So a set whose members lose disks before
 * it ever had a writer waits for them.)
 */
import { assert } from "../../base/assert.ts";
import type { Context } from "./context.ts";
import type { ReplicaSetDocument } from "./document-register.ts";
import { comparePositions, EpochTable } from "./epoch-table.ts";
import type { FetchReply, SealAnswer } from "./message.ts";
import { isListed, sealQuorum } from "./quorum.ts";
import { appendRuns } from "./replica.ts";

export type ClaimPhase = "claiming" | "sealing" | "truncating" | "fetching" | "syncing";
export type ClaimResult = "working" | "ready" | "failed";

interface Answer {
  readonly nodeId: string;
  readonly incarnation: number;
  readonly table: EpochTable;
}

export class Claim {
  readonly #context: Context;
  readonly epoch: number;
  #phase: ClaimPhase = "claiming";
  readonly #answers = new Map<string, Answer>();
  #best: Answer | undefined;
  #hasYielded = false;
  #lastProgressMs: number;
  #lastSentMs = Number.NEGATIVE_INFINITY;

  /** Proposes the document. REQUIRES: it is known and has no open change. */
  constructor(context: Context, claimId: string, nowMs: number) {
    this.#context = context;
    const document = context.register.document!;
    this.epoch = document.epoch + 1;
    this.#lastProgressMs = nowMs;
    context.out.log(`claiming epoch ${this.epoch}`);
    context.register.propose({
      ...document,
      epoch: this.epoch,
      phase: "RECOVERING",
      writer: context.nodeId,
      claim: claimId,
    });
  }

  get phase(): ClaimPhase {
    return this.#phase;
  }

  /** The document is written: this member alone may speak in this epoch (I1). */
  onClaimed(nowMs: number): void {
    assert(this.#phase === "claiming", "a claim that succeeded twice");
    this.#phase = "sealing";
    this.#lastProgressMs = nowMs;
    this.#sendSeals(nowMs);
  }

  onSealAnswer(from: string, message: SealAnswer, nowMs: number): void {
    if (message.epoch !== this.epoch || this.#phase !== "sealing") return;
    const { incarnation, isComplete } = message;
    const isMember = isListed(this.#document().members, { nodeId: from, incarnation });
    if (!isMember || !isComplete) return;
    const table = new EpochTable(message.runs, message.last);
    if (!this.#answers.has(from)) this.#lastProgressMs = nowMs;
    this.#answers.set(from, { nodeId: from, incarnation, table });
  }

  onFetchReply(from: string, message: FetchReply, nowMs: number): void {
    const { log, out } = this.#context;
    if (message.epoch !== this.epoch || this.#phase !== "fetching") return;
    if (from !== this.#best!.nodeId || !isAt(message, log.table)) return;
    if (!message.isAvailable) {
      out.log(`${from} no longer has the log from ${log.lastIndex + 1}: it shall claim itself`);
      out.send(from, { type: "handover", epoch: this.epoch });
      this.#hasYielded = true;
      return;
    }
    if (message.last > this.#best!.table.lastIndex || message.runs.length === 0) return;
    out.push({ type: "append", first: log.lastIndex + 1, last: message.last });
    appendRuns(log.table, message);
    this.#lastProgressMs = nowMs;
    this.#fetchOrSync();
  }

  tick(nowMs: number): void {
    if (this.#phase === "claiming") return;
    if (nowMs - this.#lastSentMs < this.#context.options.heartbeatMs) return;
    this.#sendSeals(nowMs);
    if (this.#phase === "fetching") this.#fetchOrSync();
  }

  advance(nowMs: number): ClaimResult {
    const { log, options } = this.#context;
    if (this.#hasYielded || nowMs - this.#lastProgressMs > options.recoveryMs) return "failed";
    if (this.#phase === "sealing") this.#choose();
    if (this.#phase === "truncating" && log.isSteady) this.#fetchOrSync();
    return this.#phase === "syncing" && log.isDurable ? "ready" : "working";
  }

  #document(): ReplicaSetDocument {
    return this.#context.register.document!;
  }

  /** Also tells the members that the claimant lives. */
  #sendSeals(nowMs: number): void {
    this.#lastSentMs = nowMs;
    for (const { nodeId } of this.#document().members)
      this.#context.out.send(nodeId, { type: "seal", epoch: this.epoch });
  }

  /** Picks the best log once enough members are sealed, and begins to make this log equal to it. */
  #choose(): void {
    const { nodeId, log, out } = this.#context;
    const answers = [...this.#answers.values()];
    const { members } = this.#document();
    const isSealed = answers.length >= sealQuorum(this.#document());
    if (!this.#answers.has(nodeId) || !isSealed) return;
    const best = answers.reduce(
      (best, answer) => (isBetter(answer, best, nodeId) ? answer : best),
      answers[0]!,
    );
    const mayBeEmpty = this.epoch === 1 || answers.length === members.length;
    if (best.table.lastIndex === 0 && !mayBeEmpty) return;
    this.#best = best;
    const common = log.table.commonPrefix(best.table);
    out.log(`epoch ${this.epoch}: ${best.nodeId} has the best log, up to ${best.table.lastIndex}`);
    this.#phase = "truncating";
    if (common < log.lastIndex) log.truncate(common);
  }

  #fetchOrSync(): void {
    const { log, out } = this.#context;
    const best = this.#best!;
    if (log.lastIndex < best.table.lastIndex) {
      this.#phase = "fetching";
      const { epoch } = this;
      out.send(best.nodeId, { type: "fetch", epoch, previous: log.table.last });
      return;
    }
    this.#phase = "syncing";
    assert(comparePositions(log.table.last, best.table.last) === 0, "a log unlike the best one");
    if (!log.isDurable) out.push({ type: "sync" });
  }
}

/** Of equal logs the claimant's own is the better one. */
function isBetter(answer: Answer, than: Answer, claimant: string): boolean {
  const order = comparePositions(answer.table.last, than.table.last);
  return order > 0 || (order === 0 && answer.nodeId === claimant);
}

/** Whether the reply goes on where `table` ends. */
function isAt(message: FetchReply, table: EpochTable): boolean {
  return comparePositions(message.previous, table.last) === 0;
}
