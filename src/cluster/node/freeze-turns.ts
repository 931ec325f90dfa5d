/**
 * Which move may have its slots frozen: one of a replica set's at a time. All flips of a set change its document, so they
 * are made one after the other, and who waited for another's would wait frozen.
 */
export class FreezeTurns {
  readonly #waiting: (() => void)[] = [];
  #isTaken = false;

  /** Calls `begin` once nobody else has the turn; it is over with end(). */
  take(begin: () => void): void {
    if (this.#isTaken) {
      this.#waiting.push(begin);
      return;
    }
    this.#isTaken = true;
    begin();
  }

  end(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#isTaken = false;
    else next();
  }
}
