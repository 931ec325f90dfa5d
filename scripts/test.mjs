/**
 * `npm test`: installs what tests need, then runs the checks and every test. `npm test -- test/wal` runs only
 * the tests of these paths (arguments go to bun test) and leaves the checks out.
 *
 * What failed is repeated at the end, since the output above it is long. The last line is `N passed, N failed`, a
 * check counting as one. The exit code is 0 only if nothing failed and at least one test ran.
 */
import { spawn } from "node:child_process";
import { StringDecoder } from "node:string_decoder";
import { runChecks } from "./checks.mjs";
import { Failures } from "./failures.mjs";
import { findBun, installNeeds, installPackages, ROOT, say } from "./toolchain.mjs";

/** For tests and hooks without one of their own: those that start processes take long on a busy machine. */
const TIMEOUT = "--timeout=60000";

/** Most of the time is spent waiting: two files at a time take little more than half as long as one after the other. */
const PARALLEL = ["--parallel=2"];

/** Runs bun test, shows what it prints, and reads its summary (` 12 pass`, ` 1 fail`). */
function runTests(bun, args, failures) {
  return new Promise((resolve) => {
    const child = spawn(bun, ["test", TIMEOUT, ...PARALLEL, ...args], {
      cwd: ROOT,
      stdio: ["ignore", "inherit", "pipe"],
    });
    let tail = "";
    const decoder = new StringDecoder("utf8");
    child.stderr.on("data", (chunk) => {
      process.stderr.write(chunk);
      failures.add(decoder.write(chunk));
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
const checks = args.length === 0 ? runChecks() : { passed: 0, failed: 0, names: [] };
const failures = new Failures();
const tests = await runTests(findBun(), args, failures);
const noneRan = tests.passed === 0 && tests.failed === 0;
if (noneRan) say("dkv: no test ran");
const failed = checks.failed + tests.failed;
for (const line of failures.report(tests.failed > 0)) process.stdout.write(`${line}\n`);
for (const name of checks.names) process.stdout.write(`check failed: ${name}; see the top\n`);
process.stdout.write(`${checks.passed + tests.passed} passed, ${failed} failed\n`);
process.exitCode = failed > 0 || noneRan ? 1 : 0;
