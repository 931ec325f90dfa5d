/** The transport benchmark still runs, and everything that is sent is received. */
import { expect, test } from "bun:test";
import { join } from "node:path";

test("transport.bench runs in smoke size and loses nothing", () => {
  const script = join(import.meta.dir, "../../bench/micro/transport.bench.ts");
  const run = Bun.spawnSync([process.execPath, script, "--smoke"], { timeout: 60_000 });
  expect(run.exitCode, run.stderr.toString()).toBe(0);
  const output = run.stdout.toString();
  expect(output).toMatch(/^64 B .* received 2000 messages of 128000 bytes$/m);
  expect(output).toMatch(/^16 MiB .* received 1 messages of 16777216 bytes$/m);
}, 90_000);
