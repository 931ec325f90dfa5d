/** The flush benchmark still runs, and its merge keeps what its flushes wrote. */
import { expect, test } from "bun:test";
import { join } from "node:path";

test("flush.bench runs in smoke size with the checksum of a complete merge", () => {
  const script = join(import.meta.dir, "../../bench/micro/flush.bench.ts");
  const run = Bun.spawnSync([process.execPath, script, "--smoke"]);
  expect(run.exitCode, run.stderr.toString()).toBe(0);
  expect(run.stdout.toString()).toMatch(/\nchecksum 1136396950\n/);
});
