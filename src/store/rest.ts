/**
 * How a store comes to rest before another one takes its place: nothing new begins, what is under way ends.
 *
 *     suspend() ──► units outside of commands end as SUSPENDED ──► reads of blocks end ──► at rest
 */
import { SUSPENDED, UnitWork } from "./interrupt.ts";
import type { Store } from "./store.ts";

export class Rest {
  isSuspended = false;
  /** Units outside of commands and reads of blocks that are under way, and who waits for their end. */
  #busy = 0;
  readonly #onQuiet: (() => void)[] = [];

  /** Done when nothing is under way. */
  suspend(): Promise<void> {
    this.isSuspended = true;
    if (this.#busy === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onQuiet.push(resolve));
  }

  /** Before a unit runs outside of a command. */
  check(): void {
    if (this.isSuspended) throw SUSPENDED;
  }

  /** `work` is under way until it ends. */
  async during(work: Promise<void>): Promise<void> {
    this.#busy++;
    try {
      await work;
    } finally {
      this.#busy--;
      if (this.#busy === 0) for (const resolve of this.#onQuiet.splice(0)) resolve();
    }
  }
}

/** Runs `action` as a unit outside any command, as often as interrupts demand. */
export async function runUnit(store: Store, rest: Rest, action: () => void): Promise<void> {
  const work = new UnitWork();
  for (;;) {
    rest.check();
    store.beginBatch();
    store.beginUnit(work);
    try {
      action();
      store.endUnit();
      return;
    } catch (error) {
      store.abortUnit();
      if (!store.isInterrupt(error)) throw error;
      await store.resolve(error);
    }
  }
}
