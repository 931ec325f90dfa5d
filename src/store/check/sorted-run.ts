/**
 * The records of log segments as one sorted run: the newest version of every (key, sub-key), 21 bytes a record
 * beside the segments themselves.
 */
import type { FlushSource } from "../../lsm/flush.ts";
import { SortedSources } from "../../lsm/flush-sort.ts";
import type { RecordIterator } from "../../lsm/iterator.ts";
import { RecordView } from "../../lsm/order-key.ts";
import type { RangeDeletion } from "../../lsm/version-edit.ts";

export class SortedRun implements RecordIterator {
  readonly current = new RecordView();
  readonly #sorted: SortedSources;
  #at = 0;

  /** Takes the sources oldest first. */
  constructor(sources: readonly FlushSource[]) {
    this.#sorted = new SortedSources(sources);
  }

  get rangeDeletions(): readonly RangeDeletion[] {
    return this.#sorted.rangeDeletions;
  }

  isValid(): boolean {
    return this.#at < this.#sorted.count;
  }

  /** Moves to the first record. */
  seek(): void {
    this.#at = 0;
    this.#read();
  }

  next(): void {
    while (this.#sorted.sameAsNext(this.#at)) this.#at++;
    this.#at++;
    this.#read();
  }

  #read(): void {
    if (this.isValid()) this.#sorted.read(this.#at, this.current);
  }
}
