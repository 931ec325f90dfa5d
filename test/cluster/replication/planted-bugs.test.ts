import { expect, test } from "bun:test";
import { AbstractCluster, type MemberClass } from "./abstract-cluster.ts";
import { loadWithBug, PLANTED_BUGS } from "./planted-bugs.ts";

/** The campaign's bound; without it only what shows soon is looked for in every run. */
const SEEDS_MAX = Number(process.env["DKV_PLANTED_SEEDS"] ?? 0);
const SEEDS_SHORT = 100;
/** Bugs that take a rare history: found within 2,000 seeds each by a campaign. */
const RARE = new Set(PLANTED_BUGS.filter((bug) => bug.isRare === true).map((bug) => bug.name));

/** The first seed whose run shows the bug. */
function seedsNeeded(member: MemberClass, max: number): number | undefined {
  for (let seed = 1; seed <= max; seed++) {
    try {
      new AbstractCluster(seed, member).run();
    } catch {
      return seed;
    }
  }
  return undefined;
}

for (const bug of PLANTED_BUGS) {
  const isLeftOut = SEEDS_MAX === 0 && RARE.has(bug.name);
  test(`the simulation finds: ${bug.name}${isLeftOut ? " (planted, run by DKV_PLANTED_SEEDS=2000)" : ""}`, async () => {
    const member = await loadWithBug(bug);
    if (isLeftOut) return;
    const seeds = seedsNeeded(member, Math.max(SEEDS_MAX, SEEDS_SHORT));
    expect(seeds).toBeDefined();
  }, 600_000);
}
