/** Sets of slots as documents and the log write them: ranges with both ends included, ascending, neither overlapping nor touching. */
import { SLOT_COUNT } from "./slot.ts";

export interface SlotRange {
  readonly start: number;
  readonly end: number;
}

type Ranges = readonly SlotRange[];

/** Per slot whether the ranges have it. */
function slotSet(ranges: Ranges): Uint8Array {
  const set = new Uint8Array(SLOT_COUNT);
  for (const { start, end } of ranges) set.fill(1, start, end + 1);
  return set;
}

export function rangesWhere(has: (slot: number) => boolean): SlotRange[] {
  const ranges: { start: number; end: number }[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (!has(slot)) continue;
    const last = ranges.at(-1);
    if (last?.end === slot - 1) last.end = slot;
    else ranges.push({ start: slot, end: slot });
  }
  return ranges;
}

/** The slots whose entry is not 0. */
export function rangesOf(set: Uint8Array): SlotRange[] {
  return rangesWhere((slot) => set[slot] !== 0);
}

/** Of slots in any order. */
export function rangesOfSlots(slots: Iterable<number>): SlotRange[] {
  const set = new Uint8Array(SLOT_COUNT);
  for (const slot of slots) set[slot] = 1;
  return rangesOf(set);
}

export function slotsOf(ranges: Ranges): number[] {
  return ranges.flatMap(({ start, end }) =>
    Array.from({ length: end - start + 1 }, (_, index) => start + index),
  );
}

export function slotCount(ranges: Ranges): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0);
}

export function hasSlot(ranges: Ranges, slot: number): boolean {
  return ranges.some(({ start, end }) => start <= slot && slot <= end);
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

/** `7`, or `0-99`. */
export function rangeText({ start, end }: SlotRange): string {
  return start === end ? `${start}` : `${start}-${end}`;
}

const RANGE = /^(\d{1,4})(?:-(\d{1,4}))?$/;

/** Undefined: it is none. */
export function parseRange(word: string): SlotRange | undefined {
  const match = RANGE.exec(word);
  const start = Number(match?.[1]);
  const end = Number(match?.[2] ?? match?.[1]);
  return start <= end && end < SLOT_COUNT ? { start, end } : undefined;
}
