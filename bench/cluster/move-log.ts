/** What the nodes' own logs say of moves of slots that have ended: one line each, by the writer that gave them away. */

import { readFileSync } from "node:fs";
import type { ServerProcess } from "../harness.ts";

export interface EndedMove {
  slots: readonly { start: number; end: number }[];
  bytes: number;
  ms: number;
  /** From the freeze until the destination was known to serve. */
  frozenMs: number | undefined;
}

/** Those that ended between two times of the wall clock. */
export function endedMoves(
  nodes: readonly ServerProcess[],
  fromMs: number,
  toMs: number,
): EndedMove[] {
  return nodes.flatMap((node) =>
    parseMoves(readFileSync(`${node.options.directory}.log`, "utf8"), fromMs, toMs),
  );
}

export function parseMoves(log: string, fromMs: number, toMs: number): EndedMove[] {
  const moves: EndedMove[] = [];
  for (const line of log.split("\n")) {
    if (!line.includes('"slots have moved away"')) continue;
    const { time, slots, bytes, ms, frozenMs } = JSON.parse(line);
    const atMs = Date.parse(time);
    if (atMs >= fromMs && atMs <= toMs) moves.push({ slots, bytes, ms, frozenMs });
  }
  return moves;
}
