/**
 * LATENCY GRAPH: a column of characters per sample, its age below, as Redis draws it.
 *
 *     command - high 500 ms, low 101 ms (all time high 500 ms)
 *     --------------------------------------------------------
 *        #
 *     _o_|
 *
 *     4321
 *     ssss
 */
import type { LatencyEvent } from "../latency-monitor.ts";

const COLUMNS = 80;
const ROWS = 4;
/** The three heights that a character can show. */
const HEIGHTS = "_o#";
const FULL = "|";

function age(seconds: number): string {
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

function transpose(columns: readonly string[]): string[] {
  const rows = Math.max(...columns.map((column) => column.length));
  return Array.from({ length: rows }, (_, row) =>
    columns.map((column) => column[row] ?? " ").join(""),
  );
}

/** The characters of one sample, top to bottom. */
function column(ms: number, lowest: number, range: number): string {
  const steps = HEIGHTS.length * ROWS;
  const step = Math.min(steps - 1, Math.floor(((ms - lowest) * steps) / range));
  let text = "";
  for (let row = 0; row < ROWS; row++) {
    const height = step - (ROWS - row - 1) * HEIGHTS.length;
    text += height < 0 ? " " : (HEIGHTS[height] ?? FULL);
  }
  return text;
}

export function sparkline(event: LatencyEvent, nowSeconds: number): string {
  const values = event.samples.map((sample) => sample.ms);
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  const columns = event.samples.map(
    ({ time, ms }) =>
      `${column(ms, lowest, Math.max(1, highest - lowest))} ${age(Math.max(0, nowSeconds - time))}`,
  );
  const parts: string[] = [];
  for (let at = 0; at < columns.length; at += COLUMNS) {
    parts.push(`${transpose(columns.slice(at, at + COLUMNS)).join("\n")}\n`);
  }
  const head = `${event.name} - high ${highest} ms, low ${lowest} ms (all time high ${event.maxMs} ms)`;
  return `${head}\n${"-".repeat(COLUMNS)}\n${parts.join("\n")}`;
}
