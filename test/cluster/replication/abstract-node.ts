/**
 * A node around the real core: a disk that forgets what was not synced, a clock with an own rate, pauses. It does with
 * actions what a shell must do with them (action.ts), only that frames are numbers.
 */
import type { Action } from "../../../src/cluster/replication/action.ts";
import type { EpochRun } from "../../../src/cluster/replication/epoch-table.ts";
import type { Event, PersistedPromise } from "../../../src/cluster/replication/event.ts";
import type { Member } from "../../../src/cluster/replication/member.ts";
import type { FrameMessage, Message } from "../../../src/cluster/replication/message.ts";
import { type CheckedNode, chainAfter, check, type Frame } from "./abstract-checker.ts";
import type { AbstractCluster } from "./abstract-cluster.ts";

/** A message and the frames behind it. */
export interface Parcel {
  readonly message: Message;
  readonly frames: readonly Frame[];
}

interface Disk {
  promise: PersistedPromise;
  incarnation: number;
  frames: Frame[];
  durable: number;
  /** Committed, as frames' headers say. */
  commit: number;
  firstRetained: number;
  isComplete: boolean;
}

function emptyDisk(incarnation: number): Disk {
  const promise = { epoch: 0, leaseMs: 0 };
  return {
    promise,
    incarnation,
    frames: [],
    durable: 0,
    commit: 0,
    firstRetained: 1,
    isComplete: true,
  };
}

export class AbstractNode implements CheckedNode {
  readonly nodeId: string;
  readonly #cluster: AbstractCluster;
  readonly #clockOffset: number;
  readonly #clockRate: number;
  disk: Disk = emptyDisk(1);
  readonly #lostDisks = new Map<number, Disk>();
  member: Member | undefined;
  /** Counts starts: what belongs to an earlier life of the process is void. */
  life = 0;
  /** Only grows: what arrives meanwhile keeps its order. */
  pausedUntil = 0;
  isCutFromCoordinator = false;
  /** Between pause and step-down: no more client frames. */
  isHandingOver = false;
  #isSyncing = false;
  #persistedAt = 0;
  #pendingTruncation: number | undefined;
  #pendingPromise: PersistedPromise | undefined;
  #parcel: Parcel | undefined;
  readonly #reads = new Map<number, boolean>();
  #readTokens = 0;

  constructor(cluster: AbstractCluster, nodeId: string) {
    this.#cluster = cluster;
    this.nodeId = nodeId;
    this.#clockOffset = cluster.random.between(0, 100_000);
    this.#clockRate = 1 + cluster.random.between(-0.047, 0.047);
  }

  get frames(): readonly Frame[] {
    return this.disk.frames;
  }
  get durable(): number {
    return this.disk.durable;
  }
  get incarnation(): number {
    return this.disk.incarnation;
  }
  get commit(): number {
    return this.member?.commitIndex ?? 0;
  }
  get clockMs(): number {
    return this.#clockOffset + this.#cluster.scheduler.now * this.#clockRate;
  }
  get epoch(): number {
    return this.member?.epoch ?? 0;
  }
  get isLeaseValid(): boolean {
    return this.member !== undefined && this.clockMs < this.member.leaseUntilMs(this.clockMs);
  }
  get isPaused(): boolean {
    return this.#cluster.scheduler.now < this.pausedUntil;
  }

  start(): void {
    if (!this.disk.isComplete) this.loseDisk();
    const { promise, incarnation, frames, commit, firstRetained } = this.disk;
    this.disk.durable = frames.length;
    this.life++;
    this.#isSyncing = false;
    this.#pendingTruncation = undefined;
    this.#pendingPromise = undefined;
    this.#reads.clear();
    this.isHandingOver = false;
    const runs: EpochRun[] = [];
    for (const [at, { epoch }] of frames.entries())
      if (runs.at(-1)?.epoch !== epoch) runs.push({ epoch, first: at + 1 });
    const last = frames.length;
    const boot = { nodeId: this.nodeId, incarnation, promise, runs, last, commit, firstRetained };
    this.member = this.#cluster.createMember({ ...boot, isComplete: true }, this.clockMs);
    this.#scheduleTick(this.life);
  }

  /** Kills the process; any part of what was not synced may be gone. */
  crash(): void {
    const { random } = this.#cluster;
    const { disk } = this;
    if (this.#pendingPromise !== undefined && random.chance(0.5))
      disk.promise = this.#pendingPromise;
    if (this.#pendingTruncation !== undefined && random.chance(0.5))
      disk.frames.length = this.#pendingTruncation;
    const kept = disk.durable + random.integer(0, Math.max(0, disk.frames.length - disk.durable));
    disk.frames.length = Math.min(disk.frames.length, kept);
    disk.commit = Math.min(disk.commit, disk.frames.length);
    this.member = undefined;
    this.life++;
  }

  diskOf(incarnation: number): Disk {
    return incarnation === this.disk.incarnation ? this.disk : this.#lostDisks.get(incarnation)!;
  }

  loseDisk(): void {
    this.#lostDisks.set(this.disk.incarnation, this.disk);
    this.disk = emptyDisk(this.disk.incarnation + 1);
  }

  /** Steps the member now, or when its pause is over. */
  deliver(event: Event, life = this.life, parcel?: Parcel): void {
    if (life !== this.life || this.member === undefined) return;
    const { scheduler } = this.#cluster;
    if (this.isPaused) {
      scheduler.at(this.pausedUntil, () => this.deliver(event, life, parcel));
      return;
    }
    const { member } = this;
    const wasSealing = member.phase === "sealing";
    const commitBefore = member.commitIndex;
    this.#parcel = parcel;
    const actions = member.step(event, this.clockMs);
    if (wasSealing && member.phase !== "sealing" && member.phase !== undefined)
      this.#cluster.onSealed(this, member.epoch);
    let commit = commitBefore;
    for (const action of actions) {
      this.#cluster.trace(this.nodeId, action);
      if (action.type === "commit") {
        this.#onCommit(commit, action.index);
        commit = action.index;
      } else this.#carryOut(action);
    }
    this.#parcel = undefined;
    this.#cluster.checker.onStep(this);
  }

  /** A client writes: some frames of one turn. */
  write(count: number): void {
    const { member, disk } = this;
    if (member === undefined || !member.isServing || this.isHandingOver || this.isPaused) return;
    if (member.admission(this.clockMs) !== "accept" && this.#cluster.random.chance(0.8)) return;
    for (let i = 0; i < count; i++) this.#appendOwn(member.epoch);
    this.#startSync();
    this.deliver({ type: "appended", index: disk.frames.length });
  }

  /** A client reads: pin, wait, check the lease; if it has lapsed, ask the quorum. */
  read(): void {
    const { random, scheduler, checker } = this.#cluster;
    const { member, life } = this;
    if (member === undefined || !member.isServing || this.isPaused) return;
    const { epoch } = member;
    const isCurrent = checker.holdsAcknowledged(this);
    const finish = () => {
      if (life !== this.life || member.epoch !== epoch || !member.isServing) return;
      if (this.isPaused) {
        scheduler.at(this.pausedUntil, finish);
      } else if (this.isLeaseValid) {
        check(isCurrent, () => `stale read under a lease at ${this.nodeId} in epoch ${epoch}`);
        this.#cluster.counts.reads++;
      } else {
        const token = ++this.#readTokens;
        this.#reads.set(token, isCurrent);
        this.deliver({ type: "confirm", token });
      }
    };
    scheduler.after(random.chance(0.1) ? random.between(0, 1500) : random.between(0, 3), finish);
  }

  /** Frames before `first` are deleted. */
  retain(first: number): void {
    if (first <= this.disk.firstRetained) return;
    this.disk.firstRetained = first;
    this.disk.commit = Math.max(this.disk.commit, first - 1);
    this.deliver({ type: "retained", first });
  }

  /** A checkpoint of `frames`, all of them committed, takes the log's place. */
  installCheckpoint(frames: readonly Frame[]): void {
    const { scheduler, random } = this.#cluster;
    const { life, disk } = this;
    if (this.member === undefined || !disk.isComplete || this.isPaused) return;
    if (this.#pendingTruncation !== undefined || frames.length < this.member.commitIndex) return;
    disk.isComplete = false;
    this.deliver({ type: "checkpoint-begun" });
    const finish = () => {
      if (life !== this.life) return;
      if (this.isPaused) {
        scheduler.at(this.pausedUntil, finish);
        return;
      }
      check(frames.length >= this.member!.commitIndex, () => "a checkpoint older than the log");
      const last = frames.length;
      const promise = disk.promise;
      const { incarnation } = disk;
      this.disk = { ...emptyDisk(incarnation), promise, frames: [...frames] };
      Object.assign(this.disk, { durable: last, commit: last, firstRetained: last + 1 });
      const runs: EpochRun[] = [];
      for (const [at, { epoch }] of frames.entries())
        if (runs.at(-1)?.epoch !== epoch) runs.push({ epoch, first: at + 1 });
      this.deliver({ type: "checkpoint-installed", runs, last });
    };
    scheduler.after(random.between(10, 300), finish);
  }

  #scheduleTick(life: number): void {
    this.#cluster.scheduler.after(25, () => {
      if (life !== this.life) return;
      this.deliver({ type: "tick" });
      this.#scheduleTick(life);
    });
  }

  #carryOut(action: Exclude<Action, { type: "commit" }>): void {
    const { checker, random, scheduler } = this.#cluster;
    const { disk, life } = this;
    switch (action.type) {
      case "persist":
        this.#persist(action.promise);
        break;
      case "append":
        this.#appendReceived(action.first, action.last);
        break;
      case "append-epoch-start":
        check(disk.frames.length + 1 === action.index, () => "EPOCH_START at another index");
        check(disk.promise.epoch === action.epoch, () => "I2: a start without its promise");
        checker.onEpochStart(this, action.epoch);
        this.#appendOwn(action.epoch);
        this.#startSync();
        break;
      case "truncate":
        this.#truncate(action.last, action.generation);
        break;
      case "sync":
        this.#startSync();
        break;
      case "send":
        this.#checkMessage(action.message);
        this.#cluster.send(this, action.to, { message: action.message, frames: [] });
        break;
      case "ship":
        this.#ship(action.to, action.message);
        break;
      case "read-document":
        this.#cluster.coordinator.read(
          () => !this.isCutFromCoordinator,
          (document, version) => this.deliver({ type: "document", document, version }, life),
        );
        break;
      case "write-document":
        this.#cluster.writeDocument(this, action);
        break;
      case "serve":
        checker.onServe(this);
        break;
      case "pause":
        this.isHandingOver = true;
        break;
      case "resume":
        this.isHandingOver = false;
        break;
      case "step-down":
        this.isHandingOver = false;
        this.#reads.clear();
        break;
      case "confirmed": {
        const isCurrent = this.#reads.get(action.token);
        if (isCurrent === undefined) return;
        this.#reads.delete(action.token);
        check(isCurrent, () => `stale read confirmed by a round at ${this.nodeId}`);
        this.#cluster.counts.rounds++;
        break;
      }
      case "need-checkpoint":
        scheduler.after(random.between(5, 100), () =>
          this.#cluster.sendCheckpoint(this, action.node),
        );
        break;
      case "halt":
        check(false, () => `${this.nodeId} halts: ${action.reason}`);
        break;
      case "log":
        break;
    }
  }

  #onCommit(before: number, index: number): void {
    const { checker, coordinator, nodes } = this.#cluster;
    checker.onCommit(this, before, index);
    this.#cluster.counts.commits++;
    if (this.member!.role === "writer")
      checker.onAcknowledge(this, index, nodes, coordinator.document);
  }

  #persist(promise: PersistedPromise): void {
    const { scheduler, random } = this.#cluster;
    const { disk, life } = this;
    check(promise.epoch >= disk.promise.epoch, () => `I2: ${this.nodeId} promises less`);
    check(promise.leaseMs >= disk.promise.leaseMs, () => `I2: ${this.nodeId} forgets a lease`);
    this.#pendingPromise = promise;
    const delay = random.between(0.2, 5) + (random.chance(0.2) ? this.#cluster.syncDelay() : 0);
    this.#persistedAt = Math.max(this.#persistedAt, scheduler.now + delay);
    scheduler.at(this.#persistedAt, () => {
      if (life !== this.life) return;
      this.disk.promise = promise;
      if (this.#pendingPromise === promise) this.#pendingPromise = undefined;
      this.deliver({ type: "promise-persisted", promise }, life);
    });
  }

  #appendOwn(epoch: number): void {
    const { frames } = this.disk;
    const content = this.#cluster.newContent();
    const frame = { epoch, chain: chainAfter(frames.at(-1)?.chain ?? 0, epoch, content) };
    frames.push(frame);
    this.#cluster.checker.onFrame(frame, frames.length);
  }

  #appendReceived(first: number, last: number): void {
    const parcel = this.#parcel!;
    const message = parcel.message as FrameMessage;
    check(this.disk.frames.length + 1 === first, () => "a gap in the log");
    for (let index = first; index <= last; index++) {
      const frame = parcel.frames[index - message.previous.index - 1]!;
      this.disk.frames.push(frame);
      this.#cluster.checker.onFrame(frame, index);
    }
    this.#startSync();
  }

  #truncate(last: number, generation: number): void {
    const { scheduler, random, checker } = this.#cluster;
    const { disk, life } = this;
    checker.onTruncate(this, last, this.member!.commitIndex);
    this.#pendingTruncation = last;
    disk.durable = Math.min(disk.durable, last);
    scheduler.after(random.between(0.5, 20), () => {
      if (life !== this.life) return;
      this.#pendingTruncation = undefined;
      this.disk.frames.length = last;
      this.deliver({ type: "truncated", generation }, life);
    });
  }

  /** One sync at a time; it covers what was in the log when it began. */
  #startSync(): void {
    if (this.#isSyncing) return;
    const { scheduler } = this.#cluster;
    const { disk, life } = this;
    const index = disk.frames.length;
    const generation = this.member!.logGeneration;
    if (index === disk.durable || this.#pendingTruncation !== undefined) return;
    this.#isSyncing = true;
    scheduler.after(this.#cluster.syncDelay(), () => {
      if (life !== this.life) return;
      this.#isSyncing = false;
      if (generation === this.member!.logGeneration && disk === this.disk) {
        disk.durable = Math.max(disk.durable, index);
        disk.commit = Math.max(disk.commit, Math.min(this.member!.commitIndex, disk.durable));
      }
      this.deliver({ type: "durable", index, generation }, life);
      this.#startSync();
    });
  }

  #ship(to: string, message: FrameMessage): void {
    const first = message.previous.index;
    check(first + 1 >= this.disk.firstRetained, () => `${this.nodeId} ships deleted frames`);
    const frames = this.disk.frames.slice(first, message.last);
    check(frames.length === message.last - first, () => "frames that are not there are shipped");
    this.#cluster.send(this, to, { message, frames });
  }

  #checkMessage(message: Message): void {
    const { disk } = this;
    if (message.type !== "append-ack" && message.type !== "seal-answer") return;
    check(
      message.epoch === disk.promise.epoch,
      () => `I2: ${this.nodeId} answers in ${message.epoch}, promised ${disk.promise.epoch}`,
    );
    const durable = message.type === "append-ack" ? message.durable : message.last;
    check(durable <= disk.durable, () => `I8: ${this.nodeId} says ${durable} is durable`);
  }
}
