/**
 * The scenario "cluster": replica sets of production's nodes (core, shell, store) with spares, a coordinator, some
 * clients, faults; then no faults, and everything must work, be there, and be the same on every node of a set.
 *
 *   safety phase: faults ─► liveness phase: every client is served in time ─► all keys are read ─► nodes agree ─► checks
 */
import { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import { FaultSchedule, standardFaults } from "../faults.ts";
import { History } from "../history.ts";
import { SimRandom } from "../random.ts";
import { type Scenario, type SeedOptions, type SeedReport, SimulationError } from "../scenario.ts";
import { Simulation } from "../simulation.ts";
import { ClusterChecks, compareContents } from "./cluster-checks.ts";
import { ClusterClient } from "./cluster-client.ts";
import { clusterFaults } from "./cluster-faults.ts";
import { ClusterMover, openMoves } from "./cluster-mover.ts";
import { ClusterNodes } from "./cluster-nodes.ts";
import type { ClusterServer, NodeContents } from "./cluster-server.ts";
import {
  type AnyFaultKind,
  type ClusterSwarm,
  chooseClusterSwarm,
  describeSwarm,
} from "./cluster-swarm.ts";

const SECOND = 1_000_000;
/** With no faults left, answers come within that time. */
const LIVENESS_MICROS = 120 * SECOND;
const READER = 0;

/** `theme`: all seeds are of one kind of fault. */
export function clusterScenario(theme?: AnyFaultKind): Scenario {
  return {
    name: "cluster",
    run: (seed, options) => new ClusterRun(seed, theme, options ?? {}).run(),
  };
}

class ClusterRun {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #swarm: ClusterSwarm;
  readonly #world: Simulation;
  readonly #history: History;
  readonly #checks: ClusterChecks;
  readonly #ensemble: MemoryEnsemble;
  readonly #nodes: ClusterNodes;
  readonly #faults: FaultSchedule;
  #goesOn = true;
  #clientsLeft = 0;
  /** Clients that have been served since the faults stopped. */
  readonly #served = new Set<number>();
  #isLivenessPhase = false;
  #failure: Error | undefined = undefined;

  constructor(seed: number, theme: AnyFaultKind | undefined, options: SeedOptions) {
    this.#seed = seed;
    this.#random = new SimRandom(seed);
    const swarm = chooseClusterSwarm(this.#random.fork("swarm"), theme);
    this.#swarm = swarm;
    this.#world = new Simulation(this.#random.fork("world"), swarm, options.show);
    const { scheduler, network } = this.#world;
    this.#history = new History(() => scheduler.nowMicros);
    this.#checks = new ClusterChecks(swarm.areClocksWild);
    this.#ensemble = this.#startEnsemble();
    this.#nodes = new ClusterNodes({
      ...{ world: this.#world, swarm, ensemble: this.#ensemble },
      observer: {
        onServe: (server, epoch) => this.#check((checks) => checks.onServe(server, epoch)),
        onCommitted: (server) => this.#check((checks) => checks.onCommitted(server)),
        onLeaseRead: (server) => this.#check((checks) => checks.onLeaseRead(server)),
        onDocument: (document) => this.#check((checks) => checks.onDocument(document)),
        onAnswer: (server, slot) => this.#check((checks) => checks.onAnswer(server, slot)),
      },
      onFailure: (error) => this.#fail(error),
    });
    this.#addMover();
    const { processes, names } = this.#nodes;
    const all = [...names, ...this.#addClients()];
    const faults = [
      ...standardFaults(processes, network, all, swarm),
      ...clusterFaults(this.#nodes, network, swarm.clusterWeights),
    ];
    this.#faults = new FaultSchedule(scheduler, this.#random.fork("faults"), faults, swarm.times);
  }

  run(): SeedReport {
    try {
      this.#play();
    } catch (cause) {
      const message = `${(cause as Error).message}\n${describeSwarm(this.#swarm)}`;
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
      faults: this.#faults.counts,
      counts: new Map([
        ["replica sets", this.#swarm.initialSets],
        ["writers", this.#checks.epochs],
        ["changes of members", this.#checks.membershipChanges],
        ["checkpoints", this.#nodes.checkpoints],
        ["replica reads", this.#history.replicaReads],
        ["slots moved", this.#nodes.movedSlots],
        ["sets formed later", this.#nodes.setCounts.formed],
        ["sets retired", this.#nodes.setCounts.retired],
      ]),
    };
  }

  #play(): void {
    for (const process of this.#world.processes.values()) if (!process.isUp) process.boot();
    this.#faults.start();
    this.#runFor(this.#swarm.lengthMicros);
    this.#faults.stop();
    this.#isLivenessPhase = true;
    const clients = this.#clientsLeft;
    this.#runUntil(() => this.#served.size === clients, "clients get answers again");
    this.#goesOn = false;
    this.#runUntil(() => this.#clientsLeft === 0, "clients end");
    this.#runFor(this.#swarm.restMicros);
    this.#runUntil(() => this.#isSettled, "moves of slots end, and sets that drain are gone");
    this.#readAll();
    const { areClocksWild, areClocksRight } = this.#swarm;
    this.#history.check({ areClocksRight, ...(areClocksWild ? { trustedReader: READER } : {}) });
    this.#compareNodes();
  }

  get #isSettled(): boolean {
    const isDraining = this.#nodes.sets.some((set) => set.isDraining);
    return !isDraining && openMoves(this.#ensemble).length === 0;
  }

  /** What a check finds is this run's failure: it may be asked where nobody waits for what is thrown. */
  #check(look: (checks: ClusterChecks) => void): void {
    try {
      look(this.#checks);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
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
    const limit = LIVENESS_MICROS / SECOND;
    const moves = openMoves(this.#ensemble).join("\n");
    const picture = `${this.#nodes.describe()}\n${moves}`;
    if (!isInTime) throw new Error(`not within ${limit} s: ${what}\n${picture}`);
  }

  /** Its machine never fails; the ways to it do. */
  #startEnsemble(): MemoryEnsemble {
    let ensemble: MemoryEnsemble | undefined;
    const process = this.#world.addProcess("ensemble", {
      boot: (life) => {
        ensemble = new MemoryEnsemble(life.clock);
      },
    });
    process.boot();
    return ensemble!;
  }

  #addMover(): void {
    const { moveMs, drainMs, slotsPerMove } = this.#swarm;
    this.#world.addProcess("operator", {
      boot: (life) =>
        new ClusterMover(life, {
          ...{ ensemble: this.#ensemble, nodes: this.#nodes },
          ...{ moveMs, drainMs, slotsPerMove },
          keys: () => this.#history.keys,
          goesOn: () => this.#goesOn,
        }).run(),
      onExit: (_, error) => this.#fail(error),
    });
  }

  #addClients(): string[] {
    const names: string[] = [];
    const random = this.#random.fork("clients");
    for (let id = 1; id <= this.#swarm.clients.count; id++) {
      const readsDocuments = random.chance(this.#swarm.clients.documentShare);
      names.push(`client-${id}`);
      this.#clientsLeft++;
      this.#addClient(id, readsDocuments, async (client) => {
        await client.run();
        this.#clientsLeft--;
      });
    }
    return names;
  }

  #addClient(
    id: number,
    readsDocuments: boolean,
    run: (client: ClusterClient) => Promise<void>,
  ): void {
    this.#world.addProcess(`client-${id}`, {
      boot: async (life) => {
        const client = new ClusterClient(life, {
          ...{ id, servers: this.#nodes.names, history: this.#history, mix: this.#swarm.clients },
          ensemble: readsDocuments ? this.#ensemble : undefined,
          goesOn: () => this.#goesOn,
          onAnswer: () => {
            if (this.#isLivenessPhase) this.#served.add(id);
          },
        });
        await run(client);
      },
      onExit: (_, error) => this.#fail(error),
    });
  }

  /** The last word on every key. */
  #readAll(): void {
    let isDone = false;
    this.#addClient(READER, true, async (client) => {
      for (const key of this.#history.keys) {
        while (!(await client.operate(key, { kind: "get" })));
      }
      isDone = true;
    });
    this.#world.processes.get(`client-${READER}`)!.boot();
    this.#runUntil(() => isDone, "all keys can be read");
  }

  /** Of each set. Nothing may be written meanwhile: what has expired is removed now and again. */
  #compareNodes(): void {
    const ends = () => this.#nodes.sets.flatMap((set) => this.#nodes.serversOf(set).map(endOf));
    for (;;) {
      this.#runUntil(() => this.#nodes.haveCaughtUp, "all nodes have all that is committed");
      const before = ends();
      const found = this.#nodes.sets.map((set) => this.#contentsOf(this.#nodes.serversOf(set)));
      if (ends().join() !== before.join()) continue;
      const { trace, nowMicros } = this.#world.scheduler;
      for (const contents of found) trace.add(nowMicros, "contents", compareContents(contents));
      return;
    }
  }

  #contentsOf(servers: readonly ClusterServer[]): Map<string, NodeContents> {
    const found = new Map<string, NodeContents>();
    for (const server of servers) {
      const look = async () => {
        found.set(server.name, await server.contents());
      };
      look().catch((error: Error) => this.#fail(error));
    }
    this.#runUntil(() => found.size === servers.length, "all nodes can be read");
    return found;
  }
}

function endOf({ name, member }: ClusterServer): string {
  return `${name} ${member!.lastIndex}`;
}
