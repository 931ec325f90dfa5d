/** The table benchmark still runs, and finds what it looks for. */
import { expect, test } from "bun:test";
import { join } from "node:path";

test("table-find.bench runs in smoke size with the checksum of a complete table", () => {
  const script = join(import.meta.dir, "../../bench/micro/table-find.bench.ts");
  const run = Bun.spawnSync([process.execPath, script, "--smoke"]);
  expect(run.exitCode, run.stderr.toString()).toBe(0);
  const output = run.stdout.toString();
  expect(output).toMatch(/find, absent, cached .* checksum 0\n/);
  expect(output).toMatch(/iterate, per record .* checksum 2001000\n/);
});
