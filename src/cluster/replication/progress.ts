/**
 * How far one other node is, as its writer sees it:
 *
 *              reject                     ack                          frames are gone from the log
 *     ┌──────────────────── replicate ◄───────── probe ──────────────────► checkpoint
 *     └─────────────────────────────────────────► │ ◄──────────────────────────┘
 *                                                      its log reaches the writer's again
 *
 *   probe       where the logs part is not known: one batch at a time, again with each heartbeat
 *   replicate   frames are shipped as they come, as many as the window allows before any is acknowledged
 *   checkpoint  only heartbeats; each is rejected with the node's table, until a checkpoint brought it near
 *
 * `next` is the first frame not yet sent, `matched` the last one that arrived, `durable` the last one on its disk.
 * Invariant: matched < next; durable never shrinks for an incarnation: a node that would have to is a new one (I8).
 */
import { assert } from "../../base/assert.ts";
import { EpochTable } from "./epoch-table.ts";
import type { LogState } from "./log-state.ts";
import { type AppendAck, type AppendReject, NO_GRANT } from "./message.ts";

export type ProgressState = "probe" | "replicate" | "checkpoint";

export class Progress {
  readonly nodeId: string;
  /** As the node says; 0 before it has said anything. */
  incarnation = 0;
  state: ProgressState = "probe";
  next: number;
  matched = 0;
  durable = 0;
  /** The newest send time for which the node has granted a lease. */
  sendTime = NO_GRANT;
  round = 0;
  lastHeardMs = Number.NEGATIVE_INFINITY;
  /** When the shell was last asked for a checkpoint. */
  lastCheckpointMs = Number.NEGATIVE_INFINITY;
  lastSentMs = Number.NEGATIVE_INFINITY;
  sequence = 0;
  /** Rejects of appends before this one have been acted on. */
  #answeredBelow = 0;

  constructor(nodeId: string, next: number) {
    this.nodeId = nodeId;
    this.next = next;
  }

  onAck(message: AppendAck, firstRetained: number, nowMs: number): void {
    this.#identify(message.incarnation);
    this.matched = Math.max(this.matched, message.matched);
    this.durable = Math.max(this.durable, message.durable);
    this.sendTime = Math.max(this.sendTime, message.sendTime);
    this.round = Math.max(this.round, message.round);
    this.next = Math.max(this.next, this.matched + 1);
    this.lastHeardMs = nowMs;
    const isWithinLog = this.state !== "checkpoint" || this.matched + 1 >= firstRetained;
    if (isWithinLog) this.state = "replicate";
  }

  /** Goes back to where both logs agree; false for a reject of what was sent before the last time. */
  onReject(message: AppendReject, log: LogState, nowMs: number): boolean {
    this.#identify(message.incarnation);
    this.lastHeardMs = nowMs;
    if (message.sequence < this.#answeredBelow) return false;
    const common = log.table.commonPrefix(new EpochTable(message.runs, message.last));
    if (this.state === "checkpoint" && common + 1 < log.firstRetained) return false;
    this.matched = Math.min(this.matched, common);
    this.next = common + 1;
    this.state = "probe";
    this.#answeredBelow = this.sequence + 1;
    return true;
  }

  /** What the node needs next is gone: only a checkpoint helps. Heartbeats name the end of the log from now on. */
  leaveLog(lastIndex: number): void {
    this.state = "checkpoint";
    this.next = lastIndex + 1;
  }

  /** A connection was made: what was on its way is lost. */
  onLinkUp(): void {
    if (this.state !== "replicate") return;
    this.state = "probe";
    this.next = this.matched + 1;
  }

  #identify(incarnation: number): void {
    if (incarnation === this.incarnation) return;
    if (this.incarnation !== 0) {
      this.matched = 0;
      this.durable = 0;
      this.sendTime = NO_GRANT;
      this.round = 0;
    }
    assert(this.durable === 0, "an unknown incarnation that has acknowledged");
    this.incarnation = incarnation;
  }
}
