/** Lines, levels and files of the log. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { StartupError } from "../../src/base/errors.ts";
import { createLogger, type LogLevel } from "../../src/base/logger.ts";

let directory: string;
let files = 0;
beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-log-"));
});
afterAll(() => fs.rmSync(directory, { recursive: true }));

function open(level: LogLevel) {
  const file = path.join(directory, `${files++}.log`);
  const logger = createLogger({ level, file, fields: { node: "a" } });
  const lines = () =>
    fs
      .readFileSync(file, "utf8")
      .split("\n")
      .slice(0, -1)
      .map((line): Record<string, unknown> => JSON.parse(line));
  return { file, logger, lines };
}

test("Logger writes one JSON object per event with level, time, component and fields", () => {
  const { logger, lines } = open("notice");
  logger.child("server").info({ port: 1 }, "listening");
  logger.error({ error: new Error("disk\nfull") }, "stopped");
  const [first, second] = lines();
  expect(first).toEqual({
    level: "info",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    node: "a",
    component: "server",
    port: 1,
    msg: "listening",
  });
  expect(second).toMatchObject({
    level: "error",
    msg: "stopped",
    error: { type: "Error", message: "disk\nfull" },
  });
});

const visible: [LogLevel, string[]][] = [
  ["debug", ["debug", "info", "warn", "error"]],
  ["verbose", ["info", "warn", "error"]],
  ["notice", ["info", "warn", "error"]],
  ["warning", ["warn", "error"]],
  ["nothing", []],
];
for (const [level, expected] of visible) {
  test(`Logger at ${level} shows ${expected.join(", ") || "nothing"}, children after setLevel too`, () => {
    const { logger, lines } = open(level === "nothing" ? "debug" : "nothing");
    const child = logger.child("x");
    logger.setLevel(level);
    child.debug({}, "m");
    child.info({}, "m");
    child.warn({}, "m");
    child.error({}, "m");
    expect(lines().map((line) => line["level"])).toEqual(expected);
  });
}

test("Logger.reopen goes on in a new file", async () => {
  const { file, logger, lines } = open("notice");
  logger.info({}, "before");
  fs.renameSync(file, `${file}.1`);
  logger.reopen();
  while (!fs.existsSync(file)) await Bun.sleep(5);
  logger.info({}, "after");
  expect(lines().map((line) => line["msg"])).toEqual(["after"]);
});

test("createLogger refuses a file that it cannot open", () => {
  const file = path.join(directory, "missing", "x.log");
  expect(() => createLogger({ level: "notice", file })).toThrow(StartupError);
});

test("createLogger writes to standard output, the last line before an exit included", () => {
  const source = new URL("../../src/base/logger.ts", import.meta.url).pathname;
  const script = `
    import { createLogger } from ${JSON.stringify(source)};
    const logger = createLogger({ level: "notice", file: "" });
    for (let i = 0; i < 1000; i++) logger.info({ i }, "line");
    logger.error({}, "last");
    process.exit(3);
  `;
  const result = Bun.spawnSync([process.execPath, "-e", script]);
  const lines = result.stdout.toString().trim().split("\n");
  expect(result.exitCode).toBe(3);
  expect(lines).toHaveLength(1001);
  expect(JSON.parse(lines.at(-1)!)).toMatchObject({ level: "error", msg: "last" });
});

test("Logger survives a reader that closed its pipe", () => {
  const source = new URL("../../src/base/logger.ts", import.meta.url).pathname;
  const script = `
    import { createLogger } from ${JSON.stringify(source)};
    const logger = createLogger({ level: "notice", file: "" });
    await Bun.sleep(200);
    for (let i = 0; i < 100; i++) logger.info({ i }, "line");
    await Bun.sleep(50);
    console.error("alive");
  `;
  const shell = `'${process.execPath}' -e "$SCRIPT" | true`;
  const result = Bun.spawnSync(["bash", "-c", shell], {
    env: { ...process.env, SCRIPT: script },
    stderr: "pipe",
  });
  expect(result.stderr.toString()).toBe("alive\n");
});
