/**
 * The clock of one simulated machine: runs at its own rate, from its own start, and its wall time is off by as much
 * as the simulation likes. Timers belong to one life of a process and die with it.
 *
 *   machine   = the sum of virtual time × rate
 *   monotonic = start of this life + machine − machine at the start of this life
 *   wall      = epoch + machine + offset
 */
import type { Clock, Timer } from "../../src/base/clock.ts";
import type { SimEvent } from "./scheduler.ts";

const WALL_EPOCH_MS = 1_700_000_000_000;

/** What outlives the processes of a machine. */
export class MachineClock {
  #rate: number;
  #micros = 0;
  #since = 0;
  /** By how much the wall time is wrong; may jump. */
  wallOffsetMs: number;

  constructor(rate: number, wallOffsetMs: number) {
    this.#rate = rate;
    this.wallOffsetMs = wallOffsetMs;
  }

  get rate(): number {
    return this.#rate;
  }

  setRate(rate: number, nowMicros: number): void {
    this.#micros = this.micros(nowMicros);
    this.#since = nowMicros;
    this.#rate = rate;
  }

  micros(nowMicros: number): number {
    return this.#micros + (nowMicros - this.#since) * this.#rate;
  }
}

/** The process that a clock belongs to. */
export interface ClockHost {
  /** Virtual time as this process sees it, in microseconds. */
  nowMicros(): number;
  /** Runs `action` in this process after `delayMicros` of virtual time. */
  after(delayMicros: number, what: string, action: () => void): SimEvent;
}

export interface NodeClockOptions {
  /** Where monotonic time starts in this life: it is not comparable between lives. */
  readonly startMicros: number;
  /** How long a turn of the event loop collects events before its immediates run. */
  readonly turnMicros: number;
}

export class NodeClock implements Clock {
  readonly #host: ClockHost;
  readonly #machine: MachineClock;
  readonly #turnMicros: number;
  readonly #baseMicros: number;

  constructor(host: ClockHost, machine: MachineClock, options: NodeClockOptions) {
    this.#host = host;
    this.#machine = machine;
    this.#turnMicros = options.turnMicros;
    this.#baseMicros = options.startMicros - machine.micros(host.nowMicros());
  }

  wallMs(): number {
    const elapsedMs = this.#machine.micros(this.#host.nowMicros()) / 1000;
    return Math.floor(WALL_EPOCH_MS + elapsedMs + this.#machine.wallOffsetMs);
  }

  monotonicMs(): number {
    return this.monotonicMicros() / 1000;
  }

  monotonicMicros(): number {
    return this.#baseMicros + this.#machine.micros(this.#host.nowMicros());
  }

  after(delayMs: number, action: () => void): Timer {
    return this.#host.after((delayMs * 1000) / this.#machine.rate, "timer", action);
  }

  /** As the runtime does it: a process that was stopped finds one tick, not all that it has missed. */
  every(intervalMs: number, action: () => void): Timer {
    let isCancelled = false;
    let next: Timer | undefined;
    const tick = (): void => {
      if (isCancelled) return;
      next = this.after(intervalMs, tick);
      action();
    };
    next = this.after(intervalMs, tick);
    return {
      cancel: () => {
        isCancelled = true;
        next?.cancel();
      },
    };
  }

  immediate(action: () => void): void {
    this.#host.after(this.#turnMicros, "immediate", action);
  }
}
