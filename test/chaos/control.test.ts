/**
 * The control: the recipe that dkv must pass, given to Redis Cluster, which acknowledges before it replicates. If the
 * checker found nothing here, it would say nothing there.
 */
import { expect, test } from "bun:test";
import { runChaos } from "./chaos-run.ts";
import { whyNotIsolated } from "./isolation.ts";

const RUN_MS_MAX = 120_000;
const noRedis = Bun.which("redis-server") === null ? "no redis-server" : "";
const why = noRedis || whyNotIsolated();
if (why !== "") console.warn(`skipped: the control of the fault campaign: ${why}`);

test.skipIf(why !== "")(
  "a writer cut off together with its client: Redis Cluster loses acknowledged writes, and the checker counts them",
  async () => {
    const { exitCode, report, output } = await runChaos(
      ["--target", "redis", "--once", "--faults", "isolate-with-client", "--seed", "1"],
      RUN_MS_MAX,
    );
    if (report === undefined) throw new Error(`no report:\n${output}`);
    expect(exitCode).toBe(1);
    expect(report.lost).toBeGreaterThan(0);
    expect(report.faults["isolate-with-client"]).toMatchObject({ count: 1, lost: report.lost });
    expect(report).toMatchObject({ duplicates: 0, refusedButApplied: 0, failures: [] });
    expect(report.failovers).toBeGreaterThanOrEqual(1);
    expect(output).toContain("acknowledged writes lost, first:");
  },
  RUN_MS_MAX + 30_000,
);
