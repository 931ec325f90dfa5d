/**
 * A replica set of production's core, shell and store keeps its promises in every seed, whatever fails; the same seed
 * does the same thing; and a server with a planted bug is caught.
 *
 * DKV_TEST_SIM_SEEDS: seeds of the clean run. DKV_TEST_SIM_SEED: the first of them.
 */
import { describe, expect, test } from "bun:test";
import { clusterScenario, type PlantedBug } from "./cluster-scenario.ts";

const SEEDS = Number(process.env["DKV_TEST_SIM_SEEDS"] ?? 40);
const FIRST_SEED = Number(process.env["DKV_TEST_SIM_SEED"] ?? 1);
const BUG_SEEDS = 400;
const TIMEOUT_MS = 24 * 3_600_000;

test(
  "A set keeps what it acknowledged, is linearizable and comes back, whatever fails",
  () => {
    const kinds = new Set<string>();
    let acknowledged = 0;
    let checkpoints = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const report = clusterScenario().run(seed);
      acknowledged += report.acknowledged;
      checkpoints += report.checkpoints ?? 0;
      for (const kind of report.faults.keys()) kinds.add(kind);
    }
    // A run that does nothing would be clean too.
    expect(acknowledged).toBeGreaterThan(100 * SEEDS);
    expect(kinds.size).toBeGreaterThan(15);
    expect(checkpoints).toBeGreaterThan(SEEDS / 4);
  },
  TIMEOUT_MS,
);

test("A set does the same for the same seed, and something else for another", () => {
  const hashes = new Set<string>();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 5; seed++) {
    const { hash } = clusterScenario().run(seed);
    expect(clusterScenario().run(seed).hash).toBe(hash);
    hashes.add(hash);
  }
  expect(hashes.size).toBe(5);
});

function firstCaught(bug: PlantedBug): string | undefined {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + BUG_SEEDS; seed++) {
    try {
      clusterScenario(bug).run(seed);
    } catch (error) {
      return (error as Error).message;
    }
  }
  return undefined;
}

describe(`within ${BUG_SEEDS} seeds the simulator catches`, () => {
  const bugs: [PlantedBug, RegExp][] = [
    ["read without a lease", /goes back|no order/],
    ["gated replies leave at step-down", /lost|goes back|there 0 times|counter reads|no order/],
  ];
  for (const [bug, message] of bugs) {
    test(
      bug,
      () => {
        expect(firstCaught(bug) ?? "nothing found").toMatch(message);
      },
      TIMEOUT_MS,
    );
  }
});
