/**
 * `npm run fuzz [-- seconds [paths]]`: the randomised tests over and over with fresh seeds until the time is up
 * or one fails. Every round passes a new base seed in DKV_FUZZ_SEED; a failing test prints its own. Default: 60
 * seconds, all of test/fuzz.
 */
import { spawnSync } from "node:child_process";
import { findBun, installPackages, ROOT, say } from "./toolchain.mjs";

const DEFAULT_SECONDS = 60;
/** Cases per test and round, unless DKV_FUZZ_RUNS is set. */
const RUNS = "500";

const [seconds = String(DEFAULT_SECONDS), ...paths] = process.argv.slice(2);
if (!(Number(seconds) > 0)) {
  say("usage: npm run fuzz [-- seconds [paths]]");
  process.exit(1);
}
installPackages({ dev: true });
const bun = findBun();
const end = performance.now() + Number(seconds) * 1000;
let rounds = 0;
while (performance.now() < end) {
  const args = ["test", "--timeout=600000", ...(paths.length === 0 ? ["./test/fuzz"] : paths)];
  const seed = String(Math.floor(Math.random() * 2 ** 31));
  const env = { DKV_FUZZ_RUNS: RUNS, ...process.env, DKV_FUZZ_SEED: seed };
  const result = spawnSync(bun, args, { cwd: ROOT, stdio: "inherit", env });
  rounds++;
  if (result.status !== 0) {
    say(`dkv: fuzz round ${rounds} failed with DKV_FUZZ_SEED=${seed}`);
    process.exit(1);
  }
}
say(`dkv: ${rounds} fuzz rounds passed`);
