/**
 * Iterates over a run: tables in order that do not overlap, one opened at a time.
 */
import type { RecordIterator } from "./iterator.ts";
import { type KeyQuery, RecordView } from "./order-key.ts";
import type { TableMeta } from "./version-edit.ts";

const NOTHING = new RecordView();

export class RunIterator implements RecordIterator {
  readonly #tables: readonly TableMeta[];
  readonly #open: (table: TableMeta) => RecordIterator;
  #at = 0;
  #iterator: RecordIterator | undefined = undefined;

  constructor(tables: readonly TableMeta[], open: (table: TableMeta) => RecordIterator) {
    this.#tables = tables;
    this.#open = open;
  }

  isValid(): boolean {
    return this.#iterator?.isValid() ?? false;
  }

  get current(): RecordView {
    return this.#iterator?.current ?? NOTHING;
  }

  seek(position: number): void {
    this.#at = firstTableFrom(this.#tables, position);
    this.#openTable(position);
  }

  next(): void {
    const iterator = this.#iterator!;
    iterator.next();
    if (iterator.isValid()) return;
    this.#at++;
    this.#openTable(0);
  }

  /** As TableIterator.skipTowards(), within the current table. */
  skipTowards(query: KeyQuery): void {
    this.#iterator?.skipTowards?.(query);
  }

  /** Opens the table at `#at`, or a later one if nothing in it is at or behind `position`. */
  #openTable(position: number): void {
    this.#iterator = undefined;
    while (this.#at < this.#tables.length) {
      const iterator = this.#open(this.#tables[this.#at]!);
      iterator.seek(position);
      if (iterator.isValid()) {
        this.#iterator = iterator;
        return;
      }
      this.#at++;
    }
  }
}

/** Index of the first table of a run that ends at or behind `position`. */
export function firstTableFrom(tables: readonly TableMeta[], position: number): number {
  let low = 0;
  let high = tables.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (tables[middle]!.maxPosition < position) low = middle + 1;
    else high = middle;
  }
  return low;
}
