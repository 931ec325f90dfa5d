/**
 * The commands of the string model on production's store, and how a server runs them: as a unit, again after each
 * interrupt.
 */
import { Refusal, UnitWork } from "../../src/store/interrupt.ts";
import type { Store } from "../../src/store/store.ts";
import type { StringCall, StringResult } from "./string-model.ts";

export interface Ran<T> {
  readonly result: T;
  /** What the reply depends on is committed once the store's committed index has reached it. */
  readonly tag: number;
}

/** Runs `action` as often as interrupts demand, while `goesOn`. "refused": it had no effect. */
export async function runUnit<T>(
  store: Store,
  action: () => T,
  goesOn: () => boolean = () => true,
): Promise<Ran<T> | "refused"> {
  const work = new UnitWork();
  for (;;) {
    if (!goesOn()) return "refused";
    store.beginBatch();
    store.beginUnit(work);
    try {
      const result = action();
      store.endUnit();
      return { result, tag: store.tag };
    } catch (error) {
      store.abortUnit();
      if (error instanceof Refusal) return "refused";
      if (!store.isInterrupt(error)) throw error;
      if (work.pending === undefined) {
        await store.resolve(error);
      } else {
        work.results.push(await work.pending);
        work.pending = undefined;
      }
    }
  }
}

/** REQUIRES: within a unit. */
export function execute(store: Store, key: Buffer, call: StringCall): StringResult {
  store.select(key, 0, key.length);
  const put = (text: string, expiry = 0): void => {
    const value = Buffer.from(text);
    store.put(value, 0, value.length, expiry);
  };
  switch (call.kind) {
    case "get":
    case "look":
      return store.find() ? store.copyValue().toString() : null;
    case "set":
      put(call.value);
      return true;
    case "setpx":
      put(call.value, store.nowMs + call.ms);
      return true;
    case "setnx": {
      const exists = store.find();
      if (!exists) put(call.value);
      return !exists;
    }
    case "del":
      return store.remove();
    case "incr": {
      const sum = (store.find() ? Number(store.copyValue().toString()) : 0) + call.by;
      put(`${sum}`);
      return sum;
    }
    case "append": {
      const exists = store.find();
      const value = Buffer.from(call.value);
      return store.patch(exists, exists ? store.valueLength : 0, value, 0, value.length);
    }
  }
}
