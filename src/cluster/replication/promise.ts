/**
 * What this node has promised, durably: an epoch below which it acknowledges nothing, and the largest lease length
 * that it may have granted. Both only grow (invariant I2).
 *
 *     raise ──► in force at once: nothing below is acknowledged, granted or answered any more
 *           ──► persisted: now the promise itself may be told, and a grant of that length be given
 *
 * A crash between the two forgets a promise that nobody was told of.
 */
import { assert } from "../../base/assert.ts";
import type { Outbox } from "./action.ts";
import type { PersistedPromise } from "./event.ts";

export class EpochPromise {
  readonly #out: Outbox;
  #raised: PersistedPromise;
  #persisted: PersistedPromise;

  constructor(persisted: PersistedPromise, out: Outbox) {
    this.#out = out;
    this.#raised = persisted;
    this.#persisted = persisted;
  }

  get epoch(): number {
    return this.#raised.epoch;
  }

  /** Whether the promised epoch is on stable storage. */
  get isPersisted(): boolean {
    return this.#persisted.epoch === this.#raised.epoch;
  }

  /** Whether a grant for a lease of `leaseMs` would be remembered after a restart. */
  covers(leaseMs: number): boolean {
    return this.#persisted.leaseMs >= leaseMs;
  }

  /** Raises the promise to at least `epoch` and `leaseMs`, and has it persisted if that is new. */
  raise(epoch: number, leaseMs: number): void {
    assert(epoch >= this.#raised.epoch, "a promise that would shrink");
    if (epoch === this.#raised.epoch && leaseMs <= this.#raised.leaseMs) return;
    this.#raised = { epoch, leaseMs: Math.max(leaseMs, this.#raised.leaseMs) };
    this.#out.push({ type: "persist", promise: this.#raised });
  }

  onPersisted(promise: PersistedPromise): void {
    assert(promise.epoch >= this.#persisted.epoch, "promises persisted out of order");
    assert(promise.epoch <= this.#raised.epoch, "a promise persisted that was not made");
    this.#persisted = promise;
  }
}
