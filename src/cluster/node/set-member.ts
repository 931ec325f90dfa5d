/**
 * Drives the core of one member: turns what happens into events, and carries out the actions of each step, in order,
 * before the next step.
 *
 *     peers, clock, document, log ──► events ──► Member.step ──► actions ─┬─► now: messages, documents, promises
 *                                                                         └─► WorkQueue: everything that the log does
 *
 * The core takes what it asked the log for as done. Mostly it is; while the log waits (for an arena, a truncation, a
 * store that opens after a step-down) what comes is done behind it, in order. Meanwhile frames that arrive are dropped
 * and their message stepped as a heartbeat: they come again.
 *
 * A sync belongs to the generation that the log was in when it began. The log is in the core's generation only after
 * the truncation that begins it: what it says before that is passed on with the old one, and so means nothing.
 *
 * Reads: pin, then isLeaseValid; if it is not, confirm(). Writes: only while admission is "accept".
 */
import { assert } from "../../base/assert.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import type { ReplicaSetDocument } from "../coordination/documents.ts";
import type { Action } from "../replication/action.ts";
import type { Position } from "../replication/epoch-table.ts";
import type { Event, PersistedPromise } from "../replication/event.ts";
import { type Admission, Member, type Role } from "../replication/member.ts";
import type { MemberStatus } from "../replication/member-status.ts";
import type { Message } from "../replication/message.ts";
import type { ReplicationOptions } from "../replication/options.ts";
import { FrameList, hasFrames } from "./frame-list.ts";
import { FrameShipper, type Peers } from "./frame-shipper.ts";
import type { InstallableCheckpoint, ReplicatedLog } from "./replicated-log.ts";
import { SetDocument } from "./set-document.ts";
import { WorkQueue } from "./work-queue.ts";

const TICKS_PER_HEARTBEAT = 4;

/** What the rest of the node is told. */
export interface SetMemberEvents {
  /** Clients' commands are taken from now on. */
  onServe(epoch: number): void;
  /** New writes wait: the role is being handed over. onResume: it was called off. */
  onPause(): void;
  onResume(): void;
  /**
   * Replies that wait for a commit are not to be sent: nobody knows yet what becomes of their writes. Done when no unit
   * runs any more; then readers get what others commit. Also before a checkpoint takes the store's place.
   */
  onStepDown(): Promise<void>;
  /** The log takes frames of others again; another store may be the node's. Once after each onStepDown. */
  onFollow(): void;
  /** As read, or as this node has written it. */
  onDocument(document: ReplicaSetDocument, version: number): void;
  /** Nothing was found where the document should be. Repeated. */
  onDocumentMissing(): void;
  /** The log cannot bring `nodeId` up to date. Repeated. */
  onCheckpointNeeded(nodeId: string): void;
  /** The node must end; its disk stays as it is. */
  onFatal(error: Error): void;
}

export interface SetMemberOptions {
  readonly nodeId: string;
  readonly incarnation: number;
  readonly setId: string;
  readonly promise: PersistedPromise;
  readonly replication: ReplicationOptions;
  readonly log: ReplicatedLog;
  readonly coordinator: Coordinator;
  readonly peers: Peers;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly events: SetMemberEvents;
  /** An identifier that no claim ever had. */
  newClaimId(): string;
  /** Done when it cannot be forgotten; in the order of the calls. */
  persist(promise: PersistedPromise): Promise<void>;
}

interface Step {
  readonly event: Event;
  readonly frames: FrameList | undefined;
}

export class SetMember {
  readonly #options: SetMemberOptions;
  readonly #member: Member;
  readonly #document: SetDocument;
  readonly #work: WorkQueue;
  readonly #shipper: FrameShipper;
  readonly #ticker: Timer;
  readonly #steps: Step[] = [];
  #isStepping = false;
  #isStopped = false;
  /** Of the log, as far as it has come with what was asked of it. */
  #generation: number;
  /** Counts roles that have ended: what was begun for one is void then. */
  #term = 0;
  #isLeading = false;
  /** As the core said since its last step; each command asks, and the core's answer costs a sort. */
  #leaseUntilMs = Number.NEGATIVE_INFINITY;
  #acceptUntilMs = Number.NEGATIVE_INFINITY;
  /** As many members as there should be. */
  #isSetComplete = false;
  /** What was last written to the coordinator, or is about to be. */
  #proposed: ReplicaSetDocument | undefined = undefined;
  /** Of the frames that this node makes, the newest one that the core is told of. */
  #toldIndex = 0;
  #lastToken = 0;
  readonly #confirmations = new Map<number, (isConfirmed: boolean) => void>();
  /** Called, while somebody wants to know, when another node has acknowledged something. */
  onProgress: (() => void) | undefined = undefined;

  constructor(options: SetMemberOptions) {
    const { nodeId, incarnation, promise, replication, log, clock, logger } = options;
    this.#options = options;
    const boot = { nodeId, incarnation, promise, ...log.standing, isComplete: true };
    this.#member = new Member(boot, replication, options.newClaimId, clock.monotonicMs());
    this.#generation = this.#member.logGeneration;
    this.#work = new WorkQueue((error) => this.#fail(error));
    this.#shipper = new FrameShipper(log, options.peers, (error) => this.#fail(error));
    this.#document = new SetDocument(options.coordinator, options.setId, logger, {
      onDocument: (document, version) => {
        this.#noteDocument(document, version);
        this.#deliver({ type: "document", document, version });
      },
      onMissing: () => options.events.onDocumentMissing(),
      onWritten: (request, result, version) => {
        if (result === "ok" && this.#proposed !== undefined)
          this.#noteDocument(this.#proposed, version);
        this.#deliver({ type: "document-written", request, result, version });
      },
    });
    log.bind({
      onWritten: (index) => this.#onWritten(index),
      onDurable: (index) => this.#onDurable(index),
      onDeleted: (first) => this.#deliver({ type: "retained", first }),
    });
    this.#document.read();
    this.#ticker = clock.every(replication.heartbeatMs / TICKS_PER_HEARTBEAT, () => this.#tick());
  }

  get role(): Role {
    return this.#member.role;
  }

  /** How far a claimant or writer has come. */
  get phase(): Member["phase"] {
    return this.#member.phase;
  }

  get epoch(): number {
    return this.#member.epoch;
  }

  get commitIndex(): number {
    return this.#member.commitIndex;
  }

  get lastIndex(): number {
    return this.#member.lastIndex;
  }

  status(): MemberStatus {
    return this.#member.status(this.#options.clock.monotonicMs());
  }

  /** Other nodes that durably have everything up to frame `index`, as far as this one knows; 0 unless it serves. */
  countHolders(index: number): number {
    return this.#isLeading
      ? this.#member.countHolders(index, this.#options.clock.monotonicMs())
      : 0;
  }

  get hearsWriter(): boolean {
    return this.#member.hearsWriter(this.#options.clock.monotonicMs());
  }

  /** Whether this node takes clients' commands. */
  get isServing(): boolean {
    return this.#isLeading;
  }

  get admission(): Admission {
    if (!this.#isLeading) return "not-writer";
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs <= this.#acceptUntilMs) return "accept";
    this.#acceptUntilMs = this.#member.acceptUntilMs(nowMs);
    return this.#member.admission(nowMs);
  }

  /** Whether what a reader has pinned before it asks may be answered. */
  get isLeaseValid(): boolean {
    if (!this.#isLeading) return false;
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs < this.#leaseUntilMs) return true;
    this.#leaseUntilMs = this.#member.leaseUntilMs(nowMs);
    return nowMs < this.#leaseUntilMs;
  }

  /** Resolves when what was pinned before the call may be answered; false: this node is no writer any more. */
  confirm(): Promise<boolean> {
    if (!this.#isLeading || this.#isStopped) return Promise.resolve(false);
    const token = ++this.#lastToken;
    return new Promise((resolve) => {
      this.#confirmations.set(token, resolve);
      this.#deliver({ type: "confirm", token });
    });
  }

  /** Gives the writer role to `successor`, or to the member that is furthest; onStepDown or onResume follows onPause. */
  handOver(successor?: string): void {
    // The successor is to have it, too: so no client has to be told that the outcome of its write is unknown.
    if (this.#isLeading) this.#options.log.closeFrame();
    this.#deliver({ type: "handover", successor });
  }

  /** Asks the writer for its role; nothing tells whether it gives it away. */
  requestHandover(): void {
    this.#deliver({ type: "request-handover" });
  }

  /** A message of another member, with its frames; these are borrowed. Never from within another call of this. */
  receive(from: string, message: Message, payload: Uint8Array | undefined): void {
    assert(!this.#isStepping, "a message that arrives within a step");
    // As in handOver(): the step that pauses may be the one that steps down.
    if (message.type === "handover-request" && this.#isLeading) this.#options.log.closeFrame();
    if (!hasFrames(message)) {
      this.#deliver({ type: "message", from, message });
      return;
    }
    if (this.#work.isBusy) {
      if (message.type !== "append") return;
      const heartbeat = { ...message, runs: [], last: message.previous.index };
      this.#deliver({ type: "message", from, message: heartbeat });
      return;
    }
    const frames = payload === undefined ? undefined : FrameList.read(message, payload);
    if (frames === undefined) {
      this.#options.logger.warn(
        { from, first: message.previous.index + 1 },
        "not the frames announced",
      );
      return;
    }
    this.#deliver({ type: "message", from, message }, frames);
  }

  /** Whether the log may, and should, give way to a checkpoint of `epoch`'s writer that ends at `position`. */
  needsCheckpoint(epoch: number, position: Position): boolean {
    return !this.#isStopped && this.#member.needsCheckpoint(epoch, position);
  }

  /**
   * Lets a checkpoint take the log's place; onDone when it has. False: the log is at work, ask again.
   * REQUIRES: needsCheckpoint() of it, just now.
   */
  install(checkpoint: InstallableCheckpoint, onDone: () => void): boolean {
    // What the core has asked of this log must not be done to the next one.
    if (this.#work.isBusy) return false;
    const { log, events } = this.#options;
    this.#deliver({ type: "checkpoint-begun" });
    const isQuiet = events.onStepDown();
    this.#work.add(async () => {
      await isQuiet;
      const { runs, last } = await log.install(checkpoint);
      this.#deliver({ type: "checkpoint-installed", runs, last });
      this.#generation = this.#member.logGeneration;
      events.onFollow();
      onDone();
    });
    return true;
  }

  /** A connection to `node` was made or has closed. */
  onLink(node: string, isUp: boolean): void {
    this.#deliver({ type: "link", node, isUp });
  }

  /** The set is no more: a step-down, if this node leads, is the last that is done. What is stored stays. */
  retire(): void {
    this.#deliver({ type: "retired" });
    this.#ticker.cancel();
    this.#document.stop();
    this.#shipper.stop();
  }

  /** Nothing comes from here any more; done when the log does nothing for it either. */
  stop(): Promise<void> {
    this.#isStopped = true;
    this.#isLeading = false;
    this.#ticker.cancel();
    this.#document.stop();
    this.#shipper.stop();
    this.#steps.length = 0;
    this.#endConfirmations();
    return this.#work.stop();
  }

  #tick(): void {
    this.#deliver({ type: "tick" });
    // Who was dropped may come back, by the log, as long as nobody has taken its place.
    if (this.#isSetComplete && !this.#isStopped) this.#options.log.retain(this.#member.retainFrom);
  }

  #onWritten(index: number): void {
    if (!this.#isLeading || index <= this.#toldIndex) return;
    this.#toldIndex = index;
    this.#deliver({ type: "appended", index });
  }

  #onDurable(index: number): void {
    this.#onWritten(index);
    this.#deliver({ type: "durable", index, generation: this.#generation });
  }

  /** Steps the core now, or behind the steps before. */
  #deliver(event: Event, frames?: FrameList): void {
    if (this.#isStopped) return;
    this.#steps.push({ event, frames });
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let step = this.#steps.shift(); step !== undefined; step = this.#steps.shift())
        this.#step(step);
    } finally {
      this.#isStepping = false;
    }
  }

  #step({ event, frames }: Step): void {
    // What a writer has written last, before it stepped down, nobody was told of: it goes.
    if (event.type === "appended" && !this.#isLeading) return;
    if (event.type === "durable" && event.index > this.#member.lastIndex) return;
    this.#leaseUntilMs = Number.NEGATIVE_INFINITY;
    this.#acceptUntilMs = Number.NEGATIVE_INFINITY;
    const actions = this.#member.step(event, this.#options.clock.monotonicMs());
    for (const action of actions) {
      if (this.#isStopped) return;
      this.#carryOut(action, frames);
    }
    if (event.type === "message" && event.message.type === "append-ack") this.onProgress?.();
  }

  #carryOut(action: Action, frames: FrameList | undefined): void {
    const { events, log, logger, peers } = this.#options;
    switch (action.type) {
      case "persist":
        this.#persist(action.promise);
        break;
      case "append":
        this.#append(frames!.slice(action.first, action.last));
        break;
      case "append-epoch-start":
        this.#work.add(() => log.appendEpochStart(action.epoch));
        break;
      case "truncate":
        this.#work.add(() => this.#truncate(action.last, action.generation));
        break;
      case "sync":
        this.#work.add(() => log.sync());
        break;
      case "commit":
        this.#work.add(() => log.commit(action.index));
        break;
      case "serve":
        this.#serve(action.epoch);
        break;
      case "step-down":
        this.#stepDown(action);
        break;
      case "send":
        peers.send(action.to, action.message, undefined);
        break;
      case "ship":
        this.#shipper.ship(action.to, action.message);
        break;
      case "read-document":
        this.#document.read();
        break;
      case "write-document":
        this.#writeDocument(action);
        break;
      case "pause":
        log.closeFrame();
        events.onPause();
        break;
      case "resume":
        events.onResume();
        break;
      case "confirmed":
        this.#confirmations.get(action.token)?.(true);
        this.#confirmations.delete(action.token);
        break;
      case "need-checkpoint":
        logger.debug({ node: action.node }, "a node needs frames that are gone from the log");
        events.onCheckpointNeeded(action.node);
        break;
      case "halt":
        this.#fail(new Error(`the replica set cannot go on here: ${action.reason}`));
        break;
      case "log":
        logger.info({ role: this.role, epoch: this.epoch }, action.text);
        break;
    }
  }

  #noteDocument(document: ReplicaSetDocument, version: number): void {
    this.#isSetComplete = document.members.length >= document.replicationFactor;
    this.#options.events.onDocument(document, version);
  }

  #persist(promise: PersistedPromise): void {
    this.#options.persist(promise).then(
      () => this.#deliver({ type: "promise-persisted", promise }),
      (error: Error) => this.#fail(error),
    );
  }

  #append(frames: Uint8Array): void {
    const { log } = this.#options;
    const bytes = this.#work.isBusy ? frames.slice() : frames;
    this.#work.add(() => log.appendFrames(bytes));
  }

  async #truncate(last: number, generation: number): Promise<void> {
    await this.#options.log.truncateAfter(last);
    this.#generation = generation;
    this.#deliver({ type: "truncated", generation });
    this.#deliver({ type: "durable", index: last, generation });
  }

  #serve(epoch: number): void {
    const { log, events } = this.#options;
    const term = this.#term;
    this.#work.add(() => {
      if (term !== this.#term) return;
      log.lead();
      this.#toldIndex = this.#member.lastIndex;
      this.#isLeading = true;
      events.onServe(epoch);
    });
  }

  #stepDown({ epoch, commit, reason }: Extract<Action, { type: "step-down" }>): void {
    const { log, logger, events } = this.#options;
    const last = this.#member.lastIndex;
    logger.info({ epoch, commit, reason }, "not the writer any more");
    this.#term++;
    this.#isLeading = false;
    this.#endConfirmations();
    const isQuiet = events.onStepDown();
    this.#work.add(async () => {
      await isQuiet;
      await log.follow(commit, last);
      events.onFollow();
    });
  }

  #endConfirmations(): void {
    for (const end of this.#confirmations.values()) end(false);
    this.#confirmations.clear();
  }

  #writeDocument(action: Extract<Action, { type: "write-document" }>): void {
    // The core carries along what it does not know, so this is a document of the store's kind.
    const document = action.document as ReplicaSetDocument;
    this.#proposed = document;
    this.#document
      .write(action.request, document, action.version)
      .catch((error: Error) => this.#fail(error));
  }

  #fail(error: Error): void {
    if (this.#isStopped) return;
    void this.stop();
    this.#options.events.onFatal(error);
  }
}
