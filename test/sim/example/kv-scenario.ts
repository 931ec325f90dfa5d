/**
 * The scenario "store": one node, some clients, faults; then no faults, and everything must work and be there.
 *
 *   safety phase: faults ─► liveness phase: every client gets an answer in time ─► all keys are read ─► checks
 */
import { DiskError } from "../../../src/base/errors.ts";
import { FaultSchedule, standardFaults } from "../faults.ts";
import { History } from "../history.ts";
import type { SimProcess } from "../process.ts";
import { SimRandom } from "../random.ts";
import { type Scenario, type SeedOptions, type SeedReport, SimulationError } from "../scenario.ts";
import { Simulation } from "../simulation.ts";
import { chooseSwarm, type Swarm, type SwarmLimits } from "../swarm.ts";
import { type ClientBug, KvClient } from "./kv-client.ts";
import { KvServer, type ServerBug } from "./kv-server.ts";

export type PlantedBug = ServerBug | ClientBug;

const SECOND = 1_000_000;
const SERVER = "server";
/** A simulated second has so many operations at most, whatever the network is like. */
const LIMITS: SwarmLimits = { nodesMax: 1, policies: ["always", "always", "everysec", "no"] };
/** With no faults left, answers come within that time. */
const LIVENESS_MICROS = 120 * SECOND;
const RESTART_MICROS = 0.5 * SECOND;
const CHECK_MICROS = 0.05 * SECOND;
/** Clients' time-outs end within it, and the network has noticed who has gone. */
const REST_MICROS = 60 * SECOND;

export function kvScenario(bug?: PlantedBug): Scenario {
  return { name: "store", run: (seed, options) => new KvRun(seed, bug, options ?? {}).run() };
}

class KvRun {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #swarm: Swarm;
  readonly #world: Simulation;
  readonly #history: History;
  readonly #faults: FaultSchedule;
  readonly #server: SimProcess;
  readonly #bug: PlantedBug | undefined;
  #goesOn = true;
  #clientsLeft = 0;
  /** Clients that have had an answer since the faults stopped. */
  readonly #served = new Set<number>();
  #isLivenessPhase = false;
  #failure: Error | undefined = undefined;

  constructor(seed: number, bug: PlantedBug | undefined, options: SeedOptions) {
    this.#seed = seed;
    this.#bug = bug;
    this.#random = new SimRandom(seed);
    this.#swarm = chooseSwarm(this.#random.fork("swarm"), LIMITS);
    this.#world = new Simulation(this.#random.fork("world"), this.#swarm, options.show);
    const { scheduler, network } = this.#world;
    this.#history = new History(() => scheduler.nowMicros);
    this.#server = this.#addServer();
    const names = [SERVER, ...this.#addClients()];
    const faults = standardFaults([this.#server], network, names, this.#swarm);
    const chance = this.#random.fork("faults");
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
      faults: this.#faults.counts,
    };
  }

  #play(): void {
    for (const process of this.#world.processes.values()) process.boot();
    this.#faults.start();
    this.#runFor(this.#random.fork("length").magnitude(2 * SECOND, 20 * SECOND));
    this.#faults.stop();
    this.#isLivenessPhase = true;
    const { size } = this.#world.processes;
    this.#runUntil(() => this.#served.size === size - 1, "clients get answers again");
    this.#goesOn = false;
    this.#runUntil(() => this.#clientsLeft === 0, "clients end");
    this.#runFor(REST_MICROS);
    this.#readAll();
    this.#history.check();
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
    if (!isInTime) throw new Error(`not within ${LIVENESS_MICROS / SECOND} s: ${what}`);
  }

  #addServer(): SimProcess {
    const { syncPolicy, store } = this.#swarm;
    const bug = this.#bug === "retry after an unknown outcome" ? undefined : this.#bug;
    return this.#world.addProcess(SERVER, {
      boot: (life) => KvServer.boot(life, { syncPolicy, shape: store, bug }),
      onExit: (process, error) => {
        // The only errors that are the environment's doing; others are bugs.
        if (!(error instanceof DiskError)) this.#failure ??= error;
        this.#restartLater(process);
      },
    });
  }

  #restartLater(process: SimProcess): void {
    this.#world.scheduler.after(RESTART_MICROS, "supervisor", () => {
      if (!process.isUp) process.boot();
    });
  }

  #addClients(): string[] {
    const random = this.#random.fork("clients");
    const thinkMicros = random.magnitude(2000, 50_000);
    const timeoutMs = random.magnitude(100, 5000);
    const keyMs = random.magnitude(1000, 4000);
    const valueBytes = random.magnitude(16, 8000);
    const names: string[] = [];
    for (let id = 1; id <= random.between(1, 5); id++) {
      const name = `client-${id}`;
      names.push(name);
      this.#clientsLeft++;
      const bug = this.#bug === "retry after an unknown outcome" ? this.#bug : undefined;
      this.#world.addProcess(name, {
        boot: async (life) => {
          const client = new KvClient(life, {
            ...{ id, server: SERVER, history: this.#history, bug },
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
        const client = new KvClient(life, {
          ...{ id: 0, server: SERVER, history: this.#history, bug: undefined },
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
}
