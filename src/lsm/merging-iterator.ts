/**
 * Merges sorted iterators into one: the newest version of every (key, sub-key), older ones passed over.
 *
 * A binary heap of child numbers, ordered by position, then by bytes, then by age; the positions stand in a
 * Float64Array so that nearly every comparison is of two numbers. Before the root moves on, the children that
 * stand on the same record move first: theirs is an older version.
 *
 * Hot: the inner loop of compaction; see bench/micro/flush.bench.ts.
 */
import type { RecordIterator } from "./iterator.ts";
import { compareRecords, type KeyQuery, type RecordView } from "./order-key.ts";

const TWO_32 = 0x1_0000_0000;

export class MergingIterator implements RecordIterator {
  /** Older versions passed over so far. */
  skippedCount = 0;
  /** Newest first: of equal records the one of the lower child wins. */
  readonly #children: readonly RecordIterator[];
  readonly #positions: Float64Array;
  readonly #heap: Int32Array;
  #size = 0;

  /** REQUIRES: each child has at most one record per (key, sub-key); children newest first. */
  constructor(children: readonly RecordIterator[]) {
    this.#children = children;
    this.#positions = new Float64Array(children.length);
    this.#heap = new Int32Array(children.length);
  }

  isValid(): boolean {
    return this.#size > 0;
  }

  get current(): RecordView {
    return this.#children[this.#heap[0]!]!.current;
  }

  seek(position: number): void {
    this.#size = 0;
    for (let child = 0; child < this.#children.length; child++) {
      const iterator = this.#children[child]!;
      iterator.seek(position);
      if (!iterator.isValid()) continue;
      this.#setPosition(child, iterator);
      this.#heap[this.#size++] = child;
    }
    this.#heapify();
  }

  next(): void {
    const heap = this.#heap;
    const root = heap[0]!;
    const position = this.#positions[root]!;
    while (this.#size > 1) {
      const at = this.#size > 2 && this.#isBefore(heap[2]!, heap[1]!) ? 2 : 1;
      const second = heap[at]!;
      if (this.#positions[second] !== position) break;
      const order = compareRecords(this.#children[root]!.current, this.#children[second]!.current);
      if (order !== 0) break;
      this.skippedCount++;
      this.#advance(at);
    }
    this.#advance(0);
  }

  /** As RecordIterator.skipTowards(): the current record is another one afterwards, or the same. */
  skipTowards(query: KeyQuery): void {
    for (let at = 0; at < this.#size; at++) {
      const child = this.#heap[at]!;
      this.#children[child]!.skipTowards?.(query);
      this.#setPosition(child, this.#children[child]!);
    }
    this.#heapify();
  }

  #heapify(): void {
    for (let at = (this.#size >>> 1) - 1; at >= 0; at--) this.#siftDown(at);
  }

  /** Moves the child at heap index `at` on and restores the heap below it. */
  #advance(at: number): void {
    const child = this.#heap[at]!;
    const iterator = this.#children[child]!;
    iterator.next();
    if (iterator.isValid()) {
      this.#setPosition(child, iterator);
    } else {
      this.#size--;
      if (at === this.#size) return;
      this.#heap[at] = this.#heap[this.#size]!;
    }
    this.#siftDown(at);
  }

  #setPosition(child: number, iterator: RecordIterator): void {
    const record = iterator.current;
    this.#positions[child] = record.slot * TWO_32 + record.hash;
  }

  #siftDown(start: number): void {
    const heap = this.#heap;
    const size = this.#size;
    const child = heap[start]!;
    let at = start;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= size) break;
      if (below + 1 < size && this.#isBefore(heap[below + 1]!, heap[below]!)) below++;
      if (!this.#isBefore(heap[below]!, child)) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = child;
  }

  #isBefore(a: number, b: number): boolean {
    const aPosition = this.#positions[a]!;
    const bPosition = this.#positions[b]!;
    if (aPosition !== bPosition) return aPosition < bPosition;
    const order = compareRecords(this.#children[a]!.current, this.#children[b]!.current);
    return order !== 0 ? order < 0 : a < b;
  }
}
