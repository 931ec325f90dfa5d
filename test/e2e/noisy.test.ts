/**
 * Ten hostile clients beside one that reads and writes small keys, as `bench noisy` measures it, in a small size. Bounds
 * on time are loose: other work on the machine slows both sides. What is lost, stale or wrong has no tolerance.
 */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { targetKind, Workspace } from "../../bench/harness.ts";
import { measureNoisy } from "../../bench/noisy.ts";

const MIB = 1024 * 1024;
const P99_MS_MAX = 1000;

test("hostile clients neither stall others, nor take more memory than maxmemory, nor cost a key", async () => {
  const parent = mkdtempSync(join(tmpdir(), "dkv-noisy-"));
  const workspace = await Workspace.open({ parent, portBase: 21_730, keep: false });
  try {
    const settings = { fsync: "everysec", maxmemory: "384mb" } as const;
    const server = await workspace.start(targetKind(undefined), settings);
    const sizes = { keys: 50_000, largeBytes: 32 * MIB, seconds: 3, flushIntervalMs: 1000 };
    const result = await measureNoisy(sizes, server);
    const { probe, hostile, rss } = result;
    expect(probe.wrong).toEqual([]);
    expect(hostile.wrong).toEqual([]);
    expect(result.unexplainedMisses).toEqual([]);
    const nothing = { missingKeys: 0, wrongLargeValues: 0, countError: 0 };
    expect(result.afterRun).toEqual(nothing);
    expect(result.afterCrash).toEqual(nothing);
    expect(hostile.counts["FLUSHALL"]).toBeGreaterThan(0);
    expect(hostile.counts["GET, large"]).toBeGreaterThan(0);
    expect(rss.peak).toBeLessThan(384 * MIB);
    expect(probe.p99Ms).toBeLessThan(P99_MS_MAX);
  } finally {
    workspace.close();
    rmSync(parent, { recursive: true, force: true });
  }
}, 40_000);
