/**
 * The range deletions in force for reads: committed ones, which the manifest keeps, and those whose frame is not
 * committed yet, in memory only. Answers per slot which sequences are hidden.
 *
 * Thousands may be pending, nearly always of all slots: what is done for each looks at the newest only.
 */
import { assert } from "../base/assert.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import { covers, hiddenBelow, raise, uncovered } from "./range-deletions.ts";
import type { RangeDeletion } from "./version-edit.ts";

export class RangeDeletionSet {
  /** Hot: records of slot s with a sequence below hidden[s] are hidden. Replaced at each change. */
  hidden: Float64Array = new Float64Array(SLOT_COUNT);
  #committed: readonly RangeDeletion[] = [];
  #pending: RangeDeletion[] = [];

  /** Those not committed yet, ascending by sequence. */
  get pending(): readonly RangeDeletion[] {
    return this.#pending;
  }

  /** Those that `hidden` comes from. */
  get inForce(): readonly RangeDeletion[] {
    return uncovered([...this.#committed, ...this.#pending]);
  }

  add(deletion: RangeDeletion): void {
    const newest = this.#pending.at(-1);
    assert(newest === undefined || newest.sequence < deletion.sequence, "deletions come in order");
    this.#pending.push(deletion);
    const hidden = this.hidden.slice();
    raise(hidden, deletion);
    this.hidden = hidden;
  }

  /** Takes back the last add(). */
  remove(sequence: number): void {
    const removed = this.#pending.pop();
    assert(removed?.sequence === sequence, "the newest deletion is taken back first");
    this.#update();
  }

  /** What the manifest says from now on. */
  setCommitted(deletions: readonly RangeDeletion[]): void {
    this.#committed = deletions;
    this.#pending = this.#pending.filter(
      (pending) => !deletions.some((committed) => covers(committed, pending)),
    );
    this.#update();
  }

  /** Per slot 1 where any is in force. */
  coveredSlots(): Uint8Array {
    return Uint8Array.from(this.hidden, (sequence) => (sequence > 0 ? 1 : 0));
  }

  #update(): void {
    const hidden = hiddenBelow(this.#committed);
    for (let i = this.#pending.length - 1; i >= 0; i--) {
      const deletion = this.#pending[i]!;
      raise(hidden, deletion);
      // Those before it are older.
      if (deletion.startSlot === 0 && deletion.endSlot === SLOT_COUNT) break;
    }
    this.hidden = hidden;
  }
}
