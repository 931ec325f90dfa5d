/**
 * When faults happen. A safety phase, in which they come and go at random, several at a time; then a liveness phase,
 * from whose start on there are none: cuts heal, machines come back, disks and clocks are right again.
 *
 *   every exp(gap): a kind by weight → begin() → after exp(duration): its end
 */
import type { Network } from "./network.ts";
import type { SimProcess } from "./process.ts";
import type { SimRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Swarm } from "./swarm.ts";

export interface Fault {
  readonly kind: string;
  readonly weight: number;
  /** Makes it happen; answers how to end it, or undefined when it cannot happen now. */
  begin(random: SimRandom): (() => void) | undefined;
}

export interface FaultTimes {
  readonly gapMicros: number;
  readonly durationMicros: number;
}

export class FaultSchedule {
  readonly counts = new Map<string, number>();
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #faults: readonly Fault[];
  readonly #times: FaultTimes;
  readonly #ends = new Set<() => void>();
  #isOver = false;

  constructor(
    scheduler: Scheduler,
    random: SimRandom,
    faults: readonly Fault[],
    times: FaultTimes,
  ) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#faults = faults.filter(({ weight }) => weight > 0);
    this.#times = times;
  }

  /** The safety phase begins. */
  start(): void {
    if (this.#faults.length > 0) this.#plan();
  }

  /** The liveness phase begins: every fault ends now, and none comes any more. */
  stop(): void {
    this.#isOver = true;
    for (const end of [...this.#ends]) end();
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  #plan(): void {
    this.#scheduler.after(this.#random.exponential(this.#times.gapMicros), "fault", () => {
      if (this.#isOver) return;
      this.#inject();
      this.#plan();
    });
  }

  #inject(): void {
    const fault = this.#faults[this.#random.weighted(this.#faults.map(({ weight }) => weight))]!;
    const heal = fault.begin(this.#random);
    if (heal === undefined) return;
    const { trace, nowMicros } = this.#scheduler;
    trace.add(nowMicros, "fault", fault.kind);
    this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1);
    const end = (): void => {
      if (!this.#ends.delete(end)) return;
      this.#scheduler.trace.add(this.#scheduler.nowMicros, "fault ends", fault.kind);
      heal();
    };
    this.#ends.add(end);
    this.#scheduler.after(this.#random.exponential(this.#times.durationMicros), fault.kind, end);
  }
}

/** Weights by kind; a kind that is not named does not happen. */
export type FaultWeights = Partial<Record<FaultKind, number>>;

export const FAULT_KINDS = [
  "kill",
  "power",
  "crash at a change",
  "pause",
  "partition",
  "one-way partition",
  "isolation",
  "slow link",
  "reset",
  "slow disk",
  "failed sync",
  "failed write",
  "full disk",
  "clock rate",
  "clock jump",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

const NOTHING = (): void => undefined;
/** A crash at a change of the disk comes within so many changes. */
const CHANGES_MAX = 60;
const SLOWNESS_MAX = 200;
/** What a grant of 1.1 L covers. Beyond this a lease's reader may be fooled. */
export const RATE_ERROR_MAX = 0.047;
const JUMP_MS_MAX = 30_000;

/** What can go wrong with these processes and the ways between all `names`. */
export function standardFaults(
  processes: readonly SimProcess[],
  network: Network,
  names: readonly string[],
  { weights, rateErrorMax }: Pick<Swarm, "weights" | "rateErrorMax">,
): Fault[] {
  const begins: Record<FaultKind, Fault["begin"]> = {
    ...processFaults(processes),
    ...networkFaults(network, names),
    ...diskFaults(processes),
    ...clockFaults(processes, rateErrorMax),
  };
  return FAULT_KINDS.map((kind) => ({ kind, weight: weights[kind] ?? 0, begin: begins[kind] }));
}

type Begins<K extends FaultKind> = Record<K, Fault["begin"]>;

/** Any process that is up. */
function chooseUp(processes: readonly SimProcess[], random: SimRandom): SimProcess | undefined {
  const up = processes.filter(({ isUp }) => isUp);
  return up.length === 0 ? undefined : random.pick(up);
}

function processFaults(
  processes: readonly SimProcess[],
): Begins<"kill" | "power" | "crash at a change" | "pause"> {
  const restart = (process: SimProcess) => () => {
    if (!process.isUp) process.boot();
  };
  const crash = (kind: "kill" | "power") => (random: SimRandom) => {
    const process = chooseUp(processes, random);
    process?.crash(kind);
    return process === undefined ? undefined : restart(process);
  };
  return {
    kill: crash("kill"),
    power: crash("power"),
    "crash at a change": (random) => {
      const process = chooseUp(processes, random);
      if (process === undefined) return undefined;
      const kind = random.chance(0.5) ? "kill" : "power";
      process.disk.crashAfter(random.magnitude(1, CHANGES_MAX), kind);
      return () => {
        process.disk.stopFailing();
        restart(process)();
      };
    },
    pause: (random) => {
      const process = chooseUp(processes, random);
      if (process === undefined || process.isPaused) return undefined;
      process.pause();
      return () => process.resume();
    },
  };
}

function networkFaults(
  network: Network,
  names: readonly string[],
): Begins<"partition" | "one-way partition" | "isolation" | "slow link" | "reset"> {
  const halves = (random: SimRandom): [string[], string[]] => {
    const order = random.shuffle(names);
    const size = random.between(1, names.length - 1);
    return [order.slice(0, size), order.slice(size)];
  };
  const others = (name: string): string[] => names.filter((other) => other !== name);
  return {
    partition: (random) => network.partition(...halves(random)),
    "one-way partition": (random) => network.cut(...halves(random)),
    isolation: (random) => {
      const name = random.pick(names);
      return network.partition([name], others(name));
    },
    "slow link": (random) => {
      const from = random.pick(names);
      const link = network.link(from, random.pick(others(from)));
      link.slowness = random.magnitude(2, SLOWNESS_MAX);
      return () => {
        link.slowness = 1;
      };
    },
    reset: (random) => {
      const name = random.pick(names);
      return network.reset(name, random.pick(others(name))) > 0 ? NOTHING : undefined;
    },
  };
}

function diskFaults(
  processes: readonly SimProcess[],
): Begins<"slow disk" | "failed sync" | "failed write" | "full disk"> {
  const failing = (operation: "sync" | "write") => (random: SimRandom) => {
    const process = chooseUp(processes, random);
    process?.disk.failNext(operation);
    if (process === undefined) return undefined;
    return () => {
      process.disk.stopFailing();
      if (!process.isUp) process.boot();
    };
  };
  return {
    "slow disk": (random) => {
      const { disk } = random.pick(processes);
      disk.slowness = random.magnitude(2, SLOWNESS_MAX);
      return () => {
        disk.slowness = 1;
      };
    },
    "failed sync": failing("sync"),
    "failed write": failing("write"),
    "full disk": (random) => {
      const process = random.pick(processes);
      process.disk.foreignBytes = Number.MAX_SAFE_INTEGER;
      return () => {
        process.disk.foreignBytes = 0;
        if (!process.isUp) process.boot();
      };
    },
  };
}

function clockFaults(
  processes: readonly SimProcess[],
  rateErrorMax: number,
): Begins<"clock rate" | "clock jump"> {
  return {
    "clock rate": (random) => {
      const process = random.pick(processes);
      process.setClockRate(1 + (2 * random.unit() - 1) * rateErrorMax);
      return () => process.setClockRate(1);
    },
    "clock jump": (random) => {
      const { clock } = random.pick(processes);
      clock.wallOffsetMs += (2 * random.unit() - 1) * JUMP_MS_MAX;
      return NOTHING;
    },
  };
}
