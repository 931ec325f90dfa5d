/** A short campaign of interrupted moves of slots: everything that `npm run chaos -- --moves 50` does for longer. */
import { expect, test } from "bun:test";
import { whyNoZookeeper } from "../support/zookeeper.ts";
import { runChaos } from "./chaos-run.ts";
import { whyNotIsolated } from "./isolation.ts";
import { complaintsAboutOwners } from "./move-audit.ts";

const RUN_MS_MAX = 150_000;
const SEED = process.env["DKV_CHAOS_SEED"] ?? "1";
const FAULTS = ["kill-source", "kill-destination", "kill-coordination"];
const why = whyNoZookeeper() || whyNotIsolated();
if (why !== "") console.warn(`skipped: the campaign of interrupted moves: ${why}`);

test.skipIf(why !== "")(
  "moves of slots whose source, destination or coordination dies end, with one owner a slot and nothing lost",
  async () => {
    const small = ["--sets", "2", "--zookeepers", "1", "--rate", "150"];
    const chosen = ["--moves", `${FAULTS.length}`, "--once", "--faults", FAULTS.join()];
    const { exitCode, report, output } = await runChaos(
      ["--seed", SEED, ...chosen, ...small],
      RUN_MS_MAX,
    );
    if (exitCode !== 0 || report === undefined) throw new Error(output);
    expect(report).toMatchObject({ lost: 0, stale: 0, duplicates: 0, refusedButApplied: 0 });
    expect(report).toMatchObject({ inexplicable: 0, undecided: 0, failures: [] });
    expect(report.moves!.interrupted).toBe(FAULTS.length);
    expect(Object.keys(report.moves!.byKind).sort()).toEqual([...FAULTS].sort());
    expect(report.moves!.count).toBeGreaterThan(20);
    expect(report.failovers).toBeGreaterThanOrEqual(2);
  },
  RUN_MS_MAX + 10_000,
);

test("a slot that no set has, or two, is complained about", () => {
  expect(complaintsAboutOwners([["a"], [], ["a", "b"], ["b"]])).toEqual([
    "slot 1 has 0 owners: ",
    "slot 2 has 2 owners: a,b",
  ]);
});
