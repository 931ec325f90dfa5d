/** The benchmark of forwarding still runs. */
import { expect, test } from "bun:test";
import { join } from "node:path";

test("forward.bench runs in smoke size", () => {
  const script = join(import.meta.dir, "../../bench/micro/forward.bench.ts");
  const run = Bun.spawnSync([process.execPath, script, "--smoke"], { timeout: 60_000 });
  expect(run.exitCode, run.stderr.toString()).toBe(0);
  expect(run.stdout.toString()).toMatch(/^GET pipeline 64 .* forwarded [\d.]+ µs, \d+ k\/s$/m);
}, 90_000);
