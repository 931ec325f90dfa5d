/**
 * A share of the memory budget that several holders take turns with: who does not fit waits, first come first
 * served. One that is larger than the whole share gets it alone.
 */

interface Waiter {
  readonly bytes: number;
  resolve(): void;
}

export class ByteBudget {
  readonly capacity: number;
  readonly #waiters: Waiter[] = [];
  #used = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get used(): number {
    return this.#used;
  }

  /** Bytes that others wait for. */
  get waiting(): number {
    return this.#waiters.reduce((sum, waiter) => sum + waiter.bytes, 0);
  }

  /** Takes `bytes`; undefined when they are free, else a promise of them. Every acquire needs its release. */
  acquire(bytes: number): Promise<void> | undefined {
    if (this.#waiters.length === 0 && this.#fits(bytes)) {
      this.#used += bytes;
      return undefined;
    }
    return new Promise((resolve) => this.#waiters.push({ bytes, resolve }));
  }

  /** Takes `bytes` even if they are not free: for who holds some already and must not wait for others. */
  force(bytes: number): void {
    this.#used += bytes;
  }

  release(bytes: number): void {
    this.#used -= bytes;
    while (this.#waiters.length > 0 && this.#fits(this.#waiters[0]!.bytes)) {
      const waiter = this.#waiters.shift()!;
      this.#used += waiter.bytes;
      waiter.resolve();
    }
  }

  #fits(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.capacity;
  }
}
