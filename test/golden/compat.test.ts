/**
 * Replays the scripts of test/golden/compat against dkv (`bun src/main.ts`), byte for byte.
 *
 *     DKV_COMPAT_TARGET=redis   plays them against redis-server (7.0) instead, to check the scripts themselves
 *     DKV_REWRITE_GOLDEN=1      the same, and writes what it answers into the scripts; `!override` replies stay
 *     DKV_TEST_PORT=n           the port to start the server on, instead of any free one
 *
 * The form of the scripts: compat-script.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  redisCommand,
  type ServerProcess,
  START_TIMEOUT_MS,
  startServer,
} from "../support/server-process.ts";
import { parseScript, run } from "./compat-script.ts";

const REWRITES = process.env["DKV_REWRITE_GOLDEN"] === "1";
const USES_REDIS = REWRITES || process.env["DKV_COMPAT_TARGET"] === "redis";
const FOLDER = join(import.meta.dir, "compat");
const MAIN = join(import.meta.dir, "../../src/main.ts");
const SECTION_TIMEOUT_MS = 60_000;

let server: ServerProcess | undefined;

async function start(): Promise<void> {
  server = await startServer((port, directory) =>
    USES_REDIS
      ? redisCommand(port, directory)
      : ["bun", MAIN, "--port", `${port}`, "--dir", directory],
  );
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
            lines = await run(section, server!.port, USES_REDIS);
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
  afterAll(() => server?.stop());
  for (const name of readdirSync(FOLDER).sort()) if (name.endsWith(".txt")) playFile(name);
} else {
  console.log("compat: skipped, there is no src/main.ts to play the scripts against");
  test.skip("scripts of test/golden/compat", () => {});
}
