/**
 * Zipf-distributed ranks: rank 0 is the most popular, its share falling as 1 / (rank + 1)^theta.
 *
 * Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), the method of YCSB. Callers
 * scramble ranks over the key space with a `Permutation`, so popular keys are not neighbours.
 */

import type { Random } from "./random.ts";

export const YCSB_THETA = 0.99;

export class Zipfian {
  readonly #count: number;
  readonly #zeta: number;
  readonly #second: number;
  readonly #alpha: number;
  readonly #eta: number;

  /** O(count): about 50 ms a million. REQUIRES: count > 1, 0 < theta < 1. */
  constructor(count: number, theta: number = YCSB_THETA) {
    let zeta = 0;
    for (let rank = 1; rank <= count; rank++) zeta += rank ** -theta;
    const zetaOfTwo = 1 + 0.5 ** theta;
    this.#count = count;
    this.#zeta = zeta;
    this.#second = zetaOfTwo;
    this.#alpha = 1 / (1 - theta);
    this.#eta = (1 - (2 / count) ** (1 - theta)) / (1 - zetaOfTwo / zeta);
  }

  /** A rank in [0, count). */
  next(random: Random): number {
    const unit = random.unit();
    const scaled = unit * this.#zeta;
    if (scaled < 1) return 0;
    if (scaled < this.#second) return 1;
    const rank = Math.floor(this.#count * (this.#eta * unit - this.#eta + 1) ** this.#alpha);
    return Math.min(rank, this.#count - 1);
  }
}
