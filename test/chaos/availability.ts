/**
 * When writes of each group of keys (a replica set's, a slot's) were answered, and the times in which none was. Clients
 * try all the time, so a gap that is much longer than their pauses means that nobody's writes were taken.
 */

/** Shorter gaps are waits, not outages. */
const GAP_MS_MIN = 1000;

export interface Outage {
  readonly group: number;
  readonly startMicros: number;
  readonly endMicros: number;
}

export function msOf({ startMicros, endMicros }: Outage): number {
  return (endMicros - startMicros) / 1000;
}

export class Availability {
  readonly #answers = new Map<number, number[]>();

  /** A write of the group was answered at `micros`. */
  answered(group: number, micros: number): void {
    const answers = this.#answers.get(group);
    if (answers === undefined) this.#answers.set(group, [micros]);
    else answers.push(micros);
  }

  outages(): Outage[] {
    return [...this.#answers].flatMap(([group, answers]) => {
      const inOrder = [...answers].sort((a, b) => a - b);
      return inOrder
        .slice(1)
        .map((endMicros, index) => ({ group, startMicros: inOrder[index]!, endMicros }))
        .filter((gap) => msOf(gap) >= GAP_MS_MIN);
    });
  }
}
