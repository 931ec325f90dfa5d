/**
 * Keeps the process inside its memory budget: garbage is collected early when little of the budget is left. Everything
 * that lives is bounded by its share (memory-plan.ts); the collector alone does not know of the budget.
 */
import type { Clock, Timer } from "./base/clock.ts";
import type { ProcessMemory } from "./base/process-memory.ts";

const INTERVAL_MS = 100;
/** Share of the budget from which garbage is collected at every look. */
const COLLECT_SHARE = 0.65;
/** A collection takes some milliseconds; no more than one in so many looks. */
const LOOKS_BETWEEN = 3;

export class MemoryGuard {
  readonly #memory: ProcessMemory;
  readonly #budgetBytes: number;
  readonly #timer: Timer;
  #looksLeft = 0;
  collections = 0;

  constructor(memory: ProcessMemory, budgetBytes: number, clock: Clock) {
    this.#memory = memory;
    this.#budgetBytes = budgetBytes;
    this.#timer = clock.every(INTERVAL_MS, () => this.#look());
  }

  stop(): void {
    this.#timer.cancel();
  }

  #look(): void {
    if (this.#looksLeft-- > 0) return;
    if (this.#memory.read().residentBytes < this.#budgetBytes * COLLECT_SHARE) {
      this.#looksLeft = 0;
      return;
    }
    this.#memory.collect();
    this.collections++;
    this.#looksLeft = LOOKS_BETWEEN;
  }
}
