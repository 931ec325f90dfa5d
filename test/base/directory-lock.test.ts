/** DirectoryLock between real processes. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { DirectoryLock, requireUnused } from "../../src/base/directory-lock.ts";
import { StartupError } from "../../src/base/errors.ts";

let root: string;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-lock-"));
});
afterAll(() => fs.rmSync(root, { recursive: true }));

function directory(): string {
  return fs.mkdtempSync(path.join(root, "d"));
}

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(StartupError);
    return (error as Error).message;
  }
  throw new Error("it got the lock");
}

const MODULE = new URL("../../src/base/directory-lock.ts", import.meta.url).pathname;

/** Prints "locked" or the error's message; with the lock it stays until it is killed. */
function spawnStarter(target: string, pause = "") {
  const script = `
    import { DirectoryLock } from ${JSON.stringify(MODULE)};
    ${pause}
    try {
      globalThis.lock = DirectoryLock.acquire(${JSON.stringify(target)});
      console.log("locked");
      Bun.gc(true);
      setInterval(() => {}, 1000);
    } catch (error) {
      console.log(error.message);
    }
  `;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  return { child, firstLine: async () => ((await lines.read()).value ?? "").trim() };
}

test("DirectoryLock refuses a second holder and names the first", async () => {
  const target = directory();
  const { child, firstLine } = spawnStarter(target);
  try {
    expect(await firstLine()).toBe("locked");
    expect(messageOf(() => DirectoryLock.acquire(target))).toBe(
      `${target} is in use by process ${child.pid}: one process at a time uses a data directory`,
    );
    // The failed attempt must not have broken the holder's lock.
    expect(messageOf(() => DirectoryLock.acquire(target))).toContain(`process ${child.pid}`);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("DirectoryLock is free at once when its holder is killed", async () => {
  const target = directory();
  const { child, firstLine } = spawnStarter(target);
  expect(await firstLine()).toBe("locked");
  child.kill("SIGKILL");
  await child.exited;
  const lock = DirectoryLock.acquire(target);
  expect(messageOf(() => DirectoryLock.acquire(target))).toContain(`process ${process.pid}`);
  lock.release();
});

test("DirectoryLock still excludes others after its own process asked again", async () => {
  const target = directory();
  const lock = DirectoryLock.acquire(target);
  expect(messageOf(() => DirectoryLock.acquire(target))).toContain("is in use by");
  const { child, firstLine } = spawnStarter(target);
  try {
    expect(await firstLine()).toContain(`is in use by process ${process.pid}`);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    lock.release();
  }
});

test("DirectoryLock holds when its process opens and closes LOCK, and children do not inherit it", async () => {
  const target = directory();
  const lock = DirectoryLock.acquire(target);
  fs.closeSync(fs.openSync(path.join(target, "LOCK"), "r"));
  const sleeper = Bun.spawn(["sleep", "60"]);
  const { child, firstLine } = spawnStarter(target);
  try {
    expect(await firstLine()).toContain(`is in use by process ${process.pid}`);
    lock.release();
    DirectoryLock.acquire(target).release();
  } finally {
    for (const process of [child, sleeper]) process.kill("SIGKILL");
    await Promise.all([child.exited, sleeper.exited]);
  }
});

test("requireUnused names the holder, changes nothing and leaves the lock free", () => {
  const target = directory();
  requireUnused(target);
  expect(fs.readdirSync(target)).toEqual([]);
  const lock = DirectoryLock.acquire(target);
  const files = fs.readdirSync(target);
  expect(messageOf(() => requireUnused(target))).toBe(
    `${target} is in use by process ${process.pid}`,
  );
  expect(messageOf(() => DirectoryLock.acquire(target))).toContain("is in use by");
  expect(fs.readdirSync(target)).toEqual(files);
  lock.release();
  requireUnused(target);
  const next = DirectoryLock.acquire(target);
  next.release();
});

test("DirectoryLock.release frees the directory, once", () => {
  const target = directory();
  const first = DirectoryLock.acquire(target);
  first.release();
  const second = DirectoryLock.acquire(target);
  first.release();
  expect(messageOf(() => DirectoryLock.acquire(target))).toContain("is in use by");
  second.release();
  expect(fs.readdirSync(target)).toEqual(["LOCK"]);
  expect(fs.statSync(path.join(target, "LOCK")).size).toBe(0);
});

test("DirectoryLock lets one of several starters win", async () => {
  const target = directory();
  // What a killed holder leaves.
  fs.writeFileSync(path.join(target, "LOCK"), "");
  fs.writeFileSync(path.join(target, "LOCK.pid"), '{"pid":1,"host":"elsewhere"}\n');
  const at = Date.now() + 500;
  const starters = Array.from({ length: 5 }, () =>
    spawnStarter(target, `while (Date.now() < ${at}) {}`),
  );
  try {
    const lines = await Promise.all(starters.map(({ firstLine }) => firstLine()));
    expect(lines.filter((line) => line === "locked")).toHaveLength(1);
    expect(lines.filter((line) => line.includes("is in use by"))).toHaveLength(4);
  } finally {
    for (const { child } of starters) child.kill("SIGKILL");
    await Promise.all(starters.map(({ child }) => child.exited));
  }
});

test("DirectoryLock says why a directory cannot be locked", () => {
  const missing = path.join(root, "missing");
  expect(messageOf(() => DirectoryLock.acquire(missing))).toMatch(/^cannot lock .*missing: ENOENT/);
});
