/**
 * What the history of one key says about it, counted: acknowledged writes that a later read of the auditor lacks,
 * reads that lack what was acknowledged before they began, appended values that are there more than once, writes that
 * were refused and made all the same. Whoever finds none of these still has to ask for linearizability.
 *
 * A register's write counts as lost when no write that ended after it was called is left; of two increments with the
 * same answer the earlier one is.
 */
import type { StringOperation, StringResult } from "../sim/string-model.ts";
import type { OperationRecord } from "./operation-record.ts";

type Operations = readonly StringOperation[];

/** The client number under which the campaign itself reads. */
export const AUDITOR = 0;

export interface Lost {
  readonly operation: StringOperation;
  /** When the read that lacks it began. */
  readonly noticedMicros: number;
}

function isAnswered(operation: StringOperation): boolean {
  return operation.result !== undefined;
}

/** What it changed, if it is known that it did. */
function hasEffect({ call, result }: StringOperation): boolean {
  return call.kind !== "get" && result !== undefined && !(call.kind === "setnx" && !result);
}

function endOf({ result, returnMicros }: StringOperation): number {
  return result === undefined ? Number.POSITIVE_INFINITY : returnMicros;
}

/** Acknowledged writes that a read of the auditor lacks, each once, by the first read that does. */
export function lostOf(operations: Operations): Lost[] {
  const lost = new Map<StringOperation, Lost>();
  const audits = operations
    .filter((each) => each.client === AUDITOR && each.call.kind === "get" && isAnswered(each))
    .sort((a, b) => a.callMicros - b.callMicros);
  for (const audit of audits) {
    for (const operation of missingFrom(operations, audit)) {
      if (!lost.has(operation)) {
        lost.set(operation, { operation, noticedMicros: audit.callMicros });
      }
    }
  }
  return [...lost.values()];
}

/** What was acknowledged before `read` began and is neither in its result nor overwritten. */
function missingFrom(operations: Operations, read: StringOperation): StringOperation[] {
  const before = operations.filter(
    (each) => hasEffect(each) && each.returnMicros < read.callMicros,
  );
  const seen = read.result!;
  switch (before[0]?.call.kind) {
    case "append":
      return before.filter(({ call }) => !String(seen ?? "").includes(writtenBy(call)));
    case "incr":
      return before.filter(
        (each) => Number(each.result) > Number(seen ?? 0) || isRepeated(each, before),
      );
    case "setnx":
      return before.filter(({ call }) => writtenBy(call) !== seen);
    case "set":
      return overwrittenBy(operations, seen, before);
    default:
      return [];
  }
}

function writtenBy(call: StringOperation["call"]): string {
  return "value" in call ? call.value : "";
}

function isRepeated(increment: StringOperation, all: Operations): boolean {
  return all.some(
    (other) =>
      other.callMicros > increment.returnMicros && Number(other.result) <= Number(increment.result),
  );
}

/** Of `writes` those that no order puts before the write of `seen`. */
function overwrittenBy(
  operations: Operations,
  seen: StringResult,
  writes: Operations,
): StringOperation[] {
  const writer = operations.find(({ call }) => call.kind === "set" && call.value === seen);
  return writes.filter((write) => writer === undefined || endOf(writer) < write.callMicros);
}

/** Reads that lack what was acknowledged before they began. */
export function staleOf(operations: Operations): StringOperation[] {
  return operations.filter(
    (each) =>
      each.call.kind === "get" && isAnswered(each) && missingFrom(operations, each).length > 0,
  );
}

/** Appended values that a read shows more than once. */
export function duplicatesOf(operations: Operations): StringOperation[] {
  const reads = operations.filter(({ call, result }) => call.kind === "get" && result !== null);
  return operations.filter(
    ({ call }) =>
      call.kind === "append" &&
      reads.some(({ result }) => String(result ?? "").split(call.value).length > 2),
  );
}

/** Refused writes that somebody has read. */
export function appliedOf(
  refused: readonly OperationRecord[],
  operations: Operations,
): OperationRecord[] {
  const reads = operations.filter((each) => each.call.kind === "get" && isAnswered(each));
  return refused.filter(({ call }) => {
    const value = writtenBy(call);
    return value !== "" && reads.some(({ result }) => String(result ?? "").includes(value));
  });
}
