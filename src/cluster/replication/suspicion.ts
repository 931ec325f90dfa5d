/**
 * Whether the set's writer (while RECOVERING: its claimant) is to be replaced, and whether by this member. It is about
 * liveness only: a wrong suspicion costs a failover, never a write.
 *
 *   1. A member suspects a writer that it has not heard for suspicionMs, whose connection closed, or that says that it
 *      does not hear its quorum (stalled: e.g. cut off in one direction only); a node suspects itself when the document
 *      names it and it has no such role, since the role does not survive a restart.
 *   2. It tells the other members, with where its log ends, and again with every heartbeat.
 *   3. |M| − Q + 1 members suspect, this one included: enough to seal. If the writer is stalled and so still alive, Q
 *      must, or the next one would stall as well.
 *   4. Of them the one with the best log claims at once, the next ones each rankDelayMs later, should it not succeed.
 */
import type { Context } from "./context.ts";
import type { ReplicaSetDocument } from "./document-register.ts";
import { comparePositions, type Position } from "./epoch-table.ts";
import type { Suspicion } from "./message.ts";
import { isListed, sealQuorum } from "./quorum.ts";

interface Report {
  readonly last: Position;
  readonly isStalled: boolean;
  readonly atMs: number;
}

export class SuspicionDetector {
  readonly #context: Context;
  #epoch = 0;
  #lastSignMs: number;
  /** As #lastSignMs, but never of what was not heard: in this epoch. */
  #heardMs = Number.NEGATIVE_INFINITY;
  #isStalled = false;
  #isDisconnected = false;
  readonly #reports = new Map<string, Report>();
  /** Since when enough members have suspected without a pause. */
  #sharedSinceMs: number | undefined;
  #lastReportMs = Number.NEGATIVE_INFINITY;
  /** Claims in a row that came to nothing, and when the next one may be. */
  #failures = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(context: Context, nowMs: number) {
    this.#context = context;
    this.#lastSignMs = nowMs;
  }

  /** When the writer or claimant of the newest epoch was last heard; −∞: never. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** Its connection has closed since. */
  get isDisconnected(): boolean {
    return this.#isDisconnected;
  }

  /** The writer or claimant of the newest epoch has been heard. */
  onSign(isQuorate: boolean, nowMs: number): void {
    this.#lastSignMs = nowMs;
    this.#heardMs = nowMs;
    this.#isDisconnected = false;
    this.#isStalled = !isQuorate;
    if (isQuorate) this.#failures = 0;
  }

  onLink(node: string, isUp: boolean): void {
    if (!isUp && node === this.#context.register.document?.writer) this.#isDisconnected = true;
  }

  /** This process did not run for a while: it heard nobody because it did not listen. */
  onPaused(nowMs: number): void {
    this.#lastSignMs = nowMs;
    this.#sharedSinceMs = undefined;
  }

  onDocument(document: ReplicaSetDocument, nowMs: number): void {
    if (document.epoch === this.#epoch) return;
    this.#epoch = document.epoch;
    this.#lastSignMs = nowMs;
    this.#heardMs = Number.NEGATIVE_INFINITY;
    this.#isDisconnected = false;
    this.#isStalled = false;
    this.#sharedSinceMs = undefined;
    this.#reports.clear();
  }

  onReport(from: string, message: Suspicion, nowMs: number): void {
    const { document } = this.#context.register;
    if (document === undefined || message.epoch !== document.epoch) return;
    const member = { nodeId: from, incarnation: message.incarnation };
    if (!isListed(document.members, member)) return;
    const { last, isStalled } = message;
    this.#reports.set(from, { last, isStalled, atMs: nowMs });
  }

  /** A claim of this member came to nothing: the next one later, and later each time. */
  onClaimFailed(nowMs: number): void {
    const { retryMs, recoveryMs } = this.#context.options;
    const pauseMs = Math.min(recoveryMs, retryMs * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    this.#notBeforeMs = nowMs + pauseMs;
    this.#sharedSinceMs = undefined;
  }

  onServing(): void {
    this.#failures = 0;
  }

  /** Reports what is suspected; true when this member should claim. REQUIRES: it has no role. */
  tick(document: ReplicaSetDocument, nowMs: number): boolean {
    const { nodeId, incarnation, log, options, out, register } = this.#context;
    if (!log.isComplete || !isListed(document.members, this.#context)) return false;
    if (!this.#suspects(document, nowMs)) {
      this.#sharedSinceMs = undefined;
      return false;
    }
    const { last } = log.table;
    const isStalled = !this.#isSilent(document, nowMs);
    if (nowMs - this.#lastReportMs >= options.heartbeatMs) {
      this.#lastReportMs = nowMs;
      const report = {
        type: "suspicion",
        epoch: document.epoch,
        incarnation,
        last,
        isStalled,
      } as const;
      for (const member of document.members)
        if (member.nodeId !== nodeId) out.send(member.nodeId, report);
      register.read(nowMs);
    }
    this.#reports.set(nodeId, { last, isStalled, atMs: nowMs });
    return this.#isOwnTurn(document, nowMs);
  }

  #suspects(document: ReplicaSetDocument, nowMs: number): boolean {
    return this.#isStalled || this.#isSilent(document, nowMs);
  }

  #isSilent(document: ReplicaSetDocument, nowMs: number): boolean {
    if (document.writer === null || document.writer === this.#context.nodeId) return true;
    return this.#isDisconnected || nowMs - this.#lastSignMs > this.#context.options.suspicionMs;
  }

  #isOwnTurn(document: ReplicaSetDocument, nowMs: number): boolean {
    const { nodeId, options, log } = this.#context;
    for (const [node, report] of this.#reports)
      if (nowMs - report.atMs > 4 * options.heartbeatMs) this.#reports.delete(node);
    const reports = [...this.#reports];
    const isStalled = reports.some(([, report]) => report.isStalled);
    const needed = Math.max(sealQuorum(document), isStalled ? document.writeQuorum : 0);
    if (reports.length < needed) {
      this.#sharedSinceMs = undefined;
      return false;
    }
    this.#sharedSinceMs ??= nowMs;
    const isAhead = ([node, { last }]: [string, Report]) => {
      const order = comparePositions(last, log.table.last);
      return order > 0 || (order === 0 && node < nodeId);
    };
    const rank = reports.filter(isAhead).length;
    const dueMs = this.#sharedSinceMs + rank * options.rankDelayMs;
    return nowMs >= Math.max(dueMs, this.#notBeforeMs);
  }
}
