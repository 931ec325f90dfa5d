/**
 * The simulator's only source of chance: a seeded generator (sfc32) with the draws that a simulation needs.
 *
 * fork() gives a part of the simulation a stream of its own, so that one more draw in one part does not change
 * what every other part does.
 */
import { Random } from "../../bench/load/random.ts";

export class SimRandom extends Random {
  /** A generator whose numbers do not depend on how often others are asked. */
  fork(name: string): SimRandom {
    let hash = this.next() | 0;
    for (let i = 0; i < name.length; i++) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    }
    return new SimRandom(hash);
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  /** Uniform integer in [min, max]. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  /** Integer in [min, max], its logarithm uniform: small numbers as often as large ones. REQUIRES: min > 0. */
  magnitude(min: number, max: number): number {
    return Math.round(min * (max / min) ** this.unit());
  }

  /** Exponentially distributed. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.unit());
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** Index into `weights`, each as likely as its weight. */
  weighted(weights: readonly number[]): number {
    let left = this.unit() * weights.reduce((sum, weight) => sum + weight, 0);
    for (let i = 0; i < weights.length; i++) {
      left -= weights[i]!;
      if (left < 0) return i;
    }
    return weights.length - 1;
  }

  shuffle<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const other = this.below(i + 1);
      [shuffled[i], shuffled[other]] = [shuffled[other]!, shuffled[i]!];
    }
    return shuffled;
  }

  bytes(count: number): Uint8Array {
    return new Uint8Array(count).map(() => this.next() & 0xff);
  }
}
