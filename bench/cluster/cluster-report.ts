/** Tables and budgets of `bench cluster`. */

import { median } from "../harness.ts";
import { type BudgetCheck, isDisturbed, printTable, ratiosOf } from "../report.ts";
import type { QuorumComparison, QuorumMeasurement } from "./quorum.ts";
import type { FailoverRun, Handover, HandoverRun, TakeoverResult } from "./takeover.ts";
import { TIMELINE_STEPS, type Timeline } from "./timeline.ts";

const QUORUM_RATIO_MIN = 1;
const FAILOVER_MS_MAX = 3000;
const PAUSE_MS_MAX = 100;

const HANDOVER_NAMES: Record<Handover, string> = {
  stop: "SIGTERM and restart",
  request: "CLUSTER FAILOVER",
};

export function printQuorum(cells: readonly QuorumComparison[]): void {
  const hasPeer = cells.some((cell) => cell.peer !== undefined);
  const head = ["SET 64 B", "P"];
  if (hasPeer) head.push("redis k/s", "dkv k/s", "ratio", "redis p50/p99 ms");
  else head.push("dkv k/s");
  head.push("dkv p50/p99 ms");
  if (hasPeer) head.push("redis µs CPU writer/all");
  head.push("dkv µs CPU writer/all");
  if (hasPeer) head.push("CPU ratio writer/all");
  const rows = cells.map((cell) => quorumRow(cell));
  if (rows.length === 0) return;
  printTable("quorum writes, 2 of 3 copies: medians; redis: WAIT 1 behind each batch", head, rows);
  const disturbed = cells.filter(isDisturbed).length;
  if (disturbed > 0)
    console.log(`disturbed by other processes: ${disturbed} of ${cells.length} (*)`);
}

function quorumRow(cell: QuorumComparison): string[] {
  const { target, peer } = cell;
  const rate = (m: QuorumMeasurement): string => (m.operationsPerSecond / 1000).toFixed(1);
  const latencies = (m: QuorumMeasurement): string => `${m.p50Ms.toFixed(2)}/${m.p99Ms.toFixed(2)}`;
  const cpu = (m: QuorumMeasurement): string =>
    `${m.cpuMicros.toFixed(2)}/${m.groupCpuMicros.toFixed(2)}`;
  const row = [cell.fsync + (isDisturbed(cell) ? " *" : ""), String(cell.pipeline)];
  if (peer === undefined) return [...row, rate(target), latencies(target), cpu(target)];
  const ratios = ratiosOf(cell)!;
  const ofGroups = target.groupCpuMicros / peer.groupCpuMicros;
  return [
    ...[...row, rate(peer), rate(target), ratios.throughput.toFixed(2)],
    ...[latencies(peer), latencies(target), cpu(peer), cpu(target)],
    `${ratios.cpu.toFixed(2)}/${ofGroups.toFixed(2)}`,
  ];
}

export function printTakeovers(result: TakeoverResult): void {
  const { failovers, handovers } = result;
  const byClient = Map.groupBy(failovers, ({ client }) => client);
  const rows = [...byClient].map(([client, runs]) => [
    ...[`kill -9, ${client}`, ...spread(runs.map(({ resumedMs }) => resumedMs)), "-", "-"],
    ...[...counts(runs), ...steps(runs)],
  ]);
  for (const [kind, runs] of Map.groupBy(handovers, (run) => run.kind)) {
    rows.push([
      ...[HANDOVER_NAMES[kind], ...spread(runs.map(({ pauseMs }) => pauseMs))],
      ...[ms(median(runs.map(({ usualMs }) => usualMs)))],
      ...[ms(Math.max(...runs.map(({ ownLagMs }) => ownLagMs)))],
      ...[...counts(runs), ...steps(runs)],
    ]);
  }
  printTable(
    "takeovers, ms: kill -9 until the next write is answered, else the longest command; steps: medians",
    [
      ...["what", "runs", "p50", "p99", "max", "usual", "own lag", "failed", "lost", "stale"],
      ...["notice", "seal", "start", "client"],
    ],
    rows,
  );
  console.log(
    `${result.acknowledged} acknowledged writes read back at the end, ${result.lostAtTheEnd} lost`,
  );
  for (const [message, count] of failureCounts([...failovers, ...handovers]))
    console.log(`${count} commands failed: ${message}`);
  const repeated = handovers.filter(({ requests }) => requests > 1).length;
  if (repeated > 0) console.log(`${repeated} handovers had to be asked for again`);
  const wrong = [...failovers, ...handovers].flatMap(({ wrongReads }) => wrongReads);
  for (const line of wrong.slice(0, 10)) console.log(`STALE: ${line}`);
}

function ms(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0);
}

function spread(values: readonly number[]): string[] {
  const figures = [percentile(values, 50), percentile(values, 99), Math.max(...values)];
  return [String(values.length), ...figures.map(ms)];
}

/** The smallest value that so many of a hundred do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}

function counts(runs: readonly (FailoverRun | HandoverRun)[]): string[] {
  const sum = (of: (run: FailoverRun | HandoverRun) => number): string =>
    String(runs.reduce((total, run) => total + of(run), 0));
  return [sum(failed), sum(({ lost }) => lost), sum(({ wrongReads }) => wrongReads.length)];
}

function failed({ failures }: FailoverRun | HandoverRun): number {
  return Object.values(failures).reduce((sum, count) => sum + count, 0);
}

function failureCounts(runs: readonly (FailoverRun | HandoverRun)[]): Map<string, number> {
  const totals = new Map<string, number>();
  for (const { failures } of runs)
    for (const [message, count] of Object.entries(failures))
      totals.set(message, (totals.get(message) ?? 0) + count);
  return totals;
}

/** Medians of those runs whose logs tell. */
function steps(runs: readonly { timeline: Timeline | undefined }[]): string[] {
  const known = runs.flatMap(({ timeline }) => (timeline === undefined ? [] : [timeline]));
  return TIMELINE_STEPS.map((step) => {
    const values = known.map((timeline) => timeline[step]).filter((value) => value !== undefined);
    return values.length === 0 ? "-" : ms(median(values));
  });
}

export function clusterBudgets(
  cells: readonly QuorumComparison[],
  takeovers: TakeoverResult | undefined,
): BudgetCheck[] {
  const { failovers = [], handovers = [] } = takeovers ?? {};
  const cell = cells.find((each) => each.fsync === "everysec" && each.pipeline === 16);
  const stock = failovers.filter(({ client }) => client === "ioredis");
  const all = [...failovers, ...handovers];
  const total = (of: number[]): number | undefined =>
    all.length === 0 ? undefined : of.reduce((sum, value) => sum + value, 0);
  const lost = [...all.map((run) => run.lost), takeovers?.lostAtTheEnd ?? 0];
  return [
    {
      what: "quorum SET 64 B, everysec, pipeline 16: throughput ratio",
      measured: cell === undefined ? undefined : ratiosOf(cell)?.throughput,
      ...{ relation: ">=", budget: QUORUM_RATIO_MIN, unit: "x" },
      isDisturbed: cell !== undefined && isDisturbed(cell),
    },
    atMost(
      "failover, p50",
      stock.map(({ resumedMs }) => resumedMs),
      FAILOVER_MS_MAX,
    ),
    ...(["stop", "request"] as const).map((kind) =>
      atMost(
        `${HANDOVER_NAMES[kind]}, p50 of the pause`,
        handovers.filter((run) => run.kind === kind).map(({ pauseMs }) => pauseMs),
        PAUSE_MS_MAX,
      ),
    ),
    none("commands failed at handovers", ofHandovers(handovers, failed)),
    none("acknowledged writes lost", total(lost)),
    none(
      "stale reads at handovers",
      ofHandovers(handovers, ({ wrongReads }) => wrongReads.length),
    ),
  ];
}

/** Not of failovers: ioredis repeats a command whose connection is gone at any node, and replicas read for it. */
function ofHandovers(
  runs: readonly HandoverRun[],
  of: (run: HandoverRun) => number,
): number | undefined {
  return runs.length === 0 ? undefined : runs.reduce((sum, run) => sum + of(run), 0);
}

function atMost(what: string, values: readonly number[], budget: number): BudgetCheck {
  const measured = values.length === 0 ? undefined : percentile(values, 50);
  return { what, measured, relation: "<=", budget, unit: "ms" };
}

function none(what: string, measured: number | undefined): BudgetCheck {
  return { what, measured, relation: "<=", budget: 0, unit: "" };
}
