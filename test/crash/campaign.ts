/**
 * `bun test/crash/campaign.ts [--states N] [--seed N]`: crash states of workload after workload until N are
 * checked. A line of progress every 5,000; the first failure ends it with its seed and a non-zero code.
 */
import { parseArgs } from "node:util";
import { runCrashStates } from "./crash-run.ts";

const PROGRESS_STATES = 5000;
const STATES_PER_SEED = 5000;

const { values } = parseArgs({
  options: {
    states: { type: "string", default: "100000" },
    seed: { type: "string", default: "1000" },
  },
});
const wanted = Number(values.states);
let seed = Number(values.seed);
let count = 0;
const startMs = performance.now();
function progress(): void {
  const seconds = (performance.now() - startMs) / 1000;
  const rate = Math.round(count / seconds);
  process.stdout.write(`${count} of ${wanted} states, ${rate}/s, up to seed ${seed}\n`);
}
while (count < wanted) {
  await runCrashStates({
    seed,
    statesMax: Math.min(STATES_PER_SEED, wanted - count),
    pointShare: 1,
    onState: () => {
      if (++count % PROGRESS_STATES === 0) progress();
    },
  });
  seed++;
}
progress();
