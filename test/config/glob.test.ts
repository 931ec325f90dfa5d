/** CONFIG GET's patterns. */
import { expect, test } from "bun:test";
import { matchesGlob } from "../../src/config/glob.ts";

const cases: [pattern: string, name: string, expected: boolean][] = [
  ["*", "", true],
  ["", "", true],
  ["", "a", false],
  ["max*", "maxmemory", true],
  ["*mem*", "maxmemory", true],
  ["*a*b", "xaxaxb", true],
  ["*a*b", "xaxaxbc", false],
  ["m?x", "max", true],
  ["m?x", "mx", false],
  ["[a-c]x", "bx", true],
  ["[c-a]x", "bx", true],
  ["[^a-c]x", "bx", false],
  ["[^a-c]x", "dx", true],
  ["[abc", "c", true],
  ["a[", "a", false],
  ["\\*", "*", true],
  ["\\*", "a", false],
  ["a.c", "abc", false],
  ["[\\]]", "]", true],
  ["[a-]", "b", false],
];

for (const [pattern, name, expected] of cases) {
  test(`matchesGlob: ${pattern} ${expected ? "matches" : "does not match"} ${name}`, () => {
    expect(matchesGlob(pattern, name)).toBe(expected);
  });
}

test("matchesGlob takes no exponential time", () => {
  const started = performance.now();
  expect(matchesGlob(`${"*a".repeat(40)}*b`, "a".repeat(80))).toBe(false);
  // Exponential would be hours.
  expect(performance.now() - started).toBeLessThan(30_000);
});
