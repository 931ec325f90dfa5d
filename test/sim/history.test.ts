/** What a history of keys that expire may show, and what it may not. */
import { expect, test } from "bun:test";
import { wrongTime } from "./history.ts";
import type { StringOperation } from "./string-model.ts";

const MS = 1000;

/** Set at 10.9 … 11.0 ms for 20 ms, and read once, within 0.1 ms. */
function readAt(callMicros: number, result: string | null): StringOperation[] {
  const times = { callMicros: 10.9 * MS, returnMicros: 11 * MS };
  const get = { callMicros, returnMicros: callMicros + 0.1 * MS };
  return [
    { client: 1, call: { kind: "setpx", value: "a", ms: 20 }, result: true, ...times },
    { client: 2, call: { kind: "get" }, result, ...get },
  ];
}

test("a value may go and stay as far as a clock of milliseconds shows it", () => {
  // The clock says 10 at the write, and 30 from 30 on.
  expect(wrongTime(readAt(30 * MS, null))).toBeUndefined();
  expect(wrongTime(readAt(32 * MS, "a"))).toBeUndefined();
});

test("a value that goes before its time, or stays for longer, is found", () => {
  expect(wrongTime(readAt(28 * MS, null))).toStartWith("expires early");
  expect(wrongTime(readAt(34 * MS, "a"))).toStartWith("outlives its time");
});
