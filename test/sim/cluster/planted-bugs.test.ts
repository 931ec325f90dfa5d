/**
 * The scenario "cluster" finds what is planted into copies of the source. What takes many seeds is looked for with
 * DKV_PLANTED_SEEDS=2000 only; docs/simulation.md says how many each one took.
 */
import { expect, test } from "bun:test";
import { importWithBug } from "../planted-source.ts";
import type { clusterScenario } from "./cluster-scenario.ts";
import { CLUSTER_BUGS, type ClusterBug } from "./planted-bugs.ts";

const SEEDS_MAX = Number(process.env["DKV_PLANTED_SEEDS"] ?? 0);
const SEEDS_SHORT = 60;
const TIMEOUT_MS = 24 * 3_600_000;

interface PlantedModule {
  readonly clusterScenario: typeof clusterScenario;
}

/** The first seed whose run shows the bug. */
async function seedsNeeded(bug: ClusterBug, max: number): Promise<number | undefined> {
  const planted = await importWithBug(bug, "test/sim/cluster/cluster-scenario.ts");
  const scenario = (planted as PlantedModule).clusterScenario(bug.theme);
  for (let seed = 1; seed <= max; seed++) {
    try {
      scenario.run(seed);
    } catch {
      return seed;
    }
  }
  return undefined;
}

for (const bug of CLUSTER_BUGS) {
  const isLeftOut = SEEDS_MAX === 0 && bug.isRare === true;
  test(
    `the simulation finds: ${bug.name}${isLeftOut ? " (planted, run by DKV_PLANTED_SEEDS=2000)" : ""}`,
    async () => {
      const seeds = await seedsNeeded(bug, isLeftOut ? 0 : Math.max(SEEDS_MAX, SEEDS_SHORT));
      expect(seeds === undefined).toBe(isLeftOut);
    },
    TIMEOUT_MS,
  );
}
