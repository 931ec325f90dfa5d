/** What a campaign found, as a table for people and as JSON for programs. */
import Table from "cli-table3";
import { msOf, type Outage } from "./availability.ts";
import type { CampaignOptions, CampaignResult, FaultRun, MovesResult } from "./campaign.ts";

export interface Report {
  readonly target: string;
  readonly seed: number;
  readonly seconds: number;
  readonly sets: number;
  readonly nodesPerSet: number;
  readonly operations: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  readonly errors: Record<string, number>;
  readonly faults: Record<string, FaultSummary>;
  readonly failovers: number;
  /** Undefined: slots stayed where they were. */
  readonly moves: MovesSummary | undefined;
  readonly outages: number;
  readonly outageMsMax: number;
  readonly outageMsSum: number;
  readonly checkedKeys: number;
  readonly lost: number;
  readonly stale: number;
  readonly duplicates: number;
  readonly refusedButApplied: number;
  readonly inexplicable: number;
  readonly undecided: number;
  readonly failures: readonly string[];
}

export interface MovesSummary {
  /** That somebody has seen. */
  readonly count: number;
  readonly interrupted: number;
  /** Interrupted moves by fault, and by the state that they were in. */
  readonly byKind: Record<string, Record<string, number>>;
}

export interface FaultSummary {
  readonly count: number;
  /** Acknowledged writes that were missing when the fault was over. */
  readonly lost: number;
  /** From the end of the fault. */
  readonly wholeMsMax: number;
  /** The longest outage that overlaps the fault. */
  readonly outageMsMax: number;
}

export function summarize(options: CampaignOptions, result: CampaignResult): Report {
  const { verdict, history, faults, failures, failovers, seconds } = result;
  const { ok, refused, unknown } = history.counts;
  const outages = result.availability.outages();
  return {
    ...{ target: options.target, seed: options.seed, seconds },
    ...{ sets: options.sets, nodesPerSet: options.nodesPerSet },
    operations: ok + refused + unknown,
    ...{ acknowledged: ok, refused, unknown },
    errors: Object.fromEntries(history.errors),
    faults: summarizeFaults(result),
    failovers,
    moves: result.moves === undefined ? undefined : summarizeMoves(result.moves),
    outages: outages.length,
    outageMsMax: longestOf(outages),
    outageMsSum: Math.round(outages.reduce((sum, outage) => sum + msOf(outage), 0)),
    checkedKeys: verdict.checkedKeys,
    lost: verdict.lost.length,
    stale: verdict.stale,
    duplicates: verdict.duplicates,
    refusedButApplied: verdict.applied,
    inexplicable: verdict.inexplicable,
    undecided: verdict.undecided,
    failures: [...failures, ...(faults.length === 0 ? ["no fault was inflicted"] : [])],
  };
}

function summarizeMoves({ count, interruptions }: MovesResult): MovesSummary {
  const byKind: Record<string, Record<string, number>> = {};
  for (const { kind, state } of interruptions) {
    byKind[kind] ??= {};
    byKind[kind][state] = (byKind[kind][state] ?? 0) + 1;
  }
  return { count, interrupted: interruptions.length, byKind };
}

function longestOf(outages: readonly Outage[]): number {
  return Math.round(outages.reduce((max, outage) => Math.max(max, msOf(outage)), 0));
}

function summarizeFaults({
  faults,
  verdict,
  availability,
}: CampaignResult): Record<string, FaultSummary> {
  const summaries: Record<string, FaultSummary> = {};
  const lostIn = new Map<FaultRun, number>();
  for (const { noticedMicros } of verdict.lost) {
    const run = faults.findLast(({ startMicros }) => startMicros < noticedMicros);
    if (run !== undefined) lostIn.set(run, (lostIn.get(run) ?? 0) + 1);
  }
  const outages = availability.outages();
  for (const run of faults) {
    const before = summaries[run.name] ?? { count: 0, lost: 0, wholeMsMax: 0, outageMsMax: 0 };
    const wholeMs = Math.round((run.wholeMicros - run.healedMicros) / 1000);
    const own = outages.filter(
      ({ startMicros, endMicros }) => startMicros < run.wholeMicros && endMicros > run.startMicros,
    );
    summaries[run.name] = {
      count: before.count + 1,
      lost: before.lost + (lostIn.get(run) ?? 0),
      wholeMsMax: Math.max(before.wholeMsMax, wholeMs),
      outageMsMax: Math.max(before.outageMsMax, longestOf(own)),
    };
  }
  return summaries;
}

function tableOf(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const table = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true },
    colAligns: head.map((_, index) => (index === 0 ? "left" : "right")),
  });
  for (const row of rows) table.push([...row]);
  return table.toString();
}

export function textOf(report: Report): string {
  const rows: [string, string | number][] = [
    ["operations", report.operations],
    ["  acknowledged", report.acknowledged],
    ["  refused", report.refused],
    ["  outcome unknown", report.unknown],
    ["failovers", report.failovers],
    [
      `outages of a ${report.moves === undefined ? "set" : "slot"} (≥ 1 s without an answered write)`,
      report.outages,
    ],
    ["  longest, ms", report.outageMsMax],
    ["  together, ms", report.outageMsSum],
    ["keys checked", report.checkedKeys],
    ["acknowledged writes lost", report.lost],
    ["stale reads", report.stale],
    ["values applied twice", report.duplicates],
    ["refused, but applied", report.refusedButApplied],
    ["keys without an explanation", report.inexplicable],
    ["keys undecided", report.undecided],
    ["failures of the cluster", report.failures.length],
  ];
  const faults = Object.entries(report.faults).map(
    ([name, { count, lost, outageMsMax, wholeMsMax }]) =>
      [name, count, lost, outageMsMax, wholeMsMax] as const,
  );
  const errors = Object.entries(report.errors).sort((a, b) => b[1] - a[1]);
  const { target, sets, nodesPerSet, seconds, seed } = report;
  return [
    `${target}, ${sets} sets of ${nodesPerSet}, ${seconds} s, seed ${seed}`,
    tableOf(["", ""], rows),
    ...(report.moves === undefined ? [] : [textOfMoves(report.moves)]),
    tableOf(["fault", "times", "writes lost", "longest outage, ms", "whole again, ms"], faults),
    tableOf(["what clients were told", "times"], errors),
  ].join("\n");
}

function textOfMoves({ count, interrupted, byKind }: MovesSummary): string {
  const states = ["MIGRATING", "FREEZING"];
  const rows = Object.entries(byKind).map(([kind, own]) => [
    kind,
    ...states.map((state) => own[state] ?? 0),
  ]);
  const head = `${count} moves of slots, ${interrupted} interruptions, by the state of the move`;
  return `${head}\n${tableOf(["interrupted by", ...states], rows)}`;
}
