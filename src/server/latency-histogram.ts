/**
 * How long calls of one command took, in nanoseconds: counts in buckets whose width is 1/128 of their value, so every
 * figure is right to two digits, as in the histograms of Redis.
 *
 *   value  0 … 255          one bucket each
 *          256 · 2^n …      128 buckets of 2^(n + 1)
 */

const LINEAR = 256;
const HALF = 128;
/** Longer calls count as this long, some two seconds. */
const NANOS_MAX = 2 ** 31 - 1;
const BUCKETS = LINEAR + 23 * HALF;

function bucketOf(nanos: number): number {
  if (nanos < LINEAR) return nanos;
  const shift = 24 - Math.clz32(nanos);
  return LINEAR + (shift - 1) * HALF + (nanos >>> shift) - HALF;
}

/** The highest value that bucket `index` counts. */
function highestOf(index: number): number {
  if (index < LINEAR) return index;
  const shift = Math.floor((index - LINEAR) / HALF) + 1;
  const digits = ((index - LINEAR) % HALF) + HALF;
  return (digits + 1) * 2 ** shift - 1;
}

export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;

  get count(): number {
    return this.#total;
  }

  /** Counts `weight` calls of this duration. */
  record(micros: number, weight: number): void {
    const nanos = Math.max(0, Math.min(NANOS_MAX, Math.round(micros * 1000)));
    this.#counts[bucketOf(nanos)]! += weight;
    this.#total += weight;
  }

  /** Nanoseconds that `percent` of the calls did not exceed. REQUIRES: count > 0. */
  percentile(percent: number): number {
    const wanted = Math.max(1, Math.round((percent / 100) * this.#total));
    let seen = 0;
    for (let index = 0; index < BUCKETS; index++) {
      seen += this.#counts[index]!;
      if (seen >= wanted) return highestOf(index);
    }
    return NANOS_MAX;
  }

  /** Microseconds of growing bounds, each with the calls up to it; only bounds that more calls keep than the last. */
  cumulative(): [micros: number, calls: number][] {
    const steps: [number, number][] = [];
    let index = 0;
    let seen = 0;
    let told = 0;
    for (let bound = 1024; told < this.#total; bound *= 2) {
      const last = bucketOf(Math.min(bound, NANOS_MAX));
      for (; index <= last; index++) seen += this.#counts[index]!;
      if (seen > told) steps.push([Math.floor(highestOf(last) / 1000), seen]);
      told = seen;
    }
    return steps;
  }
}
