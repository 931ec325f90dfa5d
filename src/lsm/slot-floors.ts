/**
 * Where the records of each slot begin that count: those at positions before a slot's floor were deleted with the slot.
 *
 * Positions are compared within half of their range, so a floor must not outlive what it hides (memtable.ts).
 */
import { SLOT_COUNT } from "../base/slot.ts";

export class SlotFloors {
  /** 0, which no record has: none. */
  readonly #floors = new Int32Array(SLOT_COUNT);
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Hot, but only where slots have been deleted. */
  hides(slot: number, position: number): boolean {
    const floor = this.#floors[slot]!;
    return floor !== 0 && ((position - floor) | 0) < 0;
  }

  /** Hides what slots [startSlot, endSlot) have before `position`. Returns what undoes it. */
  raise(startSlot: number, endSlot: number, position: number): () => void {
    const before = this.#floors.slice(startSlot, endSlot);
    const count = this.#count;
    for (const floor of before) if (floor === 0) this.#count++;
    this.#floors.fill(position, startSlot, endSlot);
    return () => {
      this.#floors.set(before, startSlot);
      this.#count = count;
    };
  }

  /** Forgets the floors that lie in a segment. */
  drop(isInSegment: (floor: number) => boolean): void {
    if (this.#count === 0) return;
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const floor = this.#floors[slot]!;
      if (floor === 0 || !isInSegment(floor)) continue;
      this.#floors[slot] = 0;
      this.#count--;
    }
  }
}
