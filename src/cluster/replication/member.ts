/**
 * One node as a member (or learner) of one replica set: `step(event, nowMs) → actions`, without I/O, clock or chance.
 *
 *                        suspicion shared, own turn            caught up                 ACTIVE written
 *     replica ───────────────────────────────────► claimant ─────────────► writer ─ ─ ─ ─ ─ ─ ─ ─ ─ ─► serving
 *        ▲                                            │                       │
 *        └────────────────────────────────────────────┴───────────────────────┘
 *            a higher epoch, from whomever; no progress; handed over; a start begins here
 *
 * The roles share the replica's part (replica.ts): promise, log, grants. A writer or claimant that hears of a higher
 * epoch has lost its role before it reacts in any other way: so it is no writer any more when it answers a seal.
 * ZooKeeper out of reach changes nothing for a serving writer: no step depends on it but claims and membership.
 *
 * The shell carries out the actions of a step in their order before it calls the next step, asks isLeaseValid after it
 * has pinned what it read, and takes a write into the open frame only while admission says "accept".
 */
import { assert } from "../../base/assert.ts";
import { type Action, Outbox } from "./action.ts";
import { Claim, type ClaimPhase } from "./claim.ts";
import type { Context } from "./context.ts";
import { type ChangeOutcome, DocumentRegister } from "./document-register.ts";
import { EpochTable, type Position } from "./epoch-table.ts";
import type { Boot, Event } from "./event.ts";
import { LogState } from "./log-state.ts";
import type { MemberStatus } from "./member-status.ts";
import type { Message } from "./message.ts";
import { assertOptions, type ReplicationOptions } from "./options.ts";
import { isListed } from "./quorum.ts";
import { Replica } from "./replica.ts";
import { SuspicionDetector } from "./suspicion.ts";
import { Writer, type WriterPhase } from "./writer.ts";

export type Role = "replica" | "claimant" | "writer";

/**
 * What may be done with a new write. "no-replicas": too few members acknowledge; a write that waits too long for
 * "accept" was not appended and fails NOREPLICAS, one that was appended and waits for its commit fails UNKNOWN.
 */
export type Admission = "accept" | "paused" | "no-replicas" | "not-writer";

export class Member {
  readonly #context: Context;
  readonly #replica: Replica;
  readonly #suspicion: SuspicionDetector;
  readonly #newClaimId: () => string;
  #claim: Claim | undefined;
  #writer: Writer | undefined;
  /** Epoch whose writer asked this member to claim. */
  #invitedBy: number | undefined;
  /** A serving writer has asked for the claim under way. */
  #isHandover = false;
  #handovers = 0;
  #failovers = 0;
  #nowMs: number;
  #hasHalted = false;

  /** `newClaimId` gives an identifier that no claim ever had. */
  constructor(boot: Boot, options: ReplicationOptions, newClaimId: () => string, nowMs: number) {
    assertOptions(options);
    const out = new Outbox(boot.nodeId);
    this.#context = {
      nodeId: boot.nodeId,
      incarnation: boot.incarnation,
      options,
      log: new LogState(boot, out),
      register: new DocumentRegister(out, options),
      out,
    };
    this.#replica = new Replica(this.#context, boot, nowMs);
    this.#suspicion = new SuspicionDetector(this.#context, nowMs);
    this.#newClaimId = newClaimId;
    this.#nowMs = nowMs;
  }

  get role(): Role {
    if (this.#writer !== undefined) return "writer";
    return this.#claim === undefined ? "replica" : "claimant";
  }

  /** How far a claimant or writer has come. */
  get phase(): ClaimPhase | WriterPhase | undefined {
    return this.#writer?.phase ?? this.#claim?.phase;
  }

  get isServing(): boolean {
    return this.#writer?.phase === "serving";
  }

  /** Of the role, or else the promised one. */
  get epoch(): number {
    return this.#writer?.epoch ?? this.#claim?.epoch ?? this.#replica.promisedEpoch;
  }

  get commitIndex(): number {
    return this.#context.log.commit;
  }

  get lastIndex(): number {
    return this.#context.log.lastIndex;
  }

  get epochTable(): EpochTable {
    return this.#context.log.table;
  }

  /** Of the log: a sync takes it along from its begin to its durable event. */
  get logGeneration(): number {
    return this.#context.log.generation;
  }

  /** Frames below this may be deleted once tables have them: all members have them durably. */
  get retainFrom(): number {
    const onAll = this.#writer?.durableOnAll() ?? this.#replica.durableOnAll;
    return Math.min(onAll, this.#context.log.commit) + 1;
  }

  /**
   * Whether a checkpoint that ends at `position` may take the log's place, as far as a writer of `epoch` has made it:
   * then whatever the log has that the checkpoint has not was never committed, and cannot be any more.
   */
  needsCheckpoint(epoch: number, position: Position): boolean {
    const { log } = this.#context;
    if (this.role !== "replica" || this.#hasHalted || !log.isSteady) return false;
    if (epoch < this.#replica.promisedEpoch || position.index <= log.commit) return false;
    return !log.table.has(position);
  }

  /**
   * Reads may be answered until then whose data was pinned before the clock was read. As of this step; it may be later
   * when asked later.
   */
  leaseUntilMs(nowMs: number): number {
    return this.#writer?.leaseUntilMs(nowMs) ?? Number.NEGATIVE_INFINITY;
  }

  /** Writes may be taken until then, as with leaseUntilMs. */
  acceptUntilMs(nowMs: number): number {
    if (this.#writer?.isAccepting !== true) return Number.NEGATIVE_INFINITY;
    return this.#writer.quorumHeardMs(nowMs) + this.#context.options.leaseMs;
  }

  admission(nowMs: number): Admission {
    if (this.#writer?.phase !== "serving") return "not-writer";
    if (!this.#writer.isAccepting) return "paused";
    return nowMs > this.acceptUntilMs(nowMs) ? "no-replicas" : "accept";
  }

  status(nowMs: number): MemberStatus {
    const { log, register } = this.#context;
    const { role, phase, epoch } = this;
    const { document } = register;
    return {
      ...{ role, phase, epoch, admission: this.admission(nowMs) },
      ...{ commit: log.commit, durable: log.durable, last: log.lastIndex },
      isComplete: log.isComplete,
      writer: document?.phase === "ACTIVE" ? (document.writer ?? undefined) : undefined,
      writerHeardMs: this.#suspicion.heardMs,
      isWriterGone: this.#suspicion.isDisconnected,
      peers: this.#writer?.peers ?? [],
      takeovers: { handovers: this.#handovers, failovers: this.#failovers },
    };
  }

  /**
   * Whether this replica hears a writer, so that what it shows is hardly older than what was last committed. In a new epoch
   * it may lack what the last one has answered, until it has committed a frame of the new one.
   */
  hearsWriter(nowMs: number): boolean {
    if (this.role !== "replica" || this.#suspicion.isDisconnected) return false;
    const { table, commit } = this.#context.log;
    if (table.epochAt(commit) !== this.#replica.promisedEpoch) return false;
    return nowMs - this.#suspicion.heardMs <= this.#context.options.suspicionMs;
  }

  /** Other nodes, heard within lossMs, that durably have everything up to `index`; 0 if this is no serving writer. */
  countHolders(index: number, nowMs: number): number {
    if (this.#writer?.phase !== "serving") return 0;
    return this.#writer.countHolders(index, nowMs - this.#context.options.lossMs);
  }

  step(event: Event, nowMs: number): Action[] {
    if (this.#hasHalted) return [];
    assert(nowMs >= this.#nowMs, "a monotonic clock that went back");
    if (nowMs - this.#nowMs > this.#context.options.suspicionMs / 2) this.#onPaused(nowMs);
    this.#nowMs = nowMs;
    if (event.type === "retired") return this.#retire();
    this.#handle(event, nowMs);
    this.#readOwnMail(nowMs);
    this.#advance(nowMs);
    this.#readOwnMail(nowMs);
    const actions = this.#context.out.takeActions();
    this.#hasHalted = actions.some((action) => action.type === "halt");
    return actions;
  }

  /** No role, and never one again. */
  #retire(): Action[] {
    if (this.role !== "replica") this.#stepDown("its replica set has been retired");
    this.#hasHalted = true;
    return this.#context.out.takeActions();
  }

  #handle(event: Exclude<Event, { type: "retired" }>, nowMs: number): void {
    const { log, register } = this.#context;
    switch (event.type) {
      case "tick":
        this.#onTick(nowMs);
        break;
      case "message":
        this.#onMessage(event.from, event.message, nowMs);
        break;
      case "link":
        this.#suspicion.onLink(event.node, event.isUp);
        if (event.isUp) this.#writer?.onLinkUp(event.node, nowMs);
        break;
      case "document":
        this.#onOutcome(register.onDocument(event.document, event.version), nowMs);
        break;
      case "document-written": {
        const { request, result, version } = event;
        this.#onOutcome(register.onWritten(request, result, version, nowMs), nowMs);
        break;
      }
      case "promise-persisted":
        this.#replica.onPromisePersisted(event.promise, nowMs);
        break;
      case "appended":
        assert(this.#writer !== undefined, "a client's frame at a node that is no writer");
        this.#writer.onAppended(event.index, nowMs);
        break;
      case "durable":
        log.onDurable(event.index, event.generation);
        this.#replica.onDurable();
        break;
      case "truncated":
        log.onTruncated(event.generation);
        break;
      case "retained":
        log.firstRetained = event.first;
        break;
      case "confirm":
        this.#writer?.confirm(event.token, nowMs);
        break;
      case "handover":
        this.#onHandover(event.successor, nowMs);
        break;
      case "request-handover":
        this.#requestHandover();
        break;
      default:
        this.#onCheckpoint(event, nowMs);
        break;
    }
  }

  #onTick(nowMs: number): void {
    const { register } = this.#context;
    register.tick(nowMs);
    this.#writer?.tick(nowMs);
    this.#claim?.tick(nowMs);
  }

  #onMessage(from: string, message: Message, nowMs: number): void {
    const { register } = this.#context;
    if (this.role !== "replica" && message.epoch > this.epoch)
      this.#stepDown(`${from} is in epoch ${message.epoch}`);
    if (message.epoch > (register.document?.epoch ?? 0)) register.read(nowMs);
    switch (message.type) {
      case "append":
        this.#onSign(message.epoch, message.isQuorate, nowMs);
        this.#replica.onAppend(from, message, nowMs);
        break;
      case "append-ack":
        this.#writer?.onAck(from, message, nowMs);
        break;
      case "append-reject":
        this.#writer?.onReject(from, message, nowMs);
        break;
      case "seal":
        this.#onSign(message.epoch, true, nowMs);
        this.#replica.onSeal(from, message, nowMs);
        break;
      case "seal-answer":
        this.#claim?.onSealAnswer(from, message, nowMs);
        break;
      case "fetch":
        this.#replica.onFetch(from, message);
        break;
      case "fetch-reply":
        this.#claim?.onFetchReply(from, message, nowMs);
        break;
      case "suspicion":
        this.#suspicion.onReport(from, message, nowMs);
        break;
      case "lease-revoked":
        this.#replica.onLeaseRevoked(message.epoch, nowMs);
        break;
      case "handover":
        this.#invitedBy = message.epoch;
        break;
      case "handover-request":
        if (message.epoch === this.#writer?.epoch) this.#onHandover(from, nowMs);
        break;
      case "refusal":
        break;
    }
  }

  #onSign(epoch: number, isQuorate: boolean, nowMs: number): void {
    if (epoch >= (this.#context.register.document?.epoch ?? 0))
      this.#suspicion.onSign(isQuorate, nowMs);
  }

  /** What the document says now, and what became of the change that this member had proposed. */
  #onOutcome(outcome: ChangeOutcome, nowMs: number): void {
    const { register } = this.#context;
    const document = register.document;
    if (document !== undefined) {
      if (this.role !== "replica" && document.epoch > this.epoch)
        this.#stepDown(`the document is in epoch ${document.epoch}`);
      this.#suspicion.onDocument(document, nowMs);
      if (this.#writer !== undefined && !isListed(document.members, this.#context))
        this.#stepDown("this node is no member any more");
    }
    if (this.#claim?.phase !== "claiming") return;
    if (outcome === "applied") this.#claim.onClaimed(nowMs);
    if (outcome === "refused") this.#endClaim("another change of the document came first");
  }

  #onHandover(successor: string | undefined, nowMs: number): void {
    const problem =
      this.#writer === undefined
        ? "this node is not the writer"
        : this.#writer.beginHandover(successor, nowMs);
    if (problem !== undefined) this.#context.out.log(`no handover: ${problem}`);
  }

  #requestHandover(): void {
    const { register, out, nodeId } = this.#context;
    const { writer, epoch, phase } = register.document ?? {};
    if (writer == null || epoch === undefined || writer === nodeId || phase !== "ACTIVE") return;
    out.send(writer, { type: "handover-request", epoch });
  }

  #onCheckpoint(
    event: Extract<Event, { type: "checkpoint-begun" | "checkpoint-installed" }>,
    nowMs: number,
  ): void {
    const { log } = this.#context;
    if (event.type === "checkpoint-begun") {
      if (this.role !== "replica") this.#stepDown("a checkpoint takes the log's place");
      log.beginCheckpoint();
      return;
    }
    log.installCheckpoint(new EpochTable(event.runs, event.last));
    this.#replica.onCheckpoint();
    this.#replica.advance(nowMs);
  }

  #onPaused(nowMs: number): void {
    this.#suspicion.onPaused(nowMs);
    this.#writer?.onPaused(nowMs);
  }

  /** Seals, and answers to them, that a claimant sends to its own node. */
  #readOwnMail(nowMs: number): void {
    const { out, nodeId } = this.#context;
    for (let mail = out.takeMessageToSelf(); mail !== undefined; mail = out.takeMessageToSelf())
      this.#onMessage(nodeId, mail, nowMs);
  }

  #advance(nowMs: number): void {
    this.#replica.advance(nowMs);
    this.#readOwnMail(nowMs);
    if (this.#claim !== undefined) this.#advanceClaim(nowMs);
    if (this.#writer !== undefined) this.#advanceWriter(nowMs);
    if (this.role === "replica") this.#considerClaim(nowMs);
  }

  #advanceClaim(nowMs: number): void {
    const claim = this.#claim!;
    const result = claim.advance(nowMs);
    if (result === "ready") {
      assert(this.#replica.promisedEpoch === claim.epoch, "a claimant that promised another epoch");
      this.#claim = undefined;
      this.#writer = new Writer(this.#context, claim.epoch, nowMs);
    } else if (result === "failed") {
      this.#endClaim("no progress");
    }
  }

  #advanceWriter(nowMs: number): void {
    const writer = this.#writer!;
    const { document } = this.#context.register;
    assert(document?.epoch === writer.epoch, "a writer in another epoch than its document");
    writer.advance(nowMs);
    if (document.phase === "ACTIVE" && writer.phase === "activating") {
      this.#suspicion.onServing();
      writer.serve();
      if (this.#isHandover) this.#handovers++;
      else this.#failovers++;
    }
    if (writer.finishHandover(nowMs)) this.#stepDown("handed over");
  }

  #considerClaim(nowMs: number): void {
    const { register, log } = this.#context;
    const { document } = register;
    if (document === undefined || document.epoch < this.#replica.promisedEpoch) return;
    const isInvited =
      this.#invitedBy === document.epoch && isListed(document.members, this.#context);
    if ((this.#invitedBy ?? 0) < document.epoch) this.#invitedBy = undefined;
    const isDue = this.#suspicion.tick(document, nowMs);
    if (!(isDue || isInvited) || !log.isSteady) return;
    if (isInvited) this.#invitedBy = undefined;
    // A claimant asks, too, if it cannot catch up.
    this.#isHandover = isInvited && document.phase === "ACTIVE";
    this.#claim = new Claim(this.#context, this.#newClaimId(), nowMs);
  }

  #endClaim(reason: string): void {
    const { out, register } = this.#context;
    out.log(`gave up the claim of epoch ${this.#claim!.epoch}: ${reason}`);
    this.#claim = undefined;
    register.abandon();
    this.#suspicion.onClaimFailed(this.#nowMs);
    register.read(this.#nowMs);
  }

  #stepDown(reason: string): void {
    const { out, log, register } = this.#context;
    if (this.#claim !== undefined) {
      this.#endClaim(reason);
      return;
    }
    const { epoch } = this.#writer!;
    this.#writer = undefined;
    register.abandon();
    out.push({ type: "step-down", epoch, commit: log.commit, reason });
  }
}
