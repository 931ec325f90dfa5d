/** `bench cluster --only moves`: what it counts as lost or stale, and what it reads in the nodes' logs. */
import { expect, test } from "bun:test";
import { KeyVersions } from "../../bench/cluster/key-versions.ts";
import { parseMoves } from "../../bench/cluster/move-log.ts";
import { valueFor, versionOf } from "../../bench/cluster/move-protocol.ts";
import { type MovesResult, violationsOf } from "../../bench/cluster/moves.ts";

const BYTES = 32;

test("versionOf finds what valueFor has written, for that key alone", () => {
  expect(valueFor(17, 5, BYTES)).toHaveLength(BYTES);
  expect(versionOf(17, valueFor(17, 5, BYTES))).toBe(5);
  expect(versionOf(7, valueFor(17, 5, BYTES))).toBe(-1);
  expect(versionOf(17, null)).toBe(-1);
  expect(versionOf(17, "")).toBe(-1);
});

test("KeyVersions: a read may find what was known when it began, or what was tried since, and nothing else", () => {
  const versions = new KeyVersions(3);
  const read = (version: number, atLeast: number) =>
    versions.complaint(1, valueFor(1, version, BYTES), atLeast);
  expect(versions.begin(1)).toBe(1);
  expect(versions.begin(1)).toBeUndefined();
  expect(read(0, 0)).toBeUndefined();
  expect(read(2, 0)).toBe("key:1 has 1:2:xxxxxxxxxxxxxxxxxxxxxxxxxxxx; known 0, tried 1");
  versions.end(1, 1, true);
  expect(versions.known(1)).toBe(1);
  // A read that began before the write was answered.
  expect(read(0, 0)).toBeUndefined();
  expect(read(0, 1)).toContain("known 1, tried 1");
  expect(versions.complaint(1, null, 0)).toContain("nothing");
});

test("KeyVersions: a write whose outcome is unknown may be there or not, but not go again once it was read", () => {
  const versions = new KeyVersions(1);
  const read = (version: number) =>
    versions.complaint(0, valueFor(0, version, BYTES), versions.known(0));
  versions.end(0, versions.begin(0)!, false);
  expect(read(0)).toBeUndefined();
  expect(read(1)).toBeUndefined();
  expect(read(0)).toContain("known 1");
});

test("parseMoves takes the ends of moves of a time, and lines of nothing else", () => {
  const line = (time: string, msg: string) =>
    `${JSON.stringify({ time, move: "m", slots: [{ start: 5, end: 5 }], bytes: 7, ms: 40, frozenMs: 9, msg })}\n`;
  const ended = "slots have moved away";
  const log = [
    line("2026-01-01T00:00:01.000Z", ended),
    "no JSON\n",
    line("2026-01-01T00:00:02.000Z", ended),
    line("2026-01-01T00:00:02.000Z", "slots stay: their move is off"),
    line("2026-01-01T00:00:03.000Z", ended),
  ].join("");
  const at = (second: number) => Date.UTC(2026, 0, 1, 0, 0, second);
  expect(parseMoves(log, at(2), at(2))).toEqual([
    { slots: [{ start: 5, end: 5 }], bytes: 7, ms: 40, frozenMs: 9 },
  ]);
});

test("violationsOf names failed commands, lost writes and stale reads, and nothing else", () => {
  const counts = { acknowledged: 9, reads: 9, keysRead: 9 };
  const clean = { ...counts, failures: {}, stale: [], lost: [] };
  const result = (report: MovesResult["report"]): MovesResult => ({
    phases: [],
    moves: [],
    report,
  });
  expect(violationsOf(result(clean))).toEqual([]);
  const failures = { "TRYAGAIN x": 2, "UNKNOWN y": 1 };
  expect(violationsOf(result({ ...clean, failures, stale: ["s"], lost: ["l", "m"] }))).toEqual([
    "3 commands failed",
    "2 keys or writes are lost",
    "1 reads were stale",
  ]);
});
