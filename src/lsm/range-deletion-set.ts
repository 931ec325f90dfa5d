/**
 * The range deletions in force for reads: committed ones, which the manifest keeps, and those whose frame is not
 * committed yet, in memory only. Answers per slot which sequences are hidden.
 */
import { SLOT_COUNT } from "../base/slot.ts";
import { hiddenBelow } from "./range-deletions.ts";
import type { RangeDeletion } from "./version-edit.ts";

export class RangeDeletionSet {
  /** Hot: records of slot s with a sequence below hidden[s] are hidden. Replaced at each change. */
  hidden: Float64Array = new Float64Array(SLOT_COUNT);
  #committed: readonly RangeDeletion[] = [];
  readonly #pending = new Map<number, RangeDeletion>();

  /** Those not committed yet. */
  get pending(): ReadonlyMap<number, RangeDeletion> {
    return this.#pending;
  }

  add(deletion: RangeDeletion): void {
    this.#pending.set(deletion.sequence, deletion);
    this.#update();
  }

  remove(sequence: number): void {
    this.#pending.delete(sequence);
    this.#update();
  }

  /** What the manifest says from now on. */
  setCommitted(deletions: readonly RangeDeletion[]): void {
    this.#committed = deletions;
    for (const { sequence } of deletions) this.#pending.delete(sequence);
    this.#update();
  }

  /** Per slot 1 where any is in force. */
  coveredSlots(): Uint8Array {
    return Uint8Array.from(this.hidden, (sequence) => (sequence > 0 ? 1 : 0));
  }

  #update(): void {
    this.hidden = hiddenBelow([...this.#committed, ...this.#pending.values()]);
  }
}
