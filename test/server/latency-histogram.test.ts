/** Durations by bucket: two digits right, and the steps that LATENCY HISTOGRAM prints. */
import { describe, expect, test } from "bun:test";
import { LatencyHistogram } from "../../src/server/latency-histogram.ts";

describe("LatencyHistogram", () => {
  test("keeps every duration right to one part in 128", () => {
    for (let micros = 0.001; micros < 2_000_000; micros *= 1.37) {
      const histogram = new LatencyHistogram();
      histogram.record(micros, 1);
      const nanos = Math.round(micros * 1000);
      const read = histogram.percentile(50);
      expect(read).toBeGreaterThanOrEqual(nanos);
      expect(read).toBeLessThanOrEqual(nanos * (1 + 1 / 128) + 1);
    }
  });

  test("percentile() counts calls by their weight", () => {
    const histogram = new LatencyHistogram();
    histogram.record(10, 990);
    histogram.record(5000, 9);
    histogram.record(90_000, 1);
    expect(histogram.count).toBe(1000);
    expect(histogram.percentile(50)).toBeWithin(10_000, 10_100);
    expect(histogram.percentile(99)).toBeWithin(10_000, 10_100);
    expect(histogram.percentile(99.9)).toBeWithin(5_000_000, 5_050_000);
    expect(histogram.percentile(100)).toBeWithin(90_000_000, 91_000_000);
  });

  test("cumulative() steps by powers of two and ends with all calls", () => {
    const histogram = new LatencyHistogram();
    for (const micros of [0.5, 1.5, 3, 3, 20, 100]) histogram.record(micros, 1);
    expect(histogram.cumulative()).toEqual([
      [1, 1],
      [2, 2],
      [4, 4],
      [33, 5],
      [132, 6],
    ]);
    expect(new LatencyHistogram().cumulative()).toEqual([]);
  });

  test("longer than it can tell is its longest", () => {
    const histogram = new LatencyHistogram();
    histogram.record(60_000_000, 1);
    expect(histogram.percentile(50)).toBe(2 ** 31 - 1);
    expect(histogram.cumulative()).toEqual([[2_147_483, 1]]);
  });
});
