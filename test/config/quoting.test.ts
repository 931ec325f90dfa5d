/** The line syntax of configuration files. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { quoteArgument, splitArguments } from "../../src/config/quoting.ts";

describe("splitArguments", () => {
  const cases: [string, string[] | undefined][] = [
    ["", []],
    ["  port   6379\t", ["port", "6379"]],
    ['requirepass "a b"', ["requirepass", "a b"]],
    ['x ""', ["x", ""]],
    [String.raw`x "\x41\n\t\"\\\q"`, ["x", 'A\n\t"\\q']],
    ['x "\\xc3\\xa4" ä', ["x", "ä", "ä"]],
    [String.raw`x "\x4"`, ["x", "x4"]],
    [String.raw`x 'it\'s \n'`, ["x", String.raw`it's \n`]],
    ['x ab"c d"', ["x", "abc d"]],
    ['x "abc', undefined],
    ["x 'abc", undefined],
    ['x "a"b', undefined],
    ["x 'a'b", undefined],
    ['x "a\\"', undefined],
  ];
  for (const [line, expected] of cases) {
    test(`splits ${line}`, () => {
      expect(splitArguments(line)).toEqual(expected as string[]);
    });
  }
});

test("quoteArgument is undone by splitArguments", () => {
  const argument = fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }));
  fc.assert(
    fc.property(fc.array(argument), (args) => {
      expect(splitArguments(args.map(quoteArgument).join(" "))).toEqual(args);
    }),
  );
});

test("quoteArgument leaves plain words alone and escapes like Redis", () => {
  expect(quoteArgument("/var/lib/dkv")).toBe("/var/lib/dkv");
  expect(quoteArgument("")).toBe('""');
  expect(quoteArgument("a b\x07\x01ä")).toBe(String.raw`"a b\a\x01\xc3\xa4"`);
  expect(quoteArgument("#x")).toBe('"#x"');
});
