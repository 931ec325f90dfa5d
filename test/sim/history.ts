/**
 * What clients asked and were told, key by key, and what must hold of it.
 *
 *   begin(client, key, call) → Asked: answered(result) | refused() | nothing: the outcome is unknown
 *                                     seenAt(node, result): a replica read, which says what is committed
 *
 * check() demands linearizability, and before that, because their messages say more: every acknowledged write is
 * there or overwritten, reads never go back, and what was replaced or has expired does not come back. Writers use every
 * value once, so that a value names its write.
 *
 * A replica may be behind, but it shows nothing that is not committed: a write that was seen has taken effect by then,
 * whatever its writer was told, and what a replica has seen replaced nobody may read later.
 */
import { assert } from "../../src/base/assert.ts";
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
  /** `node`: one life of one node, which must not go back. */
  seenAt(node: string, result: StringResult): void;
}

export interface HistoryCheckOptions {
  /** Clocks were wrong by more than leases allow: reads may be stale, except for those of this client. */
  readonly trustedReader?: number;
  /** All clocks were right: nothing expires early. */
  readonly areClocksRight?: boolean;
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
  /** By key, then by node. */
  readonly #seen = new Map<string, Map<string, Entry[]>>();
  replicaReads = 0;
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
    let isOver = false;
    const remove = () => {
      isOver = true;
      records.splice(records.indexOf(record), 1);
      this.unknown--;
    };
    return {
      answered: (result) => {
        isOver = true;
        if (record.result !== undefined && record.result !== result)
          throw new Error(`${key}: ${show(record)} was seen, and answered with ${result}`);
        record.result = result;
        record.returnMicros = Math.min(record.returnMicros, this.#nowMicros());
        this.acknowledged++;
        this.unknown--;
      },
      refused: () => {
        if (record.result !== undefined)
          throw new Error(`${key}: ${show(record)} was seen, and refused`);
        remove();
      },
      seenAt: (node, result) => {
        assert(!isOver, "an answer to what was answered");
        remove();
        this.#noteSeen(key, node, { ...record, result, returnMicros: this.#nowMicros() });
      },
    };
  }

  operationsOf(key: string): readonly StringOperation[] {
    return this.#keys.get(key) ?? [];
  }

  /** Throws with what is wrong. REQUIRES: every key was read after the last write. */
  check(options: HistoryCheckOptions = {}): void {
    for (const [key, all] of this.#keys) {
      const { trustedReader } = options;
      const operations = trustedReader === undefined ? all : withoutReads(all, trustedReader);
      const complaint =
        lostWrite(operations) ??
        readThatGoesBack(operations) ??
        valueThatComesBack(operations) ??
        this.#wrongOnReplicas(key, operations) ??
        (options.areClocksRight === true ? wrongTime(operations) : undefined) ??
        inexplicable(operations);
      if (complaint !== undefined) throw new Error(`${key}: ${complaint}`);
    }
  }

  #noteSeen(key: string, node: string, read: Entry): void {
    this.replicaReads++;
    const byNode = this.#seen.get(key) ?? new Map<string, Entry[]>();
    this.#seen.set(key, byNode);
    byNode.set(node, [...(byNode.get(node) ?? []), read]);
    if (typeof read.result !== "string") return;
    let isExplained = false;
    for (const write of this.#keys.get(key) ?? []) {
      const result = resultSeen(write.call, read.result);
      if (result === undefined) continue;
      isExplained = true;
      write.result ??= result;
      write.returnMicros = Math.min(write.returnMicros, read.returnMicros);
    }
    const isCounted = this.#keys.get(key)?.some(({ call }) => call.kind === "incr") === true;
    if (!isExplained && !isCounted) throw new Error(`${key}: nobody wrote what ${node} shows`);
  }

  #wrongOnReplicas(key: string, operations: Operations): string | undefined {
    const writes = operations.filter(({ call }) => call.kind !== "get");
    for (const [node, reads] of this.#seen.get(key) ?? []) {
      const complaint =
        readThatGoesBack([...writes, ...reads]) ??
        valueThatComesBack(reads) ??
        valueThatComesBack(operations, replacements(reads));
      if (complaint !== undefined) return `on replica ${node}: ${complaint}`;
    }
    return undefined;
  }
}

/** What a write must have answered for a read to show it; undefined: the read does not show it. */
function resultSeen(call: StringCall, shown: string): StringResult | undefined {
  if (!("value" in call)) return undefined;
  if (call.kind !== "append") return call.value === shown ? true : undefined;
  const at = shown.indexOf(call.value);
  return at < 0 ? undefined : at + call.value.length;
}

/** Without what tells of the state alone, as far as that may be stale. */
function withoutReads(operations: Operations, trusted: number): Operations {
  return operations.filter(
    ({ client, call, result }) => client === trusted || !STRING_MODEL.isPure(call, result),
  );
}

function inexplicable(operations: readonly StringOperation[]): string | undefined {
  const verdict = checkLinearizability(STRING_MODEL, operations);
  if (verdict.isLinearizable === true) return undefined;
  if (verdict.isLinearizable === false) return explain(STRING_MODEL, operations, verdict);
  return `undecided after ${verdict.configurations} configurations: use each key for less long`;
}

type Operations = readonly StringOperation[];

/** Clocks show milliseconds. */
const CLOCK_MICROS = 2000;

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

/** Value → since when it is known to have been there and to be gone. */
function replacements(reads: Operations): Map<StringResult, number> {
  const gone = new Map<StringResult, number>();
  const seen = new Map<StringResult, number>();
  for (const { result, callMicros, returnMicros } of reads) {
    for (const [value, micros] of seen) {
      if (value === result || micros >= callMicros) continue;
      gone.set(value, Math.min(gone.get(value) ?? Number.POSITIVE_INFINITY, returnMicros));
    }
    if (typeof result === "string")
      seen.set(result, Math.min(seen.get(result) ?? Number.POSITIVE_INFINITY, returnMicros));
  }
  return gone;
}

/** A read of what was replaced or had expired before it began; `gone`: what is known of that, if not the reads' own. */
export function valueThatComesBack(
  operations: Operations,
  gone?: ReadonlyMap<StringResult, number>,
): string | undefined {
  const reads = readsOf(operations);
  const ends = gone ?? replacements(reads);
  const back = reads.find(
    ({ result, callMicros }) => (ends.get(result!) ?? Number.POSITIVE_INFINITY) < callMicros,
  );
  return back && `comes back: ${show(back)}, gone at ${(ends.get(back.result!)! / 1e6).toFixed(6)}`;
}

/** With right clocks: what is gone before its time, or there after it. */
export function wrongTime(operations: Operations): string | undefined {
  if (!isOnly(operations, "setpx")) return undefined;
  for (const { call, result, callMicros, returnMicros } of operations) {
    if (call.kind !== "setpx" || result === undefined) continue;
    const [earliest, latest] = [callMicros, returnMicros].map((micros) => micros + call.ms * 1000);
    const others = operations.filter((each) => each.call.kind === "setpx" && each.call !== call);
    const isAlone = others.every(
      (each) => endOf(each) < callMicros || each.callMicros > latest! + CLOCK_MICROS,
    );
    for (const read of readsOf(operations)) {
      const isLate = read.result === call.value && read.callMicros > latest! + CLOCK_MICROS;
      if (isLate) return `outlives its time: ${show(read)}`;
      const isBetween =
        read.callMicros > returnMicros && read.returnMicros < earliest! - CLOCK_MICROS;
      if (isAlone && isBetween && read.result === null) return `expires early: ${show(read)}`;
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
