/** A dkv process killed at random moments loses nothing that it answered; kill-campaign.ts does many more rounds. */
import { expect, test } from "bun:test";
import { runKills } from "./kill-run.ts";

const TIMEOUT_MS = 300_000;
const SEED = Number(process.env["DKV_KILL_SEED"] ?? 1);

for (const [policy, deletesAll, rounds] of [
  ["always", false, 2],
  ["everysec", false, 2],
  ["everysec", true, 2],
] as const) {
  const what = deletesAll ? " with FLUSHALL" : "";
  test(
    `a killed server has all that it answered: appendfsync ${policy}${what}`,
    async () => {
      expect(await runKills({ seed: SEED, rounds, policy, deletesAll })).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
}
