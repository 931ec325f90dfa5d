/**
 * A replica set of real cores on an abstract world: everything that can go wrong does, from one seed.
 *
 *   1. Faults    a mix that each seed picks: messages lost, repeated, late, out of order; one-way partitions; crashes
 *                that lose unsynced frames; lost disks; pauses; clocks off by up to 4.7 %; a coordinator that is slow,
 *                stale, unreachable or silent about outcomes; slow disks; deleted logs; learners; handovers
 *   2. Liveness  faults stop, nodes start again; within a bound a writer must serve, commit a new frame, and every
 *                member must know it to be committed
 *
 * Invariants are checked after every step (abstract-checker.ts).
 */
import type { Action } from "../../../src/cluster/replication/action.ts";
import type { ReplicaSetDocument } from "../../../src/cluster/replication/document-register.ts";
import type { Boot } from "../../../src/cluster/replication/event.ts";
import { Member } from "../../../src/cluster/replication/member.ts";
import {
  DEFAULT_REPLICATION_OPTIONS,
  type ReplicationOptions,
} from "../../../src/cluster/replication/options.ts";
import { Checker, check, type Frame } from "./abstract-checker.ts";
import { AbstractCoordinator } from "./abstract-coordinator.ts";
import { AbstractNode, type Parcel } from "./abstract-node.ts";
import { Random, Scheduler } from "./simulation.ts";

/** The core, or one with a bug planted in it. */
export type MemberClass = typeof Member;

const FAULTS_MS = 12_000;
const LIVENESS_MS = 40_000;

const OPTIONS: ReplicationOptions = {
  ...DEFAULT_REPLICATION_OPTIONS,
  recoveryMs: 3000,
  handoverMs: 1500,
  batchFramesMax: 4,
  windowFramesMax: 24,
  learnerLagMax: 8,
};

/** Rates of faults; a seed leaves some out. */
interface Mix {
  readonly loss: number;
  readonly duplication: number;
  readonly reorder: number;
  readonly delayMs: number;
  readonly crashEveryMs: number;
  readonly partitionEveryMs: number;
  readonly pauseEveryMs: number;
  readonly handoverEveryMs: number;
  readonly learnerEveryMs: number;
  readonly coordinatorEveryMs: number;
  readonly retainEveryMs: number;
  readonly losesDisks: boolean;
  readonly syncMs: number;
  readonly lossMs: number;
}

export interface SimulationCounts {
  commits: number;
  reads: number;
  rounds: number;
  faults: number;
  messages: number;
}

export interface SimulationReport {
  readonly counts: SimulationCounts;
  readonly epochs: number;
  readonly acknowledged: number;
  readonly simulatedMs: number;
  readonly traceHash: number;
}

function pickMix(random: Random): Mix {
  const maybe = (probability: number, value: () => number) =>
    random.chance(probability) ? value() : 0;
  return {
    loss: maybe(0.5, () => random.between(0, 0.1)),
    duplication: maybe(0.4, () => random.between(0, 0.1)),
    reorder: maybe(0.5, () => random.between(0, 0.2)),
    delayMs: random.chance(0.3) ? random.between(5, 60) : random.between(0.3, 3),
    crashEveryMs: maybe(0.7, () => random.between(400, 3000)),
    partitionEveryMs: maybe(0.6, () => random.between(300, 3000)),
    pauseEveryMs: maybe(0.4, () => random.between(500, 3000)),
    handoverEveryMs: maybe(0.3, () => random.between(500, 3000)),
    learnerEveryMs: maybe(0.5, () => random.between(300, 2000)),
    coordinatorEveryMs: maybe(0.5, () => random.between(500, 3000)),
    retainEveryMs: maybe(0.5, () => random.between(100, 1000)),
    losesDisks: random.chance(0.4),
    syncMs: random.chance(0.2) ? random.between(20, 300) : random.between(0.2, 10),
    lossMs: random.between(800, 3000),
  };
}

export class AbstractCluster {
  readonly random: Random;
  readonly scheduler = new Scheduler();
  readonly checker = new Checker();
  readonly coordinator: AbstractCoordinator;
  readonly nodes: AbstractNode[] = [];
  readonly counts: SimulationCounts = { commits: 0, reads: 0, rounds: 0, faults: 0, messages: 0 };
  readonly #memberClass: MemberClass;
  readonly #mix: Mix;
  readonly #blocked = new Set<string>();
  readonly #lastArrival = new Map<string, number>();
  #isCalm = false;
  #contents = 0;
  #claims = 0;
  #traceHash = 0;
  /** Set to see every action. */
  onTrace: ((time: number, nodeId: string, action: Action) => void) | undefined;

  constructor(seed: number, memberClass: MemberClass = Member) {
    this.random = new Random(seed);
    this.#memberClass = memberClass;
    this.#mix = pickMix(this.random);
    const count = this.random.integer(1, 5);
    const writeQuorum = this.random.integer(1, count);
    const spares = this.random.integer(0, 2);
    for (let i = 0; i < count + spares; i++)
      this.nodes.push(new AbstractNode(this, String.fromCharCode(97 + i)));
    const members = this.nodes.slice(0, count).map(({ nodeId }) => ({ nodeId, incarnation: 1 }));
    this.coordinator = new AbstractCoordinator(this.scheduler, this.random, {
      id: "set",
      epoch: 0,
      phase: "RECOVERING",
      writer: null,
      claim: null,
      members,
      writeQuorum,
      replicationFactor: count,
      learners: [],
    });
    this.coordinator.onChange = (document, version) => this.#onDocument(document, version);
  }

  /** Runs both phases; throws at the first violation. */
  run(): SimulationReport {
    for (const node of this.nodes) node.start();
    this.#every(20, () => this.random.pick(this.nodes)!.write(this.random.integer(1, 3)), 0);
    this.#every(20, () => this.random.pick(this.nodes)!.read(), 0);
    this.#scheduleFaults();
    this.scheduler.run(FAULTS_MS);
    this.#calmDown();
    const goal = this.checker.acknowledged + 1;
    this.scheduler.run(FAULTS_MS + LIVENESS_MS, () => this.#isLive(goal));
    check(this.#isLive(goal), () => `not live: ${this.describe()}`);
    return {
      counts: this.counts,
      epochs: this.checker.servedEpochs,
      acknowledged: this.checker.acknowledged,
      simulatedMs: this.scheduler.now,
      traceHash: this.#traceHash,
    };
  }

  describe(): string {
    const nodes = this.nodes.map((node) => {
      const { member, disk } = node;
      if (member === undefined) return `${node.nodeId} down`;
      const { role, phase = "", epoch, commitIndex, epochTable } = member;
      const { last } = epochTable;
      const log = `(${last.epoch},${last.index}) durable ${disk.durable} commit ${commitIndex} from ${disk.firstRetained}`;
      return `${node.nodeId}/${disk.incarnation} ${role} ${phase} e${epoch} ${log}`;
    });
    return `${JSON.stringify(this.coordinator.document)}\n  ${nodes.join("\n  ")}`;
  }

  createMember(boot: Boot, nowMs: number): Member {
    const newClaimId = () => `claim-${++this.#claims}`;
    const options = { ...OPTIONS, lossMs: this.#mix.lossMs };
    return new this.#memberClass(boot, options, newClaimId, nowMs);
  }

  newContent(): number {
    return ++this.#contents;
  }

  syncDelay(): number {
    return this.random.between(0.1, this.#isCalm ? 3 : this.#mix.syncMs);
  }

  trace(nodeId: string, action: Action): void {
    const line = `${this.scheduler.now} ${nodeId} ${action.type}`;
    for (let i = 0; i < line.length; i++)
      this.#traceHash = (Math.imul(this.#traceHash, 31) + line.charCodeAt(i)) | 0;
    this.onTrace?.(this.scheduler.now, nodeId, action);
  }

  onSealed(claimant: AbstractNode, epoch: number): void {
    this.checker.onSealed(claimant.nodeId, epoch, this.nodes);
  }

  send(from: AbstractNode, to: string, parcel: Parcel): void {
    this.counts.messages++;
    const link = `${from.nodeId}>${to}`;
    const mix = this.#mix;
    if (this.#blocked.has(link)) return;
    if (!this.#isCalm && this.random.chance(mix.loss)) return;
    this.#deliver(link, from.nodeId, to, parcel);
    if (!this.#isCalm && this.random.chance(mix.duplication))
      this.#deliver(link, from.nodeId, to, parcel);
  }

  writeDocument(node: AbstractNode, action: Extract<Action, { type: "write-document" }>): void {
    const { life } = node;
    const { request, document, version } = action;
    const isReachable = () => !node.isCutFromCoordinator;
    this.coordinator.write(document, version, isReachable, (result, newVersion) =>
      node.deliver({ type: "document-written", request, result, version: newVersion }, life),
    );
  }

  /** What the shell at the writer does: the committed part of its log, as tables. */
  sendCheckpoint(from: AbstractNode, to: string): void {
    const node = this.#node(to);
    const { member } = from;
    if (member?.role !== "writer" || node.member === undefined) return;
    const { members } = this.coordinator.document;
    if (members.some((each) => each.nodeId === to && each.incarnation === node.incarnation)) return;
    if (this.#blocked.has(`${from.nodeId}>${to}`)) return;
    const frames: Frame[] = from.disk.frames.slice(0, member.commitIndex);
    node.installCheckpoint(frames);
  }

  #node(nodeId: string): AbstractNode {
    return this.nodes.find((each) => each.nodeId === nodeId)!;
  }

  #deliver(link: string, from: string, to: string, parcel: Parcel): void {
    const { random, scheduler } = this;
    const delay = random.between(0.1, this.#isCalm ? 2 : this.#mix.delayMs);
    let at = scheduler.now + delay;
    if (!this.#isCalm && random.chance(this.#mix.reorder))
      at += random.between(0, random.chance(0.2) ? 5000 : 500);
    else {
      at = Math.max(at, this.#lastArrival.get(link) ?? 0);
      this.#lastArrival.set(link, at);
    }
    scheduler.at(at, () => {
      if (this.#blocked.has(link)) return;
      this.#node(to).deliver({ type: "message", from, message: parcel.message }, undefined, parcel);
    });
  }

  #onDocument(document: ReplicaSetDocument, version: number): void {
    const ids = [...document.members, ...document.learners].map((each) => each.nodeId);
    check(new Set(ids).size === ids.length, () => "a node is listed twice");
    check(document.members.length >= document.writeQuorum, () => "fewer members than the quorum");
    for (const node of this.nodes) {
      const { life } = node;
      if (this.random.chance(this.coordinator.faults.lostWatch)) continue;
      this.scheduler.after(this.random.between(1, 30), () => {
        if (!node.isCutFromCoordinator) node.deliver({ type: "document", document, version }, life);
      });
    }
  }

  /** Runs `action` about every `meanMs`, until faults stop unless `untilCalm` is 0. */
  #every(meanMs: number, action: () => void, untilCalm = 1): void {
    if (meanMs === 0) return;
    this.scheduler.after(this.random.between(0.3, 1.7) * meanMs, () => {
      if (untilCalm === 1 && this.#isCalm) return;
      action();
      this.#every(meanMs, action, untilCalm);
    });
  }

  #scheduleFaults(): void {
    const mix = this.#mix;
    this.#every(mix.crashEveryMs, () => this.#crash());
    this.#every(mix.partitionEveryMs, () => this.#partition());
    this.#every(mix.pauseEveryMs, () => this.#pause());
    this.#every(mix.handoverEveryMs, () => this.#handOver());
    this.#every(mix.learnerEveryMs, () => this.#addLearner());
    this.#every(mix.coordinatorEveryMs, () => this.#disturbCoordinator());
    this.#every(mix.retainEveryMs, () => this.#deleteLog());
  }

  #crash(): void {
    const node = this.random.pick(this.nodes)!;
    if (node.member === undefined) return;
    this.counts.faults++;
    node.crash();
    this.#tellLinks(node, false);
    if (this.#mix.losesDisks && this.random.chance(0.3) && this.#mayLoseDisk()) node.loseDisk();
    const downMs = this.random.chance(0.5) ? 300 : 4000;
    this.scheduler.after(this.random.between(5, downMs), () => {
      if (node.member !== undefined) return;
      node.start();
      this.#tellLinks(node, true);
    });
  }

  /**
   * Q − 1 members may lose what they acknowledged; more is beyond the promise. A set that loses disks before it ever
   * had a writer waits: empty logs of some members prove nothing (claim.ts).
   */
  #mayLoseDisk(): boolean {
    if (this.checker.acknowledged === 0) return false;
    const { members, writeQuorum } = this.coordinator.document;
    const lost = members.filter((each) => this.#node(each.nodeId).incarnation !== each.incarnation);
    return lost.length < writeQuorum - 1;
  }

  #tellLinks(node: AbstractNode, isUp: boolean): void {
    for (const other of this.nodes) {
      if (other === node || this.random.chance(0.2)) continue;
      const event = { type: "link", node: node.nodeId, isUp } as const;
      this.scheduler.after(this.random.between(0.2, 5), () => other.deliver(event));
    }
  }

  /** Blocks some links, often in one direction only. */
  #partition(): void {
    this.counts.faults++;
    const { random } = this;
    const victim = random.pick(this.nodes)!;
    const links: string[] = [];
    const direction = random.integer(0, 2);
    for (const other of this.nodes) {
      if (other === victim || random.chance(0.2)) continue;
      if (direction !== 1) links.push(`${victim.nodeId}>${other.nodeId}`);
      if (direction !== 2) links.push(`${other.nodeId}>${victim.nodeId}`);
    }
    for (const link of links) this.#blocked.add(link);
    if (random.chance(0.3)) this.#tellLinks(victim, false);
    if (random.chance(0.4)) victim.isCutFromCoordinator = true;
    this.scheduler.after(random.between(50, 4000), () => {
      for (const link of links) this.#blocked.delete(link);
      victim.isCutFromCoordinator = false;
      this.#tellLinks(victim, true);
    });
  }

  #pause(): void {
    this.counts.faults++;
    const node = this.random.pick(this.nodes)!;
    const length = this.random.chance(0.5) ? 300 : 3000;
    const end = this.scheduler.now + this.random.between(10, length);
    node.pausedUntil = Math.max(node.pausedUntil, end);
  }

  #handOver(): void {
    const successor = this.random.chance(0.5) ? this.random.pick(this.nodes)!.nodeId : undefined;
    for (const node of this.nodes)
      if (node.member?.isServing === true) node.deliver({ type: "handover", successor });
  }

  /** An operator's change of the document: conditional, too. */
  #addLearner(): void {
    const { document, version } = this.coordinator;
    const listed = new Set([...document.members, ...document.learners].map((each) => each.nodeId));
    const spare = this.nodes.find((node) => !listed.has(node.nodeId));
    if (spare === undefined) return;
    const { nodeId, incarnation } = spare;
    const learners = [...document.learners, { nodeId, incarnation }];
    this.coordinator.apply({ ...document, learners }, version);
  }

  #disturbCoordinator(): void {
    this.counts.faults++;
    const { random, coordinator } = this;
    const node = random.pick(this.nodes)!;
    const kind = random.integer(0, 2);
    if (kind === 0) coordinator.isDown = true;
    if (kind === 1) node.isCutFromCoordinator = true;
    if (kind === 2)
      Object.assign(coordinator.faults, {
        unknown: random.between(0, 0.5),
        unavailable: random.between(0, 0.3),
        stale: random.between(0, 0.5),
        lostWatch: random.between(0, 0.5),
      });
    this.scheduler.after(random.between(50, 3000), () => {
      coordinator.isDown = false;
      node.isCutFromCoordinator = false;
    });
  }

  /** Deletes what all members have; while M can shrink the writer's budget may ask for more. */
  #deleteLog(): void {
    for (const node of this.nodes) {
      const { member } = node;
      if (member === undefined || node.isPaused || !node.disk.isComplete) continue;
      let first = member.retainFrom;
      const { members, writeQuorum } = this.coordinator.document;
      const mayForce = member.isServing && members.length > writeQuorum;
      if (mayForce && this.random.chance(0.2))
        first = Math.max(first, this.random.integer(first, member.commitIndex + 1));
      node.retain(Math.min(first, node.disk.durable + 1));
    }
  }

  #calmDown(): void {
    this.#isCalm = true;
    this.#blocked.clear();
    this.coordinator.isDown = false;
    Object.assign(this.coordinator.faults, { unknown: 0, unavailable: 0, stale: 0, lostWatch: 0 });
    for (const node of this.nodes) {
      node.isCutFromCoordinator = false;
      if (node.member === undefined) node.start();
    }
    for (const node of this.nodes) this.#tellLinks(node, true);
  }

  /** A writer serves, and all of M know a frame committed that came after the faults. */
  #isLive(goal: number): boolean {
    const { members, phase, writer } = this.coordinator.document;
    if (phase !== "ACTIVE" || this.#node(writer!).member?.isServing !== true) return false;
    return members.every(({ nodeId, incarnation }) => {
      const node = this.#node(nodeId);
      return node.incarnation === incarnation && node.member!.commitIndex >= goal;
    });
  }
}
