/**
 * Makes of a history that is not linearizable the few operations that show it.
 *
 * A history only gets easier to explain when an answer is taken to be unknown. So answers are forgotten, in halves,
 * quarters, … and one by one, as long as the rest still has no explanation: what is left is the contradiction,
 * and operations whose answers were forgotten matter only as possible writers of what is read in it.
 */
import {
  checkLinearizability,
  type Model,
  type Operation,
  type Verdict,
} from "./linearizability.ts";

/** A check that takes longer than this is not worth a shorter report, nor are all of them together. */
const CONFIGURATIONS_MAX = 50_000;
const CONFIGURATIONS_TOTAL = 1_000_000;
const CONTEXT = 12;

/** Operations that contradict each other; REQUIRES: `history` is not linearizable. */
export function contradictionOf<Call, Result>(
  model: Model<Call, Result>,
  history: readonly Operation<Call, Result>[],
): Operation<Call, Result>[] {
  const forgotten = new Set<Operation<Call, Result>>();
  let spent = 0;
  const stillFails = (also: readonly Operation<Call, Result>[]): boolean => {
    if (spent > CONFIGURATIONS_TOTAL) return false;
    const rest = history.map((operation) =>
      forgotten.has(operation) || also.includes(operation)
        ? { ...operation, result: undefined, returnMicros: Number.POSITIVE_INFINITY }
        : operation,
    );
    const verdict = checkLinearizability(model, rest, CONFIGURATIONS_MAX);
    spent += verdict.configurations + rest.length;
    return verdict.isLinearizable === false;
  };
  const known = history.filter(({ result }) => result !== undefined);
  for (let size = known.length; size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < known.length; from += size) {
      const part = known.slice(from, from + size).filter((item) => !forgotten.has(item));
      if (part.length > 0 && stillFails(part)) for (const item of part) forgotten.add(item);
    }
  }
  return known.filter((operation) => !forgotten.has(operation));
}

/** A report for people. */
export function explain<Call, Result>(
  model: Model<Call, Result>,
  history: readonly Operation<Call, Result>[],
  verdict: Verdict & { readonly isLinearizable: false },
): string {
  const line = (operation: Operation<Call, Result>): string => {
    const { client, call, result, callMicros, returnMicros } = operation;
    const end = result === undefined ? "?" : (returnMicros / 1e6).toFixed(6);
    const when = `${(callMicros / 1e6).toFixed(6)} … ${end}`;
    return `  ${when}  client ${client}  ${model.describe(call, result)}`;
  };
  const failed = history[verdict.failedAt]!;
  const near = history
    .filter(({ callMicros }) => callMicros <= failed.returnMicros)
    .filter((other) => other.returnMicros >= failed.callMicros || other.result !== undefined)
    .sort((a, b) => a.callMicros - b.callMicros)
    .slice(-CONTEXT);
  return [
    "no order of these operations explains their answers:",
    ...contradictionOf(model, history).map(line),
    `possible before the first return without explanation: ${verdict.states.join(", ")}`,
    line(failed),
    "operations up to it:",
    ...near.map(line),
  ].join("\n");
}
