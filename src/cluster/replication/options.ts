/**
 * Times and limits of the replication core. All times are of the node's own monotonic clock; no two clocks are
 * ever compared, only their rates matter.
 *
 *   heartbeat 100 ─ suspicion 700 ─ lease 1000 ─ grant 1100          a dead writer's set is sealed after ≈ 1.1 s
 */
import { assert } from "../../base/assert.ts";

/**
 * A replica's grant outlasts the lease that the writer takes from it by this factor: enough for clocks whose rates
 * are off by ρ each when 1.1 ≥ (1 + ρ) / (1 − ρ), so up to 4.7 %.
 */
const GRANT_FACTOR = 1.1;

export interface ReplicationOptions {
  /** L: how long after a message's send time its acknowledgement lets the writer read. Fixed for a process. */
  readonly leaseMs: number;
  /** A peer hears from the writer at least this often; a claimant repeats its requests this often. */
  readonly heartbeatMs: number;
  /** Silence after which a writer is suspected; a writer that misses its quorum for twice as long says so. */
  readonly suspicionMs: number;
  /** The member with the best log claims at once, each next one this much later. */
  readonly rankDelayMs: number;
  /** Between attempts at a document write whose outcome is open, and the least pause between two claims. */
  readonly retryMs: number;
  /** The document is read this often, in case a watch was missed. */
  readonly refreshMs: number;
  /** A claimant that makes no progress for so long gives up: it may be cut off. */
  readonly recoveryMs: number;
  /** A member that has acknowledged nothing for so long is lost: dropped or replaced. */
  readonly lossMs: number;
  /** A handover whose successor does not catch up in time is called off. */
  readonly handoverMs: number;
  /** Frames in one message, and frames on their way to one member. */
  readonly batchFramesMax: number;
  readonly windowFramesMax: number;
  /** A learner this close to the writer's log may join. */
  readonly learnerLagMax: number;
}

export const DEFAULT_REPLICATION_OPTIONS: ReplicationOptions = {
  leaseMs: 1000,
  heartbeatMs: 100,
  suspicionMs: 700,
  rankDelayMs: 150,
  retryMs: 200,
  refreshMs: 2000,
  recoveryMs: 5000,
  lossMs: 5000,
  handoverMs: 5000,
  batchFramesMax: 64,
  windowFramesMax: 1024,
  learnerLagMax: 64,
};

/** How long a replica keeps a grant for a lease of `leaseMs`. */
export function grantMs(leaseMs: number): number {
  return leaseMs * GRANT_FACTOR;
}

export function assertOptions(options: ReplicationOptions): void {
  assert(Number.isSafeInteger(options.leaseMs), "a lease that is no number of milliseconds");
  assert(options.leaseMs >= options.heartbeatMs, "a lease that no heartbeat can renew in time");
  assert(options.suspicionMs > options.heartbeatMs, "suspicion between two heartbeats");
  assert(options.batchFramesMax >= 1, "messages without frames");
  assert(options.windowFramesMax >= options.batchFramesMax, "a window smaller than a message");
}
