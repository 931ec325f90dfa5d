/**
 * One Redis string key as a Model of the checker: register (SET, GET, DEL), claim (SET NX), counter (INCRBY), list
 * (APPEND, whose reply is the new length), and what expires (SET PX, GET).
 *
 *   state: "-" absent, "=" and the value, "~" and a value that may expire
 *
 * When something expires is the log's clock's affair, which nobody outside knows; so it may at any time, and has when
 * it is read as absent. It must not come back.
 */
import type { Hope, Model, Operation } from "./linearizability.ts";

export type StringCall =
  | { readonly kind: "get" }
  /** A get of a key that may expire: what it answers may change the state. prepare() tells the two apart. */
  | { readonly kind: "look" }
  | { readonly kind: "setpx"; readonly value: string; readonly ms: number }
  | { readonly kind: "set"; readonly value: string }
  | { readonly kind: "setnx"; readonly value: string }
  | { readonly kind: "del" }
  | { readonly kind: "incr"; readonly by: number }
  | { readonly kind: "append"; readonly value: string };

/** get, look: the value or null. set, setpx: true. setnx, del: whether it did. incr: the new number. append: the new length. */
export type StringResult = string | null | boolean | number;

export type StringOperation = Operation<StringCall, StringResult>;

const ABSENT = "-";
const EXPIRABLE = "~";

function answer(matches: boolean, state: string): string | undefined {
  return matches ? state : undefined;
}

function step(
  state: string,
  call: StringCall,
  result: StringResult | undefined,
): string | undefined {
  const exists = state !== ABSENT;
  const value = state.slice(1);
  const fits = (actual: StringResult): boolean => result === undefined || result === actual;
  switch (call.kind) {
    case "get":
    case "look":
      if (state.startsWith(EXPIRABLE) && result === null) return ABSENT;
      return answer(fits(exists ? value : null), state);
    case "setpx":
      return answer(fits(true), `${EXPIRABLE}${call.value}`);
    case "set":
      return answer(fits(true), `=${call.value}`);
    case "setnx":
      return answer(fits(!exists), exists ? state : `=${call.value}`);
    case "del":
      return answer(fits(exists), ABSENT);
    case "append":
      return answer(fits(value.length + call.value.length), `=${value}${call.value}`);
    case "incr": {
      const sum = (exists ? Number(value) : 0) + call.by;
      // Not a number: the command fails, and a caller records it as one that was never made.
      return Number.isSafeInteger(sum) ? answer(fits(sum), `=${sum}`) : undefined;
    }
  }
}

type History = readonly StringOperation[];

/** Stands for every value that nobody has read. */
const UNREAD = "\u0000unread";

function isRegister(history: History): boolean {
  return history.every(({ call }) => call.kind !== "incr" && call.kind !== "append");
}

function mayExpire(history: History): boolean {
  return history.some(({ call }) => call.kind === "setpx");
}

function isRead({ kind }: StringCall): boolean {
  return kind === "get" || kind === "look";
}

/** Values of a register that nobody has read differ in nothing. */
function prepare(history: History): History {
  if (!isRegister(history)) return history;
  const expires = mayExpire(history);
  const read = new Set(history.filter(({ call }) => isRead(call)).map(({ result }) => result));
  return history.map((operation) => {
    const { call } = operation;
    if (expires && call.kind === "get") return { ...operation, call: { kind: "look" } };
    if (!("value" in call) || read.has(call.value)) return operation;
    return { ...operation, call: { ...call, value: UNREAD } };
  });
}

function lastReads(history: History): ReadonlyMap<string, number> {
  const last = new Map<string, number>();
  if (!isRegister(history)) return last;
  const writers = new Map<string, number>();
  const states = new Map<string, string>();
  for (const { call } of history) {
    if (!("value" in call)) continue;
    writers.set(call.value, (writers.get(call.value) ?? 0) + 1);
    states.set(call.value, `${call.kind === "setpx" ? EXPIRABLE : "="}${call.value}`);
  }
  for (const { call, result, callMicros } of history) {
    if (!isRead(call) || typeof result !== "string" || writers.get(result) !== 1) continue;
    const state = states.get(result)!;
    last.set(state, Math.max(last.get(state) ?? 0, callMicros));
  }
  return last;
}

function hope(history: History): Hope<StringCall, StringResult> | undefined {
  const isOf = (kinds: readonly string[]) => history.every(({ call }) => kinds.includes(call.kind));
  if (isOf(["get", "append"])) return hopeOfList(history);
  const grows = history.every(({ call }) => call.kind !== "incr" || call.by > 0);
  return grows && isOf(["get", "incr"]) ? hopeOfCounter : undefined;
}

/** What is only ever appended to is, at any time, the beginning of what is read of it later. */
function hopeOfList(history: History): Hope<StringCall, StringResult> {
  let longest = "";
  for (const { call, result } of history) {
    if (call.kind === "get" && typeof result === "string" && result.length > longest.length) {
      longest = result;
    }
  }
  const last = `=${longest}`;
  return (state, due, result) => {
    const length = state.length - 1;
    if (due.kind === "append" && length > Number(result) - due.value.length) return false;
    if (due.kind === "get" && length > String(result ?? "").length) return false;
    return state === ABSENT || last.startsWith(state) || state.startsWith(last);
  };
}

/** What only grows must not be larger than what is due. */
function hopeOfCounter(state: string, due: StringCall, result: StringResult): boolean {
  const value = state === ABSENT ? 0 : Number(state.slice(1));
  return value <= Number(result ?? 0) - (due.kind === "incr" ? due.by : 0);
}

export const STRING_MODEL: Model<StringCall, StringResult> = {
  initial: ABSENT,
  step,
  prepare,
  hope,
  lastReads,
  isBlind: (call) => call.kind === "set" || call.kind === "setpx",
  identity: (call) => JSON.stringify(call),
  isPure: (call, result) => {
    if (call.kind === "get") return true;
    if (call.kind === "look") return result !== null;
    return (call.kind === "setnx" || call.kind === "del") && result === false;
  },
  describe: (call, result) => {
    const argument = call.kind === "incr" ? call.by : "value" in call ? call.value : "";
    const shown = result === undefined ? "?" : JSON.stringify(result);
    return `${call.kind}(${argument}) → ${shown}`;
  },
  describeState: (state) => (state === ABSENT ? "absent" : JSON.stringify(state.slice(1))),
};
