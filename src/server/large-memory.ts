/**
 * Memory that a session holds of the share for large arguments and values: arguments being received, or in a command
 * that has not ended, and values that are being replied.
 */
import type { ByteBudget } from "../base/byte-budget.ts";
import type { LargeArgument, Request } from "../resp/request.ts";
import type { UnitWork } from "../store/interrupt.ts";

export class LargeMemory {
  readonly #budget: ByteBudget;
  readonly #work: UnitWork;
  #admitted: LargeArgument | undefined = undefined;
  /** True while the session must not receive more of its large argument. */
  isWaiting = false;
  /** True once an argument was declared that there can be no memory for: the connection must end. */
  isRefused = false;
  /** Bytes of the request that is arriving or running. */
  #currentBytes = 0;
  /** Arguments of requests that have run, or that a transaction has queued. */
  readonly #spent: LargeArgument[] = [];
  #spentBytes = 0;

  constructor(budget: ByteBudget, work: UnitWork) {
    this.#budget = budget;
    this.#work = work;
  }

  get isHeld(): boolean {
    const { heldBytes, slabs } = this.#work;
    return heldBytes > 0 || slabs.length > 0 || this.#spent.length > 0;
  }

  /** Takes memory for an argument that has begun to arrive; returns what to wait for, undefined: nothing. */
  admit(large: LargeArgument | undefined): Promise<void> | undefined {
    if (large === undefined || large === this.#admitted) return undefined;
    this.#admitted = large;
    const bytes = large.byteLength;
    const isFirst = this.#work.heldBytes === 0;
    // Who holds some already must not wait for others, who may wait for it.
    this.isRefused = !isFirst && !this.#budget.tryForce(bytes);
    if (this.isRefused) return undefined;
    this.#work.heldBytes += bytes;
    this.#currentBytes += bytes;
    if (!isFirst) return undefined;
    const wait = this.#budget.acquire(bytes);
    if (wait === undefined) return undefined;
    this.isWaiting = true;
    return wait.then(() => {
      this.isWaiting = false;
    });
  }

  /** The request has run or has been queued: takes its large arguments. */
  spend(request: Request): void {
    this.#spent.push(...request.large);
    request.reset();
    this.#spentBytes += this.#currentBytes;
    this.#currentBytes = 0;
  }

  /**
   * Gives back what is not needed. REQUIRES: no command waits or runs, no reply lies in it. `isQueued`: a transaction
   * is open; `isClosed`: nothing more arrives.
   */
  release({
    isQueued,
    isClosed,
  }: {
    readonly isQueued: boolean;
    readonly isClosed: boolean;
  }): void {
    if (this.isWaiting) return;
    this.#budget.slabs.giveAll(this.#work.slabs);
    if (isClosed) this.#currentBytes = 0;
    if (!isQueued) {
      for (const large of this.#spent.splice(0)) large.release();
      this.#spentBytes = 0;
    }
    const kept = this.#currentBytes + this.#spentBytes;
    const bytes = this.#work.heldBytes - kept;
    this.#work.heldBytes = kept;
    if (bytes > 0) this.#budget.release(bytes);
  }
}
