/** Arguments: integers at the borders of exactness and of int64, words in any case, times and their overflow. */
import { expect, test } from "bun:test";
import {
  EX,
  EXAT,
  exactlyIntegerAt,
  integerAt,
  isWord,
  PX,
  PXAT,
  timeArgument,
} from "../../src/server/arguments.ts";
import { requestOf } from "../support/request-support.ts";

const NOW = 1_700_000_000_000;
const INT64_MAX = "9223372036854775807";

function integer(text: string): number {
  const bytes = Buffer.from(`x${text}x`, "latin1");
  return integerAt(bytes, 1, bytes.length - 1);
}

function exact(text: string): bigint | undefined {
  const bytes = Buffer.from(text, "latin1");
  return exactlyIntegerAt(bytes, 0, bytes.length);
}

test("integerAt reads what string2ll reads", () => {
  for (const value of [
    0,
    1,
    -1,
    9,
    10,
    -10,
    42,
    2 ** 31,
    -(2 ** 31),
    2 ** 53 - 1,
    -(2 ** 53) + 1,
  ]) {
    expect(integer(String(value))).toBe(value);
  }
});

test("integerAt takes nothing else for an integer", () => {
  const texts = ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "1\0", "abc"];
  const beyond = [
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999",
    "1".repeat(40),
  ];
  for (const text of [...texts, ...beyond]) expect(integer(text)).toBeNaN();
});

test("integerAt gives infinity beyond 2^53, exactlyIntegerAt the value", () => {
  for (const text of ["9007199254740992", "9007199254740993", "10000000000000000", INT64_MAX]) {
    expect(integer(text)).toBe(Number.POSITIVE_INFINITY);
    expect(exact(text)).toBe(BigInt(text));
    expect(integer(`-${text}`)).toBe(Number.NEGATIVE_INFINITY);
    expect(exact(`-${text}`)).toBe(-BigInt(text));
  }
  expect(integer("-9223372036854775808")).toBe(Number.NEGATIVE_INFINITY);
  expect(exact("9223372036854775808")).toBeUndefined();
});

test("isWord ignores the case of letters and of nothing else", () => {
  const request = requestOf("KeepTtl", "no-touch", "no\rtouch", "NO-TOUCH", "keepttlx", "");
  expect(isWord(request, 0, "keepttl")).toBe(true);
  expect(isWord(request, 1, "no-touch")).toBe(true);
  expect(isWord(request, 2, "no-touch")).toBe(false);
  expect(isWord(request, 3, "no-touch")).toBe(true);
  expect(isWord(request, 4, "keepttl")).toBe(false);
  expect(isWord(request, 5, "keepttl")).toBe(false);
});

test("timeArgument adds and scales within int64", () => {
  const time = (text: string, form: typeof EX) => timeArgument(requestOf(text), 0, form, NOW);
  expect(time("10", EX)).toBe(NOW + 10_000);
  expect(time("-10", PX)).toBe(NOW - 10);
  expect(time("10", EXAT)).toBe(10_000);
  expect(time("10", PXAT)).toBe(10);
  expect(time("1.5", EX)).toBeNaN();
  expect(time("9223372036854775808", PXAT)).toBeNaN();
  expect(time("9223372036854775", EX)).toBe(Number.POSITIVE_INFINITY);
  expect(time("9223372036854776", EXAT)).toBe(Number.POSITIVE_INFINITY);
  expect(time("-9223372036854776", EXAT)).toBe(Number.POSITIVE_INFINITY);
  expect(time(INT64_MAX, PX)).toBe(Number.POSITIVE_INFINITY);
  // Valid for Redis, later than any exact number of milliseconds.
  expect(time("9223372036854775", EXAT)).toBe(Number.MAX_SAFE_INTEGER);
  expect(time(INT64_MAX, PXAT)).toBe(Number.MAX_SAFE_INTEGER);
  expect(time("2000000000000", PXAT)).toBe(2e12);
});
