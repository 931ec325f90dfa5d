/**
 * Where the time of a takeover goes, by the nodes' own logs:
 *
 *     begin ── somebody claims ── enough are sealed ── it serves ── the client's first answer
 *         notice             seal                 start        client
 *
 * Of several claims the one that succeeded counts: those before it are part of "notice".
 */

import { readFileSync } from "node:fs";
import type { ServerProcess } from "../harness.ts";

/** All in milliseconds. */
export interface Timeline {
  noticeMs: number;
  sealMs: number;
  startMs: number;
  /** Undefined: not asked for. */
  clientMs: number | undefined;
}

interface Line {
  time: string;
  msg: string;
  epoch?: number;
}

export const TIMELINE_STEPS = ["noticeMs", "sealMs", "startMs", "clientMs"] as const;

/** Undefined when the logs do not tell. Times are of the wall clock. */
export function timelineOf(
  nodes: readonly ServerProcess[],
  beginAt: number,
  answeredAt: number | undefined,
): Timeline | undefined {
  const lines = nodes.flatMap((node) => readLines(`${node.options.directory}.log`, beginAt));
  return assemble(lines, beginAt, answeredAt);
}

export function assemble(
  lines: readonly Line[],
  beginAt: number,
  answeredAt: number | undefined,
): Timeline | undefined {
  const served = lines.find(({ msg }) => msg === "the writer of its replica set");
  const epoch = served?.epoch;
  const claimed = lines.find(({ msg }) => msg === `claiming epoch ${epoch}`);
  const sealed = lines.find(({ msg }) => msg.startsWith(`epoch ${epoch}: `));
  if (served === undefined || claimed === undefined || sealed === undefined) return undefined;
  const at = ({ time }: Line): number => Date.parse(time);
  return {
    noticeMs: at(claimed) - beginAt,
    sealMs: at(sealed) - at(claimed),
    startMs: at(served) - at(sealed),
    clientMs: answeredAt === undefined ? undefined : answeredAt - at(served),
  };
}

function readLines(path: string, fromMs: number): Line[] {
  const lines: Line[] = [];
  for (const text of readFileSync(path, "utf8").split("\n")) {
    const line = parseLine(text);
    if (line !== undefined && Date.parse(line.time) >= Math.floor(fromMs)) lines.push(line);
  }
  return lines;
}

/** What a process prints without its logger is no line of the log. */
function parseLine(text: string): Line | undefined {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
}
