/** Patterns of KEYS and SCAN; the expected answers are redis-server 7.0's. */
import { describe, expect, test } from "bun:test";
import { Glob } from "../../src/base/glob.ts";

function matches(pattern: string, text: string): boolean {
  const bytes = Buffer.from(text, "latin1");
  return new Glob(Buffer.from(pattern, "latin1")).matches(bytes, 0, bytes.length);
}

const CASES: [pattern: string, text: string, expected: boolean][] = [
  ["", "", true],
  ["", "a", false],
  ["a", "", false],
  // KEYS * is no match but a listing of everything: the empty key matches no stars.
  ["*", "", false],
  ["**", "", false],
  ["**", "a", true],
  ["a**", "a", true],
  ["*a*b", "xaxaxb", true],
  ["*a*b", "xaxaxbc", false],
  ["a?b", "a\0b", true],
  ["a?b", "ab", false],
  ["[a-c]x", "bx", true],
  ["[c-a]x", "bx", true],
  ["[^a-c]x", "bx", false],
  ["[^a-c]x", "dx", true],
  ["[abc", "c", true],
  ["[^", "x", true],
  ["[", "[", false],
  ["a[]b", "ab", false],
  ["a[^]b", "axb", true],
  // A range to the bracket: the class does not end there.
  ["[a-]", "-", false],
  ["[a-]", "^", true],
  ["[a-]", "b", false],
  ["[\\]]", "]", true],
  // An escaped byte starts no range.
  ["[\\a-c]", "b", false],
  ["[\\a-c]", "-", true],
  ["\\*", "*", true],
  ["\\*", "a", false],
  ["a\\", "a\\", true],
  // Bytes above 127 are negative.
  ["[\x80-\x7f]", "a", true],
  ["[a-\x80]", "b", false],
  ["[a-\x80]", "\0", true],
  ["[\x80-\xff]", "\xc3", true],
];

describe("Glob.matches", () => {
  for (const [pattern, text, expected] of CASES) {
    const relation = expected ? "matches" : "does not match";
    test(`${JSON.stringify(pattern)} ${relation} ${JSON.stringify(text)}`, () => {
      expect(matches(pattern, text)).toBe(expected);
    });
  }

  test("looks at its range of the bytes only", () => {
    const glob = new Glob(Buffer.from("b*"));
    expect(glob.matches(Buffer.from("abcab"), 1, 3)).toBe(true);
    expect(glob.matches(Buffer.from("abcab"), 2, 5)).toBe(false);
  });

  test("takes a bounded number of steps, whatever pattern and key", () => {
    const key = Buffer.alloc(65_535, "a");
    for (const pattern of [
      `${"*a".repeat(1000)}b`,
      `*${"a".repeat(30_000)}b`,
      `*${"[a-z]".repeat(9000)}b`,
    ]) {
      const glob = new Glob(Buffer.from(pattern));
      expect(glob.matches(key, 0, key.length)).toBe(false);
      expect(glob.steps).toBeLessThan(2_000_000);
    }
  });
});

test("Glob.isEverything is the single star", () => {
  expect(new Glob(Buffer.from("*")).isEverything).toBe(true);
  expect(new Glob(Buffer.from("**")).isEverything).toBe(false);
  expect(new Glob(Buffer.from("")).isEverything).toBe(false);
});
