/**
 * What the members of a replica set say to each other. Frames themselves travel behind an Append or a FetchReply,
 * as the bytes they have in the log; the message says which ones they are.
 *
 *   writer → member    Append         frames, or none: a heartbeat
 *   member → writer    AppendAck      how far the member's log is the writer's, received and durable
 *                      AppendReject   the frame before yours is not in my log: here is my epoch table
 *   claimant → member  Seal           promise my epoch
 *   member → claimant  SealAnswer     promised, the lease I granted has run out, this is my log
 *   claimant ⇄ member  Fetch, FetchReply    the suffix that the best log has and the claimant's has not
 *   any → any          Refusal        I have promised a higher epoch than yours
 *   member ⇄ member    Suspicion      I do not hear the writer
 *   writer → members   LeaseRevoked   I shall not read under a lease of this epoch any more
 *   writer → successor Handover       claim now; also from a claimant that cannot catch up to the best log's holder
 *
 * Messages may be lost, delayed, repeated and overtake each other: each is an absolute statement, true of the
 * epoch that it names.
 */
import { assert } from "../../base/assert.ts";
import { areRuns, type EpochRun, type EpochTable, type Position } from "./epoch-table.ts";

/** The send time of a member that has granted nothing yet. */
export const NO_GRANT = Number.NEGATIVE_INFINITY;

export interface Append {
  readonly type: "append";
  readonly epoch: number;
  /** Ascends from one append to the next to this member. */
  readonly sequence: number;
  /** The newest quorum round that this writer has begun. */
  readonly round: number;
  /** The frame before the first of these. */
  readonly previous: Position;
  /** Epochs of the frames (previous.index, last]. */
  readonly runs: readonly EpochRun[];
  readonly last: number;
  readonly commit: number;
  /** Frames up to here are durable on all members. */
  readonly durableOnAll: number;
  /** On the writer's monotonic clock; a member only echoes it. */
  readonly sendTime: number;
  readonly leaseMs: number;
  /** Whether the writer heard its quorum lately. One that did not may be cut off from those that hear it. */
  readonly isQuorate: boolean;
}

export interface AppendAck {
  readonly type: "append-ack";
  readonly epoch: number;
  readonly incarnation: number;
  /** Newest append, round and granted send time of this epoch that have arrived. */
  readonly sequence: number;
  readonly round: number;
  readonly sendTime: number;
  /** Up to here the log is the writer's. */
  readonly matched: number;
  /** Of that, this much is on stable storage. */
  readonly durable: number;
}

export interface AppendReject {
  readonly type: "append-reject";
  readonly epoch: number;
  readonly incarnation: number;
  readonly sequence: number;
  readonly runs: readonly EpochRun[];
  readonly last: number;
}

export interface Seal {
  readonly type: "seal";
  readonly epoch: number;
}

export interface SealAnswer {
  readonly type: "seal-answer";
  readonly epoch: number;
  readonly incarnation: number;
  /** False while the member installs a checkpoint: its log is not one yet. */
  readonly isComplete: boolean;
  readonly runs: readonly EpochRun[];
  readonly last: number;
}

export interface Fetch {
  readonly type: "fetch";
  readonly epoch: number;
  readonly previous: Position;
}

export interface FetchReply {
  readonly type: "fetch-reply";
  readonly epoch: number;
  /** False: the log no longer has the frame behind `previous`, or never had `previous`. */
  readonly isAvailable: boolean;
  readonly previous: Position;
  readonly runs: readonly EpochRun[];
  readonly last: number;
}

export interface Refusal {
  readonly type: "refusal";
  /** What the sender has promised. */
  readonly epoch: number;
}

export interface Suspicion {
  readonly type: "suspicion";
  /** Of the writer that is suspected. */
  readonly epoch: number;
  readonly incarnation: number;
  /** Where the reporter's log ends. */
  readonly last: Position;
  /** The writer is heard, but says that it does not hear its quorum. */
  readonly isStalled: boolean;
}

export interface LeaseRevoked {
  readonly type: "lease-revoked";
  readonly epoch: number;
}

export interface Handover {
  readonly type: "handover";
  readonly epoch: number;
}

/** A member asks the writer of `epoch` for its role. */
export interface HandoverRequest {
  readonly type: "handover-request";
  readonly epoch: number;
}

export type Message =
  | Append
  | AppendAck
  | AppendReject
  | Seal
  | SealAnswer
  | Fetch
  | FetchReply
  | Refusal
  | Suspicion
  | LeaseRevoked
  | Handover
  | HandoverRequest;

/** Messages that are followed by the frames (previous.index, last]. */
export type FrameMessage = Append | FetchReply;

/** The runs and the previous position of the frames [first, last] of `table`. */
export function describeFrames(
  table: EpochTable,
  first: number,
  last: number,
): Pick<FrameMessage, "previous" | "runs" | "last"> {
  return { previous: table.positionAt(first - 1), runs: table.slice(first, last), last };
}

/** The epoch of the frame at `index`, as the message says. REQUIRES: previous.index < index ≤ last. */
export function epochInMessage(message: FrameMessage, index: number): number {
  assert(index > message.previous.index, "a frame before those of the message");
  assert(index <= message.last, "a frame behind those of the message");
  return message.runs.findLast((run) => run.first <= index)!.epoch;
}

/** Whether runs, previous position and last index of a message from outside fit each other. */
export function isConsistent(message: FrameMessage): boolean {
  const { previous, runs, last } = message;
  if (last < previous.index || (last === previous.index) !== (runs.length === 0)) return false;
  if (runs.length === 0) return true;
  if (runs[0]!.first !== previous.index + 1 || runs[0]!.epoch < previous.epoch) return false;
  return areRuns(runs, last) && runs.at(-1)!.epoch <= message.epoch;
}

/** The part of `message` with the frames [first, last]: a shell that bounds a batch by bytes sends it in parts. */
export function partOf<M extends FrameMessage>(message: M, first: number, last: number): M {
  assert(first > message.previous.index, "a part that begins before the whole");
  assert(last >= first && last <= message.last, "a part that ends behind the whole");
  const before = first - 1;
  const previous =
    before === message.previous.index
      ? message.previous
      : { epoch: epochInMessage(message, before), index: before };
  const runs = message.runs
    .filter((run, at) => run.first <= last && (message.runs[at + 1]?.first ?? last + 1) > first)
    .map((run) => (run.first < first ? { epoch: run.epoch, first } : run));
  return { ...message, previous, runs, last };
}
