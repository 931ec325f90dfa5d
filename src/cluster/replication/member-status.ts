/**
 * A picture of a member at one time, for people and tools that watch it. Nothing is decided by it.
 *
 * Times are of the member's own monotonic clock; −∞: never.
 */
import type { ClaimPhase } from "./claim.ts";
import type { Admission, Role } from "./member.ts";
import type { ProgressState } from "./progress.ts";
import type { WriterPhase } from "./writer.ts";

/** Another node, as its writer sees it. */
export interface PeerStatus {
  readonly nodeId: string;
  readonly state: ProgressState;
  /** The last frame that has arrived there, and the last one on its disk. */
  readonly matched: number;
  readonly durable: number;
  readonly lastHeardMs: number;
}

/** How often this member has begun to serve: because the role was handed to it, or because it was vacant. */
export interface Takeovers {
  readonly handovers: number;
  readonly failovers: number;
}

export interface MemberStatus {
  readonly role: Role;
  readonly phase: ClaimPhase | WriterPhase | undefined;
  /** As Member.epoch. */
  readonly epoch: number;
  readonly admission: Admission;
  readonly commit: number;
  readonly durable: number;
  readonly last: number;
  /** False while a checkpoint takes the log's place. */
  readonly isComplete: boolean;
  /** The set's writer, unless it is vacant; when it was last heard, and whether its connection has closed since. */
  readonly writer: string | undefined;
  readonly writerHeardMs: number;
  readonly isWriterGone: boolean;
  /** The other members and learners; of a writer only. */
  readonly peers: readonly PeerStatus[];
  readonly takeovers: Takeovers;
}
