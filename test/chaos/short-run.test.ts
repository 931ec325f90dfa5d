/** A short campaign against dkv: everything that `npm run chaos` does for longer, and the recipe of the control. */
import { expect, test } from "bun:test";
import { whyNoZookeeper } from "../support/zookeeper.ts";
import { runChaos } from "./chaos-run.ts";
import { whyNotIsolated } from "./isolation.ts";

const RUN_MS_MAX = 170_000;
const SEED = process.env["DKV_CHAOS_SEED"] ?? "1";
const FAULTS = [
  "kill-writer",
  "isolate-with-client",
  "pause-writer",
  "lagging-failover",
  "hand-over",
  "power-off",
];
const why = whyNoZookeeper() || whyNotIsolated();
if (why !== "") console.warn(`skipped: the fault campaign: ${why}`);

test.skipIf(why !== "")(
  "two sets of three nodes lose nothing that they acknowledged, show nothing old, and serve again after each fault",
  async () => {
    const small = ["--sets", "2", "--zookeepers", "1", "--rate", "150"];
    const { exitCode, report, output } = await runChaos(
      ["--seed", SEED, "--once", "--faults", FAULTS.join(), ...small],
      RUN_MS_MAX,
    );
    if (exitCode !== 0 || report === undefined) throw new Error(output);
    expect(report).toMatchObject({ lost: 0, stale: 0, duplicates: 0, refusedButApplied: 0 });
    expect(report).toMatchObject({ inexplicable: 0, undecided: 0, failures: [] });
    expect(Object.keys(report.faults).sort()).toEqual([...FAULTS].sort());
    expect(report.failovers).toBeGreaterThanOrEqual(3);
    expect(report.acknowledged).toBeGreaterThan(1000);
  },
  RUN_MS_MAX + 10_000,
);
