/**
 * What a generator sends: a stream of operations over numbered keys. Pure: all chance comes from a seed.
 *
 *     fill         every key once, in the order of a permutation          (load, overwrite)
 *     uniform      GET of uniform keys
 *     write        SET of uniform keys
 *     zipfian      GET of keys by popularity, scrambled over the key space
 *     mixed        GET or SET of uniform keys, half and half, so many operations in all
 *     ycsb a b c d f   the core workloads of YCSB by those letters:
 *         a  50 % read 50 % update     b  95 % read 5 % update     c  read only
 *         d  95 % read of the latest 5 % insert     f  50 % read 50 % read-modify-write
 *       updates and reads pick keys by a scrambled zipfian of 0.99, d by a zipfian of age.
 */

import { Permutation, Random } from "./random.ts";
import { Zipfian } from "./zipfian.ts";

export const READ = 0;
export const WRITE = 1;
/** A GET, and once it is answered a SET of the same key. */
export const READ_MODIFY_WRITE = 2;
/** A SET of a key that did not exist; readable once acknowledged. */
export const INSERT = 3;

export const YCSB_NAMES = ["a", "b", "c", "d", "f"] as const;
export type YcsbName = (typeof YCSB_NAMES)[number];

export type WorkloadSpec =
  | { kind: "fill" | "uniform" | "write" | "zipfian"; keys: number; seed: number }
  | { kind: "mixed"; keys: number; operations: number; seed: number }
  | { kind: "ycsb"; name: YcsbName; keys: number; firstInsert: number; seed: number };

export interface Workload {
  /** Of the operation that `advance` chose. */
  readonly action: number;
  readonly key: number;
  /** Chooses the next operation; false when there is none left. */
  advance(): boolean;
  /** Told of every INSERT that the server has answered. */
  acknowledge(key: number): void;
}

export function createWorkload(spec: WorkloadSpec): Workload {
  switch (spec.kind) {
    case "fill":
      return new FillWorkload(spec.keys, spec.seed);
    case "uniform":
      return new UniformWorkload(READ, spec.keys, spec.seed);
    case "write":
      return new UniformWorkload(WRITE, spec.keys, spec.seed);
    case "zipfian":
      return new ZipfianWorkload(spec.keys, spec.seed);
    case "mixed":
      return new MixedWorkload(spec.keys, spec.operations, spec.seed);
    case "ycsb":
      return new YcsbWorkload(spec);
  }
}

class FillWorkload implements Workload {
  readonly action = WRITE;
  key = 0;
  readonly #count: number;
  readonly #order: Permutation;
  #next = 0;

  constructor(count: number, seed: number) {
    this.#count = count;
    this.#order = new Permutation(count, seed);
  }

  advance(): boolean {
    if (this.#next === this.#count) return false;
    this.key = this.#order.at(this.#next++);
    return true;
  }

  acknowledge(): void {}
}

class UniformWorkload implements Workload {
  readonly action: number;
  key = 0;
  readonly #count: number;
  readonly #random: Random;

  constructor(action: number, count: number, seed: number) {
    this.action = action;
    this.#count = count;
    this.#random = new Random(seed);
  }

  advance(): boolean {
    this.key = this.#random.below(this.#count);
    return true;
  }

  acknowledge(): void {}
}

class ZipfianWorkload implements Workload {
  readonly action = READ;
  key = 0;
  readonly #random: Random;
  readonly #scramble: Permutation;
  readonly #zipfian: Zipfian;

  constructor(count: number, seed: number) {
    this.#random = new Random(seed);
    this.#scramble = new Permutation(count, seed);
    this.#zipfian = new Zipfian(count);
  }

  advance(): boolean {
    this.key = this.#scramble.at(this.#zipfian.next(this.#random));
    return true;
  }

  acknowledge(): void {}
}

class MixedWorkload implements Workload {
  action = READ;
  key = 0;
  readonly #keys: number;
  readonly #random: Random;
  #left: number;

  constructor(keys: number, operations: number, seed: number) {
    this.#keys = keys;
    this.#random = new Random(seed);
    this.#left = operations;
  }

  advance(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    this.action = this.#random.unit() < 0.5 ? READ : WRITE;
    this.key = this.#random.below(this.#keys);
    return true;
  }

  acknowledge(): void {}
}

/** Share of operations that are not plain reads, and what they are. */
const YCSB_MIX: Record<YcsbName, { share: number; action: number }> = {
  a: { share: 0.5, action: WRITE },
  b: { share: 0.05, action: WRITE },
  c: { share: 0, action: READ },
  d: { share: 0.05, action: INSERT },
  f: { share: 0.5, action: READ_MODIFY_WRITE },
};

class YcsbWorkload implements Workload {
  action = READ;
  key = 0;
  readonly #random: Random;
  readonly #zipfian: Zipfian;
  readonly #scramble: Permutation;
  readonly #share: number;
  readonly #otherAction: number;
  readonly #inserted: AcknowledgedCounter;

  constructor(spec: Extract<WorkloadSpec, { kind: "ycsb" }>) {
    const mix = YCSB_MIX[spec.name];
    this.#random = new Random(spec.seed);
    this.#zipfian = new Zipfian(spec.keys);
    this.#scramble = new Permutation(spec.keys, 1);
    this.#share = mix.share;
    this.#otherAction = mix.action;
    this.#inserted = new AcknowledgedCounter(spec.firstInsert);
  }

  advance(): boolean {
    this.action = this.#random.unit() < this.#share ? this.#otherAction : READ;
    const rank = this.#zipfian.next(this.#random);
    if (this.action === INSERT) this.key = this.#inserted.next();
    else if (this.#otherAction === INSERT) this.key = this.#inserted.readable - 1 - rank;
    else this.key = this.#scramble.at(rank);
    return true;
  }

  acknowledge(key: number): void {
    this.#inserted.acknowledge(key);
  }
}

/** Hands out consecutive numbers and knows up to where all of them were acknowledged. */
export class AcknowledgedCounter {
  /** Invariant: every number below was acknowledged, or existed before. */
  readable: number;
  #issued: number;
  readonly #ahead = new Set<number>();

  constructor(first: number) {
    this.readable = first;
    this.#issued = first;
  }

  next(): number {
    return this.#issued++;
  }

  acknowledge(number: number): void {
    this.#ahead.add(number);
    while (this.#ahead.delete(this.readable)) this.readable++;
  }
}
