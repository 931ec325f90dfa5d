/**
 * A share of the memory budget that several holders take turns with: who does not fit waits, first come first
 * served. One that is larger than the whole share gets it alone.
 */

import { SlabPool } from "./slab-pool.ts";

const FORCED_FACTOR = 2;

interface Waiter {
  readonly bytes: number;
  /** What it holds already. */
  readonly held: number;
  resolve(): void;
}

export class ByteBudget {
  readonly capacity: number;
  /** What holders may put their bytes into. */
  readonly slabs: SlabPool;
  readonly #waiters: Waiter[] = [];
  #used = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.slabs = new SlabPool(capacity);
  }

  get used(): number {
    return this.#used;
  }

  /** Bytes that others wait for. */
  get waiting(): number {
    return this.#waiters.reduce((sum, waiter) => sum + waiter.bytes, 0);
  }

  /**
   * Takes `bytes`; undefined when they are free, else a promise of them. Every acquire needs its release. Who `held`
   * some already gets more alone when nobody else holds any.
   */
  acquire(bytes: number, held = 0): Promise<void> | undefined {
    if (this.#waiters.length === 0 && this.#fits(bytes, held)) {
      this.#used += bytes;
      return undefined;
    }
    return new Promise((resolve) => this.#waiters.push({ bytes, held, resolve }));
  }

  /**
   * Takes `bytes` even if they are not free: for who holds some already and must not wait for others. False when that
   * would be more than twice the share. All who hold something can double it, so a command that reads one value and
   * writes or replies another always can.
   */
  tryForce(bytes: number): boolean {
    if (this.#used + bytes > this.capacity * FORCED_FACTOR) return false;
    this.#used += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#used -= bytes;
    while (
      this.#waiters.length > 0 &&
      this.#fits(this.#waiters[0]!.bytes, this.#waiters[0]!.held)
    ) {
      const waiter = this.#waiters.shift()!;
      this.#used += waiter.bytes;
      waiter.resolve();
    }
  }

  #fits(bytes: number, held: number): boolean {
    return this.#used <= held || this.#used + bytes <= this.capacity;
  }
}
