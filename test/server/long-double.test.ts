/** The 80-bit float: what redis-server 7.0.15 answers to SET f a, INCRBYFLOAT f b, and properties of the format. */
import { expect, test } from "bun:test";
import {
  addLongDoubles,
  formatLongDouble,
  isFiniteLongDouble,
  parseLongDouble,
} from "../../src/server/long-double.ts";

function sum(a: string, b: string): string {
  const total = addLongDoubles(parseLongDouble(a)!, parseLongDouble(b)!);
  return isFiniteLongDouble(total) ? formatLongDouble(total) : "infinite";
}

test("sums come out as Redis prints them", () => {
  const rows: [string, string, string][] = [
    ["0.1", "0.2", "0.3"],
    ["3", "1.1", "4.1"],
    ["5.0e3", "2.0e2", "5200"],
    ["1", "0.00000000000000001", "1.00000000000000001"],
    ["1.5", "-1.5", "0"],
    ["-1e-30", "0", "0"],
    ["1000000000000000000000", "1", "1000000000000000000000"],
    ["18446744073709551615", "0", "18446744073709551615"],
    ["18446744073709551615", "2", "18446744073709551616"],
    ["0x1f", ".5", "31.5"],
    ["1e22", "0", "10000000000000000000000"],
    ["0.000000000000000006", "0", "0.00000000000000001"],
    ["1.18973149535723176502e4932", "1.18973149535723176502e4932", "infinite"],
    ["inf", "1", "infinite"],
  ];
  for (const [a, b, expected] of rows) expect([a, b, sum(a, b)]).toEqual([a, b, expected]);
});

test("parseLongDouble refuses what strtold refuses or cannot hold", () => {
  const texts = [
    "",
    " 1",
    "1 ",
    "abc",
    "1e",
    "1.2.3",
    "1,5",
    "1\0",
    ".",
    "e5",
    "0x",
    "0x.p1",
    "nan",
  ];
  const beyond = [
    "1e5000",
    "-1e5000",
    "1e-5000",
    "0x1p16384",
    "0x1p-16446",
    "1e99999999999999999999",
  ];
  for (const text of [...texts, ...beyond])
    expect([text, parseLongDouble(text)]).toEqual([text, undefined]);
});

test("the smallest and the largest number are held exactly", () => {
  expect(parseLongDouble("0x1p-16445")).toEqual({ mantissa: 1n, exponent: -16_445 });
  expect(parseLongDouble("0x1.8p-16446")).toEqual({ mantissa: 1n, exponent: -16_445 });
  const largest = parseLongDouble("0xffffffffffffffffp16320")!;
  expect(BigInt(formatLongDouble(largest))).toBe((2n ** 64n - 1n) * 2n ** 16_320n);
});

test("integers of 64 bits and their sums are exact", () => {
  let state = 12_345;
  const next = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return BigInt(state);
  };
  for (let i = 0; i < 500; i++) {
    const a = (next() << 30n) ^ next();
    const b = -((next() << 30n) ^ next());
    expect(sum(String(a), String(b))).toBe(String(a + b));
  }
});
