/** The judgement on a campaign's history: every violation, with what shows it. */
import { explain } from "../sim/counterexample.ts";
import { checkLinearizability } from "../sim/linearizability.ts";
import { STRING_MODEL, type StringOperation } from "../sim/string-model.ts";
import { appliedOf, duplicatesOf, type Lost, lostOf, staleOf } from "./findings.ts";
import type { KeyHistory, RecordedHistory } from "./recorded-history.ts";

/** A key whose violation has been counted is not searched for an explanation of it, which may take long. */
const EXPLAINED_MAX = 3;
const CONFIGURATIONS_MAX = 2_000_000;

export interface Verdict {
  readonly lost: readonly Lost[];
  readonly stale: number;
  readonly duplicates: number;
  /** Refused, and made all the same. */
  readonly applied: number;
  /** Keys without an order of their operations that explains every answer. */
  readonly inexplicable: number;
  /** Keys for which the search took too long. */
  readonly undecided: number;
  readonly checkedKeys: number;
  /** One a key, with its history, for people. */
  readonly complaints: readonly Complaint[];
}

export interface Complaint {
  readonly key: string;
  readonly text: string;
  /** All operations of the key. */
  readonly history: string;
}

export function isClean(verdict: Verdict): boolean {
  return verdict.complaints.length === 0;
}

export function judge(history: RecordedHistory): Verdict {
  const lost: Lost[] = [];
  const complaints: Complaint[] = [];
  const counts = { stale: 0, duplicates: 0, applied: 0, inexplicable: 0, undecided: 0 };
  for (const [key, own] of history.keys) {
    const found = findingsOf(own);
    lost.push(...found.lost);
    counts.stale += found.stale.length;
    counts.duplicates += found.duplicates.length;
    counts.applied += found.applied.length;
    const text = describeFindings(found);
    const explanation =
      text === "" || complaints.length < EXPLAINED_MAX ? inexplicable(own, counts) : "";
    if (text !== "" || explanation !== "") {
      complaints.push({ key, text: `${text}${explanation}`, history: describeHistory(own) });
    }
  }
  return { lost, ...counts, complaints, checkedKeys: history.keys.size };
}

function findingsOf({ operations, refused }: KeyHistory) {
  return {
    lost: lostOf(operations),
    stale: staleOf(operations),
    duplicates: duplicatesOf(operations),
    applied: appliedOf(refused, operations),
  };
}

function describeFindings(found: ReturnType<typeof findingsOf>): string {
  const line = (what: string, items: readonly StringOperation[]): string =>
    items.length === 0 ? "" : `${items.length} ${what}, first:\n${show(items[0]!)}\n`;
  const applied = found.applied[0];
  return [
    line(
      "acknowledged writes lost",
      found.lost.map(({ operation }) => operation),
    ),
    line("stale reads", found.stale),
    line("values there more than once", found.duplicates),
    applied === undefined
      ? ""
      : `refused and made all the same: ${JSON.stringify(applied.call)}: ${applied.error}\n`,
  ].join("");
}

function inexplicable(
  { operations }: KeyHistory,
  counts: { inexplicable: number; undecided: number },
): string {
  const verdict = checkLinearizability(STRING_MODEL, operations, CONFIGURATIONS_MAX);
  if (verdict.isLinearizable === true) return "";
  if (verdict.isLinearizable === false) {
    counts.inexplicable++;
    return explain(STRING_MODEL, operations, verdict);
  }
  counts.undecided++;
  return `undecided after ${verdict.configurations} configurations`;
}

export function show({ client, call, result, callMicros, returnMicros }: StringOperation): string {
  const end = result === undefined ? "?" : (returnMicros / 1e6).toFixed(6);
  const what = STRING_MODEL.describe(call, result);
  return `  ${(callMicros / 1e6).toFixed(6)} … ${end}  client ${client}  ${what}`;
}

function describeHistory({ operations, refused }: KeyHistory): string {
  const byTime = [...operations].sort((a, b) => a.callMicros - b.callMicros);
  const refusals = refused.map(
    ({ client, call, callMicros, error }) =>
      `  ${(callMicros / 1e6).toFixed(6)} refused  client ${client}  ${JSON.stringify(call)} ${error}`,
  );
  return ["whole history:", ...byTime.map(show), ...refusals].join("\n");
}
