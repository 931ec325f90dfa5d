/**
 * Time that passes only when a test says so. Immediates queue up until runImmediates(), or, with `isLive`, run in
 * the runtime's next turn.
 */
import type { Clock, Timer } from "../../src/base/clock.ts";

interface Alarm {
  dueMs: number;
  readonly intervalMs: number;
  readonly action: () => void;
}

export class SimulatedClock implements Clock {
  readonly isLive: boolean;
  #wallMs: number;
  #monotonicMs = 0;
  readonly #alarms = new Set<Alarm>();
  #immediates: (() => void)[] = [];

  constructor(wallMs: number, isLive = false) {
    this.#wallMs = wallMs;
    this.isLive = isLive;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  monotonicMicros(): number {
    return this.#monotonicMs * 1000;
  }

  after(delayMs: number, action: () => void): Timer {
    return this.#add(delayMs, 0, action);
  }

  every(intervalMs: number, action: () => void): Timer {
    return this.#add(intervalMs, intervalMs, action);
  }

  immediate(action: () => void): void {
    if (this.isLive) setImmediate(action);
    else this.#immediates.push(action);
  }

  /** Runs what has been queued so far; false when there was nothing. */
  runImmediates(): boolean {
    const due = this.#immediates;
    this.#immediates = [];
    for (const action of due) action();
    return due.length > 0;
  }

  advance(ms: number): void {
    this.#wallMs += ms;
    this.#monotonicMs += ms;
    for (const alarm of [...this.#alarms]) {
      if (alarm.dueMs > this.#monotonicMs) continue;
      if (alarm.intervalMs === 0) this.#alarms.delete(alarm);
      else alarm.dueMs = this.#monotonicMs + alarm.intervalMs;
      alarm.action();
    }
  }

  #add(delayMs: number, intervalMs: number, action: () => void): Timer {
    const alarm = { dueMs: this.#monotonicMs + delayMs, intervalMs, action };
    this.#alarms.add(alarm);
    return { cancel: () => this.#alarms.delete(alarm) };
  }
}
