/**
 * The comparison benchmark as a tool: it runs, prints figures for both servers, checks budgets and saves results.
 *
 * Runs in smoke size against two redis-servers, so it needs nothing of dkv; figures are not judged.
 */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { comparisonBudgets } from "../../bench/compare/budgets.ts";
import { parseCsv } from "../../bench/load/redis-benchmark.ts";
import { type Comparison, type Measurement, verdict } from "../../bench/report.ts";

const BENCH = join(import.meta.dir, "../../bench/main.ts");
const REDIS_AS_TARGET =
  "redis-server --port {port} --dir {dir} --appendonly yes --appendfsync {fsync}";
const SMOKE_DEADLINE_MS = 60_000;

const missing = ["redis-server", "redis-benchmark"].filter((name) => Bun.which(name) === null);
if (missing.length > 0) console.log(`skipped: the smoke benchmark needs ${missing.join(", ")}`);

test.skipIf(missing.length > 0)(
  "bench --smoke measures both servers and saves every cell",
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "dkv-bench-test-"));
    const out = join(directory, "results.json");
    const flags = ["--smoke", "--out", out, "--dir", directory, "--target", REDIS_AS_TARGET];
    const bench = Bun.spawn([process.execPath, BENCH, ...flags], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [output, errors] = await Promise.all([
      new Response(bench.stdout).text(),
      new Response(bench.stderr).text(),
      bench.exited,
    ]);
    expect(bench.exitCode, errors).toBe(0);
    expect(output).toMatch(/GET(?: \*)? +64 B +16 +[\d.]+ +[\d.]+ +[\d.]+/);
    const results = await Bun.file(out).json();
    rmSync(directory, { recursive: true });
    expect(results.cells).toHaveLength(7);
    for (const cell of results.cells as Comparison[]) {
      expect(cell.target.operationsPerSecond).toBeGreaterThan(0);
      expect(cell.peer?.operationsPerSecond).toBeGreaterThan(0);
    }
    for (const rate of Object.values(results.hits)) expect(rate).toBe(1);
  },
  SMOKE_DEADLINE_MS,
);

test("parseCsv reads rate and percentiles of the last line", () => {
  const header = '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms"';
  const output = `${header}\n"SET","200000.00","0.8","0.1","0.743","1.703","1.839","1.935"\n`;
  expect(parseCsv(output, 1000)).toEqual({
    operations: 1000,
    seconds: 0.005,
    p50Ms: 0.743,
    p99Ms: 1.839,
  });
});

test("parseCsv refuses output without a measurement", () => {
  expect(parseCsv('"test","rps","avg_latency_ms","min_latency_ms"\n', 1000)).toBeUndefined();
});

test("comparisonBudgets judges the ratio of the matching cell only", () => {
  const measured = (operationsPerSecond: number): Measurement => ({
    operationsPerSecond,
    p50Ms: 1,
    p99Ms: 1,
    cpuMicros: 1,
    otherCores: 0,
  });
  const cell: Comparison = {
    workload: "set",
    valueBytes: 64,
    pipeline: 64,
    fsync: "everysec",
    target: measured(150),
    peer: measured(100),
    rounds: { target: [], peer: [] },
  };
  const verdicts = comparisonBudgets([cell, { ...cell, workload: "get", valueBytes: 1024 }])
    .filter((check) => check.what.includes("pipeline 64: throughput"))
    .map((check) => [check.what.slice(0, 3), check.measured, verdict(check)]);
  expect(verdicts).toEqual([
    ["SET", 1.5, "MISSED"],
    ["GET", undefined, "not measured"],
  ]);
});

test("comparisonBudgets marks what others disturbed", () => {
  const quiet = { operationsPerSecond: 1, p50Ms: 1, p99Ms: 1, cpuMicros: 1, otherCores: 0.05 };
  const cell: Comparison = {
    workload: "set",
    valueBytes: 64,
    pipeline: 64,
    fsync: "everysec",
    target: quiet,
    peer: { ...quiet, otherCores: 0.9 },
    rounds: { target: [], peer: [] },
  };
  const marks = comparisonBudgets([cell]).filter((check) => check.isDisturbed);
  expect(marks.map((check) => check.what)).toEqual([
    "SET 64 B, everysec, pipeline 64: throughput ratio",
    "SET 64 B, everysec, pipeline 64: cpu ratio",
  ]);
});
