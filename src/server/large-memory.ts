/** What one session takes of the memory budget for the large arguments that it receives. */
import type { ByteBudget } from "../base/byte-budget.ts";
import type { LargeArgument } from "../resp/request.ts";
import type { UnitWork } from "../store/interrupt.ts";

export class LargeMemory {
  readonly #budget: ByteBudget;
  /** Counts what is held, with what the store takes for the session's command. */
  readonly #work: UnitWork;
  #admitted: LargeArgument | undefined = undefined;
  /** True while the session must not receive more of its large argument. */
  isWaiting = false;

  constructor(budget: ByteBudget, work: UnitWork) {
    this.#budget = budget;
    this.#work = work;
  }

  /** Takes memory for an argument that has begun to arrive, once. A promise when it has to be waited for. */
  admit(large: LargeArgument | undefined): Promise<void> | undefined {
    if (large === undefined || large === this.#admitted) return undefined;
    this.#admitted = large;
    const bytes = large.byteLength;
    const isFirst = this.#work.heldBytes === 0;
    this.#work.heldBytes += bytes;
    if (!isFirst) {
      // Whoever holds some must not wait for others who hold some.
      this.#budget.force(bytes);
      return undefined;
    }
    const wait = this.#budget.acquire(bytes);
    if (wait === undefined) return undefined;
    this.isWaiting = true;
    return wait.then(() => {
      this.isWaiting = false;
    });
  }

  /** Gives everything back. */
  release(): void {
    if (this.isWaiting) return;
    const bytes = this.#work.heldBytes;
    this.#work.heldBytes = 0;
    this.#budget.release(bytes);
  }
}
