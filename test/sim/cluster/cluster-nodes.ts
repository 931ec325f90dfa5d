/**
 * The machines of a simulated cluster: they boot, fail, are started again by a supervisor, and some never come back.
 *
 * What is so in truth is read from the ensemble's documents, past all sessions and followers.
 */
import { DiskError } from "../../../src/base/errors.ts";
import {
  clusterDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../../../src/cluster/coordination/documents.ts";
import type { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import { childrenOf } from "../../../src/cluster/coordination/memory-tree.ts";
import { CLUSTER_PATH, SETS_PATH, setPath } from "../../../src/cluster/coordination/paths.ts";
import type { Member } from "../../../src/cluster/replication/quorum.ts";
import type { Life, SimProcess } from "../process.ts";
import type { Simulation } from "../simulation.ts";
import { ClusterServer, type ServerObserver } from "./cluster-server.ts";
import type { ClusterSwarm } from "./cluster-swarm.ts";
import { TraceLogger } from "./trace-logger.ts";

const RESTART_MICROS = 500_000;

export interface NodesOptions {
  readonly world: Simulation;
  readonly swarm: ClusterSwarm;
  readonly ensemble: MemoryEnsemble;
  readonly observer: ServerObserver;
  /** A program has ended that should not have. */
  onFailure(error: Error): void;
}

export class ClusterNodes {
  readonly #options: NodesOptions;
  readonly processes: SimProcess[] = [];
  readonly servers = new Map<string, ClusterServer>();
  /** Nodes that took another one's tables. */
  checkpoints = 0;
  movedSlots = 0;

  constructor(options: NodesOptions) {
    this.#options = options;
    const { initialSets, replicationFactor, spares } = options.swarm;
    const count = initialSets * replicationFactor + spares;
    for (let at = 1; at <= count; at++) this.#add(`node-${at}`);
  }

  get names(): string[] {
    return this.processes.map(({ name }) => name);
  }

  /** Servers whose machine is up. */
  get up(): ClusterServer[] {
    return this.processes
      .filter(({ isUp }) => isUp)
      .map(({ name }) => this.servers.get(name))
      .filter((server) => server !== undefined);
  }

  /** The documents of all sets, as they are. */
  get sets(): ReplicaSetDocument[] {
    const { view } = this.#options.ensemble;
    if (!view.has(SETS_PATH)) return [];
    return childrenOf(view, SETS_PATH).map((id) => {
      const path = setPath(id);
      return replicaSetDocument.parse(path, view.get(path)!.data);
    });
  }

  /** Sets that were formed after the first ones, and sets that are no more. */
  get setCounts(): { readonly formed: number; readonly retired: number } {
    const { ensemble, swarm } = this.#options;
    const found = ensemble.view.get(CLUSTER_PATH);
    if (found === undefined) return { formed: 0, retired: 0 };
    const { setsFormed, setsRetired } = clusterDocument.parse(CLUSTER_PATH, found.data);
    return { formed: Math.max(0, setsFormed - swarm.initialSets), retired: setsRetired };
  }

  /** Machines that could be lost for good now, with all that is on their disks. */
  get expendable(): SimProcess[] {
    const { sets } = this;
    return this.processes.filter((process) => {
      const server = this.servers.get(process.name);
      return process.isUp && server !== undefined && this.#isExpendable(server, sets);
    });
  }

  /** As an operator does who wants to use the nodes of retired sets again. */
  emptyRetired(): void {
    const { sets } = this;
    for (const process of this.processes) {
      const server = this.servers.get(process.name);
      if (!process.isUp || server === undefined || !isRetired(server, sets)) continue;
      process.crash("power");
      process.disk.wipe();
      this.bootLater(process, RESTART_MICROS);
    }
  }

  bootLater(process: SimProcess, delayMicros: number): void {
    this.#options.world.scheduler.after(delayMicros, "supervisor", () => {
      if (!process.isUp) process.boot();
    });
  }

  /** Of a set, those that must have all that is committed in the end. */
  serversOf({ members, learners }: ReplicaSetDocument): ClusterServer[] {
    return [...members, ...learners]
      .map((each) => this.#serverOf(each))
      .filter((server) => server !== undefined);
  }

  get haveCaughtUp(): boolean {
    return this.sets.every((set) => {
      const servers = this.serversOf(set);
      const isWhole = set.members.every((each) => this.#serverOf(each) !== undefined);
      const end = Math.max(...servers.map(({ member }) => member!.lastIndex));
      const isDone = ({ member }: ClusterServer) =>
        member!.commitIndex === end && member!.lastIndex === end;
      return isWhole && servers.every(isDone);
    });
  }

  describe(): string {
    const lines = [...this.servers.values()].map((server) => {
      const { name, member, coordinator, identity } = server;
      const movesText = server.describeMoves();
      const id = `${name} ${identity.nodeId.slice(0, 6)}.${identity.incarnation}`;
      if (member === undefined) return `${id} without a set`;
      const { role, phase = "", epoch, lastIndex, commitIndex } = member;
      const { state } = coordinator.session;
      const standing = `${role} ${phase} e${epoch} last ${lastIndex} commit ${commitIndex}`;
      return `${id} ${standing}, ${state}${movesText}`;
    });
    const nodes = (each: readonly Member[]) =>
      each.map(({ nodeId, incarnation }) => `${nodeId.slice(0, 6)}.${incarnation}`).join();
    for (const { epoch, phase, writeQuorum, members, learners } of this.sets)
      lines.push(`e${epoch} ${phase} Q ${writeQuorum} M ${nodes(members)} L ${nodes(learners)}`);
    return lines.join("\n");
  }

  #add(name: string): void {
    const { world, onFailure } = this.#options;
    const { scheduler } = world;
    const note = (line: string) => {
      if (line.startsWith("became a copy")) this.checkpoints++;
      if (line.startsWith("slots have moved")) this.movedSlots++;
      scheduler.trace.add(scheduler.nowMicros, name, line);
    };
    const process: SimProcess = world.addProcess(name, {
      boot: (life) => this.#boot(life, new TraceLogger(note)),
      onExit: (exited, error) => {
        // The only errors that are the environment's doing; others are bugs.
        if (!(error instanceof DiskError)) onFailure(error);
        this.bootLater(exited, RESTART_MICROS);
      },
    });
    this.processes.push(process);
  }

  async #boot(life: Life, logger: TraceLogger): Promise<void> {
    const { ensemble, observer, swarm } = this.#options;
    const { syncPolicy, store: storeShape, replication } = swarm;
    const { initialSets, replicationFactor, writeQuorum } = swarm;
    this.servers.delete(life.name);
    const server = await ClusterServer.boot(life, {
      ...{ ensemble, syncPolicy, storeShape, replication, logger },
      shape: { initialSets, replicationFactor, writeQuorum },
      bootId: bootIdOf(life.process),
      ...{ retainBytesMax: swarm.retainBytesMax, observer },
      ...{ rebalances: swarm.rebalances, slotsPerMove: swarm.slotsPerMove },
    });
    if (life.isAlive) this.servers.set(life.name, server);
  }

  #serverOf({ nodeId, incarnation }: Member): ClusterServer | undefined {
    return this.up.find(({ identity, member }) => {
      const isNode = identity.nodeId === nodeId && identity.incarnation === incarnation;
      return isNode && member !== undefined;
    });
  }

  #isExpendable(server: ClusterServer, sets: readonly ReplicaSetDocument[]): boolean {
    const { nodeId } = server.identity;
    const isListed = (members: readonly Member[]) => members.some((each) => each.nodeId === nodeId);
    const set = sets.find(({ members, learners }) => isListed(members) || isListed(learners));
    // Before there are sets, a machine that is missing may be the one that is waited for.
    // And one that has no data may just be put into one more set, which counts on it.
    if (set === undefined)
      return sets.length > 0 && (isRetired(server, sets) || !this.#options.swarm.rebalances);
    const { members, writeQuorum, phase } = set;
    if (phase !== "ACTIVE" || !isListed(members)) return false;
    const left = members.length - 1;
    if (left < writeQuorum || left < members.length - writeQuorum + 1) return false;
    return members.every((each) => {
      const other = this.#serverOf(each);
      return other !== undefined && !other.life.isPaused;
    });
  }
}

/** Whether its set was there and is no more. */
function isRetired({ formerSetId }: ClusterServer, sets: readonly ReplicaSetDocument[]): boolean {
  return formerSetId !== "" && !sets.some(({ id }) => id === formerSetId);
}

function bootIdOf({ powerLossCount }: SimProcess): string {
  return `00000000-0000-4000-8000-${`${powerLossCount}`.padStart(12, "0")}`;
}
