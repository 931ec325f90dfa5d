/**
 * The simulator's foundation at work: a single node with production's store keeps its promises in every seed, the
 * same seed does the same thing, and a server or client with a planted bug is caught.
 *
 * DKV_TEST_SIM_SEEDS: seeds of the clean run. DKV_TEST_SIM_SEED: the first of them.
 */
import { describe, expect, test } from "bun:test";
import { kvScenario, type PlantedBug } from "./kv-scenario.ts";

const SEEDS = Number(process.env["DKV_TEST_SIM_SEEDS"] ?? 30);
const FIRST_SEED = Number(process.env["DKV_TEST_SIM_SEED"] ?? 1);
const BUG_SEEDS = 100;
const TIMEOUT_MS = 24 * 3_600_000;

test(
  "Store keeps what it acknowledged and never goes back, whatever fails",
  () => {
    const kinds = new Set<string>();
    let acknowledged = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const report = kvScenario().run(seed);
      acknowledged += report.acknowledged;
      for (const kind of report.faults.keys()) kinds.add(kind);
    }
    // A run that does nothing would be clean too.
    expect(acknowledged).toBeGreaterThan(100 * SEEDS);
    expect(kinds.size).toBeGreaterThan(10);
  },
  TIMEOUT_MS,
);

test("Simulation does the same for the same seed, and something else for another", () => {
  const hashes = new Set<string>();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 5; seed++) {
    const { hash } = kvScenario().run(seed);
    expect(kvScenario().run(seed).hash).toBe(hash);
    hashes.add(hash);
  }
  expect(hashes.size).toBe(5);
});

function firstCaught(bug: PlantedBug): { seed: number; message: string } | undefined {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + BUG_SEEDS; seed++) {
    try {
      kvScenario(bug).run(seed);
    } catch (error) {
      return { seed, message: (error as Error).message };
    }
  }
  return undefined;
}

describe(`within ${BUG_SEEDS} seeds the simulator catches`, () => {
  const bugs: [PlantedBug, RegExp][] = [
    ["acknowledge before sync", /lost|goes back|there 0 times|counter reads|no order/],
    ["retry after an unknown outcome", /there 2 times|counter reads|no order/],
  ];
  for (const [bug, message] of bugs) {
    test(
      bug,
      () => {
        const caught = firstCaught(bug);
        expect(caught?.message ?? "nothing found").toMatch(message);
      },
      TIMEOUT_MS,
    );
  }
});
