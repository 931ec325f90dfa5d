/**
 * Time, the only place that asks for it: production passes SystemClock, tests and the simulator their own.
 */
import { assert } from "./assert.ts";

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the epoch; may jump. */
  wallMs(): number;
  /** Milliseconds since an arbitrary start; never goes back. Not comparable between processes. */
  monotonicMs(): number;
  monotonicMicros(): number;
  after(delayMs: number, action: () => void): Timer;
  every(intervalMs: number, action: () => void): Timer;
  /** Runs `action` once the events that are ready now have been handled. */
  immediate(action: () => void): void;
}

/** The runtime runs longer timers at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export class SystemClock implements Clock {
  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  monotonicMicros(): number {
    return performance.now() * 1000;
  }

  after(delayMs: number, action: () => void): Timer {
    assert(delayMs <= TIMER_MS_MAX, "timer beyond 24 days");
    const timer = setTimeout(action, delayMs);
    return { cancel: () => clearTimeout(timer) };
  }

  every(intervalMs: number, action: () => void): Timer {
    assert(intervalMs <= TIMER_MS_MAX, "interval beyond 24 days");
    const timer = setInterval(action, intervalMs);
    return { cancel: () => clearInterval(timer) };
  }

  immediate(action: () => void): void {
    setImmediate(action);
  }
}
