/**
 * Servers of a cluster in one process, each with a store of its own, a topology that changes when a test says so, and
 * links in memory that do what a test wants. Nothing is replicated: a replica holds what a test puts there.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { SystemClock, type Timer } from "../../src/base/clock.ts";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { SystemHost } from "../../src/base/host.ts";
import { createLogger } from "../../src/base/logger.ts";
import { SystemProcessMemory } from "../../src/base/process-memory.ts";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { CurrentTopology } from "../../src/cluster/current-topology.ts";
import type { Admission } from "../../src/cluster/replication/member.ts";
import type {
  ReplicaStatus,
  Replication,
  ReplicationStatus,
} from "../../src/cluster/replication-status.ts";
import { Topology, type TopologyNode, type TopologySet } from "../../src/cluster/topology.ts";
import { Config } from "../../src/config/config.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { LinkDescription, MoveControl } from "../../src/server/cluster-context.ts";
import type { Forwarder, ForwardUnit } from "../../src/server/forwarder.ts";
import { REFUSED, UNKNOWN } from "../../src/server/forwarder.ts";
import type { Authority } from "../../src/server/node-authority.ts";
import type { PeerLink } from "../../src/server/peer-link.ts";
import { Server } from "../../src/server/server.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { Store } from "../../src/store/store.ts";
import { freePort } from "./dkv-process.ts";

export function slotOfKey(key: string): number {
  const bytes = Buffer.from(key);
  return slotOf(bytes, 0, bytes.length);
}

/** What a node says of replication: what the topology shows, and what a test sets. */
export class FakeReplication implements Replication {
  /** Ids of other nodes, and the last frame that each durably has; who is not in it has everything. */
  readonly durable = new Map<string, number>();
  /** Takes the place of what follows from the topology. */
  override: Partial<ReplicationStatus> = {};
  readonly #id: string;
  readonly #topology: CurrentTopology;
  readonly #store: Store;
  readonly #listeners = new Set<() => void>();

  constructor(id: string, topology: CurrentTopology, store: Store) {
    this.#id = id;
    this.#topology = topology;
    this.#store = store;
    topology.onChange(() => this.tell());
  }

  hearsWriter = true;

  get isServing(): boolean {
    return this.override.isServing ?? this.#set?.writer?.id === this.#id;
  }

  get #set(): TopologySet | undefined {
    return this.#topology.value.setOf(this.#id);
  }

  /** How many wait for progress. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Another node has acknowledged frames up to `index`. */
  acknowledge(nodeId: string, index: number): void {
    this.durable.set(nodeId, index);
    this.tell();
  }

  tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  onProgress(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  countHolders(index: number): number {
    if (!this.isServing) return 0;
    return this.status().replicas.filter(({ durable }) => durable >= index).length;
  }

  status(): ReplicationStatus {
    const set = this.#set;
    const { isServing } = this;
    const lastIndex = this.#store.internals.log.writtenIndex;
    const writer = set?.writer;
    const link = (node: TopologyNode) => ({ nodeId: node.id, host: node.host, port: node.port });
    const replicas = (set?.replicas ?? []).map((node): ReplicaStatus => {
      const durable = this.durable.get(node.id) ?? lastIndex;
      const standing = { isMember: true, state: "online", heardMsAgo: 20 } as const;
      return { ...link(node), ...standing, matched: durable, durable };
    });
    return {
      setId: set?.id ?? "",
      role: isServing ? "writer" : "replica",
      phase: isServing ? "serving" : "",
      isServing,
      admission: isServing ? "accept" : "not-writer",
      epoch: set?.epoch ?? 0,
      writer:
        isServing || writer === undefined
          ? undefined
          : { ...link(writer), isUp: true, heardMsAgo: 20 },
      isSyncing: false,
      checkpoints: { sending: undefined, receiving: undefined },
      ...{ commitIndex: lastIndex, durableIndex: lastIndex, lastIndex },
      ...{ members: 1 + replicas.length, learners: 0, writeQuorum: 2, replicationFactor: 3 },
      replicas: isServing ? replicas : [],
      coordination: "connected",
      takeovers: { handovers: 0, failovers: 0 },
      ...this.override,
    };
  }
}

/** The system's clock; its monotonic time can be moved, and its timers made faster. */
class TestClock extends SystemClock {
  shiftMs = 0;
  speed = 1;

  override monotonicMs(): number {
    return super.monotonicMs() + this.shiftMs;
  }

  override after(delayMs: number, action: () => void): Timer {
    return super.after(delayMs / this.speed, action);
  }
}

/** What a link does with a frame. */
export type LinkMode = "carry" | "refuse" | "lose-request" | "lose-reply";

/** How members reach each other. */
export interface ClusterLinks {
  /** By the id of the node that is asked. */
  readonly modes: Map<string, LinkMode>;
  /** Frames in the order in which they were sent. */
  readonly frames: { readonly to: string; readonly units: number }[];
  /** Before add(). */
  forwarderOf(from: string): Forwarder;
  add(id: string, server: Server): void;
  /** All members have been added. */
  ready(): Promise<void>;
  /** The links to a node break: what it keeps for its peers is gone. */
  breakLinks(to: string): void;
  stop(id: string): void;
}

/** A frame's units, copied as a wire would. */
export class MemoryLinks implements ClusterLinks {
  readonly #servers = new Map<string, Server>();
  readonly #links = new Map<string, PeerLink>();
  readonly modes = new Map<string, LinkMode>();
  readonly frames: { readonly to: string; readonly units: number }[] = [];

  add(id: string, server: Server): void {
    this.#servers.set(id, server);
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  stop(id: string): void {
    this.breakLinks(id);
  }

  breakLinks(to: string): void {
    for (const [key, link] of this.#links) {
      if (!key.endsWith(to)) continue;
      link.close();
      this.#links.delete(key);
    }
  }

  forwarderOf(from: string): Forwarder {
    return {
      forward: (node, units) => {
        this.frames.push({ to: node.id, units: units.length });
        setImmediate(() => this.#deliver(from, node, units));
      },
    };
  }

  #deliver(from: string, node: TopologyNode, units: readonly ForwardUnit[]): void {
    const mode = this.modes.get(node.id) ?? "carry";
    if (mode === "refuse") {
      for (const unit of units) unit.settle(REFUSED);
      return;
    }
    if (mode === "lose-request") {
      for (const unit of units) unit.settle(UNKNOWN);
      return;
    }
    const copies = units.map((unit): ForwardUnit => {
      const { client, slot, epoch, kind, isWatched, protocol, requests } = unit;
      const bytes = [Buffer.concat(unit.bytes)];
      const settle: ForwardUnit["settle"] = (outcome) =>
        setImmediate(() => unit.settle(mode === "lose-reply" ? UNKNOWN : outcome));
      return { client, slot, epoch, kind, isWatched, protocol, requests, bytes, settle };
    });
    this.#linkOf(from, node.id).execute(copies);
  }

  #linkOf(from: string, to: string): PeerLink {
    const key = `${from} ${to}`;
    const link = this.#links.get(key) ?? this.#servers.get(to)!.peerLink();
    this.#links.set(key, link);
    return link;
  }
}

export class TestAuthority implements Authority {
  isServing = true;
  admission: Admission = "accept";
  isLeaseValid = true;
  /** Rounds that wait for a test to end them. */
  readonly rounds: ((isConfirmed: boolean) => void)[] = [];

  confirm(): Promise<boolean> {
    return new Promise((resolve) => this.rounds.push(resolve));
  }
}

export interface ClusterMember {
  readonly id: string;
  readonly port: number;
  readonly set: number;
  readonly store: Store;
  readonly server: Server;
  readonly config: Config;
  readonly topology: CurrentTopology;
  /** What the node knows of its own role; a writer with its quorum until a test says otherwise. */
  readonly authority: TestAuthority;
  readonly replication: FakeReplication;
  /** Replies of requestHandover(), and how often it was asked. */
  handovers: number;
}

export interface StaticClusterOptions {
  /** Nodes have just started: they know of no documents until tellAll(). */
  readonly isUntold?: boolean;
  /** Nodes of each set; the first is the writer. */
  readonly sets: readonly number[];
  readonly redirect?: string;
  /** In memory by default. */
  readonly links?: ClusterLinks;
  /** Index of the owning set by slot; by default equal runs. */
  ownerOf?(slot: number): number;
}

export class StaticCluster {
  readonly members: ClusterMember[] = [];
  readonly links: ClusterLinks;
  /** Slots that are on the move: nobody answers for them. */
  readonly heldSlots = new Set<number>();
  /** Nodes that no other one has a link to. */
  readonly unlinked = new Set<string>();
  /** Whether the coordinator can be reached. */
  isCoordinated = true;
  /** Slots stay where they are. */
  readonly #moves: MoveControl = {
    move: () => Promise.resolve({ moves: [] }),
    rebalance: () => Promise.resolve({ moves: [] }),
    drain: () => Promise.resolve({ moves: [] }),
    list: () => Promise.resolve(this.isCoordinated ? [] : undefined),
    abort: () => Promise.resolve(this.isCoordinated ? 0 : undefined),
    progress: () => undefined,
  };
  /** Of all members. */
  readonly clock = new TestClock();
  readonly #directory = mkdtempSync(join(tmpdir(), "dkv-cluster-"));
  readonly #owners: number[];
  readonly #writers: number[];
  readonly #epochs: number[];
  #version = 1;

  private constructor(options: StaticClusterOptions) {
    this.links = options.links ?? new MemoryLinks();
    const count = options.sets.length;
    const ownerOf = options.ownerOf ?? ((slot: number) => Math.floor((slot * count) / SLOT_COUNT));
    this.#owners = Array.from({ length: SLOT_COUNT }, (_, slot) => ownerOf(slot));
    this.#writers = options.sets.map(() => 0);
    this.#epochs = options.sets.map((_, index) => index + 1);
  }

  static async start(options: StaticClusterOptions): Promise<StaticCluster> {
    const cluster = new StaticCluster(options);
    for (const [set, nodes] of options.sets.entries()) {
      for (let node = 0; node < nodes; node++) await cluster.#add(set, node, options);
    }
    if (options.isUntold !== true) cluster.#show();
    await cluster.links.ready();
    return cluster;
  }

  /** Nodes of a set, the first writer first. */
  nodesOf(set: number): ClusterMember[] {
    return this.members.filter((member) => member.set === set);
  }

  writer(set: number): ClusterMember {
    return this.nodesOf(set)[this.#writers[set]!]!;
  }

  /** A key `prefix…` that `set` owns; `index` numbers them. */
  keyOf(set: number, index = 0, prefix = "k"): string {
    let left = index;
    for (let number = 0; ; number++) {
      const key = `${prefix}${number}`;
      if (this.#owners[slotOfKey(key)] === set && left-- === 0) return key;
    }
  }

  ownerOf(key: string): ClusterMember {
    return this.writer(this.#owners[slotOfKey(key)]!);
  }

  /** Gives slots to another set; −1: to nobody. Members in `unaware` do not hear of it. */
  move(slots: readonly number[], set: number, unaware: readonly ClusterMember[] = []): void {
    for (const slot of slots) this.#owners[slot] = set;
    this.#show(unaware);
  }

  /** Makes node `writer` of a set its writer, −1: nobody, in the next epoch. */
  elect(set: number, writer: number, unaware: readonly ClusterMember[] = []): void {
    this.#writers[set] = writer;
    this.#epochs[set]!++;
    this.#show(unaware);
  }

  /** Shows everybody the present state. */
  #show(unaware: readonly ClusterMember[] = []): void {
    const version = ++this.#version;
    for (const member of this.members)
      if (!unaware.includes(member)) member.topology.update(this.#picture(version));
  }

  /** Members that did not hear of the last change hear of it now. */
  tellAll(): void {
    this.#show();
  }

  #picture(version: number): Topology {
    const sets = this.#writers.map((writer, set) => {
      const nodes = this.nodesOf(set).map(
        ({ id, port }): TopologyNode => ({
          id,
          host: "127.0.0.1",
          port,
          peerPort: port + 10_000,
          hostname: "",
          health: "online",
        }),
      );
      const slots: { start: number; end: number }[] = [];
      for (let slot = 0; slot < SLOT_COUNT; slot++) {
        if (this.#owners[slot] !== set) continue;
        const last = slots.at(-1);
        if (last?.end === slot - 1) last.end = slot;
        else slots.push({ start: slot, end: slot });
      }
      return {
        id: `${set}`.padStart(40, "5"),
        epoch: this.#epochs[set]!,
        writer: nodes[writer],
        replicas: nodes.filter((_, index) => index !== writer),
        slots,
        isDraining: false,
      };
    });
    return new Topology(version, sets);
  }

  async #add(set: number, node: number, options: StaticClusterOptions): Promise<void> {
    const id = `${set}${node}`.padEnd(40, "a");
    const port = freePort();
    const directory = join(this.#directory, id);
    const { clock } = this;
    const fileSystem = new DiskFileSystem();
    fileSystem.makeDirectory(directory);
    const config = Config.load({
      argv: ["--bind", "127.0.0.1", "--port", `${port}`, "--dir", directory].concat(
        ["--cluster-redirect", options.redirect ?? "auto"],
        ["--maxmemory", "256mb", "--proto-max-bulk-len", "64mb"],
      ),
      environment: {},
    });
    const onFatal = (error: Error): void => {
      throw error;
    };
    let server: Server | undefined;
    const largeBytes = new ByteBudget(64 << 20);
    const { store } = await openStore({
      fileSystem,
      directory,
      clock,
      executor: new InlineExecutor(fileSystem),
      random: new Uint8Array(24).map((_, index) => index * 7 + 1),
      syncPolicy: "no",
      segmentBytes: 4 << 20,
      segmentPoolBytes: 24 << 20,
      tuning: {},
      minFreeDiskBytes: () => 0,
      largeBytes,
      valueBytesMax: 64 << 20,
      onFatal,
      onCommitted: () => server?.onCommitted(),
      onRecovering: () => undefined,
    });
    const topology = new CurrentTopology(new Topology(0, []));
    const member: ClusterMember = {
      id,
      port,
      set,
      store,
      config,
      topology,
      authority: new TestAuthority(),
      replication: new FakeReplication(id, topology, store),
      handovers: 0,
      get server() {
        return server!;
      },
    };
    server = new Server({
      largeBytes,
      config,
      store,
      clock,
      logger: createLogger({ level: "nothing", file: "" }),
      host: new SystemHost(),
      processMemory: new SystemProcessMemory(),
      runId: id,
      cluster: {
        id,
        topology,
        forwarder: this.links.forwarderOf(id),
        authority: member.authority,
        requestHandover: () => {
          member.handovers++;
          return undefined;
        },
        forgetNode: () => Promise.resolve(undefined),
        links: () => this.#linksOf(id),
        moves: this.#moves,
        isHeld: (slot) => this.heldSlots.has(slot),
        heldSlotsChanged: () => Bun.sleep(1),
        replication: member.replication,
      },
      onShutdown: () => undefined,
      onFatal,
    });
    server.listen();
    this.links.add(id, server);
    this.members.push(member);
  }

  /** To all other nodes that are not `unlinked`. */
  #linksOf(id: string): LinkDescription[] {
    const sizes = { allocatedBytes: 0, usedBytes: 0 };
    return this.members
      .filter((member) => member.id !== id && !this.unlinked.has(member.id))
      .map((member) => ({
        direction: "to",
        nodeId: member.id,
        createdMs: 0,
        events: "r",
        ...sizes,
      }));
  }

  async stop(): Promise<void> {
    for (const member of this.members) await member.server.stop();
    for (const member of this.members) {
      this.links.stop(member.id);
      await member.store.close();
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
