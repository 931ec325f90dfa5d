/**
 * `bench ycsb` and `bench large` as tools, in smoke size against redis-server: they run, verify and save; figures are not judged.
 */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ratesBySecond, sizeBytes } from "../../bench/large.ts";
import { largeBudgets } from "../../bench/large-report.ts";
import { verdict } from "../../bench/report.ts";

const BENCH = join(import.meta.dir, "../../bench/main.ts");
const REDIS_AS_TARGET =
  "redis-server --port {port} --dir {dir} --appendonly yes --appendfsync {fsync}";
const SMOKE_DEADLINE_MS = 60_000;
const hasRedis = Bun.which("redis-server") !== null;
if (!hasRedis) console.log("skipped: the smoke benchmarks need redis-server");

async function smoke(...flags: string[]): Promise<{ output: string; results: SavedResults }> {
  const directory = mkdtempSync(join(tmpdir(), "dkv-bench-test-"));
  const out = join(directory, "results.json");
  const common = ["--smoke", "--out", out, "--dir", directory, "--target", REDIS_AS_TARGET];
  const bench = Bun.spawn([process.execPath, BENCH, ...flags, ...common], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([
    new Response(bench.stdout).text(),
    new Response(bench.stderr).text(),
    bench.exited,
  ]);
  expect(bench.exitCode, errors).toBe(0);
  const results = (await Bun.file(out).json()) as SavedResults;
  rmSync(directory, { recursive: true });
  return { output, results };
}

interface SavedResults {
  cells: { workload: string; target: { operationsPerSecond: number } }[];
  result: Parameters<typeof largeBudgets>[0];
}

test.skipIf(!hasRedis)(
  "bench ycsb --smoke runs the five workloads",
  async () => {
    const { output, results } = await smoke("ycsb", "--peer", "none");
    expect(results.cells.map((cell) => cell.workload)).toEqual(["a", "b", "c", "f", "d"]);
    for (const cell of results.cells) expect(cell.target.operationsPerSecond).toBeGreaterThan(0);
    expect(output).toMatch(/^D(?: \*)? +1000 B +16 +[\d.]+/m);
  },
  SMOKE_DEADLINE_MS,
);

test.skipIf(!hasRedis)(
  "bench large --smoke counts keys exactly and survives the crash",
  async () => {
    const { output, results } = await smoke("large", "--keys", "5000", "--log-pattern", "aof$");
    const { sizes, restart, phases, memory } = results.result;
    expect(sizes).toEqual({ afterLoad: 5000, afterOverwrite: 5000, afterRestart: 5000 });
    expect(restart.missing).toBe(0);
    expect(restart.logBytes).toBeGreaterThan(5000 * 100);
    expect(memory.rssBytes).toBeGreaterThan(1 << 20);
    expect(phases.map((phase) => phase.load.misses)).toEqual([0, 0, 0, 0]);
    expect(phases.every((phase) => phase.probe.count > 0)).toBe(true);
    expect(output).toContain("space amplification");

    const broken = { ...results.result, sizes: { ...sizes, afterRestart: 4999 } };
    const missed = largeBudgets(broken, 512 * 2 ** 20).filter(
      (check) => verdict(check) === "MISSED",
    );
    expect(missed.map((check) => check.what)).toContain("DBSIZE, keys away from the truth");
  },
  SMOKE_DEADLINE_MS,
);

test("ratesBySecond takes running totals apart", () => {
  const samples = [
    { operations: 50, seconds: 0.5 },
    { operations: 100, seconds: 1 },
    { operations: 400, seconds: 2.5 },
  ];
  expect(ratesBySecond(samples)).toEqual([100, 200]);
});

test("sizeBytes reads sizes as Redis does", () => {
  expect(["100", "64k", "1kb", "512mb", "1G"].map(sizeBytes)).toEqual([
    100, 64_000, 1024, 536_870_912, 1e9,
  ]);
  expect(() => sizeBytes("lots")).toThrow("not a size");
});
