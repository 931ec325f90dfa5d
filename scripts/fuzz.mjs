/**
 * `npm run fuzz [-- seconds [paths]]`: the randomised tests over and over with fresh seeds until the time is up
 * or one fails; the failing test prints its seed. Default: 60 seconds, all of test/fuzz.
 */
import { spawnSync } from "node:child_process";
import { findBun, installPackages, ROOT, say } from "./toolchain.mjs";

const DEFAULT_SECONDS = 60;

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
  // Tests take their seed from here when it is set, and stretch their rounds.
  const env = { ...process.env, DKV_FUZZ_SEED: String(Math.floor(Math.random() * 2 ** 31)) };
  const result = spawnSync(bun, args, { cwd: ROOT, stdio: "inherit", env });
  rounds++;
  if (result.status !== 0) {
    say(`dkv: fuzz round ${rounds} failed with DKV_FUZZ_SEED=${env.DKV_FUZZ_SEED}`);
    process.exit(1);
  }
}
say(`dkv: ${rounds} fuzz rounds passed`);
