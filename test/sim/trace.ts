/**
 * What a simulation did: a running hash of all events, so that two runs can be compared, and the last events, which
 * are printed when one fails.
 *
 * Invariant: equal seeds give equal hashes; a run whose hash differs has asked something outside the simulation.
 */

const KEPT = 400;
const FNV_PRIME = 0x01000193;

function mix(hash: number, value: number): number {
  const mixed = Math.imul(hash ^ value, 0x85ebca6b);
  return Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35) ^ (mixed >>> 16);
}

export interface TraceLine {
  readonly micros: number;
  readonly what: string;
  readonly detail: string;
}

export class Trace {
  /** Shown as they come, for replays. */
  readonly #show: ((line: string) => void) | undefined;
  readonly #ring: TraceLine[] = [];
  #low = 0x811c9dc5 | 0;
  #high = 0x1b873593;
  eventCount = 0;

  constructor(show?: (line: string) => void) {
    this.#show = show;
  }

  add(micros: number, what: string, detail = ""): void {
    let text = 0;
    for (let i = 0; i < what.length; i++) text = Math.imul(text ^ what.charCodeAt(i), FNV_PRIME);
    for (let i = 0; i < detail.length; i++) {
      text = Math.imul(text ^ detail.charCodeAt(i), FNV_PRIME);
    }
    this.#low = mix(this.#low, text);
    this.#low = mix(this.#low, micros | 0);
    this.#high = mix(this.#high ^ this.#low, Math.floor(micros / 0x1_0000_0000) | 0);
    this.eventCount++;
    const line = { micros, what, detail };
    this.#ring[this.eventCount % KEPT] = line;
    this.#show?.(textOf(line));
  }

  /** Of everything so far. */
  get hash(): string {
    const word = (value: number): string => (value >>> 0).toString(16).padStart(8, "0");
    return word(this.#high) + word(this.#low);
  }

  /** The newest events, oldest first. */
  last(count: number): string[] {
    const lines: string[] = [];
    const from = Math.max(1, this.eventCount - Math.min(count, KEPT) + 1);
    for (let i = from; i <= this.eventCount; i++) lines.push(textOf(this.#ring[i % KEPT]!));
    return lines;
  }
}

function textOf({ micros, what, detail }: TraceLine): string {
  return `${(micros / 1e6).toFixed(6)} ${what}${detail === "" ? "" : ` ${detail}`}`;
}
