/**
 * Spikes of latency by event, for LATENCY: per second the worst one of at least latency-monitor-threshold
 * milliseconds, the last 160 of them (https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/).
 *
 *   command, fast-command    a command's own work, waits for the disk and for other clients not counted
 */

const SAMPLES_MAX = 160;

export interface LatencySample {
  /** Seconds since the epoch. */
  readonly time: number;
  readonly ms: number;
}

export class LatencyEvent {
  readonly name: string;
  /** Oldest first. */
  readonly samples: LatencySample[] = [];
  /** The worst since the start or the last reset. */
  maxMs = 0;

  constructor(name: string) {
    this.name = name;
  }

  get latest(): LatencySample {
    return this.samples.at(-1)!;
  }
}

export class LatencyMonitor {
  readonly #events = new Map<string, LatencyEvent>();
  /** Milliseconds from which add() is worth calling; 0: off. */
  thresholdMs = 0;

  /** By name. */
  get events(): readonly LatencyEvent[] {
    return [...this.#events.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get(name: string): LatencyEvent | undefined {
    return this.#events.get(name);
  }

  /** Notes that `event` took `ms` at `time` (seconds), if that is long enough. */
  add(name: string, ms: number, time: number): void {
    if (this.thresholdMs === 0 || ms < this.thresholdMs) return;
    let event = this.#events.get(name);
    if (event === undefined) {
      event = new LatencyEvent(name);
      this.#events.set(name, event);
    }
    if (ms > event.maxMs) event.maxMs = ms;
    const last = event.samples.at(-1);
    if (last?.time === time) {
      if (ms > last.ms) event.samples[event.samples.length - 1] = { time, ms };
      return;
    }
    event.samples.push({ time, ms });
    if (event.samples.length > SAMPLES_MAX) event.samples.shift();
  }

  /** Forgets one event; whether there was any. */
  reset(name: string): boolean {
    return this.#events.delete(name);
  }
}
