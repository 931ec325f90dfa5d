/**
 * What clients asked and were told, key by key, and what must hold of it.
 *
 *   begin(client, key, call) → Asked: answered(result) | refused() | nothing: the outcome is unknown
 *
 * check() demands linearizability, and before that, because their messages say more: every acknowledged write is
 * there or overwritten, and reads never go back. Writers use every value once, so that a value names its write.
 */
import { explain } from "./counterexample.ts";
import { checkLinearizability } from "./linearizability.ts";
import {
  STRING_MODEL,
  type StringCall,
  type StringOperation,
  type StringResult,
} from "./string-model.ts";

/** One operation that has begun. */
export interface Asked {
  answered(result: StringResult): void;
  /** It certainly had no effect. */
  refused(): void;
}

interface Entry {
  readonly client: number;
  readonly call: StringCall;
  readonly callMicros: number;
  result: StringResult | undefined;
  returnMicros: number;
}

export class History {
  readonly #nowMicros: () => number;
  readonly #keys = new Map<string, Entry[]>();
  acknowledged = 0;
  unknown = 0;

  constructor(nowMicros: () => number) {
    this.#nowMicros = nowMicros;
  }

  get keys(): string[] {
    return [...this.#keys.keys()];
  }

  begin(client: number, key: string, call: StringCall): Asked {
    const callMicros = this.#nowMicros();
    const returnMicros = Number.POSITIVE_INFINITY;
    const record: Entry = { client, call, callMicros, result: undefined, returnMicros };
    const records = this.#keys.get(key) ?? [];
    this.#keys.set(key, records);
    records.push(record);
    this.unknown++;
    return {
      answered: (result) => {
        record.result = result;
        record.returnMicros = this.#nowMicros();
        this.acknowledged++;
        this.unknown--;
      },
      refused: () => {
        records.splice(records.indexOf(record), 1);
        this.unknown--;
      },
    };
  }

  operationsOf(key: string): readonly StringOperation[] {
    return this.#keys.get(key) ?? [];
  }

  /** Throws with what is wrong. REQUIRES: every key was read after the last write. */
  check(): void {
    for (const [key, operations] of this.#keys) {
      const complaint =
        lostWrite(operations) ?? readThatGoesBack(operations) ?? inexplicable(operations);
      if (complaint !== undefined) throw new Error(`${key}: ${complaint}`);
    }
  }
}

function inexplicable(operations: readonly StringOperation[]): string | undefined {
  const verdict = checkLinearizability(STRING_MODEL, operations);
  if (verdict.isLinearizable === true) return undefined;
  if (verdict.isLinearizable === false) return explain(STRING_MODEL, operations, verdict);
  return `undecided after ${verdict.configurations} configurations: use each key for less long`;
}

type Operations = readonly StringOperation[];

function show({ client, call, result, callMicros }: StringOperation): string {
  const what = STRING_MODEL.describe(call, result);
  return `${what} of client ${client} at ${(callMicros / 1e6).toFixed(6)}`;
}

function readsOf(operations: Operations): StringOperation[] {
  return operations
    .filter(({ call, result }) => call.kind === "get" && result !== undefined)
    .sort((a, b) => a.callMicros - b.callMicros);
}

function isOnly(operations: Operations, kind: StringCall["kind"]): boolean {
  return operations.every(({ call }) => call.kind === "get" || call.kind === kind);
}

/** An acknowledged write that the last read neither shows nor can have lost to a later write. */
export function lostWrite(operations: Operations): string | undefined {
  const last = readsOf(operations).at(-1);
  if (last === undefined) return undefined;
  const acknowledged = operations.filter(
    ({ call, result, returnMicros }) =>
      call.kind !== "get" && result !== undefined && returnMicros < last.callMicros,
  );
  if (isOnly(operations, "append")) return lostElement(acknowledged, last);
  if (isOnly(operations, "incr")) return lostIncrement(operations, acknowledged, last);
  if (!isOnly(operations, "set")) return undefined;
  const writer = operations.find(({ call }) => call.kind === "set" && call.value === last.result);
  const lost = acknowledged.find(
    (write) => writer === undefined || endOf(writer) < write.callMicros,
  );
  return lost && `lost: ${show(lost)}; the last read is ${show(last)}`;
}

function endOf({ result, returnMicros }: StringOperation): number {
  return result === undefined ? Number.POSITIVE_INFINITY : returnMicros;
}

function lostElement(acknowledged: Operations, last: StringOperation): string | undefined {
  const list = String(last.result ?? "");
  for (const write of acknowledged) {
    const { value } = write.call as { value: string };
    const times = list.split(value).length - 1;
    if (times !== 1) return `there ${times} times: ${show(write)}; the last read is ${show(last)}`;
  }
  return undefined;
}

function lostIncrement(
  operations: Operations,
  acknowledged: Operations,
  last: StringOperation,
): string | undefined {
  const byOf = ({ call }: StringOperation): number => (call.kind === "incr" ? call.by : 0);
  const least = acknowledged.reduce((sum, operation) => sum + byOf(operation), 0);
  const most = operations.reduce((sum, operation) => sum + byOf(operation), 0);
  const value = Number(last.result ?? 0);
  if (!operations.every((operation) => byOf(operation) >= 0)) return undefined;
  if (value >= least && value <= most) return undefined;
  return `the counter reads ${value}; acknowledged are ${least}, asked for ${most}`;
}

/** A read that shows less than one that had ended before it began. */
export function readThatGoesBack(operations: Operations): string | undefined {
  const reads = readsOf(operations);
  const isEarlier = orderOf(operations);
  if (isEarlier === undefined) return undefined;
  const ended = [...reads].sort((a, b) => a.returnMicros - b.returnMicros);
  let newest: StringOperation | undefined;
  let next = 0;
  for (const read of reads) {
    for (; next < ended.length && ended[next]!.returnMicros < read.callMicros; next++) {
      const other = ended[next]!;
      if (newest === undefined || isEarlier(newest, other)) newest = other;
    }
    if (newest !== undefined && isEarlier(read, newest)) {
      return `goes back: ${show(read)} after ${show(newest)}`;
    }
  }
  return undefined;
}

/** Whether one read shows an older state than another, where that can be told from the two alone. */
function orderOf(
  operations: Operations,
): ((a: StringOperation, b: StringOperation) => boolean) | undefined {
  if (isOnly(operations, "append")) {
    return (a, b) => String(a.result ?? "").length < String(b.result ?? "").length;
  }
  if (isOnly(operations, "incr")) {
    return (a, b) => Number(a.result ?? 0) < Number(b.result ?? 0);
  }
  if (!isOnly(operations, "set")) return undefined;
  const writers = new Map<unknown, StringOperation>();
  for (const operation of operations) {
    if (operation.call.kind === "set") writers.set(operation.call.value, operation);
  }
  return (a, b) => {
    const before = writers.get(a.result);
    const after = writers.get(b.result);
    if (after === undefined) return false;
    return before === undefined || endOf(before) < after.callMicros;
  };
}
