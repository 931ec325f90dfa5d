/**
 * What reads may see of a merge: records that no range deletion hides.
 */
import type { RecordIterator } from "./iterator.ts";
import type { RecordView } from "./order-key.ts";

export class VisibleIterator implements RecordIterator {
  readonly #source: RecordIterator;
  /** Per slot: lower sequences are hidden. */
  readonly #hidden: Float64Array;

  constructor(source: RecordIterator, hidden: Float64Array) {
    this.#source = source;
    this.#hidden = hidden;
  }

  isValid(): boolean {
    return this.#source.isValid();
  }

  get current(): RecordView {
    return this.#source.current;
  }

  next(): void {
    this.#source.next();
    this.#skipHidden();
  }

  seek(position: number): void {
    this.#source.seek(position);
    this.#skipHidden();
  }

  #skipHidden(): void {
    const source = this.#source;
    while (source.isValid()) {
      const record = source.current;
      if (record.sequence >= this.#hidden[record.slot]!) return;
      source.next();
    }
  }
}
