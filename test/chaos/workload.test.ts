/** What clients send and make of the answers. */
import { expect, test } from "bun:test";
import { SimRandom } from "../sim/random.ts";
import { resultOf, TAGS, tagOf, Workload, wordsOf } from "./workload.ts";

test("Workload uses every value once, and keys of its own tags", () => {
  const tags = Array.from({ length: TAGS / 2 }, (_, index) => index * 2);
  const workload = new Workload(new SimRandom(1), { client: 7, tags, reads: 0.5 });
  const values = new Set<string>();
  let writes = 0;
  for (let i = 0; i < 2000; i++) {
    const { key, call } = workload.next(i >> 8);
    expect(tagOf(key) % 2).toBe(0);
    if (!("value" in call)) continue;
    writes++;
    values.add(call.value);
  }
  expect(writes).toBeGreaterThan(500);
  expect(values.size).toBe(writes);
});

test("a register's value comes back from what was sent, and from nothing less or more", () => {
  const key = "register:{t1}:0:1";
  const read = { key, call: { kind: "get" } } as const;
  for (let serial = 0; serial < 300; serial++) {
    const value = `<12.${serial}>`;
    const [, , sent] = wordsOf({ key, call: { kind: "set", value } });
    expect(sent!.length).toBeLessThanOrEqual(8192);
    expect(resultOf(read, sent!)).toBe(value);
    expect(resultOf(read, `${sent}${value}`)).not.toBe(value);
    expect(resultOf(read, sent!.slice(1))).not.toBe(value);
  }
  expect(resultOf(read, null)).toBe(null);
});

test("resultOf refuses a reply that the command cannot have", () => {
  const key = "counter:{t1}:0:1";
  expect(() => resultOf({ key, call: { kind: "incr", by: 1 } }, "OK")).toThrow("incr answered");
  expect(() => resultOf({ key, call: { kind: "get" } }, 1)).toThrow("get answered");
});
