/** `check` as a process: exit status, forms of output, and a server that holds the directory. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { SystemClock } from "../../src/base/clock.ts";
import { DirectoryLock } from "../../src/base/directory-lock.ts";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { runCheck, type Terminal } from "../../src/check-command.ts";
import { flip, makeSample, type Sample, snapshot } from "./check-support.ts";

const MAIN = path.join(import.meta.dirname, "../../src/main.ts");

let root: string;
let sample: Sample;

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-check-"));
  sample = await makeSample(path.join(root, "sample"));
});
afterAll(() => fs.rmSync(root, { recursive: true }));

function run(...argv: string[]) {
  const child = Bun.spawnSync([process.execPath, MAIN, "check", ...argv], { cwd: root });
  return {
    status: child.exitCode,
    output: child.stdout.toString(),
    errors: child.stderr.toString(),
  };
}

test("check of a whole directory exits 0, in lines without a terminal", () => {
  const { status, output, errors } = run("sample");
  expect(errors).toBe("");
  expect(status).toBe(0);
  const lines = output.trimEnd().split("\n");
  expect(lines.find((line) => line.startsWith("keys "))).toEndWith(` total=${sample.keys}`);
  expect(lines.at(-1)).toStartWith("clean damage=0 ");
});

test("check --json is one document, and exits 1 when damage was found", () => {
  const copy = path.join(root, "damaged");
  fs.cpSync(sample.directory, copy, { recursive: true });
  flip(path.join(copy, "tables", sample.tables[0]!), 100);
  const { status, output } = run(copy, "--json");
  expect(status).toBe(1);
  expect(JSON.parse(output)).toMatchObject({
    outcome: "damaged",
    damageCount: 1,
    damage: [{ message: "block checksum mismatch", offset: 0 }],
    keys: { total: null },
  });
});

test("check of a directory in use says by whom, exits 2 and leaves no trace", () => {
  const lock = DirectoryLock.acquire(sample.directory);
  try {
    const before = snapshot(sample.directory);
    const { status, output, errors } = run(sample.directory);
    expect(status).toBe(2);
    expect(output).toBe("");
    const holder = `process ${process.pid}`;
    expect(errors).toBe(`dkv: cannot check: ${sample.directory} is in use by ${holder}\n`);
    expect(snapshot(sample.directory)).toEqual(before);
  } finally {
    lock.release();
  }
  expect(run(sample.directory).status).toBe(0);
});

test("check without a directory, or of one that is not there, exits 2", () => {
  expect(run().status).toBe(2);
  const { status, errors } = run("nowhere");
  expect(status).toBe(2);
  expect(errors).toContain(`${path.join(root, "nowhere")} does not exist`);
});

test("check --help has an example and the exit status", () => {
  const { status, output } = run("--help");
  expect(status).toBe(0);
  expect(output).toContain("dkv check /var/lib/dkv");
  expect(output).toContain("1 damage found");
});

test("runCheck on a terminal shows aligned tables", () => {
  let text = "";
  const terminal: Terminal = {
    isTTY: true,
    write: (part) => {
      text += part;
    },
  };
  const status = runCheck([sample.directory], {
    fileSystem: new DiskFileSystem(),
    clock: new SystemClock(),
    stdout: terminal,
    stderr: terminal,
    command: "dkv",
  });
  expect(status).toBe(0);
  expect(text).toMatch(/^ {2}level +tables +records +tombstones +size +damaged$/m);
  expect(text).toContain(`keys       ${sample.keys.toLocaleString("en-US")};`);
  expect(text).toContain("No damage found.");
});
