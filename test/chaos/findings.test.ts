/** The checker of campaigns on histories in which the fault is known. */
import { describe, expect, test } from "bun:test";
import type { StringCall, StringResult } from "../sim/string-model.ts";
import { Availability } from "./availability.ts";
import { isRefusal } from "./clients/outcome.ts";
import { AUDITOR } from "./findings.ts";
import type { OperationRecord } from "./operation-record.ts";
import { RecordedHistory } from "./recorded-history.ts";
import { judge, type Verdict } from "./verdict.ts";

/** One operation after the other: [call, result], a refusal or an unknown outcome; the last read is the auditor's. */
type Line = readonly [StringCall, StringResult | undefined, ("refused" | "unknown")?];

const get: StringCall = { kind: "get" };
const set = (value: string): StringCall => ({ kind: "set", value });
const claim = (value: string): StringCall => ({ kind: "setnx", value });
const append = (value: string): StringCall => ({ kind: "append", value });
const increment: StringCall = { kind: "incr", by: 1 };

function judged(...lines: readonly Line[]): Verdict {
  const history = new RecordedHistory();
  lines.forEach(([call, result, failure], index) => {
    const record: OperationRecord = {
      ...{ client: index === lines.length - 1 ? AUDITOR : index + 1, key: "key", call },
      ...{ callMicros: index * 10, returnMicros: index * 10 + 5, outcome: failure ?? "ok" },
      ...(result !== undefined && { result }),
      ...(failure !== undefined && { error: failure }),
    };
    history.add(record);
  });
  return judge(history);
}

function countsOf(verdict: Verdict) {
  const { lost, stale, duplicates, applied, inexplicable } = verdict;
  return { lost: lost.length, stale, duplicates, applied, inexplicable };
}

const CLEAN = { lost: 0, stale: 0, duplicates: 0, applied: 0, inexplicable: 0 };

describe("judge", () => {
  test("finds nothing in histories that are right, with unknown outcomes either way", () => {
    const right: Line[][] = [
      [
        [set("a"), true],
        [set("b"), true],
        [set("c"), undefined, "unknown"],
        [get, "b"],
      ],
      [
        [set("a"), true],
        [set("c"), undefined, "unknown"],
        [get, "c"],
      ],
      [
        [increment, 1],
        [increment, undefined, "unknown"],
        [increment, 3],
        [get, "3"],
      ],
      [
        [append("<1>"), 3],
        [append("<2>"), undefined, "unknown"],
        [get, "<1>"],
        [get, "<1><2>"],
      ],
      [
        [claim("a"), true],
        [claim("b"), false],
        [get, "a"],
      ],
      [
        [set("a"), true],
        [set("b"), undefined, "refused"],
        [get, "a"],
      ],
    ];
    for (const lines of right) {
      const verdict = judged(...lines);
      expect([countsOf(verdict), verdict.complaints]).toEqual([CLEAN, []]);
    }
  });

  test("counts acknowledged writes that the auditor does not find", () => {
    const lost = (...lines: Line[]) => judged(...lines).lost.length;
    expect(lost([set("a"), true], [set("b"), true], [set("c"), true], [get, "a"])).toBe(2);
    expect(lost([set("a"), true], [get, null])).toBe(1);
    expect(lost([append("<1>"), 3], [append("<2>"), 6], [get, "<1>"])).toBe(1);
    expect(lost([claim("a"), true], [claim("b"), true], [get, "b"])).toBe(1);
    expect(lost([increment, 1], [increment, 2], [increment, 2], [get, "2"])).toBe(1);
    expect(lost([increment, 1], [increment, 2], [get, "1"])).toBe(1);
  });

  test("counts a loss once, at the audit that first shows it", () => {
    const history = new RecordedHistory();
    const at = (client: number, callMicros: number, call: StringCall, result: StringResult) =>
      history.add({
        ...{ client, key: "key", call, result, outcome: "ok" },
        ...{ callMicros, returnMicros: callMicros + 1 },
      });
    at(1, 10, set("a"), true);
    at(AUDITOR, 20, get, null);
    at(AUDITOR, 30, get, null);
    expect(judge(history).lost.map(({ noticedMicros }) => noticedMicros)).toEqual([20]);
  });

  test("counts reads that lack what was acknowledged before them, though it is there in the end", () => {
    expect(countsOf(judged([set("a"), true], [get, null], [get, "a"]))).toMatchObject({
      lost: 0,
      stale: 1,
      inexplicable: 1,
    });
  });

  test("counts values that were applied twice, and refused ones that were applied", () => {
    const twice = judged([append("<1>"), 3], [get, "<1><1>"]);
    expect(countsOf(twice)).toMatchObject({ lost: 0, duplicates: 1, inexplicable: 1 });
    const refused = judged([append("<1>"), undefined, "refused"], [get, "<1>"]);
    expect(countsOf(refused)).toMatchObject({ lost: 0, applied: 1, inexplicable: 1 });
  });

  test("finds a refused increment that was made", () => {
    const verdict = judged([increment, undefined, "refused"], [increment, 2], [get, "2"]);
    expect(verdict.inexplicable).toBe(1);
    expect(verdict.complaints).toHaveLength(1);
  });
});

test("isRefusal takes an error for a refusal only if nothing can have been done", () => {
  const refusals = [
    "MOVED 294 10.0.0.1:7000",
    "TRYAGAIN",
    "CLUSTERDOWN The cluster is down",
    "NOREPLICAS Not enough good replicas to write.",
    "Too many Cluster redirections. Last error: ReplyError: MOVED 294 10.0.0.1:7000",
  ];
  for (const text of refusals) expect([text, isRefusal(text)]).toEqual([text, true]);
  const open = [
    "UNKNOWN the writer stepped down",
    "Connection is closed.",
    "no reply in time",
    "Too many Cluster redirections. Last error: Error: Connection is closed.",
    "MOVEDX",
  ];
  for (const text of open) expect([text, isRefusal(text)]).toEqual([text, false]);
});

test("Availability measures the gaps of each group by itself", () => {
  const availability = new Availability();
  for (const ms of [0, 500, 2500, 2600]) availability.answered(0, ms * 1000);
  for (const ms of [4000, 0, 900, 1800]) availability.answered(1, ms * 1000);
  expect(availability.outages()).toEqual([
    { group: 0, startMicros: 500_000, endMicros: 2_500_000 },
    { group: 1, startMicros: 1_800_000, endMicros: 4_000_000 },
  ]);
});
