/**
 * Virtual time: a queue of events, run one after the other in this thread. Nothing else moves time.
 *
 *   step():  the earliest event → its action → all microtasks that it made ready
 *
 * Promises. After each action the runtime's queue of microtasks is emptied (drainMicrotasks) before the next event
 * is looked at, so code behind an `await` runs at the virtual time of the event that settled what it waits for, in
 * the order that the language defines. What is simulated may therefore wait for nothing but promises that events of
 * this queue settle: a real timer, thread or file would answer while no event waits for it.
 *
 * Order. Events are ordered by (time, tie, sequence): `tie` is drawn from the seed when asked for, so that events of
 * one microsecond run in an order that differs from seed to seed; otherwise they run as they were scheduled.
 */
import { drainMicrotasks } from "bun:jsc";
import { assert } from "../../src/base/assert.ts";
import type { SimRandom } from "./random.ts";
import type { Trace } from "./trace.ts";

export interface SimEvent {
  /** No effect once it has run. */
  cancel(): void;
}

interface Entry extends SimEvent {
  readonly micros: number;
  readonly tie: number;
  readonly sequence: number;
  readonly what: string;
  action: (() => void) | undefined;
}

function isBefore(a: Entry, b: Entry): boolean {
  if (a.micros !== b.micros) return a.micros < b.micros;
  if (a.tie !== b.tie) return a.tie < b.tie;
  return a.sequence < b.sequence;
}

export class Scheduler {
  readonly trace: Trace;
  readonly #ties: SimRandom | undefined;
  /** A binary heap. */
  readonly #heap: Entry[] = [];
  #sequence = 0;
  nowMicros = 0;

  /** `ties`: events of the same microsecond run in an order that it decides. */
  constructor(trace: Trace, ties?: SimRandom) {
    this.trace = trace;
    this.#ties = ties;
  }

  /** `what` names the event in the trace. */
  after(delayMicros: number, what: string, action: () => void): SimEvent {
    return this.at(this.nowMicros + Math.max(0, Math.ceil(delayMicros)), what, action);
  }

  at(micros: number, what: string, action: () => void): SimEvent {
    assert(Number.isSafeInteger(micros), "virtual time is whole microseconds");
    assert(micros >= this.nowMicros, "an event in the past");
    const entry: Entry = {
      micros,
      tie: this.#ties?.next() ?? 0,
      sequence: this.#sequence++,
      what,
      action,
      cancel: () => {
        entry.action = undefined;
      },
    };
    this.#push(entry);
    return entry;
  }

  /** Runs the next event and what follows from it; false when there is none. */
  step(): boolean {
    for (;;) {
      const entry = this.#pop();
      if (entry === undefined) return false;
      const { action } = entry;
      if (action === undefined) continue;
      entry.action = undefined;
      this.nowMicros = entry.micros;
      this.trace.add(entry.micros, entry.what);
      action();
      drainMicrotasks();
      return true;
    }
  }

  /** Runs all events until then; time is `micros` afterwards. */
  runUntil(micros: number): void {
    while ((this.#next() ?? Number.POSITIVE_INFINITY) <= micros) this.step();
    this.nowMicros = Math.max(this.nowMicros, micros);
  }

  /** Runs events until `isDone`; false when `limitMicros` of virtual time were not enough or nothing is left. */
  runUntilDone(isDone: () => boolean, limitMicros: number): boolean {
    const end = this.nowMicros + limitMicros;
    drainMicrotasks();
    while (!isDone()) {
      const next = this.#next();
      if (next === undefined || next > end) return false;
      this.step();
    }
    return true;
  }

  /** Time of the next event that has not been cancelled. */
  #next(): number | undefined {
    while (this.#heap.length > 0 && this.#heap[0]!.action === undefined) this.#pop();
    return this.#heap[0]?.micros;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (heap.length === 0 || last === undefined) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}
