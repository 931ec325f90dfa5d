/**
 * Keeps the process inside its memory budget: a thread's garbage is collected as the process grows once little of the
 * budget is left. Everything that lives is bounded by its share (memory-plan.ts); the collector alone does not know of
 * the budget, and lets as much garbage gather as there is live data. Each thread has a guard of its own.
 *
 *   0 ──────────── WATCHED ──────────────── CRITICAL ───── budget
 *     left alone      a young collection       a full one as well, when it is due
 *                     per GROWTH
 */
import type { Clock, Timer } from "./clock.ts";
import type { ProcessMemory } from "./process-memory.ts";

/** Sockets bring a megabyte in half a millisecond: looks are frequent where there is little left. */
const INTERVAL_MS = 10;
/** Share of the budget from which growth is followed by a collection. */
const WATCHED_SHARE = 0.5;
/** Growth since the last collection that calls for one, as a share of the budget. */
const GROWTH_SHARE = 0.03;
/** Share of the budget from which all garbage is collected, and memory that is free inside the heap given back. */
const CRITICAL_SHARE = 0.75;
/** A full collection takes ten to thirty milliseconds; looks between two, and after one that was of little use. */
const LOOKS_BETWEEN = 25;
const LOOKS_AFTER_USELESS = 200;

export class MemoryGuard {
  readonly #memory: ProcessMemory;
  readonly #budgetBytes: number;
  #timer: Timer | undefined = undefined;
  /** Resident bytes after the last collection, or fewer since. */
  #lowBytes = 0;
  #looksLeft = 0;
  youngCollections = 0;
  fullCollections = 0;

  constructor(memory: ProcessMemory, budgetBytes: number) {
    this.#memory = memory;
    this.#budgetBytes = budgetBytes;
  }

  /** Looks until stop(). */
  watch(clock: Clock): void {
    this.#timer = clock.every(INTERVAL_MS, () => this.look());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Collects what is due: to be called every ten milliseconds or so while there is work. */
  look(): void {
    if (this.#looksLeft > 0) this.#looksLeft--;
    const resident = this.#memory.residentBytes();
    this.#lowBytes = Math.min(this.#lowBytes, resident);
    if (resident < this.#budgetBytes * WATCHED_SHARE) return;
    const growth = this.#budgetBytes * GROWTH_SHARE;
    if (resident > this.#budgetBytes * CRITICAL_SHARE && this.#looksLeft === 0) {
      this.#memory.collect();
      this.fullCollections++;
      this.#lowBytes = this.#memory.residentBytes();
      const isUseful = this.#lowBytes + growth < resident;
      this.#looksLeft = isUseful ? LOOKS_BETWEEN : LOOKS_AFTER_USELESS;
    } else if (resident >= this.#lowBytes + growth) {
      this.#memory.collectYoung();
      this.youngCollections++;
      this.#lowBytes = this.#memory.residentBytes();
    }
  }
}
