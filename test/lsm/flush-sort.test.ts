import { expect, test } from "bun:test";
import fc from "fast-check";
import { RecordType } from "../../src/base/record.ts";
import { SortedSources } from "../../src/lsm/flush-sort.ts";
import { compareRecords, RecordView } from "../../src/lsm/order-key.ts";
import { ArenaBuilder } from "../support/arena.ts";

const spec = fc.record({
  // "~" keys share positions, so that runs of one prefix are long.
  key: fc.oneof(
    fc.nat(30).map((n) => `key-${n}`),
    fc.nat(12).map((n) => `~{x}${n}`),
  ),
  subKey: fc.option(fc.nat(40), { nil: undefined }),
  mark: fc.boolean(),
});

test("SortedSources orders records of several arenas, newest version first", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(spec, { minLength: 1, maxLength: 80 }), { minLength: 1, maxLength: 4 }),
      fc.nat(1),
      (arenas, skipped) => {
        let sequence = 50;
        const marked = new Set<number>();
        const expected: number[] = [];
        const sources = arenas.map((specs, ordinal) => {
          const arena = new ArenaBuilder(sequence, 64 * 1024);
          const first = ordinal === 0 ? Math.min(skipped, specs.length) : 0;
          specs.forEach(({ key, subKey, mark }, i) => {
            const bytes = subKey === undefined ? {} : { subKey: Uint8Array.of(subKey) };
            const at = arena.add({ type: RecordType.VALUE, key, value: "v", mark, ...bytes });
            if (mark) marked.add(at);
            if (i >= first) expected.push(at);
          });
          sequence = arena.nextSequence;
          return arena.source(first);
        });
        const sorted = new SortedSources(sources);
        const views = Array.from({ length: sorted.count }, (_, i) => {
          const view = new RecordView();
          sorted.read(i, view);
          expect(sorted.isMarked(i)).toBe(marked.has(view.sequence));
          expect(sorted.sequence(i)).toBe(view.sequence);
          return view;
        });
        expect(views.map((view) => view.sequence).sort((a, b) => a - b)).toEqual(expected);
        for (let i = 1; i < views.length; i++) {
          const order = compareRecords(views[i - 1]!, views[i]!);
          expect(order).toBeLessThanOrEqual(0);
          expect(sorted.sameAsNext(i - 1)).toBe(order === 0);
          if (order === 0) expect(views[i - 1]!.sequence).toBeGreaterThan(views[i]!.sequence);
        }
      },
    ),
    { numRuns: 150 },
  );
});
