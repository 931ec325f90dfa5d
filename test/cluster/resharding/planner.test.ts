import { expect, test } from "bun:test";
import fc from "fast-check";
import { SLOT_COUNT } from "../../../src/base/slot.ts";
import { addSlots, rangesOf, removeSlots, slotsOf } from "../../../src/base/slot-ranges.ts";
import { planMove, planShares } from "../../../src/cluster/resharding/planner.ts";

const whole = { start: 0, end: SLOT_COUNT - 1 };

test("a new set gets its share from all others, and nothing else moves", () => {
  const sets = [
    { id: "a", slots: [{ start: 0, end: 511 }], weight: 1 },
    { id: "b", slots: [{ start: 512, end: 1023 }], weight: 1 },
    { id: "c", slots: [], weight: 1 },
  ];
  expect(planShares(sets)).toEqual([
    { source: "a", destination: "c", slots: [{ start: 342, end: 511 }] },
    { source: "b", destination: "c", slots: [{ start: 853, end: 1023 }] },
  ]);
});

test("weight 0 drains a set; without anybody to take the slots there is no plan", () => {
  const sets = [
    { id: "a", slots: [whole], weight: 0 },
    { id: "b", slots: [], weight: 2 },
    { id: "c", slots: [], weight: 1 },
  ];
  const counts = planShares(sets)!.map(({ destination, slots }) => [
    destination,
    slotsOf(slots).length,
  ]);
  expect(counts).toEqual([
    ["b", 683],
    ["c", 341],
  ]);
  expect(planShares([{ id: "a", slots: [whole], weight: 0 }])).toBeUndefined();
});

test("what does not divide is for sets whose share is not whole, whoever has more", () => {
  const sets = [
    { id: "a", slots: [whole], weight: 3 },
    { id: "b", slots: [], weight: 1 },
    { id: "c", slots: [], weight: 2 },
    { id: "d", slots: [], weight: 2 },
    { id: "e", slots: [], weight: 4 },
  ];
  // Of 1024: 256 and 4 × 85.33, 170.67, 170.67, 341.33.
  const given = planShares(sets)!.map(({ slots }) => slotsOf(slots).length);
  expect(given.reduce((sum, each) => sum + each, 0)).toBe(SLOT_COUNT - 256);
});

test("planMove leaves out what the set has, and what nobody has", () => {
  const sets = [
    { id: "a", slots: [{ start: 0, end: 9 }] },
    { id: "b", slots: [{ start: 20, end: 29 }] },
  ];
  expect(planMove(sets, [{ start: 5, end: 24 }], "b")).toEqual([
    { source: "a", destination: "b", slots: [{ start: 5, end: 9 }] },
  ]);
});

test("plans give every set its share by weight, move no slot without need, and are stable", () => {
  const owners = fc.array(fc.integer({ min: 0, max: 4 }), {
    minLength: SLOT_COUNT,
    maxLength: SLOT_COUNT,
  });
  const weights = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 5, maxLength: 5 });
  const property = fc.property(owners, weights, (owned, weight) => {
    const total = weight.reduce((sum, each) => sum + each, 0);
    if (total === 0) return;
    const sets = weight.map((each, index) => {
      const set = Uint8Array.from(owned, (owner) => (owner === index ? 1 : 0));
      return { id: `${index}`, slots: rangesOf(set), weight: each };
    });
    const plan = planShares(sets)!;
    const after = sets.map((set) => {
      let { slots } = set;
      for (const move of plan) {
        if (move.source === set.id) slots = removeSlots(slots, move.slots);
        if (move.destination === set.id) slots = addSlots(slots, move.slots);
      }
      return { ...set, slots };
    });
    const counts = after.map(({ slots }) => slotsOf(slots).length);
    expect(counts.reduce((sum, each) => sum + each, 0)).toBe(SLOT_COUNT);
    for (const [index, each] of counts.entries())
      expect(Math.abs(each - (SLOT_COUNT * weight[index]!) / total)).toBeLessThan(1);
    const givers = new Set(plan.map(({ source }) => source));
    for (const { destination } of plan) expect(givers.has(destination)).toBe(false);
    expect(planShares(after)).toEqual([]);
  });
  fc.assert(property, { numRuns: 50 });
});
