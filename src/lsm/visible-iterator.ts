/**
 * What reads may see of a merge: records that no range deletion hides.
 */
import type { RecordIterator } from "./iterator.ts";
import type { KeyQuery, RecordView } from "./order-key.ts";
import { ColdReadError } from "./table-iterator.ts";

export class VisibleIterator implements RecordIterator {
  readonly #source: RecordIterator;
  /** Per slot: lower sequences are hidden. */
  readonly #hidden: Float64Array;
  readonly #load: (error: ColdReadError) => Promise<void>;

  /** `load` does what a ColdReadError asks for while the tables stay open. */
  constructor(
    source: RecordIterator,
    hidden: Float64Array,
    load: (error: ColdReadError) => Promise<void>,
  ) {
    this.#source = source;
    this.#hidden = hidden;
    this.#load = load;
  }

  isValid(): boolean {
    return this.#source.isValid();
  }

  get current(): RecordView {
    return this.#source.current;
  }

  next(): void {
    try {
      this.#source.next();
      this.#skipHidden();
    } catch (error) {
      this.#rethrow(error);
    }
  }

  seek(position: number): void {
    try {
      this.#source.seek(position);
      this.#skipHidden();
    } catch (error) {
      this.#rethrow(error);
    }
  }

  /** The current record may be a hidden one afterwards; next() leaves it. */
  skipTowards(query: KeyQuery): void {
    try {
      this.#source.skipTowards?.(query);
    } catch (error) {
      this.#rethrow(error);
    }
  }

  #skipHidden(): void {
    const source = this.#source;
    while (source.isValid()) {
      const record = source.current;
      if (record.sequence >= this.#hidden[record.slot]!) return;
      source.next();
    }
  }

  #rethrow(error: unknown): never {
    if (!(error instanceof ColdReadError)) throw error;
    throw new ColdReadError(() => this.#load(error));
  }
}
