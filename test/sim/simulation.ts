/**
 * One simulated world: virtual time, a network, machines, all from one seed.
 *
 *   const world = new Simulation(seed, swarm) → addProcess(…).boot() → world.scheduler.runUntil(…)
 */
import { SimDisk } from "./disk.ts";
import { Network } from "./network.ts";
import { type Boot, type ProcessOptions, SimProcess } from "./process.ts";
import type { SimRandom } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import type { Swarm } from "./swarm.ts";
import { Trace } from "./trace.ts";

export interface ProcessSpec {
  readonly boot: Boot;
  readonly onExit?: ProcessOptions["onExit"];
}

export class Simulation {
  readonly trace: Trace;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly processes = new Map<string, SimProcess>();
  readonly #random: SimRandom;
  readonly #swarm: Swarm;

  constructor(random: SimRandom, swarm: Swarm, show?: (line: string) => void) {
    this.#random = random;
    this.#swarm = swarm;
    this.trace = new Trace(show);
    const ties = random.fork("ties");
    this.scheduler = new Scheduler(this.trace, swarm.hasRandomTies ? ties : undefined);
    this.network = new Network(this.scheduler, random.fork("network"), swarm.network);
  }

  /** A machine that is off; its name must be new. */
  addProcess(name: string, spec: ProcessSpec): SimProcess {
    const random = this.#random.fork(name);
    const { clockRateError, wallOffsetMs, turnMicros, disk } = this.#swarm;
    const sign = random.chance(0.5) ? 1 : -1;
    const process = new SimProcess(name, {
      scheduler: this.scheduler,
      network: this.network,
      disk: new SimDisk(random.fork("disk"), disk),
      boot: spec.boot,
      turnMicros,
      random,
      clockRate: 1 + sign * clockRateError * random.unit(),
      wallOffsetMs: sign * wallOffsetMs * random.unit(),
      ...(spec.onExit === undefined ? {} : { onExit: spec.onExit }),
    });
    this.processes.set(name, process);
    return process;
  }
}
