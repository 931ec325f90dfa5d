/**
 * Replays the scripts of test/golden/compat against dkv (`bun src/main.ts`), byte for byte.
 *
 *     DKV_COMPAT_TARGET=redis   plays them against redis-server (7.0) instead, to check the scripts themselves
 *     DKV_REWRITE_GOLDEN=1      the same, and writes what it answers into the scripts; `!override` replies stay
 *     DKV_COMPAT_PORT=n         the port to start the server on, instead of any free one
 *
 * The form of the scripts: compat-script.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RawConnection } from "../support/raw-connection.ts";
import { parseScript, run } from "./compat-script.ts";

const REWRITES = process.env["DKV_REWRITE_GOLDEN"] === "1";
const USES_REDIS = REWRITES || process.env["DKV_COMPAT_TARGET"] === "redis";
const FOLDER = join(import.meta.dir, "compat");
const MAIN = join(import.meta.dir, "../../src/main.ts");
const START_TIMEOUT_MS = 10_000;
const SECTION_TIMEOUT_MS = 20_000;

let server: Bun.Subprocess | undefined;
let port = 0;
const directory = mkdtempSync(join(tmpdir(), "dkv-compat-"));

function freePort(): number {
  const fixed = process.env["DKV_COMPAT_PORT"];
  if (fixed !== undefined) return Number(fixed);
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  probe.stop(true);
  return probe.port;
}

async function connects(): Promise<boolean> {
  try {
    (await RawConnection.open(port)).close();
    return true;
  } catch {
    return false;
  }
}

async function start(): Promise<void> {
  port = freePort();
  const command = USES_REDIS
    ? ["redis-server", "--port", `${port}`, "--dir", directory, "--save", ""]
    : ["bun", MAIN, "--port", `${port}`, "--dir", directory];
  server = Bun.spawn(command, { stdout: "ignore", stderr: "inherit" });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await connects())) {
    if (performance.now() > deadline || server.exitCode !== null) {
      throw new Error(`${command.join(" ")} does not answer on port ${port}`);
    }
    await Bun.sleep(20);
  }
}

async function stop(): Promise<void> {
  server?.kill("SIGKILL");
  await server?.exited;
  rmSync(directory, { recursive: true, force: true });
}

function playFile(name: string): void {
  const path = join(FOLDER, name);
  const { head, sections } = parseScript(readFileSync(path, "utf8"));
  const played = [...head];
  describe(name, () => {
    for (const section of sections) {
      test(
        section.title,
        async () => {
          let lines = section.lines;
          try {
            lines = await run(section, port, USES_REDIS);
          } finally {
            played.push(...lines);
          }
          if (!REWRITES) expect(lines.join("\n")).toBe(section.lines.join("\n"));
        },
        SECTION_TIMEOUT_MS,
      );
    }
    if (REWRITES) afterAll(() => writeFileSync(path, `${played.join("\n")}\n`));
  });
}

if (USES_REDIS || existsSync(MAIN)) {
  beforeAll(start, START_TIMEOUT_MS + 1000);
  afterAll(stop);
  for (const name of readdirSync(FOLDER).sort()) if (name.endsWith(".txt")) playFile(name);
} else {
  console.log("compat: skipped, there is no src/main.ts to play the scripts against");
  test.skip("scripts of test/golden/compat", () => {});
}
