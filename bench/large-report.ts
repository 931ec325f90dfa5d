/** What `bench large` prints, and the budgets that it checks. */

import type { LoadReport, ProbeReport } from "./load/protocol.ts";
import type { MemorySample } from "./process-stats.ts";
import { type BudgetCheck, mebibytes, printTable } from "./report.ts";

/** User data of a record: 16 bytes of key and 84 of value. */
export const RECORD_BYTES = 100;

const STALL_MS_MAX = 100;
const LOAD_RATE_MIN = 150_000;
const READ_RATE_MIN = 100_000;
const WRITE_AMPLIFICATION_MAX = 10;
const SPACE_AMPLIFICATION_MAX = 1.3;
const REPLAY_MEGABYTES_MIN = 200;

/** One phase of load: what the generator and the prober saw, and what it cost the server. */
export interface Phase {
  name: string;
  load: LoadReport;
  probe: ProbeReport;
  cpuMicros: number;
  /** Bytes written to storage until the server was quiet again; undefined for phases that only read. */
  writtenBytes: number | undefined;
  /** Operations a second, one number for each second. */
  rates: number[];
}

export interface LargeResult {
  keys: number;
  phases: Phase[];
  memory: MemorySample;
  /** Disk space once quiet, after the load and after overwriting, by top-level entry. */
  spaceAfterLoad: Record<string, number>;
  spaceAfterOverwrite: Record<string, number>;
  sizes: { afterLoad: number; afterOverwrite: number; afterRestart: number };
  restart: {
    /** A start after a clean stop, when the log is short. */
    quiet: { readyMs: number; logBytes: number };
    readyMs: number;
    logBytes: number;
    missing: number;
  };
  infoDkv: Record<string, Record<string, string>>;
}

export function printLarge(result: LargeResult): void {
  const head = ["phase", "k/s", "slowest s", "p50/p99 ms", "longest gap ms"];
  head.push("probe p99/max ms", "prober lag ms", "µs CPU", "generator cores", "written", "x");
  printTable(
    `${result.keys} keys x ${RECORD_BYTES} B, pipeline 16`,
    head,
    result.phases.map((phase) => phaseRow(phase)),
  );
  const { memory, restart, sizes } = result;
  printTable(
    "server",
    ["what", "value"],
    [
      ["RSS, peak (anonymous, shared)", memoryText(memory)],
      ["disk after load", spaceText(result.spaceAfterLoad)],
      ["disk after overwriting", spaceText(result.spaceAfterOverwrite)],
      ["keys after load, overwrite, restart", Object.values(sizes).join(", ")],
      ["start, little log", startText(restart.quiet)],
      ["start after kill -9", startText(restart)],
      ["sampled keys lost", String(restart.missing)],
    ],
  );
  const load = result.phases[0];
  if (load !== undefined) {
    console.log(`\nload, k/s by second: ${load.rates.map((r) => Math.round(r / 1000)).join(" ")}`);
  }
}

export function largeBudgets(result: LargeResult, memoryBudgetBytes: number): BudgetCheck[] {
  const { keys, sizes, restart } = result;
  const phase = (name: string): Phase => result.phases.find((each) => each.name === name)!;
  const load = phase("load");
  const overwrite = phase("overwrite");
  const liveBytes = keys * RECORD_BYTES;
  const space = total(Object.values(result.spaceAfterOverwrite)) / liveBytes;
  const worstCount = Math.max(...Object.values(sizes).map((size) => Math.abs(size - keys)));
  const replayed = restart.logBytes > 0 ? replayRate(restart) : undefined;
  return [
    atLeast("load, commands a second", rateOf(load), LOAD_RATE_MIN),
    atMost("load: longest stall seen by the prober, ms", load.probe.maxMs, STALL_MS_MAX),
    atMost("load: longest gap in progress, ms", load.load.longestGapMs, STALL_MS_MAX),
    atMost("overwrite: longest stall seen by the prober, ms", overwrite.probe.maxMs, STALL_MS_MAX),
    atLeast("uniform GET, commands a second", rateOf(phase("uniform GET")), READ_RATE_MIN),
    atMost("RSS peak, MiB", result.memory.rssBytes / 2 ** 20, memoryBudgetBytes / 2 ** 20),
    atMost("write amplification, overwriting", amplification(overwrite), WRITE_AMPLIFICATION_MAX),
    atMost("space amplification, once quiet", space, SPACE_AMPLIFICATION_MAX),
    atMost("DBSIZE, keys away from the truth", worstCount, 0),
    atMost("keys lost by kill -9, of those sampled", restart.missing, 0),
    atLeast("log replayed, MB/s (start with little log deducted)", replayed, REPLAY_MEGABYTES_MIN),
  ];
}

function replayRate(restart: LargeResult["restart"]): number {
  const { quiet } = restart;
  const milliseconds = Math.max(1, restart.readyMs - quiet.readyMs);
  return (restart.logBytes - quiet.logBytes) / 1e6 / (milliseconds / 1000);
}

function startText({ readyMs, logBytes }: { readyMs: number; logBytes: number }): string {
  return `${readyMs.toFixed(0)} ms, log ${mebibytes(logBytes)}`;
}

function phaseRow(phase: Phase): string[] {
  const { load, probe } = phase;
  const slowest = phase.rates.length > 0 ? Math.min(...phase.rates) : rateOf(phase);
  const multiple = amplification(phase);
  return [
    ...[phase.name, (rateOf(phase) / 1000).toFixed(1), (slowest / 1000).toFixed(1)],
    ...[`${load.p50Ms.toFixed(2)}/${load.p99Ms.toFixed(2)}`, load.longestGapMs.toFixed(0)],
    ...[`${probe.p99Ms.toFixed(1)}/${probe.maxMs.toFixed(1)}`, probe.ownLagMaxMs.toFixed(0)],
    ...[phase.cpuMicros.toFixed(2), load.generatorCores.toFixed(2)],
    phase.writtenBytes === undefined ? "-" : mebibytes(phase.writtenBytes),
    multiple === undefined ? "-" : multiple.toFixed(2),
  ];
}

/** Undefined where nothing was written, or where /proc does not count (tmpfs). */
function amplification(phase: Phase): number | undefined {
  if (!phase.writtenBytes) return undefined;
  return phase.writtenBytes / (phase.load.operations * RECORD_BYTES);
}

function rateOf(phase: Phase): number {
  return phase.load.operations / phase.load.seconds;
}

function memoryText(memory: LargeResult["memory"]): string {
  const { rssBytes, anonymousBytes, sharedBytes } = memory;
  return `${mebibytes(rssBytes)} (${mebibytes(anonymousBytes)}, ${mebibytes(sharedBytes)})`;
}

function spaceText(space: Record<string, number>): string {
  const largest = Object.entries(space).sort((a, b) => b[1] - a[1]);
  const listed = largest.slice(0, 4).map(([name, bytes]) => `${name} ${mebibytes(bytes)}`);
  return `${mebibytes(total(Object.values(space)))} (${listed.join(", ")})`;
}

function atLeast(what: string, measured: number | undefined, budget: number): BudgetCheck {
  return { what, measured, relation: ">=", budget, unit: "" };
}

function atMost(what: string, measured: number | undefined, budget: number): BudgetCheck {
  return { what, measured, relation: "<=", budget, unit: "" };
}

export function total(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}
