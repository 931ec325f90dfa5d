/**
 * When writes of each replica set were answered, and the times in which none was. Clients try all the time, so a gap
 * that is much longer than their pauses means that the set did not take writes from anybody.
 */

/** Shorter gaps are waits, not outages. */
const GAP_MS_MIN = 1000;

export interface Outage {
  readonly set: number;
  readonly startMicros: number;
  readonly endMicros: number;
}

export function msOf({ startMicros, endMicros }: Outage): number {
  return (endMicros - startMicros) / 1000;
}

export class Availability {
  readonly #answers = new Map<number, number[]>();

  /** A write of the set was answered at `micros`. */
  answered(set: number, micros: number): void {
    const answers = this.#answers.get(set);
    if (answers === undefined) this.#answers.set(set, [micros]);
    else answers.push(micros);
  }

  outages(): Outage[] {
    return [...this.#answers].flatMap(([set, answers]) => {
      const inOrder = [...answers].sort((a, b) => a - b);
      return inOrder
        .slice(1)
        .map((endMicros, index) => ({ set, startMicros: inOrder[index]!, endMicros }))
        .filter((gap) => msOf(gap) >= GAP_MS_MIN);
    });
  }
}
