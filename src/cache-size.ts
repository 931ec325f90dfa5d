/**
 * Lends the block cache what the process leaves of its memory budget, and takes it back first.
 *
 *   0 ────────────── GROWTH ─────────── SHRINK ───── budget
 *      a full cache         it stays         it falls back towards
 *      grows by steps       as it is         its own share
 *
 * Shares are made for the worst (millions of small keys, large values, merges, all at once). Most data sets are nothing
 * like that, and a block that is in memory costs a tenth of one that must be read from the page cache.
 */
import type { Clock, Timer } from "./base/clock.ts";
import type { ProcessMemory } from "./base/process-memory.ts";

const INTERVAL_MS = 20;
/** Shares of the budget in memory up to which the cache may grow, and from which it shrinks. */
const GROWTH_SHARE = 0.6;
const SHRINK_SHARE = 0.7;
/** Shares of the budget by which it grows and shrinks at one look: slowly, since others may need it, and quickly. */
const GROWTH_STEP = 0.01;
const SHRINK_STEP = 0.06;
/** The cache counts in slabs of this size. */
const GROWTH_BYTES_MIN = 1024 * 1024;
/** Share of the budget that it never exceeds. */
const CACHE_SHARE_MAX = 0.5;

export interface SizedCache {
  /** Bytes that the cache may take. */
  readonly capacityBytes: number;
  /** Bytes that it takes. */
  readonly slabBytes: number;
  resize(capacityBytes: number): void;
}

export class CacheSize {
  readonly #cache: SizedCache;
  readonly #memory: ProcessMemory;
  readonly #budgetBytes: number;
  readonly #ownBytes: number;
  readonly #timer: Timer;

  /** What the cache may take now is its own share. */
  constructor(cache: SizedCache, memory: ProcessMemory, budgetBytes: number, clock: Clock) {
    this.#cache = cache;
    this.#memory = memory;
    this.#budgetBytes = budgetBytes;
    this.#ownBytes = cache.capacityBytes;
    this.#timer = clock.every(INTERVAL_MS, () => this.#look());
  }

  stop(): void {
    this.#timer.cancel();
  }

  #look(): void {
    const cache = this.#cache;
    const budget = this.#budgetBytes;
    const capacity = cache.capacityBytes;
    const isFull = cache.slabBytes >= capacity;
    if (!isFull && capacity <= this.#ownBytes) return;
    const resident = this.#memory.residentBytes();
    if (resident > budget * SHRINK_SHARE) {
      cache.resize(Math.max(this.#ownBytes, capacity - budget * SHRINK_STEP));
    } else if (isFull && resident < budget * GROWTH_SHARE) {
      const most = Math.max(this.#ownBytes, budget * CACHE_SHARE_MAX);
      cache.resize(Math.min(most, capacity + Math.max(GROWTH_BYTES_MIN, budget * GROWTH_STEP)));
    }
  }
}
