/**
 * The scenario "set": one replica set with production's core, shell and store, a coordinator, some clients, faults; then
 * no faults, and everything must work, be there, and be the same on every node.
 *
 *   safety phase: faults ─► liveness phase: every client is served in time ─► all keys are read ─► nodes agree ─► checks
 */

import { DiskError } from "../../../src/base/errors.ts";
import type { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import {
  DEFAULT_REPLICATION_OPTIONS,
  type ReplicationOptions,
} from "../../../src/cluster/replication/options.ts";
import { type Fault, FaultSchedule, standardFaults } from "../faults.ts";
import { History } from "../history.ts";
import type { Life, SimProcess } from "../process.ts";
import { SimRandom } from "../random.ts";
import { type Scenario, type SeedOptions, type SeedReport, SimulationError } from "../scenario.ts";
import { Simulation } from "../simulation.ts";
import { chooseSwarm, type Swarm, type SwarmLimits } from "../swarm.ts";
import { ClusterClient } from "./cluster-client.ts";
import { ClusterServer, type ServerBug } from "./cluster-server.ts";
import { TraceLogger } from "./trace-logger.ts";

export type PlantedBug = ServerBug;

const KIB = 1024;
const SECOND = 1_000_000;
const LIMITS: SwarmLimits = { nodesMax: 5, policies: ["always", "always", "everysec", "no"] };
/** With no faults left, answers come within that time. */
const LIVENESS_MICROS = 120 * SECOND;
const RESTART_MICROS = 0.5 * SECOND;
const CHECK_MICROS = 0.05 * SECOND;
/** Clients' time-outs end within it, and the network has noticed who has gone. */
const REST_MICROS = 60 * SECOND;
const FAULT_WEIGHT_MAX = 10;
const LEASE_BUG: PlantedBug = "read without a lease";

export function clusterScenario(bug?: PlantedBug): Scenario {
  return { name: "set", run: (seed, options) => new ClusterRun(seed, bug, options ?? {}).run() };
}

/** A bug that needs one fault, long and alone, gets it: in a mix of all faults it shows too rarely for a test. */
function focused(swarm: Swarm, bug: PlantedBug | undefined): Swarm {
  if (bug !== LEASE_BUG) return swarm;
  const times = { gapMicros: SECOND, durationMicros: 4 * SECOND };
  return { ...swarm, replicationFactor: 3, writeQuorum: 2, weights: {}, times };
}

class ClusterRun {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #swarm: Swarm;
  readonly #world: Simulation;
  readonly #history: History;
  readonly #faults: FaultSchedule;
  readonly #nodes: SimProcess[] = [];
  readonly #servers = new Map<string, ClusterServer>();
  readonly #bug: PlantedBug | undefined;
  /** Little, and much is written: who was away needs a checkpoint. */
  readonly #retainBytesMax: number;
  #ensemble!: MemoryEnsemble;
  #goesOn = true;
  #checkpoints = 0;
  #clientsLeft = 0;
  /** Clients that have been served since the faults stopped. */
  readonly #served = new Set<number>();
  #isLivenessPhase = false;
  #failure: Error | undefined = undefined;
  epochs = 0;

  constructor(seed: number, bug: PlantedBug | undefined, options: SeedOptions) {
    this.#seed = seed;
    this.#bug = bug;
    this.#random = new SimRandom(seed);
    this.#swarm = focused(chooseSwarm(this.#random.fork("swarm"), LIMITS), bug);
    const log = this.#random.fork("log");
    this.#retainBytesMax = log.chance(0.5) ? Number.MAX_SAFE_INTEGER : log.below(128 * KIB);
    this.#world = new Simulation(this.#random.fork("world"), this.#swarm, options.show);
    const { scheduler, network } = this.#world;
    this.#history = new History(() => scheduler.nowMicros);
    this.#startEnsemble();
    this.#addNodes();
    const nodeNames = this.#nodes.map(({ name }) => name);
    const names = [...nodeNames, ...this.#addClients(nodeNames)];
    const chance = this.#random.fork("faults");
    const faults = [
      ...standardFaults(this.#nodes, network, names, this.#swarm.weights),
      ...this.#coordinatorFaults(chance),
    ];
    this.#faults = new FaultSchedule(scheduler, chance, faults, this.#swarm.times);
  }

  run(): SeedReport {
    try {
      this.#play();
    } catch (cause) {
      const { message } = cause as Error;
      throw new SimulationError(message, { cause, seed: this.#seed, trace: this.#world.trace });
    }
    const { trace, scheduler } = this.#world;
    return {
      seed: this.#seed,
      hash: trace.hash,
      events: trace.eventCount,
      simulatedMicros: scheduler.nowMicros,
      acknowledged: this.#history.acknowledged,
      unknown: this.#history.unknown,
      checkpoints: this.#checkpoints,
      faults: this.#faults.counts,
    };
  }

  #play(): void {
    for (const process of this.#world.processes.values()) if (!process.isUp) process.boot();
    this.#faults.start();
    this.#runFor(this.#random.fork("length").magnitude(4 * SECOND, 30 * SECOND));
    this.#faults.stop();
    this.#isLivenessPhase = true;
    const clients = this.#clientsLeft;
    this.#runUntil(() => this.#served.size === clients, "clients get answers again");
    this.#goesOn = false;
    this.#runUntil(() => this.#clientsLeft === 0, "clients end");
    this.#runFor(REST_MICROS);
    this.#readAll();
    this.#history.check();
    this.#runUntil(() => this.#haveNodesCaughtUp(), "all nodes have all that is committed");
    if (this.#replaceDisk())
      this.#runUntil(() => this.#haveNodesCaughtUp(), "a node with a new disk has it too");
    this.#compareNodes();
  }

  /** Of a node that is not the writer, when the set can do without it; then it is a new node. */
  #replaceDisk(): boolean {
    if (this.#retainBytesMax === Number.MAX_SAFE_INTEGER) return false;
    const name = [...this.#servers].find(([, { member }]) => member?.isServing === false)?.[0];
    const process = this.#nodes.find((node) => node.name === name);
    if (process === undefined) return false;
    process.crash("power");
    process.disk.wipe();
    this.#servers.delete(process.name);
    process.boot();
    return true;
  }

  #runFor(micros: number): void {
    const { scheduler } = this.#world;
    scheduler.runUntil(scheduler.nowMicros + micros);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #runUntil(isDone: () => boolean, what: string): void {
    const isOver = (): boolean => this.#failure !== undefined || isDone();
    const isInTime = this.#world.scheduler.runUntilDone(isOver, LIVENESS_MICROS);
    if (this.#failure !== undefined) throw this.#failure;
    if (!isInTime)
      throw new Error(`not within ${LIVENESS_MICROS / SECOND} s: ${what}\n${this.#describe()}`);
  }

  #describe(): string {
    const lines = [...this.#servers].map(([name, { member, coordinator }]) => {
      if (member === undefined) return `${name} without a set`;
      const { role, phase = "", epoch, lastIndex, commitIndex } = member;
      const { state } = coordinator.session;
      return `${name} ${role} ${phase} e${epoch} last ${lastIndex} commit ${commitIndex}, ${state}`;
    });
    return lines.join("\n");
  }

  /** Its machine never fails; the ways to it do. */
  #startEnsemble(): void {
    const process = this.#world.addProcess("ensemble", {
      boot: (life) => {
        this.#ensemble = new MemoryEnsemble(life.clock);
      },
    });
    process.boot();
  }

  #addNodes(): void {
    const { scheduler } = this.#world;
    const replication = this.#chooseReplication(this.#random.fork("replication"));
    for (let at = 1; at <= this.#swarm.replicationFactor; at++) {
      const name = `node-${at}`;
      const note = (line: string) => {
        if (line.startsWith("became a copy")) this.#checkpoints++;
        scheduler.trace.add(scheduler.nowMicros, name, line);
      };
      const process = this.#world.addProcess(name, {
        boot: (life) => this.#bootNode(life, replication, new TraceLogger(note)),
        onExit: (exited, error) => {
          // The only errors that are the environment's doing; others are bugs.
          if (!(error instanceof DiskError)) this.#failure ??= error;
          this.#restartLater(exited);
        },
      });
      this.#nodes.push(process);
    }
  }

  async #bootNode(life: Life, replication: ReplicationOptions, logger: TraceLogger): Promise<void> {
    const { syncPolicy, store: storeShape, replicationFactor, writeQuorum } = this.#swarm;
    this.#servers.delete(life.name);
    const server = await ClusterServer.boot(life, {
      ...{ ensemble: this.#ensemble, syncPolicy, storeShape, replication, logger },
      shape: { initialSets: 1, replicationFactor, writeQuorum },
      bug: this.#bug,
      retainBytesMax: this.#retainBytesMax,
      onServe: () => this.epochs++,
    });
    if (life.isAlive) this.#servers.set(life.name, server);
  }

  #chooseReplication(random: SimRandom): ReplicationOptions {
    const batchFramesMax = random.magnitude(2, 64);
    return {
      ...DEFAULT_REPLICATION_OPTIONS,
      lossMs: random.magnitude(1500, 8000),
      batchFramesMax,
      windowFramesMax: batchFramesMax * random.between(1, 16),
    };
  }

  #restartLater(process: SimProcess): void {
    this.#world.scheduler.after(RESTART_MICROS, "supervisor", () => {
      if (!process.isUp) process.boot();
    });
  }

  #coordinatorFaults(random: SimRandom): Fault[] {
    const one = (act: (coordinator: MemoryCoordinator) => () => void): Fault["begin"] => {
      return (chance) => {
        const up = [...this.#servers].filter(([name]) => this.#world.processes.get(name)!.isUp);
        if (up.length === 0) return undefined;
        return act(chance.pick(up)[1].coordinator);
      };
    };
    const fault = (kind: string, act: (coordinator: MemoryCoordinator) => () => void): Fault => ({
      kind,
      weight: random.chance(0.4) ? random.magnitude(1, FAULT_WEIGHT_MAX) : 0,
      begin: one(act),
    });
    const nothing = () => undefined;
    return [
      fault("coordinator cut", (each) => {
        each.suspend(random.chance(0.5) ? "lost" : "arrives");
        return () => each.resume();
      }),
      this.#cutOffFault(random),
      fault("coordinator silent", (each) => {
        each.stall(random.chance(0.5) ? "lost" : "arrives");
        return () => each.resume();
      }),
      fault("coordinator stale", (each) => {
        each.freezeReads();
        return () => each.thawReads();
      }),
      {
        kind: "handover",
        weight: random.chance(0.4) ? random.magnitude(1, FAULT_WEIGHT_MAX) : 0,
        begin: () => {
          const writer = [...this.#servers.values()].find(({ member }) => member?.isServing);
          writer?.handOver();
          return writer && nothing;
        },
      },
      fault("session expired", (each) => {
        each.expire();
        return nothing;
      }),
      fault("reply lost", (each) => {
        each.loseReply(random.chance(0.5));
        return nothing;
      }),
    ];
  }

  /** A node's clients still reach it, and nobody else does: the case that leases are for. */
  #cutOffFault(random: SimRandom): Fault {
    const names = this.#nodes.map(({ name }) => name);
    return {
      kind: "cut off",
      weight:
        random.chance(0.5) || this.#bug === LEASE_BUG ? random.magnitude(1, FAULT_WEIGHT_MAX) : 0,
      begin: (chance) => {
        const name = chance.pick(names);
        const coordinator = this.#servers.get(name)?.coordinator;
        const heal = this.#world.network.partition(
          [name],
          names.filter((other) => other !== name),
        );
        coordinator?.suspend();
        return () => {
          heal();
          coordinator?.resume();
        };
      },
    };
  }

  #addClients(servers: readonly string[]): string[] {
    const random = this.#random.fork("clients");
    const isLoaded = this.#retainBytesMax !== Number.MAX_SAFE_INTEGER;
    const thinkMicros = random.magnitude(2000, isLoaded ? 10_000 : 50_000);
    const timeoutMs = random.magnitude(200, 5000);
    const keyMs = random.magnitude(1000, 4000);
    const valueBytes = isLoaded ? random.magnitude(4000, 24_000) : random.magnitude(16, 8000);
    const names: string[] = [];
    for (let id = 1; id <= random.between(1, 5); id++) {
      const name = `client-${id}`;
      names.push(name);
      this.#clientsLeft++;
      this.#world.addProcess(name, {
        boot: async (life) => {
          const client = new ClusterClient(life, {
            ...{ id, servers, history: this.#history },
            ...{ thinkMicros, timeoutMs, keyMs, valueBytes },
            goesOn: () => this.#goesOn,
            onAnswer: () => {
              if (this.#isLivenessPhase) this.#served.add(id);
            },
          });
          await client.run();
          this.#clientsLeft--;
        },
        onExit: (_, error) => {
          this.#failure ??= error;
        },
      });
    }
    return names;
  }

  /** The last word on every key. */
  #readAll(): void {
    let isDone = false;
    const reader = this.#world.addProcess("reader", {
      boot: async (life) => {
        const client = new ClusterClient(life, {
          ...{ id: 0, servers: this.#nodes.map(({ name }) => name), history: this.#history },
          ...{ thinkMicros: CHECK_MICROS, timeoutMs: 10_000, keyMs: 1, valueBytes: 1 },
          goesOn: () => true,
          onAnswer: () => undefined,
        });
        for (const key of this.#history.keys) {
          while (!(await client.operate(key, { kind: "get" })));
        }
        isDone = true;
      },
      onExit: (_, error) => {
        this.#failure ??= error;
      },
    });
    reader.boot();
    this.#runUntil(() => isDone, "all keys can be read");
  }

  #haveNodesCaughtUp(): boolean {
    const members = [...this.#servers.values()].map(({ member }) => member);
    if (members.length < this.#nodes.length || members.includes(undefined)) return false;
    const end = Math.max(...members.map((member) => member!.lastIndex));
    return members.every((member) => {
      return member!.commitIndex === end && member!.lastIndex === end;
    });
  }

  #compareNodes(): void {
    const seen = new Map<string, string>();
    let left = this.#servers.size;
    for (const [name, server] of this.#servers) {
      const compare = async () => {
        for (const key of this.#history.keys) {
          const value = JSON.stringify(await server.peek(key));
          const other = seen.get(key) ?? value;
          if (value !== other) throw new Error(`${key} is ${value} on ${name}, ${other} elsewhere`);
          seen.set(key, value);
        }
        left--;
      };
      compare().catch((error: Error) => {
        this.#failure ??= error;
      });
    }
    this.#runUntil(() => left === 0, "all nodes can be read");
  }
}
