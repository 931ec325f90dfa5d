/**
 * Replicas beside a writer, with everything that a cluster may do to them: batches of any size, commits of any part, kills,
 * other writers, truncations. DKV_REPLICATION_RUNS sets how many runs there are, DKV_REPLICATION_SEED where they begin.
 */
import { expect, test } from "bun:test";
import { seededRandom } from "../support/crash-states.ts";
import { World } from "./replicated-nodes.ts";
import { step } from "./replicated-steps.ts";

const RUNS = Number(process.env["DKV_REPLICATION_RUNS"] ?? 12);
const FIRST_SEED = Number(process.env["DKV_REPLICATION_SEED"] ?? 1);
const STEPS = 250;
const KIB = 1024;

test("replicas show exactly what is committed, and all nodes end up the same", async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
    const random = seededRandom(seed);
    const world = new World({
      random,
      policy: seed % 2 === 0 ? "always" : "no",
      segmentBytes: 128 * KIB,
      segmentCounts: [3 + (seed % 3), 4, 3],
    });
    try {
      await world.open();
      for (let i = 0; i < STEPS; i++) await step(world);
      await world.converge();
      await world.elect(world.successor());
      await world.converge();
      await world.close();
    } catch (cause) {
      throw new Error(`seed ${seed}: ${(cause as Error).message}`, { cause });
    }
  }
  expect(RUNS).toBeGreaterThan(0);
}, 120_000);
