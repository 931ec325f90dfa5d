/**
 * `bun test/crash/kill-campaign.ts [--rounds N] [--seed N]`: servers under load, killed N times in all and verified
 * after each start. A line of progress every ten rounds; the first failure ends it and leaves the directory.
 */
import { parseArgs } from "node:util";
import { runKills } from "./kill-run.ts";

/** Rounds on one directory. */
const ROUNDS_EACH = 10;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
  },
});
const wanted = Number(values.rounds);
let seed = Number(values.seed);
let rounds = 0;
let answered = 0;
while (rounds < wanted) {
  const count = Math.min(ROUNDS_EACH, wanted - rounds);
  answered += await runKills({
    seed,
    rounds: count,
    policy: seed % 2 === 0 ? "always" : "everysec",
    deletesAll: seed % 5 === 0,
  });
  rounds += count;
  seed++;
  process.stdout.write(`${rounds} of ${wanted} rounds, ${answered} commands answered and found\n`);
}
