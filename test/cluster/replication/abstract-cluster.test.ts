import { expect, test } from "bun:test";
import { AbstractCluster } from "./abstract-cluster.ts";

const SEEDS = Number(process.env["DKV_SIM_SEEDS"] ?? 300);
const FIRST = Number(process.env["DKV_SIM_SEED"] ?? 1);

function runSeed(seed: number) {
  try {
    return new AbstractCluster(seed).run();
  } catch (error) {
    throw new Error(`DKV_SIM_SEED=${seed} DKV_SIM_SEEDS=1 shows it again`, { cause: error });
  }
}

test(
  `replication keeps its invariants and comes back to life, ${SEEDS} seeds`,
  () => {
    let acknowledged = 0;
    let epochs = 0;
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      const report = runSeed(seed);
      acknowledged += report.acknowledged;
      epochs += report.epochs;
    }
    expect(acknowledged).toBeGreaterThan(SEEDS);
    expect(epochs).toBeGreaterThanOrEqual(SEEDS);
  },
  24 * 3600 * 1000,
);

test("a seed runs the same way every time", () => {
  for (const seed of [3, 33, 333]) expect(runSeed(seed)).toEqual(runSeed(seed));
});
