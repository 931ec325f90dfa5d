/**
 * Quorums. A replica set has members M and a write quorum Q (the writer included).
 *
 *   commit quorum   any Q members: a frame durable on them is committed
 *   seal quorum     any |M| − Q + 1 members: once they are sealed, no Q members are left that could commit
 *
 * Any commit quorum and any seal quorum of one M share a member (Q + |M| − Q + 1 > |M|); this is invariant I6. It
 * generalises Kafka's in-sync set (|M| = Q: everybody commits, anybody can be promoted) and Raft's majority
 * (|M| = 2Q − 1).
 *
 * Membership changes from M to M′ by one conditional write of the set's document. I6 holds across it because
 *   1. M′ is proposed only when everything that may be committed is durable on Q members of M′ (membership.ts), and
 *   2. from the proposal until its outcome is known a frame is committed, a lease valid, a round confirmed only by
 *      Q of M and Q′ of M′ (the joint condition). So the document may hold M or M′: its seal quorums meet both.
 */
import { assert } from "../../base/assert.ts";

/** A node by its id, and which of its lives: a node that lost what it acknowledged comes back as another. */
export interface Member {
  readonly nodeId: string;
  readonly incarnation: number;
}

export interface Membership {
  readonly members: readonly Member[];
  readonly writeQuorum: number;
}

export function sealQuorum(membership: Membership): number {
  return membership.members.length - membership.writeQuorum + 1;
}

/** The greatest value that at least `quorum` of `values` reach. REQUIRES: 1 ≤ quorum ≤ values.length. */
export function reachedBy(values: readonly number[], quorum: number): number {
  assert(quorum >= 1 && quorum <= values.length, "a quorum of more than there are");
  return values.toSorted((a, b) => b - a)[quorum - 1]!;
}

/** What Q members of every one of `memberships` reach: one of them, or both while a change is open. */
export function jointlyReached(
  memberships: readonly Membership[],
  reachedByMember: (member: Member) => number,
): number {
  assert(memberships.length > 0, "a quorum of no membership");
  let reached = Number.POSITIVE_INFINITY;
  for (const { members, writeQuorum } of memberships) {
    reached = Math.min(reached, reachedBy(members.map(reachedByMember), writeQuorum));
  }
  return reached;
}

export function isListed(members: readonly Member[], member: Member): boolean {
  return members.some((each) => isSameMember(each, member));
}

export function isSameMember(a: Member, b: Member): boolean {
  return a.nodeId === b.nodeId && a.incarnation === b.incarnation;
}

/** Whether both have the same members, in whatever order, and the same quorum. */
export function isSameMembership(a: Membership, b: Membership): boolean {
  return (
    a.writeQuorum === b.writeQuorum &&
    a.members.length === b.members.length &&
    a.members.every((member) => isListed(b.members, member))
  );
}
