/**
 * `npm test`: installs what tests need, then runs the checks and every test. `npm test -- test/wal` runs only
 * the tests of these paths (arguments go to bun test) and leaves the checks out.
 *
 * The last line is `N passed, N failed`, a check counting as one. The exit code is 0 only if nothing failed and
 * at least one test ran.
 */
import { spawn } from "node:child_process";
import { runChecks } from "./checks.mjs";
import { findBun, installNeeds, installPackages, ROOT, say } from "./toolchain.mjs";

/** Runs bun test, shows what it prints, and reads its summary (` 12 pass`, ` 1 fail`). */
function runTests(bun, args) {
  return new Promise((resolve) => {
    const child = spawn(bun, ["test", ...args], {
      cwd: ROOT,
      stdio: ["ignore", "inherit", "pipe"],
    });
    let tail = "";
    child.stderr.on("data", (chunk) => {
      process.stderr.write(chunk);
      tail = (tail + chunk.toString("latin1")).slice(-4096);
    });
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
    child.on("close", (code) => {
      const count = (word) => {
        const found = [...tail.matchAll(new RegExp(`^ *(\\d+) ${word}$`, "gm"))].at(-1);
        return found === undefined ? 0 : Number(found[1]);
      };
      // A crash or a signal leaves no summary, and must not pass for success.
      resolve({ passed: count("pass"), failed: Math.max(count("fail"), code === 0 ? 0 : 1) });
    });
  });
}

const args = process.argv.slice(2);
installPackages({ dev: true });
installNeeds("test");
const checks = args.length === 0 ? runChecks() : { passed: 0, failed: 0 };
const tests = await runTests(findBun(), args);
const noneRan = tests.passed === 0 && tests.failed === 0;
if (noneRan) say("dkv: no test ran");
const failed = checks.failed + tests.failed;
process.stdout.write(`${checks.passed + tests.passed} passed, ${failed} failed\n`);
process.exitCode = failed > 0 || noneRan ? 1 : 0;
