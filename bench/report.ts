/**
 * Results on screen and on disk: aligned tables, budget checks, and a JSON file named by date and processor.
 *
 * On a terminal tables are drawn with lines; elsewhere columns are aligned with spaces, so output can be pasted.
 */

import { mkdirSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import Table from "cli-table3";

/** Above this, the machine is not this benchmark's alone. */
export const BUSY_CORES_MAX = 0.2;

/** One measured cell: a workload at one setting on one server. */
export interface Measurement {
  operationsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** CPU time of the server for one command, deferred work included. */
  cpuMicros: number;
  /** Cores that processes outside the benchmark used meanwhile. */
  otherCores: number;
}

/** The same cell on both servers; `rounds` keeps every single measurement behind the medians. */
export interface Comparison {
  workload: string;
  valueBytes: number;
  pipeline: number;
  fsync: string;
  target: Measurement;
  peer: Measurement | undefined;
  rounds: { target: Measurement[]; peer: Measurement[] };
}

/** `measured` is undefined when the run did not include what the budget is about. */
export interface BudgetCheck {
  what: string;
  measured: number | undefined;
  relation: ">=" | "<=";
  budget: number;
  unit: string;
  /** Others used the machine during the measurement: the verdict is not to be relied on. */
  isDisturbed?: boolean;
}

export interface RunRecord {
  benchmark: string;
  /** Cores that others used on this machine just before the run. */
  busyCoresBefore: number;
  settings: Record<string, unknown>;
  budgets: BudgetCheck[];
  [section: string]: unknown;
}

export function printTable(title: string, head: string[], rows: string[][]): void {
  console.log(`\n${title}`);
  if (process.stdout.isTTY) {
    const table = new Table({ head, colAligns: head.map((_, i) => (i === 0 ? "left" : "right")) });
    table.push(...rows);
    console.log(table.toString());
    return;
  }
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  for (const row of [head, ...rows]) {
    const cells = row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!),
    );
    console.log(cells.join("  ").trimEnd());
  }
}

export function printComparisons(
  comparisons: Comparison[],
  servers: { target: { name: string }; peer: { name: string } | undefined },
): void {
  const target = servers.target.name;
  const peer = servers.peer?.name ?? "";
  const head = ["workload", "value", "P"];
  const hasPeer = comparisons.some((cell) => cell.peer !== undefined);
  if (hasPeer) {
    head.push(
      `${peer} k/s`,
      `${target} k/s`,
      "ratio",
      `${peer} p50/p99 ms`,
      `${target} p50/p99 ms`,
    );
    head.push("p99 ratio", `${peer} µs CPU`, `${target} µs CPU`, "CPU ratio");
  } else {
    head.push(`${target} k/s`, `${target} p50/p99 ms`, `${target} µs CPU`);
  }
  const legend = hasPeer ? `ratio = ${target} / ${peer}` : "no peer";
  for (const fsync of new Set(comparisons.map((cell) => cell.fsync))) {
    const rows = comparisons
      .filter((cell) => cell.fsync === fsync)
      .map((cell) => comparisonRow(cell, hasPeer));
    const disturbed = comparisons.filter((cell) => cell.fsync === fsync && isDisturbed(cell));
    printTable(`appendfsync ${fsync}: medians; ${legend}`, head, rows);
    if (disturbed.length > 0) {
      console.log(`disturbed by other processes: ${disturbed.length} of ${rows.length} cells (*)`);
    }
  }
}

function comparisonRow(cell: Comparison, hasPeer: boolean): string[] {
  const mark = isDisturbed(cell) ? " *" : "";
  const row = [
    cell.workload.toUpperCase() + mark,
    valueName(cell.valueBytes),
    String(cell.pipeline),
  ];
  const { target, peer } = cell;
  const latencies = (m: Measurement): string => `${m.p50Ms.toFixed(2)}/${m.p99Ms.toFixed(2)}`;
  const rate = (m: Measurement): string => (m.operationsPerSecond / 1000).toFixed(1);
  if (!hasPeer || peer === undefined) {
    return [...row, rate(target), latencies(target), target.cpuMicros.toFixed(2)];
  }
  const ratios = ratiosOf(cell)!;
  return [
    ...[...row, rate(peer), rate(target), ratios.throughput.toFixed(2)],
    ...[latencies(peer), latencies(target), ratios.p99.toFixed(2)],
    ...[peer.cpuMicros.toFixed(2), target.cpuMicros.toFixed(2), ratios.cpu.toFixed(2)],
  ];
}

/** Whether others took a part of the machine away while either server was measured. */
export function isDisturbed(cell: Comparison): boolean {
  const worst = Math.max(cell.target.otherCores, cell.peer?.otherCores ?? 0);
  return worst > BUSY_CORES_MAX;
}

/** Target over peer; undefined when there is no peer. */
export function ratiosOf(
  cell: Comparison,
): { throughput: number; p99: number; cpu: number } | undefined {
  if (cell.peer === undefined) return undefined;
  return {
    throughput: cell.target.operationsPerSecond / cell.peer.operationsPerSecond,
    p99: cell.target.p99Ms / cell.peer.p99Ms,
    cpu: cell.target.cpuMicros / cell.peer.cpuMicros,
  };
}

export function verdict(check: BudgetCheck): "ok" | "MISSED" | "not measured" {
  if (check.measured === undefined || Number.isNaN(check.measured)) return "not measured";
  const holds =
    check.relation === ">=" ? check.measured >= check.budget : check.measured <= check.budget;
  return holds ? "ok" : "MISSED";
}

/** Prints all checks; returns how many were missed. */
export function printBudgets(checks: BudgetCheck[]): number {
  const number = (value: number): string => (value >= 1000 ? value.toFixed(0) : value.toFixed(2));
  const rows = checks.map((check) => {
    const measured = verdict(check) === "not measured" ? "-" : number(check.measured!);
    const budget = `${check.relation} ${number(check.budget)} ${check.unit}`.trimEnd();
    return [
      check.what,
      measured,
      budget,
      verdict(check) + (check.isDisturbed ? " (disturbed)" : ""),
    ];
  });
  printTable("budgets", ["what", "measured", "budget", ""], rows);
  return checks.filter((check) => verdict(check) === "MISSED").length;
}

/** Saves the run beside what identifies it; returns the path. Small sizes go to `local/`, which is not kept. */
export async function saveResults(
  run: RunRecord,
  where: { path: string | undefined; isLocal: boolean },
): Promise<string> {
  const now = new Date();
  const folder = join(import.meta.dir, "results", where.isLocal ? "local" : "");
  const suffix = run.benchmark === "compare" ? "" : `-${run.benchmark}`;
  const stamp = now.toISOString().slice(0, 16).replace(/[-:]/g, "").replace("T", "-");
  const path = where.path ?? join(folder, `${stamp}-${processorSlug()}${suffix}.json`);
  if (where.path === undefined) mkdirSync(folder, { recursive: true });
  const record = { date: now.toISOString(), ...machine(), ...run };
  if (run.busyCoresBefore > BUSY_CORES_MAX) {
    const cores = run.busyCoresBefore.toFixed(1);
    console.log(
      `\nWARNING: others used ${cores} cores before this run; compare CPU, not throughput`,
    );
  }
  await Bun.write(path, `${JSON.stringify(record, roundNumbers, 2)}\n`);
  return path;
}

function roundNumbers(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value)
    ? Number(value.toPrecision(6))
    : value;
}

function machine(): Record<string, unknown> {
  const git = (...args: string[]): string => {
    const result = Bun.spawnSync(["git", "-C", import.meta.dir, ...args], { stderr: "ignore" });
    return result.success ? result.stdout.toString().trim() : "";
  };
  return {
    commit: git("rev-parse", "HEAD"),
    hasLocalChanges: git("status", "--porcelain", "--untracked-files=no", "--", "../src") !== "",
    processor: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    bun: Bun.version,
  };
}

function processorSlug(): string {
  const model = (cpus()[0]?.model ?? "unknown").replace(/\((R|TM|tm|r)\)|CPU|@.*$/g, " ");
  return model
    .trim()
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}

export function valueName(bytes: number): string {
  if (bytes === 0) return "-";
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`;
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
