/** Tables and budgets of `bench cluster --only moves`. */

import { type BudgetCheck, mebibytes, printTable } from "../report.ts";
import { percentile } from "./cluster-report.ts";
import type { MovesResult, Phase } from "./moves.ts";

const FROZEN_MS_MAX = 100;
const THROUGHPUT_SHARE_MIN = 0.9;

export function printMoves(result: MovesResult): void {
  const [rest] = result.phases;
  const rows = result.phases.flatMap((phase) =>
    phase.clients.map(({ client, seconds, commands, p50Ms, p99Ms, longestMs }) => [
      ...[phase.name, client, seconds.toFixed(1), (commands / seconds).toFixed(0)],
      ...[share(phase, rest!), p50Ms.toFixed(2), p99Ms.toFixed(2), longestMs.toFixed(0)],
      ...[phase.ownLagMs.toFixed(0), String(phase.redirects), String(phase.refusedForwards)],
    ]),
  );
  printTable(
    "slots move under constant load; a share of all commands a second at rest; redirects and forwards refused: of all nodes",
    [
      ...["phase", "client", "s", "commands/s", "share", "p50 ms", "p99 ms", "longest ms"],
      ...["own lag ms", "redirects", "refused"],
    ],
    rows,
  );
  printTable(
    "moves; a slot is frozen until its new owner is known to serve",
    [
      ...["what", "s", "slots", "keys", "needed", "sent", "ratio"],
      ...["frozen p50 ms", "p99 ms", "max ms"],
    ],
    result.moves.map(({ name, totalMs, slots, keys, neededBytes, sentBytes, frozenMs }) => [
      ...[name, (totalMs / 1000).toFixed(1), String(slots), String(keys)],
      ...[mebibytes(neededBytes), mebibytes(sentBytes), (sentBytes / neededBytes).toFixed(2)],
      ...[percentile(frozenMs, 50), percentile(frozenMs, 99), Math.max(...frozenMs)].map(String),
    ]),
  );
  const { report } = result;
  console.log(
    `${report.acknowledged} acknowledged writes, ${report.reads} reads, ${report.keysRead} keys read back: ` +
      `${failedOf(result)} commands failed, ${report.lost.length} lost, ${report.stale.length} stale`,
  );
  for (const [message, count] of Object.entries(report.failures))
    console.log(`${count} commands failed: ${message}`);
  for (const line of report.lost.slice(0, 10)) console.log(`LOST: ${line}`);
  for (const line of report.stale.slice(0, 10)) console.log(`STALE: ${line}`);
}

export function movesBudgets(result: MovesResult): BudgetCheck[] {
  const frozenMs = result.moves.flatMap((phase) => phase.frozenMs);
  const shares = result.moves.map((phase) => rateOf(phase) / rateOf(result.phases[0]!));
  return [
    atMost("moves: commands failed", failedOf(result), 0, ""),
    atMost("moves: acknowledged writes lost", result.report.lost.length, 0, ""),
    atMost("moves: stale reads", result.report.stale.length, 0, ""),
    atMost("moves: a slot is frozen, p99", percentile(frozenMs, 99), FROZEN_MS_MAX, "ms"),
    {
      ...{ what: "moves: commands a second, share of before", measured: Math.min(...shares) },
      ...{ relation: ">=", budget: THROUGHPUT_SHARE_MIN, unit: "x" },
    },
  ];
}

function atMost(what: string, measured: number, budget: number, unit: string): BudgetCheck {
  return { what, measured, relation: "<=", budget, unit };
}

function failedOf({ report }: MovesResult): number {
  return Object.values(report.failures).reduce((sum, count) => sum + count, 0);
}

function rateOf({ clients }: Phase): number {
  return clients.reduce((sum, { commands, seconds }) => sum + commands / seconds, 0);
}

function share(phase: Phase, rest: Phase): string {
  return (rateOf(phase) / rateOf(rest)).toFixed(2);
}
