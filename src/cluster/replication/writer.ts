/**
 * The writer of one epoch, from the EPOCH_START frame on.
 *
 *   1. starting     append EPOCH_START(e) behind the log that the claim brought together, and ship. It is committed
 *                   like every frame: then everything before it is, too, and nobody can have a longer history (I5).
 *   2. activating   write ACTIVE into the set's document.
 *   3. serving      take clients' frames, commit them, read under a lease.
 *
 * Commit: the highest index of epoch e that Q of M have acknowledged as durable in e, as the incarnations listed in
 * M; while a membership change is open, in both memberships (quorum.ts). An index of an older epoch is committed only
 * through a later one of e: its copies alone would not outvote another log of a higher epoch.
 *
 * Lease: the Q-th largest send time that a member has echoed (the writer itself: now) + L. It is computed when a
 * reader asks, from a clock read after the reader has pinned its data; no timer says that a lease is valid.
 *
 * Round: a number in every append. Once Q have acknowledged an append with round r, nobody else had been promoted
 * before r began: that confirms reads when the lease has lapsed.
 *
 * Handover: pause → the successor durably has everything, all of it committed → revoke the lease, for good, and
 * tell the successor to claim. Before the revocation it can be called off; after it this is no writer any more.
 */
import { assert } from "../../base/assert.ts";
import type { Context } from "./context.ts";
import type { ReplicaSetDocument } from "./document-register.ts";
import type { PeerStatus } from "./member-status.ts";
import { type MembershipView, type NodeState, nextMembership } from "./membership.ts";
import { type AppendAck, type AppendReject, describeFrames } from "./message.ts";
import { Progress } from "./progress.ts";
import { isListed, jointlyReached, type Member, type Membership } from "./quorum.ts";

export type WriterPhase = "starting" | "activating" | "serving";

interface HandoverState {
  readonly successor: string;
  readonly deadlineMs: number;
}

export class Writer {
  readonly #context: Context;
  readonly epoch: number;
  /** Index of EPOCH_START. */
  readonly #startIndex: number;
  /** Silence of others is counted from here: the start, or the end of a pause of this process. */
  #awakeSinceMs: number;
  #phase: WriterPhase = "starting";
  readonly #peers = new Map<string, Progress>();
  #round = 0;
  /** Readers that wait for a round. */
  #confirmations: { token: number; round: number }[] = [];
  #handover: HandoverState | undefined;
  #nextProposalMs = Number.NEGATIVE_INFINITY;

  constructor(context: Context, epoch: number, nowMs: number) {
    const { log, out } = context;
    this.#context = context;
    this.epoch = epoch;
    this.#startIndex = log.lastIndex + 1;
    this.#awakeSinceMs = nowMs;
    assert(log.isDurable, "a writer that starts on a log that is not durable");
    assert(log.table.last.epoch < epoch, "a writer whose log has frames of its epoch already");
    out.push({ type: "append-epoch-start", epoch, index: this.#startIndex });
    log.append(epoch, this.#startIndex);
    out.push({ type: "sync" });
  }

  get phase(): WriterPhase {
    return this.#phase;
  }

  /** Whether a new write may be appended. */
  get isAccepting(): boolean {
    return this.#phase === "serving" && this.#handover === undefined;
  }

  get peers(): PeerStatus[] {
    return [...this.#peers.values()].map(({ nodeId, state, matched, durable, lastHeardMs }) => ({
      ...{ nodeId, state, matched, durable, lastHeardMs },
    }));
  }

  /** Other nodes, heard since `sinceMs`, that durably have everything up to `index`. */
  countHolders(index: number, sinceMs: number): number {
    let count = 0;
    for (const peer of this.#peers.values())
      if (peer.durable >= index && peer.lastHeardMs >= sinceMs) count++;
    return count;
  }

  /** The local clock's time until which reads may be answered; pin what is read before asking. */
  leaseUntilMs(nowMs: number): number {
    if (this.#phase !== "serving") return Number.NEGATIVE_INFINITY;
    const granted = this.#reached((node) => node.sendTime, nowMs);
    return granted + this.#context.options.leaseMs;
  }

  /** When this writer's quorum was last heard; since when it misses it. */
  quorumHeardMs(nowMs: number): number {
    return this.#reached((node) => node.lastHeardMs, nowMs);
  }

  /** Frames below are durable on all members: the log may forget them once tables have them. */
  durableOnAll(): number {
    const members = this.#memberships().flatMap((membership) => membership.members);
    return Math.min(...members.map((member) => this.#durableOf(member)));
  }

  onAppended(index: number, nowMs: number): void {
    assert(this.#phase === "serving", "a client's frame before its writer serves");
    this.#context.log.append(this.epoch, index);
    for (const peer of this.#peers.values())
      if (peer.state === "replicate") this.#ship(peer, nowMs);
  }

  onAck(from: string, message: AppendAck, nowMs: number): void {
    const peer = this.#peers.get(from);
    if (peer === undefined || message.epoch !== this.epoch) return;
    if (message.matched > this.#context.log.lastIndex) return;
    peer.onAck(message, this.#context.log.firstRetained, nowMs);
    this.#ship(peer, nowMs);
  }

  onReject(from: string, message: AppendReject, nowMs: number): void {
    const peer = this.#peers.get(from);
    if (peer === undefined || message.epoch !== this.epoch) return;
    if (!peer.onReject(message, this.#context.log, nowMs)) return;
    if (peer.next > this.#context.log.lastIndex) this.#sendAppend(peer, peer.next - 1, nowMs);
    else this.#ship(peer, nowMs);
  }

  onLinkUp(node: string, nowMs: number): void {
    const peer = this.#peers.get(node);
    if (peer === undefined) return;
    peer.onLinkUp();
    this.#sendAppend(peer, peer.next - 1, nowMs);
  }

  /** This process did not run for a while: silence meanwhile says nothing about others. */
  onPaused(nowMs: number): void {
    this.#awakeSinceMs = nowMs;
  }

  /** A round begins now; `token` is confirmed once Q have acknowledged it. */
  confirm(token: number, nowMs: number): void {
    this.#round++;
    this.#confirmations.push({ token, round: this.#round });
    for (const peer of this.#peers.values()) this.#sendAppend(peer, peer.next - 1, nowMs);
  }

  tick(nowMs: number): void {
    for (const peer of this.#peers.values()) {
      if (peer.state === "checkpoint") this.#askForCheckpoint(peer, nowMs);
      if (nowMs - peer.lastSentMs >= this.#context.options.heartbeatMs)
        this.#sendAppend(peer, peer.next - 1, nowMs);
    }
  }

  /** Commits, confirms, changes membership, begins to serve: whatever the last event has made possible. */
  advance(nowMs: number): void {
    this.#followDocument(nowMs);
    this.#commit();
    this.#confirmRounds();
    if (this.#phase === "starting" && this.#context.log.commit >= this.#startIndex)
      this.#phase = "activating";
    this.#proposeNext(nowMs);
  }

  /** The document says ACTIVE in this epoch. */
  serve(): void {
    if (this.#phase !== "activating") return;
    this.#phase = "serving";
    this.#context.out.push({ type: "serve", epoch: this.epoch });
  }

  /** Starts a handover; why it cannot, or undefined. */
  beginHandover(wanted: string | undefined, nowMs: number): string | undefined {
    if (this.#phase !== "serving" || this.#handover !== undefined)
      return "this node is not a serving writer";
    const successor = wanted ?? this.#bestSuccessor(nowMs);
    const members = this.#document().members;
    if (successor === undefined || !members.some((each) => each.nodeId === successor))
      return "no other member can take over";
    if (successor === this.#context.nodeId) return "this node is the writer already";
    const deadlineMs = nowMs + this.#context.options.handoverMs;
    this.#handover = { successor, deadlineMs };
    this.#context.out.push({ type: "pause" });
    return undefined;
  }

  /** True once the role is given away: the lease is revoked and this is no writer any more. */
  finishHandover(nowMs: number): boolean {
    const handover = this.#handover;
    if (handover === undefined) return false;
    const { log, out } = this.#context;
    const member = this.#document().members.find((each) => each.nodeId === handover.successor);
    const isReady = member !== undefined && this.#durableOf(member) === log.lastIndex;
    if (isReady && log.commit === log.lastIndex) {
      for (const node of this.#peers.keys())
        out.send(node, { type: "lease-revoked", epoch: this.epoch });
      out.send(handover.successor, { type: "handover", epoch: this.epoch });
      return true;
    }
    if (nowMs >= handover.deadlineMs || member === undefined) {
      this.#handover = undefined;
      out.log(`the handover to ${handover.successor} was called off`);
      out.push({ type: "resume" });
    }
    return false;
  }

  #document(): ReplicaSetDocument {
    return this.#context.register.document!;
  }

  /** M, and M′ while a change is open. */
  #memberships(): Membership[] {
    const { proposed } = this.#context.register;
    return proposed === undefined ? [this.#document()] : [this.#document(), proposed];
  }

  /** Keeps progress of exactly the other members and learners. */
  #followDocument(nowMs: number): void {
    const { log, nodeId } = this.#context;
    const documents = [this.#document(), this.#context.register.proposed ?? this.#document()];
    const nodes = new Set<string>();
    for (const { members, learners } of documents)
      for (const each of [...members, ...learners]) nodes.add(each.nodeId);
    nodes.delete(nodeId);
    for (const node of this.#peers.keys()) if (!nodes.has(node)) this.#peers.delete(node);
    for (const node of nodes) {
      if (this.#peers.has(node)) continue;
      const peer = new Progress(node, Math.min(this.#startIndex, log.lastIndex));
      this.#peers.set(node, peer);
      this.#ship(peer, nowMs);
    }
  }

  #commit(): void {
    const { log } = this.#context;
    const index = jointlyReached(this.#memberships(), (member) => this.#durableOf(member));
    if (index < this.#startIndex || index <= log.commit) return;
    assert(log.table.epochAt(index) === this.epoch, "a commit by counting copies of an old epoch");
    log.advanceCommit(index);
  }

  #confirmRounds(): void {
    if (this.#confirmations.length === 0) return;
    const memberships = this.#memberships();
    const round = jointlyReached(memberships, (member) =>
      member.nodeId === this.#context.nodeId ? this.#round : (this.#listed(member)?.round ?? 0),
    );
    const isConfirmed = (each: { round: number }) => each.round <= round;
    for (const { token } of this.#confirmations.filter(isConfirmed))
      this.#context.out.push({ type: "confirmed", token });
    this.#confirmations = this.#confirmations.filter((each) => !isConfirmed(each));
  }

  #proposeNext(nowMs: number): void {
    const { register, options } = this.#context;
    if (register.proposed !== undefined || nowMs < this.#nextProposalMs) return;
    const document = this.#document();
    const next =
      this.#phase === "activating"
        ? ({ ...document, phase: "ACTIVE" } as const)
        : nextMembership(this.#membershipView(nowMs));
    if (next === undefined) return;
    this.#nextProposalMs = nowMs + options.retryMs;
    assert(isListed(next.members, this.#context), "a membership without its writer");
    assert(next.members.length >= next.writeQuorum, "a membership smaller than its quorum");
    register.propose(next);
  }

  #membershipView(nowMs: number): MembershipView {
    const { log, options } = this.#context;
    const isCommitting = this.#phase !== "starting";
    return {
      document: this.#document(),
      stateOf: (nodeId) => this.#stateOf(nodeId, nowMs),
      required: isCommitting ? log.commit : log.lastIndex,
      isCommitting,
      lossMs: options.lossMs,
      joinsAt: Math.max(this.#startIndex, log.commit - options.learnerLagMax),
    };
  }

  #stateOf(nodeId: string, nowMs: number): NodeState {
    const { log, incarnation } = this.#context;
    if (nodeId === this.#context.nodeId)
      return { incarnation, durable: log.durable, silentMs: 0, needsCheckpoint: false };
    const peer = this.#peers.get(nodeId);
    const heardMs = Math.max(peer?.lastHeardMs ?? 0, this.#awakeSinceMs);
    return {
      incarnation: peer?.incarnation ?? 0,
      durable: peer?.durable ?? 0,
      silentMs: nowMs - heardMs,
      needsCheckpoint: peer?.state === "checkpoint",
    };
  }

  #bestSuccessor(nowMs: number): string | undefined {
    const { suspicionMs } = this.#context.options;
    const alive = this.#document()
      .members.map((member) => this.#listed(member))
      .filter((peer) => peer !== undefined)
      .filter((peer) => nowMs - peer.lastHeardMs < suspicionMs);
    return alive.toSorted((a, b) => b.durable - a.durable)[0]?.nodeId;
  }

  /** Progress of a member, if it is the incarnation that the document lists. */
  #listed(member: Member): Progress | undefined {
    const peer = this.#peers.get(member.nodeId);
    return peer?.incarnation === member.incarnation ? peer : undefined;
  }

  #durableOf(member: Member): number {
    if (member.nodeId === this.#context.nodeId) return this.#context.log.durable;
    return this.#listed(member)?.durable ?? 0;
  }

  /** The latest time that Q members have reached; the writer itself has reached `nowMs`. */
  #reached(timeOf: (peer: Progress) => number, nowMs: number): number {
    return jointlyReached(this.#memberships(), (member) => {
      if (member.nodeId === this.#context.nodeId) return nowMs;
      const peer = this.#listed(member);
      return peer === undefined ? Number.NEGATIVE_INFINITY : timeOf(peer);
    });
  }

  /** Sends what the window allows: all of it, or one batch to a node that is probed. */
  #ship(peer: Progress, nowMs: number): void {
    const { log, options } = this.#context;
    if (peer.state === "checkpoint") return;
    if (peer.next < log.firstRetained) {
      peer.leaveLog(log.lastIndex);
      return;
    }
    if (peer.state === "probe") {
      const last = Math.min(log.lastIndex, peer.next + options.batchFramesMax - 1);
      this.#sendAppend(peer, last, nowMs);
      return;
    }
    const end = Math.min(log.lastIndex, peer.matched + options.windowFramesMax);
    while (peer.next <= end) {
      const last = Math.min(end, peer.next + options.batchFramesMax - 1);
      this.#sendAppend(peer, last, nowMs);
      peer.next = last + 1;
    }
  }

  /** Now and again: the shell may not have got it through. Not for a node that is gone: others would wait behind it. */
  #askForCheckpoint(peer: Progress, nowMs: number): void {
    const { lossMs } = this.#context.options;
    if (nowMs - peer.lastHeardMs >= lossMs || nowMs - peer.lastCheckpointMs < lossMs) return;
    peer.lastCheckpointMs = nowMs;
    this.#context.out.push({ type: "need-checkpoint", node: peer.nodeId });
  }

  /** Sends the frames [peer.next, last]; none when last is before: a heartbeat. */
  #sendAppend(peer: Progress, last: number, nowMs: number): void {
    const { log, out, options } = this.#context;
    peer.lastSentMs = nowMs;
    const heardMs = Math.max(this.quorumHeardMs(nowMs), this.#awakeSinceMs);
    const message = {
      type: "append",
      epoch: this.epoch,
      sequence: ++peer.sequence,
      round: this.#round,
      ...describeFrames(log.table, peer.next, last),
      commit: log.commit,
      durableOnAll: this.durableOnAll(),
      sendTime: nowMs,
      leaseMs: options.leaseMs,
      isQuorate: nowMs - heardMs <= 2 * options.suspicionMs,
    } as const;
    if (message.last > message.previous.index) out.push({ type: "ship", to: peer.nodeId, message });
    else out.send(peer.nodeId, message);
  }
}
