import { describe, expect, test } from "bun:test";
import { contradictionOf, explain } from "./counterexample.ts";
import { checkLinearizability } from "./linearizability.ts";
import { SimRandom } from "./random.ts";
import {
  STRING_MODEL,
  type StringCall,
  type StringOperation,
  type StringResult,
} from "./string-model.ts";

const SEED = Number(process.env["DKV_TEST_SIM_SEED"] ?? 1);
const SMALL_HISTORIES = Number(process.env["DKV_TEST_SIM_HISTORIES"] ?? 6000);

const get: StringCall = { kind: "get" };
const del: StringCall = { kind: "del" };
const set = (value: string): StringCall => ({ kind: "set", value });
const setpx = (value: string): StringCall => ({ kind: "setpx", value, ms: 1 });
const setnx = (value: string): StringCall => ({ kind: "setnx", value });
const append = (value: string): StringCall => ({ kind: "append", value });
const incr = (by = 1): StringCall => ({ kind: "incr", by });

/** [client, call, result, call time, return time]; without a result and a return time: unknown. */
type Row = [number, StringCall, StringResult | undefined, number, number?];

function historyOf(rows: readonly Row[]): StringOperation[] {
  return rows.map(([client, call, result, callMicros, returnMicros]) => ({
    client,
    call,
    result,
    callMicros,
    returnMicros: returnMicros ?? Number.POSITIVE_INFINITY,
  }));
}

function verdictOf(rows: readonly Row[]): boolean | undefined {
  return checkLinearizability(STRING_MODEL, historyOf(rows)).isLinearizable;
}

/** Every order that time allows, every choice of unknown operations that take effect. */
function bruteForce(history: readonly StringOperation[]): boolean {
  const taken = new Set<number>();
  const place = (state: string): boolean => {
    const left = history.map((_, index) => index).filter((index) => !taken.has(index));
    if (left.every((index) => history[index]!.result === undefined)) return true;
    const firstReturn = Math.min(...left.map((index) => endOf(history[index]!)));
    return left.some((index) => {
      const { call, result, callMicros } = history[index]!;
      if (callMicros > firstReturn) return false;
      const next = STRING_MODEL.step(state, call, result);
      if (next === undefined) return false;
      taken.add(index);
      const isPossible = place(next);
      taken.delete(index);
      return isPossible;
    });
  };
  return place(STRING_MODEL.initial);
}

function endOf({ result, returnMicros }: StringOperation): number {
  return result === undefined ? Number.POSITIVE_INFINITY : returnMicros;
}

const CALLS: Record<string, ((random: SimRandom) => StringCall)[]> = {
  register: [() => get, () => get, (random) => set(`${random.below(4)}`), () => del],
  claim: [() => get, (random) => setnx(`${random.below(2)}`), () => del],
  counter: [() => get, () => incr(), () => incr(2)],
  account: [() => get, () => incr(), () => incr(), () => incr(-1)],
  expiring: [() => get, () => get, (random) => setpx(`${random.below(4)}`)],
  mixed: [
    () => get,
    (random) => setpx(`${random.below(2)}`),
    (random) => set(`${random.below(2)}`),
  ],
  list: [() => get, (random) => append(`${random.below(3)}`)],
  all: [
    () => get,
    (random) => set(`${random.below(2)}`),
    () => incr(),
    (random) => append(`${random.below(2)}`),
    (random) => setnx(`${random.below(2)}`),
    () => del,
  ],
};

/** What a correct key would answer, in an order that time allows; then, often, one answer is changed. */
function randomHistory(random: SimRandom): StringOperation[] {
  const kinds = CALLS[random.pick(Object.keys(CALLS))]!;
  const count = random.between(1, 7);
  const span = random.pick([4, 8, 16, 30]);
  const planned = Array.from({ length: count }, (_, client) => {
    const callMicros = random.below(span);
    const returnMicros = callMicros + random.below(span / 2 + 1);
    const at = callMicros + random.unit() * (returnMicros - callMicros);
    return { client, call: random.pick(kinds)(random), callMicros, returnMicros, at };
  });
  let state = STRING_MODEL.initial;
  const results = new Map<number, StringResult | undefined>();
  for (const { client, call } of [...planned].sort((a, b) => a.at - b.at)) {
    const isUnknown = random.chance(0.25);
    const result = isUnknown && random.chance(0.5) ? undefined : answerOf(state, call, random);
    if (result !== undefined) state = STRING_MODEL.step(state, call, result) ?? state;
    results.set(client, isUnknown ? undefined : result);
  }
  const history = planned.map(({ client, call, callMicros, returnMicros }) => ({
    client,
    call,
    callMicros,
    returnMicros,
    result: results.get(client),
  }));
  if (random.chance(0.4)) return history;
  const victim = random.below(count);
  return history.map((operation, index) => {
    if (index !== victim || operation.result === undefined) return operation;
    return { ...operation, result: random.pick(WRONG[operation.call.kind]) };
  });
}

const WRONG: Record<StringCall["kind"], readonly StringResult[]> = {
  get: [null, "0", "1", "2", "01"],
  look: [null, "0", "1", "2"],
  set: [true],
  setpx: [true],
  setnx: [true, false],
  del: [true, false],
  incr: [0, 1, 2],
  append: [1, 2, 3],
};

/** One of the answers that the state allows: more than one, if it may expire. */
function answerOf(state: string, call: StringCall, random: SimRandom): StringResult | undefined {
  const results = [null, true, false, state.slice(1), ...Array(30).keys(), -1, -2, -3];
  const allowed = results.filter((result) => STRING_MODEL.step(state, call, result) !== undefined);
  return allowed.length === 0 ? undefined : random.pick(allowed);
}

describe("checkLinearizability agrees with all orders tried one by one", () => {
  test(`on ${SMALL_HISTORIES} small histories`, () => {
    const verdicts = { yes: 0, no: 0 };
    for (let seed = SEED; seed < SEED + SMALL_HISTORIES; seed++) {
      const history = randomHistory(new SimRandom(seed));
      const expected = bruteForce(history);
      const verdict = checkLinearizability(STRING_MODEL, history);
      if (verdict.isLinearizable !== expected) {
        const shown = history.map(({ call, result }) => STRING_MODEL.describe(call, result));
        throw new Error(`seed ${seed}: ${expected} expected: ${JSON.stringify(history)} ${shown}`);
      }
      verdicts[expected ? "yes" : "no"]++;
    }
    expect(verdicts.yes).toBeGreaterThan(SMALL_HISTORIES / 4);
    expect(verdicts.no).toBeGreaterThan(SMALL_HISTORIES / 5);
  });
});

describe("checkLinearizability accepts", () => {
  const accepted: Record<string, Row[]> = {
    "nothing at all": [],
    "a read that overlaps a write and does not see it": [
      [0, set("a"), true, 0, 10],
      [1, get, null, 2, 4],
    ],
    "a read that overlaps a write and sees it": [
      [0, set("a"), true, 0, 10],
      [1, get, "a", 2, 4],
    ],
    "two overlapping writes read in an order that no return shows (Herlihy and Wing's H1)": [
      [0, set("a"), true, 0, 10],
      [1, set("b"), true, 0, 10],
      [2, get, "b", 3, 5],
      [3, get, "a", 6, 8],
    ],
    "a write of the present value that takes effect after another one": [
      [0, set("a"), true, 0, 1],
      [1, set("a"), true, 2, 20],
      [2, set("b"), true, 3, 5],
      [3, get, "a", 6, 8],
    ],
    "a write without an answer that takes effect much later": [
      [0, set("a"), undefined, 0],
      [1, get, null, 5, 6],
      [2, set("b"), true, 7, 8],
      [3, get, "b", 9, 10],
      [4, get, "a", 11, 12],
    ],
    "a write without an answer that never takes effect": [
      [0, set("a"), undefined, 0],
      [1, get, null, 5, 6],
    ],
    "a deletion that finds what an unanswered write has left": [
      [0, set("a"), undefined, 0],
      [1, del, true, 3, 4],
      [1, del, false, 5, 6],
    ],
    "a return and a call in the same microsecond, in either order": [
      [0, set("a"), true, 0, 5],
      [1, get, null, 5, 9],
    ],
    "a value that expires while it is read": [
      [0, setpx("a"), true, 0, 1],
      [1, get, "a", 2, 8],
      [2, get, null, 3, 4],
    ],
    "a claim that two tried and one got": [
      [0, setnx("a"), false, 0, 10],
      [1, setnx("b"), true, 0, 10],
      [2, get, "b", 11, 12],
    ],
  };
  for (const [name, rows] of Object.entries(accepted)) {
    test(name, () => expect(verdictOf(rows)).toBe(true));
  }
});

describe("checkLinearizability refuses", () => {
  const refused: Record<string, Row[]> = {
    "a read of what nobody wrote": [[0, get, "a", 0, 1]],
    "a lost write": [
      [0, set("a"), true, 0, 1],
      [1, get, null, 2, 3],
    ],
    "a stale read": [
      [0, set("a"), true, 0, 1],
      [0, set("b"), true, 2, 3],
      [1, get, "a", 4, 5],
    ],
    "a value that has expired and comes back": [
      [0, setpx("a"), true, 0, 1],
      [1, get, null, 2, 3],
      [2, get, "a", 4, 5],
    ],
    "a value that expires though it was overwritten by one that does not": [
      [0, setpx("a"), true, 0, 1],
      [0, set("b"), true, 2, 3],
      [1, get, null, 4, 5],
    ],
    "a read that goes back (new, then old, during one write)": [
      [0, set("a"), true, 0, 1],
      [1, set("b"), true, 2, 20],
      [2, get, "b", 3, 5],
      [3, get, "a", 6, 8],
    ],
    "readers that disagree about the order of two writes (independent reads of independent writes)":
      [
        [0, set("a"), true, 0, 1],
        [1, set("b"), true, 0, 1],
        [2, get, "a", 2, 3],
        [2, get, "b", 4, 5],
        [3, get, "b", 2, 3],
        [3, get, "a", 4, 5],
      ],
    "a write without an answer that takes effect twice": [
      [0, set("a"), undefined, 0],
      [1, get, "a", 2, 3],
      [1, set("b"), true, 4, 5],
      [1, get, "a", 6, 7],
    ],
    "a write without an answer seen before it was called": [
      [1, get, "a", 0, 1],
      [0, set("a"), undefined, 2],
    ],
    "two that both got the claim": [
      [0, setnx("a"), true, 0, 10],
      [1, setnx("b"), true, 0, 10],
    ],
    "a counter that gives a number twice": [
      [0, incr(), 1, 0, 10],
      [1, incr(), 1, 0, 10],
    ],
    "a counter that skips a number, though somebody may have taken one later": [
      [0, incr(), 2, 0, 1],
      [1, incr(), undefined, 5],
    ],
    "a list with an element twice": [
      [0, append("a,"), undefined, 0],
      [1, get, "a,a,", 5, 6],
    ],
    "a list without an element that was acknowledged": [
      [0, append("a,"), 2, 0, 1],
      [1, append("b,"), undefined, 2],
      [2, get, "b,", 5, 6],
    ],
    "lists that are no beginnings of each other": [
      [0, append("a,"), undefined, 0],
      [1, append("b,"), undefined, 0],
      [2, get, "a,", 5, 6],
      [3, get, "b,a,", 7, 8],
    ],
  };
  for (const [name, rows] of Object.entries(refused)) {
    test(name, () => expect(verdictOf(rows)).toBe(false));
  }
});

/** A correct key under concurrent clients, some of whose answers get lost. */
function longHistory(
  random: SimRandom,
  options: { count: number; clients: number; lostShare: number; kind: string },
): StringOperation[] {
  const { count, clients, lostShare, kind } = options;
  const free = Array.from({ length: clients }, () => 0);
  const planned = Array.from({ length: count }, (_, index) => {
    const client = random.below(clients);
    const callMicros = free[client]! + random.between(1, 20);
    const returnMicros = callMicros + random.between(1, 100);
    free[client] = returnMicros;
    const isLost = random.chance(lostShare);
    const at = isLost
      ? callMicros + random.unit() * 10_000
      : callMicros + random.unit() * (returnMicros - callMicros);
    const call = random.pick(CALLS[kind]!)(random);
    const unique = "value" in call ? { ...call, value: `${index},` } : call;
    return { client, call: unique, callMicros, returnMicros, at, isLost, index };
  });
  const end = Math.max(...free);
  let state = STRING_MODEL.initial;
  const results = new Map<number, StringResult | undefined>();
  for (const { index, call, at, isLost } of [...planned].sort((a, b) => a.at - b.at)) {
    if (at > end) continue;
    const result = isLost ? undefined : resultOf(state, call);
    state = STRING_MODEL.step(state, call, undefined) ?? state;
    results.set(index, result);
  }
  return planned.map(({ client, call, callMicros, returnMicros, index }) => ({
    client,
    call,
    callMicros,
    returnMicros,
    result: results.get(index),
  }));
}

function resultOf(state: string, call: StringCall): StringResult {
  const exists = state !== STRING_MODEL.initial;
  const value = state.slice(1);
  switch (call.kind) {
    case "get":
    case "look":
      return exists ? value : null;
    case "set":
    case "setpx":
      return true;
    case "setnx":
      return !exists;
    case "del":
      return exists;
    case "append":
      return value.length + call.value.length;
    case "incr":
      return (exists ? Number(value) : 0) + call.by;
  }
}

/** Far above what a search without memory of its failures would need, far below what would be noticed. */
const CONFIGURATIONS_MAX = 400_000;

describe("checkLinearizability decides long histories with few configurations", () => {
  const shapes = [
    { kind: "register", count: 2500, clients: 6, lostShare: 0.02 },
    { kind: "register", count: 1000, clients: 10, lostShare: 0.1 },
    { kind: "counter", count: 3000, clients: 8, lostShare: 0.05 },
    { kind: "account", count: 400, clients: 6, lostShare: 0.04 },
    { kind: "list", count: 1500, clients: 8, lostShare: 0.05 },
    { kind: "claim", count: 2000, clients: 8, lostShare: 0.02 },
  ];
  for (const shape of shapes) {
    const { kind, count, clients, lostShare } = shape;
    test(`${kind}: ${count} operations, ${clients} clients, ${lostShare} unanswered`, () => {
      const history = longHistory(new SimRandom(SEED), shape);
      const verdict = checkLinearizability(STRING_MODEL, history, CONFIGURATIONS_MAX);
      expect(verdict.isLinearizable).toBe(true);
    });

    test(`${kind}: the same with one wrong answer`, () => {
      const history = longHistory(new SimRandom(SEED), shape);
      const last = history.findLastIndex(({ call, result }) => call.kind === "get" && result);
      history[last] = { ...history[last]!, result: "never written" };
      const verdict = checkLinearizability(STRING_MODEL, history, CONFIGURATIONS_MAX);
      expect(verdict.isLinearizable).toBe(false);
    });
  }
});

describe("contradictionOf", () => {
  test("finds the operations that cannot all be true in a long history", () => {
    const before = longHistory(new SimRandom(SEED), {
      kind: "register",
      count: 300,
      clients: 4,
      lostShare: 0.02,
    });
    const end = 1e6;
    const stale = historyOf([
      [0, set("x"), true, end, end + 1],
      [1, set("y"), true, end + 2, end + 3],
      [2, get, "x", end + 4, end + 5],
    ]);
    const history = [...before, ...stale];
    const contradiction = contradictionOf(STRING_MODEL, history);
    expect(contradiction).toEqual(stale);
    const verdict = checkLinearizability(STRING_MODEL, history);
    if (verdict.isLinearizable !== false) throw new Error("a stale read is accepted");
    expect(explain(STRING_MODEL, history, verdict)).toContain('get() → "x"');
  });
});
