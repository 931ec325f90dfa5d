/**
 * The iterator that tables, levels and merges share: forward only, over records in order
 * (slot, order hash, key, sub-key, newest sequence first).
 *
 * The bytes that `current` points to are borrowed until the next call.
 */
import type { KeyQuery, RecordView } from "./order-key.ts";

export interface RecordIterator {
  /** False before the first seek and after the last record. */
  isValid(): boolean;
  /** REQUIRES: isValid(). */
  next(): void;
  /** Moves to the first record with slot * 2^32 + hash >= position. */
  seek(position: number): void;
  /** May pass over records before the query's, none at or behind it: what of them need not be read is not. */
  skipTowards?(query: KeyQuery): void;
  /** REQUIRES: isValid(). Reused: read the property anew after each call, a merge answers with its child's. */
  readonly current: RecordView;
}
