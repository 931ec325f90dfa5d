/**
 * How replication stands, as one node knows it: what INFO, ROLE, WAIT and CLUSTER tell clients and operators.
 *
 * Positions are indexes of frames, since these mean the same on every node of a set; bytes of log do not.
 */
import type { SessionState } from "./coordination/coordinator.ts";
import type { Admission, Role } from "./replication/member.ts";
import type { Takeovers } from "./replication/member-status.ts";

/** Another node of the set, as its writer sees it. */
export interface ReplicaStatus {
  readonly nodeId: string;
  /** Empty, 0: not known. */
  readonly host: string;
  readonly port: number;
  /** Its copies count for the quorum; a learner's do not. */
  readonly isMember: boolean;
  /** checkpoint: it needs more than the log still has. offline: not heard for a while, or never. */
  readonly state: "online" | "checkpoint" | "offline";
  /** The last frame that has arrived there, and the last one that is as durable there as configured. */
  readonly matched: number;
  readonly durable: number;
  /** −1: never. */
  readonly heardMsAgo: number;
}

/** What a node that is no writer knows of its set's writer. */
export interface WriterLink {
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
  readonly isUp: boolean;
  /** −1: never, in this epoch. */
  readonly heardMsAgo: number;
}

/** A checkpoint on its way between this node and another one. */
export interface TransferStatus {
  readonly nodeId: string;
  /** catching-up: all of it is there, and the log behind it follows. */
  readonly phase: "preparing" | "transferring" | "verifying" | "installing" | "catching-up";
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Since the other one said something. */
  readonly heardMsAgo: number;
}

/** Undefined: none. */
export interface CheckpointStatus {
  readonly sending: TransferStatus | undefined;
  readonly receiving: TransferStatus | undefined;
}

export interface ReplicationStatus {
  /** Empty, as of a spare: the node has no place in a set. */
  readonly setId: string;
  readonly role: Role | "spare";
  /** How far a claimant or writer has come; empty for others. */
  readonly phase: string;
  /** Clients' writes are taken here, though they may have to wait: `admission`. */
  readonly isServing: boolean;
  readonly admission: Admission;
  readonly epoch: number;
  /** Undefined on the writer, and while there is none. */
  readonly writer: WriterLink | undefined;
  /** A checkpoint comes, or takes the log's place. */
  readonly isSyncing: boolean;
  readonly checkpoints: CheckpointStatus;
  readonly commitIndex: number;
  readonly durableIndex: number;
  readonly lastIndex: number;
  readonly members: number;
  readonly learners: number;
  /** The writer included. */
  readonly writeQuorum: number;
  readonly replicationFactor: number;
  /** Of a writer only. */
  readonly replicas: readonly ReplicaStatus[];
  readonly coordination: SessionState;
  readonly takeovers: Takeovers;
}

export interface Replication {
  status(): ReplicationStatus;
  /** Whether clients' writes are taken here. */
  readonly isServing: boolean;
  /** Whether this node, a replica, hears its writer: what it shows is hardly older than what was last committed. */
  readonly hearsWriter: boolean;
  /** Other nodes, members and learners, that durably have everything up to frame `index`; 0 unless it serves. */
  countHolders(index: number): number;
  /** Calls `listener` whenever countHolders may have grown, until the returned function is called. */
  onProgress(listener: () => void): () => void;
}
