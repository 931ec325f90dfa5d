/** Sets of slots as documents write them: ranges with both ends included, ascending, neither overlapping nor touching. */
import { SLOT_COUNT } from "../../base/slot.ts";
import type { SlotRange } from "../coordination/documents.ts";

type Ranges = readonly Readonly<SlotRange>[];

/** Per slot whether the ranges have it. */
export function slotSet(ranges: Ranges): Uint8Array {
  const set = new Uint8Array(SLOT_COUNT);
  for (const { start, end } of ranges) set.fill(1, start, end + 1);
  return set;
}

export function rangesOf(set: Uint8Array): SlotRange[] {
  const ranges: SlotRange[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (set[slot] === 0) continue;
    const last = ranges.at(-1);
    if (last?.end === slot - 1) last.end = slot;
    else ranges.push({ start: slot, end: slot });
  }
  return ranges;
}

export function slotsOf(ranges: Ranges): number[] {
  return ranges.flatMap(({ start, end }) =>
    Array.from({ length: end - start + 1 }, (_, index) => start + index),
  );
}

export function hasAll(ranges: Ranges, slots: Ranges): boolean {
  const set = slotSet(ranges);
  return slotsOf(slots).every((slot) => set[slot] === 1);
}

export function hasNone(ranges: Ranges, slots: Ranges): boolean {
  const set = slotSet(ranges);
  return slotsOf(slots).every((slot) => set[slot] === 0);
}

export function addSlots(ranges: Ranges, slots: Ranges): SlotRange[] {
  return rangesOf(slotSet([...ranges, ...slots]));
}

export function removeSlots(ranges: Ranges, slots: Ranges): SlotRange[] {
  const set = slotSet(ranges);
  for (const { start, end } of slots) set.fill(0, start, end + 1);
  return rangesOf(set);
}
