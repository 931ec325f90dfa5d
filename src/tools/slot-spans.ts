/** Runs of slots, as operators and servers write them: `0-99`, `7`; several with blanks or commas between them. */
import { SLOT_COUNT } from "../base/slot.ts";
import { parseRange, rangeText, type SlotRange } from "../base/slot-ranges.ts";
import { ToolError } from "./tool-error.ts";

/** INFO separates them with a plus, since its commas are between fields. */
const BETWEEN = /[,+\s]+/;

/** Throws ToolError when a word is no run of slots. */
export function parseSpans(text: string): SlotRange[] {
  return text.split(BETWEEN).filter(Boolean).map(spanOf);
}

function spanOf(word: string): SlotRange {
  const span = parseRange(word);
  if (span !== undefined) return span;
  throw new ToolError(`${word} is no slot, and no range of slots`, {
    hint: `Slots are numbers from 0 to ${SLOT_COUNT - 1}, ranges are first-last: 0-99 200. \`cluster slots\` shows who has which.`,
  });
}

export function spansText(spans: readonly SlotRange[]): string {
  return spans.map(rangeText).join(" ");
}

/** As `--json` prints them. */
export function spansJson(spans: readonly SlotRange[]): [number, number][] {
  return spans.map(({ start, end }) => [start, end]);
}
