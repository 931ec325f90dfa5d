import { expect, test } from "bun:test";
import fc from "fast-check";
import type { RecordIterator } from "../../src/lsm/iterator.ts";
import { MergingIterator } from "../../src/lsm/merging-iterator.ts";
import { compareRecords, positionOf, RecordView } from "../../src/lsm/order-key.ts";

interface Plain {
  readonly slot: number;
  readonly hash: number;
  readonly key: number;
  readonly subKey: number;
  readonly sequence: number;
}

function viewOf(plain: Plain): RecordView {
  const view = new RecordView();
  view.bytes = Uint8Array.of(plain.key, plain.subKey);
  view.slot = plain.slot;
  view.hash = plain.hash;
  view.sequence = plain.sequence;
  view.keyEnd = 1;
  view.subKeyStart = 1;
  view.subKeyEnd = plain.subKey === 0 ? 1 : 2;
  return view;
}

class ListIterator implements RecordIterator {
  readonly #records: readonly RecordView[];
  #at: number;

  constructor(records: readonly RecordView[]) {
    this.#records = records;
    this.#at = records.length;
  }

  isValid(): boolean {
    return this.#at < this.#records.length;
  }

  get current(): RecordView {
    return this.#records[this.#at]!;
  }

  next(): void {
    this.#at++;
  }

  seek(position: number): void {
    this.#at = this.#records.findIndex((view) => positionOf(view.slot, view.hash) >= position);
    if (this.#at === -1) this.#at = this.#records.length;
  }
}

const plain = fc.record({
  slot: fc.nat(2),
  hash: fc.nat(2),
  key: fc.nat(2),
  subKey: fc.nat(2),
});

test("MergingIterator gives the newest of every key and sub-key, in order", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(plain, { maxLength: 30 }), { maxLength: 7 }),
      fc.nat(3),
      fc.nat(3),
      (lists, slot, hash) => {
        const newest = new Map<string, RecordView>();
        const children = lists.map((list, age) => {
          const unique = new Map(
            list.map((record) => [
              JSON.stringify(record),
              viewOf({ ...record, sequence: 100 - age }),
            ]),
          );
          for (const [name, view] of unique) if (!newest.has(name)) newest.set(name, view);
          return new ListIterator([...unique.values()].sort(compareRecords));
        });
        const start = positionOf(slot, hash);
        const expected = [...newest.values()]
          .filter((view) => positionOf(view.slot, view.hash) >= start)
          .sort(compareRecords);
        const merged = new MergingIterator(children);
        const actual: RecordView[] = [];
        for (merged.seek(start); merged.isValid(); merged.next()) actual.push(merged.current);
        expect(actual).toEqual(expected);
      },
    ),
    { numRuns: 300 },
  );
});
