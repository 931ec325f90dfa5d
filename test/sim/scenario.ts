/**
 * What the simulator can run: a world from a seed, and what came of it.
 */
import type { Trace } from "./trace.ts";

export interface SeedReport {
  readonly seed: number;
  /** Of every event: equal for equal seeds. */
  readonly hash: string;
  readonly events: number;
  readonly simulatedMicros: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly faults: ReadonlyMap<string, number>;
  /** What else has happened, for the summary. */
  readonly counts?: ReadonlyMap<string, number>;
}

export interface SeedOptions {
  /** Shown as it happens. */
  readonly show?: (line: string) => void;
}

export interface Scenario {
  readonly name: string;
  /** Throws SimulationError when anything that is promised does not hold. */
  run(seed: number, options?: SeedOptions): SeedReport;
}

interface Context {
  readonly cause: unknown;
  readonly seed: number;
  readonly trace: Trace;
}

/** Something that is promised does not hold; says how to see it again. */
export class SimulationError extends Error {
  override readonly name = "SimulationError";
  readonly seed: number;
  readonly hash: string;
  /** The last events. */
  readonly lines: readonly string[];

  constructor(message: string, context: Context) {
    super(`seed ${context.seed}: ${message}`, { cause: context.cause });
    this.seed = context.seed;
    this.hash = context.trace.hash;
    this.lines = context.trace.last(LINES);
  }
}

const LINES = 40;
