/**
 * When writes of each replica set were answered, and the times in which none was. Clients try all the time, so a gap
 * that is much longer than their pauses means that the set did not take writes from anybody.
 */

/** Shorter gaps are waits, not outages. */
const GAP_MS_MIN = 1000;

export interface Outages {
  readonly count: number;
  readonly maxMs: number;
  readonly sumMs: number;
}

export class Availability {
  readonly #answers = new Map<number, number[]>();

  /** A write of the set was answered at `micros`. */
  answered(set: number, micros: number): void {
    const answers = this.#answers.get(set);
    if (answers === undefined) this.#answers.set(set, [micros]);
    else answers.push(micros);
  }

  outages(): Outages {
    const gaps = [...this.#answers.values()].flatMap(gapsOf);
    return {
      count: gaps.length,
      maxMs: gaps.reduce((max, gap) => Math.max(max, gap), 0),
      sumMs: gaps.reduce((sum, gap) => sum + gap, 0),
    };
  }
}

function gapsOf(answers: readonly number[]): number[] {
  const inOrder = [...answers].sort((a, b) => a - b);
  const gaps = inOrder.slice(1).map((micros, index) => (micros - inOrder[index]!) / 1000);
  return gaps.filter((gap) => gap >= GAP_MS_MIN);
}
