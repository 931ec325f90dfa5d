/**
 * Which membership change the writer proposes next, if any. One at a time, each one conditional write:
 *
 *   replace   a lost member by a learner            also by a writer that has not yet its quorum (it claimed with
 *                                                   |M| − Q + 1 seals and cannot commit until Q acknowledge)
 *   drop      a lost member, while |M| > Q          so that the rest commits, and can fail over, without it
 *   join      a learner, while |M| < N
 *
 * A member is lost when it has acknowledged nothing for lossMs, when its node came back as another incarnation, or
 * when it needs frames that are gone: it leaves M before it installs tables, and becomes a learner.
 *
 * The condition (quorum.ts, 1): whatever may be committed must be durable on Q of M′. It is on Q of M, so
 *   replace   holds when the learner durably has all of it: one holder at most leaves, one comes
 *   join      always holds
 *   drop      must be shown: Q of the others have acknowledged all of it in this epoch
 * "All of it" is the commit index once the writer has committed in its own epoch; before, nobody knows how much of its
 * log is committed, so it is the whole log.
 */
import type { ReplicaSetDocument } from "./document-register.ts";
import { isSameMember, type Member } from "./quorum.ts";

/** Far fewer than a document can hold (documents.ts). */
const LEARNERS_MAX = 16;

/** What the writer knows of a node. */
export interface NodeState {
  /** As the node last said; 0: nothing in this epoch. */
  readonly incarnation: number;
  /** Acknowledged in this epoch by that incarnation. */
  readonly durable: number;
  /** Since the last acknowledgement; 0 for the writer itself. */
  readonly silentMs: number;
  readonly needsCheckpoint: boolean;
}

export interface MembershipView {
  readonly document: ReplicaSetDocument;
  readonly stateOf: (nodeId: string) => NodeState;
  /** Everything up to here may be committed; Q of M′ must hold it. */
  readonly required: number;
  /** The writer has committed in its epoch. */
  readonly isCommitting: boolean;
  readonly lossMs: number;
  /** A learner must durably hold the log up to here before it joins. */
  readonly joinsAt: number;
}

/** The document after the next change, or undefined when nothing is to be changed or nothing can be. */
export function nextMembership(view: MembershipView): ReplicaSetDocument | undefined {
  const { document } = view;
  const lost = document.members.filter((member) => isLost(view, member));
  const holders = candidates(view, view.required);
  for (const each of lost) {
    const successor = successorOf(view, each, holders);
    if (successor !== undefined) return changed(view, each, successor);
  }
  if (!view.isCommitting) return undefined;
  if (document.members.length > document.writeQuorum) {
    const dropped = lost.find((each) => holdsWithout(view, each));
    if (dropped !== undefined) return changed(view, dropped, undefined);
  }
  const mayGrow = lost.length === 0 && document.members.length < document.replicationFactor;
  const joining = mayGrow ? candidates(view, view.joinsAt)[0] : undefined;
  return joining === undefined ? undefined : changed(view, undefined, joining);
}

/** The lost member's own node in its new life, or else a node that is no member yet. */
function successorOf(
  view: MembershipView,
  lost: Member,
  holders: readonly Member[],
): Member | undefined {
  const { members } = view.document;
  const returned = holders.find((each) => each.nodeId === lost.nodeId);
  return returned ?? holders.find((each) => !members.some(({ nodeId }) => nodeId === each.nodeId));
}

function isLost(view: MembershipView, member: Member): boolean {
  const state = view.stateOf(member.nodeId);
  if (state.silentMs >= view.lossMs || state.needsCheckpoint) return true;
  return state.incarnation > member.incarnation;
}

/** Nodes that could become members: alive, of one incarnation, with the log up to `needed` on their disks. */
function candidates(view: MembershipView, needed: number): Member[] {
  const { document } = view;
  const returned = document.members.filter(
    (member) => view.stateOf(member.nodeId).incarnation > member.incarnation,
  );
  return [...document.learners, ...returned]
    .map(({ nodeId }) => ({ nodeId, incarnation: view.stateOf(nodeId).incarnation }))
    .filter(({ nodeId, incarnation }) => {
      const state = view.stateOf(nodeId);
      if (incarnation === 0 || state.silentMs >= view.lossMs || state.needsCheckpoint) return false;
      return state.durable >= needed;
    });
}

/** Whether Q members other than `lost` durably hold what may be committed. */
function holdsWithout(view: MembershipView, lost: Member): boolean {
  const { members, writeQuorum } = view.document;
  const holders = members.filter((member) => {
    const state = view.stateOf(member.nodeId);
    const isCounted = !isSameMember(member, lost) && state.incarnation === member.incarnation;
    return isCounted && state.durable >= view.required;
  });
  return holders.length >= writeQuorum;
}

/** The document when `leaves` has become a learner and `joins` a member. */
function changed(
  view: MembershipView,
  leaves: Member | undefined,
  joins: Member | undefined,
): ReplicaSetDocument {
  const { document, stateOf } = view;
  const members = document.members.filter(
    (each) => leaves === undefined || !isSameMember(each, leaves),
  );
  if (joins !== undefined) members.push(joins);
  const learners = document.learners.filter((each) => each.nodeId !== joins?.nodeId);
  if (leaves !== undefined && leaves.nodeId !== joins?.nodeId) {
    const incarnation = Math.max(leaves.incarnation, stateOf(leaves.nodeId).incarnation);
    learners.push({ nodeId: leaves.nodeId, incarnation });
  }
  // Nodes that are gone for good would fill the document; one that returns begins as a learner again.
  if (learners.length > LEARNERS_MAX) {
    const silence = (each: Member) => stateOf(each.nodeId).silentMs;
    const longest = learners.toSorted((a, b) => silence(b) - silence(a))[0]!;
    learners.splice(learners.indexOf(longest), 1);
  }
  return { ...document, members, learners };
}
