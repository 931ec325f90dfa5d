/**
 * Three stores in one process, one of them the writer, and a test in the place of the cluster: it ships frames in batches
 * of any size, says what is committed, kills nodes, and makes another one the writer.
 *
 * What is known beside the stores: every unit with the frame that it is in. A replica that has applied frame i must show
 * exactly the units up to i.
 */

import { comparePositions, EpochTable } from "../../src/cluster/replication/epoch-table.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { SyncPolicy } from "../../src/store/commit-pipeline.ts";
import { abandon, ReplicatedStore } from "../../src/store/replicated-store.ts";
import {
  applyUnit,
  contentsAfter,
  differences,
  type Entry,
  keysOf,
  type Unit,
} from "../crash/history.ts";
import { StoreSession } from "../crash/store-session.ts";
import type { Random } from "../support/crash-states.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { TracedFileSystem } from "../support/traced-file-system.ts";

const START_MS = 1_700_000_000_000;
const KIB = 1024;
const RETAIN_BYTES_MAX = 1 << 30;

export interface WorldOptions {
  readonly random: Random;
  readonly policy: SyncPolicy;
  /** Of each node. */
  readonly segmentCounts: readonly number[];
  readonly segmentBytes: number;
}

/** What is known of a node when its disk changes. */
export interface NodeStamp {
  /** What its log is; a crash leaves a part of it, from the start up to `durable` at least. */
  readonly table: EpochTable;
  readonly durable: number;
  readonly committed: number;
  readonly units: readonly Unit[];
}

export class Node {
  readonly name: string;
  readonly clock: SimulatedClock;
  readonly #options: WorldOptions;
  readonly #segmentCount: number;
  fileSystem: TracedFileSystem<unknown> = new TracedFileSystem(
    new Map(),
    () => undefined,
    () => undefined,
  );
  session!: StoreSession;
  replicated!: ReplicatedStore;
  durable = 0;
  /** While the log is cut: what it was, and what must be left of it. */
  truncation: { table: EpochTable; durable: number } | undefined = undefined;

  constructor(name: string, options: WorldOptions, clock: SimulatedClock, segmentCount: number) {
    this.name = name;
    this.#options = options;
    this.clock = clock;
    this.#segmentCount = segmentCount;
  }

  async open(): Promise<void> {
    const { policy, segmentBytes } = this.#options;
    const { fileSystem, clock } = this;
    const session = await StoreSession.open(
      {
        fileSystem,
        clock,
        policy,
        segmentBytes,
        segmentCount: this.#segmentCount,
        executor: new InlineExecutor(fileSystem),
        open: async (options) => {
          this.replicated = await ReplicatedStore.open({
            ...options,
            replication: { commitIndex: 0, retainBytesMax: RETAIN_BYTES_MAX },
            replicator: {
              onWritten: () => undefined,
              onDurable: (index) => {
                this.durable = index;
              },
            },
          });
          return this.replicated.store;
        },
      },
      [],
    );
    this.session = session;
    this.durable = this.last;
  }

  /** The process dies; what it has written is there. */
  async kill(): Promise<void> {
    const image = this.fileSystem.image();
    await abandon(this.session.store);
    this.fileSystem = new TracedFileSystem(
      image,
      () => undefined,
      () => undefined,
    );
    await this.open();
  }

  async stepDown(commit: number): Promise<void> {
    await settle();
    this.session.store = await this.replicated.stepDown(commit);
    this.durable = this.last;
  }

  get log() {
    return this.session.store.internals.log;
  }

  get last(): number {
    return this.log.openIndex - 1;
  }

  get table(): EpochTable {
    return new EpochTable(this.log.epochRuns, this.last);
  }
}

/** Lets everything end that needs no decision. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise((resolve) => setImmediate(resolve));
}

export class World {
  readonly random: Random;
  readonly clock = new SimulatedClock(START_MS, true);
  readonly nodes: Node[];
  writer!: Node;
  epoch = 0;
  epochStart = 0;
  committed = 0;
  /** Units of the log as it is now, whoever wrote them. */
  units: Unit[] = [];

  constructor(options: WorldOptions) {
    this.random = options.random;
    this.nodes = options.segmentCounts.map(
      (count, at) => new Node("ABC"[at]!, options, this.clock, count),
    );
  }

  async open(): Promise<void> {
    for (const node of this.nodes) await node.open();
    await this.elect(this.nodes[0]!);
  }

  any<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)]!;
  }

  get replicas(): Node[] {
    return this.nodes.filter((node) => node !== this.writer);
  }

  stampOf(node: Node): NodeStamp {
    const isOpen = node.session !== undefined;
    const table = isOpen ? node.table : new EpochTable();
    const durable = isOpen ? node.log.durableIndex : 0;
    const { committed, units } = this;
    return { table, durable, ...node.truncation, committed, units: [...units] };
  }

  /** One unit of the writer. */
  async write(unit: (session: StoreSession) => Unit["changes"]): Promise<void> {
    const { session } = this.writer;
    const before = session.units.length;
    let isDone = false;
    const run = session.run(() => unit(session) as [string, Entry | undefined][]);
    const done = run.finally(() => {
      isDone = true;
    });
    done.catch(() => undefined);
    // With no arena free it waits until something is committed.
    for (let tries = 0; !isDone; tries++) {
      if (tries > 1000) throw new Error("a unit waits for ever");
      await settle();
      if (tries < 2) continue;
      for (const node of this.replicas) await this.ship(node);
      this.commit(false);
    }
    await done;
    this.units.push(...session.units.slice(before));
    if (this.random() < 0.6) await settle();
  }

  /** Sends some frames to a replica, after it has cut off what the writer does not have. */
  async ship(to: Node, bytesMax = 1 + Math.floor(this.random() * 64 * KIB)): Promise<boolean> {
    const { table } = to;
    const common = table.commonPrefix(this.writer.table);
    if (common < to.last) {
      to.truncation = { table, durable: Math.min(common, to.log.durableIndex) };
      await to.replicated.replica.truncateAfter(common);
      to.truncation = undefined;
      to.durable = common;
    }
    const { log } = this.writer;
    const frames = await log.readFrames(to.last + 1, log.writtenIndex, bytesMax);
    if (frames === undefined) return false;
    // Of another machine's memory, and anywhere in it.
    const bytes = Buffer.concat([Buffer.alloc(1), frames.bytes]).subarray(1);
    const taken = to.replicated.replica.appendFrames(bytes);
    if (taken === bytes.length && to.last !== frames.last)
      throw new Error(`${to.name} has ${to.last} after frames up to ${frames.last}`);
    return taken > 0;
  }

  /** Commits something that a majority holds durably, and tells some of the others. */
  commit(isAll: boolean): void {
    const durable = this.nodes.map((node) =>
      Math.min(node.durable, node.table.commonPrefix(this.writer.table)),
    );
    const most = durable.toSorted((a, b) => b - a)[1]!;
    if (most >= this.epochStart && most > this.committed) {
      this.committed += 1 + Math.floor((isAll ? 1 : this.random()) * (most - this.committed - 1));
      this.committed = Math.max(this.committed, this.epochStart);
      this.writer.log.commitIndex = this.committed;
      this.writer.session.store.pipeline.commit(this.committed);
    }
    // What all have cannot get lost: frames that say so are believed by any node that opens its log again.
    const synced = this.nodes.map((node, at) => Math.min(node.log.durableIndex, durable[at]!));
    this.committed = Math.max(this.committed, Math.min(...synced));
    this.writer.log.durableEverywhere = Math.min(...synced);
    for (const node of this.replicas) {
      if (!isAll && this.random() < 0.4) continue;
      const matched = node.table.commonPrefix(this.writer.table);
      node.replicated.replica.commit(Math.min(this.committed, matched));
    }
  }

  /** The node's log must hold all that is committed; it becomes the writer of the next epoch. */
  async elect(node: Node): Promise<void> {
    if (this.writer !== undefined) await this.writer.stepDown(this.committedOf(this.writer));
    const kept = this.writer === undefined ? 0 : node.table.commonPrefix(this.writer.table);
    this.units = this.units.filter(({ tag }) => tag <= kept);
    this.writer = node;
    this.epoch++;
    const { replica } = node.replicated;
    if (!replica.appendEpochStart(this.epoch, this.clock.wallMs()))
      throw new Error("an epoch that cannot start");
    this.epochStart = node.last;
    for (let tries = 0; this.committed < this.epochStart; tries++) {
      if (tries > 10_000) throw new Error("the start of an epoch is not committed");
      await settle();
      for (const other of this.replicas) await this.ship(other);
      const durable = this.nodes.map((each) => Math.min(each.durable, each.last));
      const reached = durable.filter((index) => index >= this.epochStart).length;
      if (reached >= 2) this.committed = this.epochStart;
    }
    replica.commit(this.committed);
    node.session.truncate(0);
    node.session.units.push(...this.units);
    for (const unit of this.units) applyUnit(node.session.contents, unit);
    node.replicated.lead();
  }

  committedOf(node: Node): number {
    return Math.min(this.committed, node.last);
  }

  /** A node that may become the writer: of any two, the one whose log is ahead. */
  successor(): Node {
    return this.any([this.nodes[0]!, this.nodes[1]!, this.nodes[2]!]) === this.writer
      ? this.#ahead(this.nodes)
      : this.#ahead(this.replicas);
  }

  #ahead(nodes: readonly Node[]): Node {
    return nodes.toSorted((a, b) => comparePositions(b.table.last, a.table.last))[0]!;
  }

  /** What a replica shows, against the units up to the frame that it has applied. */
  async checkReplica(node: Node): Promise<void> {
    const { store } = node.session;
    const applied = node.replicated.replica.appliedIndex;
    if (applied > this.committed)
      throw new Error(
        `${node.name} has applied ${applied}, but only ${this.committed} is committed`,
      );
    const count = this.units.filter(({ tag }) => tag <= applied).length;
    const expected = contentsAfter(this.units, count);
    const actual = await node.session.readAll(keysOf(this.units));
    const moment = { nowMs: store.nowMs, latestMs: store.nowMs };
    const lines = differences(expected, actual, moment);
    if (lines.length > 0)
      throw new Error(
        `${node.name} at ${applied} of ${this.committed}: ${lines.slice(0, 5).join("; ")}`,
      );
    const size = await node.session.size();
    if (size < actual.size || size > expected.size)
      throw new Error(
        `${node.name}: DBSIZE ${size}, keys ${actual.size}, unexpired or not ${expected.size}`,
      );
    const scanned = await node.session.scanAll();
    if (scanned.sort().join() !== [...actual.keys()].sort().join())
      throw new Error(`${node.name}: SCAN finds ${scanned.join()}`);
    if (node.session.failure !== undefined) throw node.session.failure;
  }

  /** Everything is shipped and committed: all nodes are the same. */
  async converge(): Promise<void> {
    await settle();
    const { last } = this.writer;
    const isDone = () =>
      this.replicas.every((node) => node.replicated.replica.appliedIndex === last);
    for (let tries = 0; !isDone(); tries++) {
      if (tries > 10_000) throw new Error("the nodes do not come together");
      for (const node of this.replicas) await this.ship(node);
      await settle();
      this.commit(true);
    }
    for (const node of this.replicas) await this.checkReplica(node);
    const keys = keysOf(this.units);
    // The writer reads last: it would remove what has expired, with the clock of the wall.
    const states = [];
    for (const node of [...this.replicas, this.writer])
      states.push(await stateOf(node, keys, this.replicas[0]!.session.store.nowMs));
    if (new Set(states).size !== 1) throw new Error(`the nodes differ:\n${states.join("\n")}`);
  }

  async close(): Promise<void> {
    for (const node of this.nodes) {
      await node.replicated.close();
      if (node.session.failure !== undefined) throw node.session.failure;
      if (node.fileSystem.openFiles !== 0)
        throw new Error(`${node.name} leaves ${node.fileSystem.openFiles} files open`);
    }
  }
}

async function stateOf(node: Node, keys: Set<string>, nowMs: number): Promise<string> {
  const size = await node.session.size();
  const contents = await node.session.readAll(keys);
  const lines = [...contents]
    .filter(([, { expiry }]) => expiry === 0 || expiry > nowMs)
    .map(([key, { digest, expiry }]) => `${key} ${digest} ${expiry}`);
  return `${Bun.hash(lines.sort().join())} of ${lines.length}, DBSIZE ${size}`;
}
