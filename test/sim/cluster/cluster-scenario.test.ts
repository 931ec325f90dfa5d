/**
 * Clusters of production's core, shell and store keep their promises in every seed, whatever fails; and the same seed
 * does the same thing.
 *
 * DKV_TEST_SIM_SEEDS: seeds of the clean run. DKV_TEST_SIM_SEED: the first of them.
 */
import { describe, expect, test } from "bun:test";
import { clusterScenario } from "./cluster-scenario.ts";
import type { AnyFaultKind } from "./cluster-swarm.ts";

const SEEDS = Number(process.env["DKV_TEST_SIM_SEEDS"] ?? 200);
const FIRST_SEED = Number(process.env["DKV_TEST_SIM_SEED"] ?? 1);
const TIMEOUT_MS = 24 * 3_600_000;

test(
  `a cluster keeps what it acknowledged, is linearizable and comes back, ${SEEDS} seeds`,
  () => {
    const kinds = new Set<string>();
    let acknowledged = 0;
    let checkpoints = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const report = clusterScenario().run(seed);
      acknowledged += report.acknowledged;
      checkpoints += report.counts?.get("checkpoints") ?? 0;
      for (const kind of report.faults.keys()) kinds.add(kind);
    }
    // A run that does nothing would be clean too.
    expect(acknowledged).toBeGreaterThan(100 * SEEDS);
    expect(kinds.size).toBeGreaterThan(20);
    expect(checkpoints).toBeGreaterThan(SEEDS / 40);
  },
  TIMEOUT_MS,
);

test(
  "a cluster does the same for the same seed, and something else for another",
  () => {
    const hashes = new Set<string>();
    for (let seed = FIRST_SEED; seed < FIRST_SEED + 5; seed++) {
      const { hash } = clusterScenario().run(seed);
      expect(clusterScenario().run(seed).hash).toBe(hash);
      hashes.add(hash);
    }
    expect(hashes.size).toBe(5);
  },
  TIMEOUT_MS,
);

describe("a cluster survives, again and again,", () => {
  /** What failed once, or is rare among all that may happen. */
  const themes: [AnyFaultKind, number[]][] = [
    // A tail that nobody had synced was called durable by the writer's later frames, and taken for damage.
    ["unsynced power", [5, 7, 8, 12]],
    ["wiped disk", [1, 2, 3]],
    ["lost node", [1, 2, 3]],
  ];
  for (const [theme, seeds] of themes) {
    test(
      theme,
      () => {
        for (const seed of seeds) {
          const { faults } = clusterScenario(theme).run(seed);
          expect([...faults.keys()].filter((kind) => kind !== theme)).toEqual([]);
        }
      },
      TIMEOUT_MS,
    );
  }
});
