/** Tables: lined and coloured on a terminal; otherwise columns of plain text, which `awk` and eyes read. */
import Table from "cli-table3";
import pc from "picocolors";
import type { Output } from "./environment.ts";

export interface Style {
  readonly isTerminal: boolean;
  good(text: string): string;
  bad(text: string): string;
  warn(text: string): string;
  faint(text: string): string;
  strong(text: string): string;
}

/** Colours on a terminal, unless NO_COLOR asks for none. */
export function styleFor(
  { isTTY }: Output,
  variables: Readonly<Record<string, string | undefined>>,
): Style {
  const isTerminal = isTTY === true;
  const colors = pc.createColors(isTerminal && !variables["NO_COLOR"]);
  return {
    isTerminal,
    good: colors.green,
    bad: colors.red,
    warn: colors.yellow,
    faint: colors.dim,
    strong: colors.bold,
  };
}

const NO_LINES = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "", middle: "  " },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "" },
};
const NO_LINES_BETWEEN = { mid: "", "left-mid": "", "mid-mid": "", "right-mid": "" };
/** A column of figures is right-aligned: its head begins with this. */
const FIGURES = ">";

/** With a line end behind its last row. */
export function textTable(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  style: Style,
): string {
  const table = new Table({
    head: heads.map((head) => style.strong(head.replace(FIGURES, ""))),
    colAligns: heads.map((head) => (head.startsWith(FIGURES) ? "right" : "left")),
    chars: style.isTerminal ? NO_LINES_BETWEEN : NO_LINES,
    style: style.isTerminal
      ? { head: [], border: [], compact: true }
      : { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  for (const row of rows) table.push([...row]);
  const lines = table.toString().split("\n");
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}
