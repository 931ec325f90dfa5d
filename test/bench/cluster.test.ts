/** `bench cluster` as a tool, in smoke size: it runs against real servers, verifies and saves; figures are not judged. */

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterBudgets, percentile } from "../../bench/cluster/cluster-report.ts";
import { ConstantLoad } from "../../bench/cluster/constant-load.ts";
import type { FailoverRun, TakeoverResult } from "../../bench/cluster/takeover.ts";
import { assemble } from "../../bench/cluster/timeline.ts";
import { verdict } from "../../bench/report.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const BENCH = join(import.meta.dir, "../../bench/main.ts");
const SMOKE_DEADLINE_MS = 170_000;
const missing = Bun.which("redis-server") === null ? "no redis-server" : whyNoZookeeper();
if (missing !== "") console.log(`skipped: the smoke benchmark of a cluster: ${missing}`);

test.skipIf(missing !== "")(
  "bench cluster --smoke measures both groups and takeovers, and loses nothing",
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "dkv-bench-test-"));
    const out = join(directory, "results.json");
    const parts = ["--only", "quorum,failover,handover", "--fsync", "everysec"];
    const flags = ["cluster", "--smoke", ...parts, "--out", out, "--dir", directory];
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
    expect(output).toMatch(/everysec(?: \*)? +16 +[\d.]+ +[\d.]+ +[\d.]+/);
    const { quorum, takeovers } = await Bun.file(out).json();
    rmSync(directory, { recursive: true });
    expect(quorum).toHaveLength(1);
    expect(quorum[0].target.operationsPerSecond).toBeGreaterThan(0);
    expect(quorum[0].peer.operationsPerSecond).toBeGreaterThan(0);
    expect(quorum[0].target.groupCpuMicros).toBeGreaterThanOrEqual(quorum[0].target.cpuMicros);
    const { failovers, handovers, acknowledged, lostAtTheEnd } = takeovers as TakeoverResult;
    expect(failovers.map(({ lost }) => lost)).toEqual([0]);
    expect(failovers[0]!.timeline!.sealMs).toBeGreaterThanOrEqual(0);
    expect(handovers.map(({ kind }) => kind)).toEqual(["stop", "request"]);
    for (const { failures, lost } of handovers) expect([failures, lost]).toEqual([{}, 0]);
    expect(acknowledged).toBeGreaterThan(100);
    expect(lostAtTheEnd).toBe(0);
  },
  SMOKE_DEADLINE_MS,
);

test("ConstantLoad sees a pause, failures, lost writes and wrong reads", async () => {
  const values = new Map<string, string>();
  let isPaused = false;
  let count = 0;
  const client = {
    async set(key: string, value: string) {
      while (isPaused) await Bun.sleep(1);
      if (++count === 5) throw new Error("no");
      values.set(key, value);
    },
    get: (key: string) => Promise.resolve(values.get(key) ?? null),
    close: () => undefined,
  };
  const load = new ConstantLoad(client, "k");
  load.start();
  await load.nextAcknowledgement();
  await Bun.sleep(50);
  expect(load.mark().commands).toBeGreaterThan(5);
  isPaused = true;
  const pausedAt = performance.now();
  await Bun.sleep(100);
  const next = load.nextAcknowledgement();
  isPaused = false;
  const pausedMs = (await next) - pausedAt;
  expect(pausedMs).toBeGreaterThanOrEqual(100);
  await load.stop();
  // Of a command that was sent when it began; on a busy machine the first one comes later.
  expect(load.mark().longestMs).toBeGreaterThanOrEqual(50);
  expect(load.failures).toEqual(["no"]);
  expect(load.wrongReads).toEqual([]);
  expect(await load.readBack(client)).toEqual([]);
  values.delete(load.acknowledged[2]!);
  expect(await load.readBack(client)).toEqual([load.acknowledged[2]!]);
});

test("a timeline is of the claim that succeeded", () => {
  const line = (ms: number, msg: string, epoch?: number) => ({
    ...{ time: new Date(ms).toISOString(), msg },
    ...(epoch === undefined ? {} : { epoch }),
  });
  const lines = [
    line(1100, "claiming epoch 2", 2),
    line(1150, "claiming epoch 3", 3),
    line(1700, "epoch 3: abc has the best log, up to 7", 3),
    line(1720, "the writer of its replica set", 3),
  ];
  expect(assemble(lines, 1000, 1740)).toEqual({
    ...{ noticeMs: 150, sealMs: 550, startMs: 20, clientMs: 20 },
  });
  expect(assemble(lines.slice(0, 3), 1000, 1740)).toBeUndefined();
});

test("clusterBudgets judges medians, and everything that was lost", () => {
  const of: Omit<FailoverRun, "resumedMs"> = {
    ...{ client: "ioredis", acknowledged: 9, lost: 0, wrongReads: ["by a replica"], failures: {} },
    timeline: undefined,
  };
  const handover = { ...of, kind: "stop", requests: 1, usualMs: 1, ownLagMs: 1 } as const;
  const result: TakeoverResult = {
    failovers: [700, 800, 9000].map((resumedMs) => ({ ...of, resumedMs })),
    handovers: [{ ...handover, pauseMs: 101, wrongReads: [], failures: { no: 2 } }],
    ...{ acknowledged: 36, lostAtTheEnd: 1 },
  };
  const verdicts = clusterBudgets([], result).map((check) => [check.measured, verdict(check)]);
  expect(verdicts).toEqual([
    [undefined, "not measured"],
    [800, "ok"],
    [101, "MISSED"],
    [undefined, "not measured"],
    [2, "MISSED"],
    [1, "MISSED"],
    [0, "ok"],
  ]);
  expect(percentile([3, 1, 2], 99)).toBe(3);
});
