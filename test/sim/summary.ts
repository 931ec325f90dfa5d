/** What seeds that ran clean have done, summed up; summaries of several processes add up to one. */
import type { SeedReport } from "./scenario.ts";

const HOUR_MICROS = 3.6e9;

/** As it is sent from one process to another. */
export interface SummaryFigures {
  readonly seeds: number;
  readonly events: number;
  readonly micros: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly faults: Tally;
  readonly counts: Tally;
}

type Tally = readonly (readonly [string, number])[];

export function figuresOf(report: SeedReport): SummaryFigures {
  const { events, simulatedMicros: micros, acknowledged, unknown } = report;
  const tallies = { faults: [...report.faults], counts: [...(report.counts ?? [])] };
  return { seeds: 1, events, micros, acknowledged, unknown, ...tallies };
}

export class Summary {
  readonly #startMs = performance.now();
  readonly #faults = new Map<string, number>();
  readonly #counts = new Map<string, number>();
  #seeds = 0;
  #events = 0;
  #micros = 0;
  #acknowledged = 0;
  #unknown = 0;

  merge(figures: SummaryFigures): void {
    this.#seeds += figures.seeds;
    this.#events += figures.events;
    this.#micros += figures.micros;
    this.#acknowledged += figures.acknowledged;
    this.#unknown += figures.unknown;
    addTo(this.#faults, figures.faults);
    addTo(this.#counts, figures.counts);
  }

  get line(): string {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const hours = (this.#micros / HOUR_MICROS).toFixed(2);
    const each = (seconds / Math.max(1, this.#seeds)).toFixed(3);
    return `${this.#seeds} seeds clean, ${hours} simulated hours, ${each} s a seed`;
  }

  print(): void {
    const faults = [...this.#faults].sort(([a], [b]) => (a < b ? -1 : 1));
    const total = faults.reduce((sum, [, count]) => sum + count, 0);
    console.log(this.line);
    const counts = [...this.#counts].map(([what, count]) => `${count} ${what}`);
    if (counts.length > 0) console.log(counts.join(", "));
    console.log(`${this.#events} events, ${this.#acknowledged} operations answered, of`);
    console.log(`${this.#unknown} the outcome is unknown; ${total} faults:`);
    for (const [kind, count] of faults) console.log(`  ${kind.padEnd(20)} ${count}`);
  }
}

function addTo(sums: Map<string, number>, tally: Tally): void {
  for (const [kind, count] of tally) sums.set(kind, (sums.get(kind) ?? 0) + count);
}
