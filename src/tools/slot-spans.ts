/** Runs of slots, as operators and servers write them: `0-99`, `7`; several with blanks or commas between them. */
import { SLOT_COUNT } from "../base/slot.ts";
import { ToolError } from "./tool-error.ts";

export interface SlotSpan {
  readonly start: number;
  readonly end: number;
}

const SPAN = /^(\d{1,4})(?:-(\d{1,4}))?$/;
/** INFO separates them with a plus, since its commas are between fields. */
const BETWEEN = /[,+\s]+/;

/** Throws ToolError when a word is no run of slots. */
export function parseSpans(text: string): SlotSpan[] {
  return text.split(BETWEEN).filter(Boolean).map(spanOf);
}

function spanOf(word: string): SlotSpan {
  const match = SPAN.exec(word);
  const start = Number(match?.[1]);
  const end = Number(match?.[2] ?? match?.[1]);
  if (start <= end && end < SLOT_COUNT) return { start, end };
  throw new ToolError(`${word} is no slot, and no range of slots`, {
    hint: `Slots are numbers from 0 to ${SLOT_COUNT - 1}, ranges are first-last: 0-99 200. \`cluster slots\` shows who has which.`,
  });
}

export function spanText({ start, end }: SlotSpan): string {
  return start === end ? `${start}` : `${start}-${end}`;
}

export function spansText(spans: readonly SlotSpan[]): string {
  return spans.map(spanText).join(" ");
}

export function slotCount(spans: readonly SlotSpan[]): number {
  return spans.reduce((sum, { start, end }) => sum + end - start + 1, 0);
}

export function slotsOf(spans: readonly SlotSpan[]): number[] {
  return spans.flatMap(({ start, end }) =>
    Array.from({ length: end - start + 1 }, (_, at) => start + at),
  );
}

/** The fewest runs of `slots`, which may come in any order. */
export function spansOf(slots: Iterable<number>): SlotSpan[] {
  const spans: { start: number; end: number }[] = [];
  for (const slot of [...slots].sort((a, b) => a - b)) {
    const last = spans.at(-1);
    if (last !== undefined && slot <= last.end + 1) last.end = slot;
    else spans.push({ start: slot, end: slot });
  }
  return spans;
}

/** As `--json` prints them. */
export function spansJson(spans: readonly SlotSpan[]): [number, number][] {
  return spans.map(({ start, end }) => [start, end]);
}
