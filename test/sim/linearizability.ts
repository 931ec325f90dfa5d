/**
 * Is there one order of the operations on a key that explains every answer, each operation taking effect at some
 * moment between its call and its return? (Herlihy & Wing; the search is Wing & Gong's with Lowe's memoisation and
 * just-in-time rule.)
 *
 *   events in order of time:  call a, call b, return a, call c, return b, …        at equal times calls come first
 *   configuration:            (position, state, pending operations that have taken effect)
 *   at `return x`:            every configuration must have x in effect: those that have not are continued by every
 *                             sequence of pending operations that ends in x
 *
 * An operation whose outcome is unknown stays pending to the end and need not take effect. What keeps the search
 * small, none of it changing the verdict:
 *   - an operation that by its result changed nothing takes effect as soon as a state gives that result;
 *   - a configuration that has failed is not tried again, nor one that differs only by more unknown operations used up;
 *   - a value that one operation alone writes lasts until the last read of it has been called;
 *   - of equal operations with unknown outcome the one called first goes first;
 *   - the model may say that a state cannot lead to what is read later.
 */
import { StateTable } from "./state-table.ts";

export interface Operation<Call, Result> {
  readonly client: number;
  readonly call: Call;
  /** Undefined: the outcome is unknown. */
  readonly result: Result | undefined;
  readonly callMicros: number;
  /** Infinity when there was no return. */
  readonly returnMicros: number;
}

/** The sequential behaviour of one key. States are strings, so that they can be compared. */
export interface Model<Call, Result> {
  readonly initial: string;
  /** The state after `call` on `state`; undefined: it cannot answer `result` there. An undefined result is any. */
  step(state: string, call: Call, result: Result | undefined): string | undefined;
  /** Calls of equal identity do the same in every state. */
  identity(call: Call): string;
  /** Whether a call with this result leaves every state as it is; an undefined result is any. */
  isPure(call: Call, result: Result | undefined): boolean;
  /** Whether state and answer after an unanswered call are the same whatever the state was. */
  isBlind(call: Call): boolean;
  /** An equivalent history, index by index, in which calls that nobody can tell apart are equal. */
  prepare(history: readonly Operation<Call, Result>[]): readonly Operation<Call, Result>[];
  /** Given the whole history: whether a state may lead to the answer that is due; undefined: nothing is known. */
  hope(history: readonly Operation<Call, Result>[]): Hope<Call, Result> | undefined;
  /** States that can be entered once only → when the last read that needs them is called; undefined: none. */
  lastReads(history: readonly Operation<Call, Result>[]): ReadonlyMap<string, number>;
  describe(call: Call, result: Result | undefined): string;
  describeState(state: string): string;
}

export type Hope<Call, Result> = (state: string, due: Call, result: Result) => boolean;

export type Verdict =
  | { readonly isLinearizable: true; readonly configurations: number }
  | {
      readonly isLinearizable: false;
      readonly configurations: number;
      /** Operations whose return no order gets past, and the states that were possible before. */
      readonly failedAt: number;
      readonly states: readonly string[];
    }
  /** More configurations than allowed. */
  | { readonly isLinearizable: undefined; readonly configurations: number };

const CONFIGURATIONS_MAX = 1_000_000;
const STATES_SHOWN = 8;

interface Event {
  readonly operation: number;
  readonly isReturn: boolean;
  readonly micros: number;
}

/** Sets of operations as bits: places for those that return are used again, those with unknown outcome keep theirs. */
type Bits = readonly number[];

interface Configuration {
  readonly position: number;
  readonly state: string;
  /** Pending operations with known result that have taken effect. */
  readonly done: Bits;
  /** Operations with unknown outcome that have taken effect. */
  readonly used: Bits;
  /** The last one was blind and unanswered, and nothing has seen its effect: another blind one makes it pointless. */
  readonly isUnseen: boolean;
}

function has(bits: Bits, place: number): boolean {
  return ((bits[place >>> 5] ?? 0) & (1 << (place & 31))) !== 0;
}

function withBit(bits: Bits, place: number): Bits {
  const word = place >>> 5;
  const copy = bits.slice();
  while (copy.length <= word) copy.push(0);
  copy[word]! |= 1 << (place & 31);
  return copy;
}

function withoutBit(bits: Bits, place: number): Bits {
  if (!has(bits, place)) return bits;
  const copy = bits.slice();
  copy[place >>> 5]! &= ~(1 << (place & 31));
  while (copy.at(-1) === 0) copy.pop();
  return copy;
}

function isSubset(some: Bits, all: Bits): boolean {
  for (let i = 0; i < some.length; i++) if ((some[i]! & ~(all[i] ?? 0)) !== 0) return false;
  return true;
}

export function checkLinearizability<Call, Result>(
  model: Model<Call, Result>,
  history: readonly Operation<Call, Result>[],
  configurationsMax = CONFIGURATIONS_MAX,
): Verdict {
  return new Search(model, history, configurationsMax).run();
}

class Search<Call, Result> {
  readonly #model: Model<Call, Result>;
  readonly #history: readonly Operation<Call, Result>[];
  readonly #events: readonly Event[];
  readonly #places: number[] = [];
  readonly #identities: string[] = [];
  /** Operations that are pending at an event with known, and called before it with unknown outcome. */
  readonly #pendingAt: (readonly number[])[] = [];
  readonly #unknownAt: number[] = [];
  readonly #unknown: number[] = [];
  readonly #hope: Hope<Call, Result> | undefined;
  readonly #lastReads: ReadonlyMap<string, number>;
  readonly #states = new StateTable();
  /** Failed or waiting configurations: what is left of them → the unknown operations used. */
  readonly #seen = new Map<string, Bits[]>();
  readonly #max: number;
  #count = 0;
  #furthest = 0;
  readonly #furthestStates = new Set<string>();

  constructor(
    model: Model<Call, Result>,
    history: readonly Operation<Call, Result>[],
    max: number,
  ) {
    this.#model = model;
    this.#history = model.prepare(history);
    this.#max = max;
    this.#hope = model.hope(history);
    this.#lastReads = model.lastReads(history);
    this.#events = this.#order();
    this.#assignPlaces();
  }

  run(): Verdict {
    const stack: Configuration[] = [
      this.#advance({
        position: 0,
        state: this.#model.initial,
        done: [],
        used: [],
        isUnseen: false,
      }),
    ];
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      if (top.position === this.#events.length) {
        return { isLinearizable: true, configurations: this.#count };
      }
      this.#noteProgress(top);
      if (++this.#count > this.#max) {
        return { isLinearizable: undefined, configurations: this.#count };
      }
      // The last one pushed is tried first: what must return now.
      const next = this.#successors(top);
      for (let i = next.length - 1; i >= 0; i--) {
        if (this.#isNew(next[i]!)) stack.push(next[i]!);
      }
    }
    return {
      isLinearizable: false,
      configurations: this.#count,
      failedAt: this.#events[this.#furthest]!.operation,
      states: [...this.#furthestStates],
    };
  }

  /** Reads whose result nobody knows say nothing, and are left out. */
  #order(): Event[] {
    const events: Event[] = [];
    this.#history.forEach((operation, index) => {
      const { result, callMicros, returnMicros, call } = operation;
      if (result === undefined && this.#model.isPure(call, undefined)) return;
      events.push({ operation: index, isReturn: false, micros: callMicros });
      if (result !== undefined) {
        events.push({ operation: index, isReturn: true, micros: returnMicros });
      }
    });
    return events.sort((a, b) => {
      if (a.micros !== b.micros) return a.micros - b.micros;
      if (a.isReturn !== b.isReturn) return a.isReturn ? 1 : -1;
      return a.operation - b.operation;
    });
  }

  #assignPlaces(): void {
    const free: number[] = [];
    let places = 0;
    let pending: number[] = [];
    for (const { operation, isReturn } of this.#events) {
      const isUnknown = this.#history[operation]!.result === undefined;
      this.#identities[operation] ??= this.#model.identity(this.#history[operation]!.call);
      if (isUnknown) {
        this.#places[operation] = this.#unknown.push(operation) - 1;
      } else if (isReturn) {
        this.#pendingAt.push(pending);
        this.#unknownAt.push(this.#unknown.length);
        pending = pending.filter((other) => other !== operation);
        free.push(this.#places[operation]!);
        continue;
      } else {
        this.#places[operation] = free.pop() ?? places++;
        pending = [...pending, operation];
      }
      this.#pendingAt.push(pending);
      this.#unknownAt.push(this.#unknown.length);
    }
  }

  /** Goes on until a return that is not in effect yet; whatever fits the state and does not change it takes effect. */
  #advance(from: Configuration): Configuration {
    let { position, done } = from;
    const { state, used } = from;
    for (; position < this.#events.length; position++) {
      const { operation, isReturn } = this.#events[position]!;
      const isUnknown = this.#history[operation]!.result === undefined;
      if (isUnknown) continue;
      const place = this.#places[operation]!;
      if (isReturn) {
        done = this.#absorb(state, done, position);
        if (!has(done, place)) break;
        done = withoutBit(done, place);
      } else if (this.#isFree(operation, state)) {
        done = withBit(done, place);
      }
    }
    return { position, state, done, used, isUnseen: from.isUnseen && position === from.position };
  }

  /** Whether it can take effect here at no cost, and later might not. */
  #isFree(operation: number, state: string): boolean {
    const { call, result } = this.#history[operation]!;
    return this.#model.isPure(call, result) && this.#model.step(state, call, result) === state;
  }

  /** Pending operations that the state satisfies as it is. */
  #absorb(state: string, done: Bits, position: number): Bits {
    let all = done;
    for (const operation of this.#pendingAt[position]!) {
      const place = this.#places[operation]!;
      if (!has(all, place) && this.#isFree(operation, state)) all = withBit(all, place);
    }
    return all;
  }

  /** What may follow; what gets further first. */
  #successors(at: Configuration): Configuration[] {
    const { operation: due, micros } = this.#events[at.position]!;
    // Whoever will read this state can do so only while it lasts.
    const mustStay = (this.#lastReads.get(at.state) ?? 0) > micros;
    const next: Configuration[] = [];
    const add = (operation: number, isUnknown: boolean): void => {
      const successor = this.#take(at, operation, isUnknown);
      if (successor === undefined || (mustStay && successor.state !== at.state)) return;
      if (successor.position > at.position) next.unshift(successor);
      else next.push(successor);
    };
    for (const operation of this.#pendingAt[at.position]!) {
      if (operation !== due && !has(at.done, this.#places[operation]!)) add(operation, false);
    }
    const tried = new Set<string>();
    const known = this.#unknownAt[at.position]!;
    for (let i = 0; i < known; i++) {
      if (has(at.used, i)) continue;
      const operation = this.#unknown[i]!;
      const identity = this.#identities[operation]!;
      if (tried.has(identity)) continue;
      tried.add(identity);
      add(operation, true);
    }
    add(due, false);
    return next;
  }

  #take(at: Configuration, operation: number, isUnknown: boolean): Configuration | undefined {
    const { call } = this.#history[operation]!;
    const isBlind = this.#model.isBlind(call);
    if (at.isUnseen && isBlind) return undefined;
    const state = this.#stepOf(operation, at.state);
    if (state === undefined || (isUnknown && state === at.state)) return undefined;
    const place = this.#places[operation]!;
    const taken = isUnknown ? at.done : withBit(at.done, place);
    const used = isUnknown ? withBit(at.used, place) : at.used;
    const done = this.#absorb(state, taken, at.position);
    const isUnseen = isUnknown && isBlind && done === taken;
    const next = this.#advance({ position: at.position, state, done, used, isUnseen });
    return this.#isHopeless(next) ? undefined : next;
  }

  #isHopeless({ position, state }: Configuration): boolean {
    const event = this.#events[position];
    if (event === undefined || this.#hope === undefined) return false;
    const { call, result } = this.#history[event.operation]!;
    return result !== undefined && !this.#hope(state, call, result);
  }

  #stepOf(operation: number, state: string): string | undefined {
    const { call, result } = this.#history[operation]!;
    return this.#model.step(state, call, result);
  }

  /** False when it, or one that could still do more, has been tried. */
  #isNew(configuration: Configuration): boolean {
    const { position, state, done, used, isUnseen } = configuration;
    const key = `${position} ${this.#states.idOf(state)} ${done.join()} ${isUnseen}`;
    const seen = this.#seen.get(key);
    if (seen === undefined) {
      this.#seen.set(key, [used]);
      return true;
    }
    if (seen.some((other) => isSubset(other, used))) return false;
    seen.push(used);
    return true;
  }

  #noteProgress({ position, state }: Configuration): void {
    if (position < this.#furthest) return;
    if (position > this.#furthest) this.#furthestStates.clear();
    this.#furthest = position;
    if (this.#furthestStates.size < STATES_SHOWN) {
      this.#furthestStates.add(this.#model.describeState(state));
    }
  }
}
