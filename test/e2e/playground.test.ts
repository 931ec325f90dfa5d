/** The playground as somebody uses it who follows what it prints: a cluster in one process, without anything else. */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cluster } from "ioredis";
import { askAll, until } from "../support/dkv-cluster.ts";
import { FollowedProcess, freePorts } from "../support/followed-process.ts";
import { runCommand, runDkv } from "../support/managed-dkv.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const READY = "Ctrl-C ends all.\n";

setDefaultTimeout(120_000);

class PlaygroundProcess extends FollowedProcess {
  constructor(args: readonly string[]) {
    super([MAIN, "playground", ...args]);
  }

  /** Writer and replicas of the first slots, as printed at the start. */
  get firstSet(): string[] {
    return /slots 0-511 +writer (\d+) +replicas (\d+) (\d+)/.exec(this.output)!.slice(1);
  }

  get directory(): string {
    return /Files and logs are in ([^\s,]+)/.exec(this.output)![1]!;
  }
}

const started: PlaygroundProcess[] = [];

async function start(...args: string[]): Promise<PlaygroundProcess> {
  const playground = new PlaygroundProcess(args);
  started.push(playground);
  await playground.says(READY);
  return playground;
}

afterEach(async () => {
  for (const playground of started.splice(0)) await playground.end("SIGKILL");
});

/** What node `port` itself has of `keys`; undefined for those of the other set. */
async function valuesAt(port: number, keys: readonly string[]): Promise<unknown[]> {
  const reads = keys.map((key) => ["GET", key]);
  const [, , ...values] = await askAll(port, [
    ["CONFIG", "SET", "cluster-redirect", "moved"],
    ["READONLY"],
    ...reads,
  ]);
  return values.filter((value) => !`${value}`.startsWith("-MOVED"));
}

test("playground: clients go on when a writer is shut down, which comes back with all that it missed", async () => {
  const port = freePorts(6);
  const playground = await start("--port", `${port}`);
  const { directory } = playground;
  const writer = Number(playground.firstSet[0]);
  const nodes = Array.from({ length: 6 }, (_, at) => ({ host: "127.0.0.1", port: port + at }));
  const client = new Cluster(nodes);
  // Of connections to a node that is down; commands tell of their own.
  client.on("error", () => undefined);
  try {
    const keys = Array.from({ length: 100 }, (_, index) => `key:${index}`);
    await Promise.all(keys.map((key) => client.set(key, "before")));
    await askAll(writer, [["SHUTDOWN"]]);
    await playground.says(`${writer} has stopped`);
    await playground.says(/slots 0-511: \d+ is the writer now/);
    expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(keys.map(() => "before"));
    await Promise.all(keys.map((key) => client.set(key, "after")));
    playground.child.stdin.write("\n");
    playground.child.stdin.flush();
    await playground.says(`${writer} started again`);
    await until("it has what was written meanwhile", async () => {
      const values = await valuesAt(writer, keys);
      return values.length > 20 && values.every((value) => value === "after");
    });
  } finally {
    client.disconnect();
  }
  expect(existsSync(directory)).toBe(true);
  expect(await playground.end("SIGINT")).toBe(0);
  expect(existsSync(directory)).toBe(false);
  expect(playground.output).not.toContain("\u001b");
});

test("playground: ends when every node has been shut down", async () => {
  const port = freePorts(2);
  const playground = await start("--port", `${port}`, "--sets", "2", "--nodes", "1");
  for (const each of [port, port + 1]) await askAll(each, [["SHUTDOWN"]]);
  expect(await playground.exited()).toBe(0);
});

test.skipIf(Bun.which("redis-cli") === null)(
  "playground: the commands that it suggests work as printed",
  async () => {
    const port = freePorts(6);
    const playground = await start("--port", `${port}`);
    const suggested = [...playground.output.matchAll(/^ {2}(redis-cli .+?) {3}/gm)];
    const answers: string[] = [];
    for (const [, command] of suggested) {
      const { stdout } = await runCommand(["timeout", "20", ...command!.split(" ")]);
      answers.push(stdout.trim());
      if (command!.endsWith("failover")) await playground.says("is the writer now");
    }
    const [, replica] = playground.firstSet;
    expect(answers.slice(0, 2)).toEqual(["OK", "hello"]);
    expect(answers[2]!.split("\n")).toHaveLength(6);
    expect(answers[3]).toBe("OK");
    expect(answers[4]).toContain("role:slave");
    expect(answers).toHaveLength(6);
    await playground.says(`${replica} has stopped`);
    expect(await playground.end("SIGTERM")).toBe(0);
  },
);

describe("playground", () => {
  test("keeps the files of --dir, and begins in no directory that has some", async () => {
    const directory = mkdtempSync(join(tmpdir(), "dkv-test-"));
    try {
      const port = freePorts(3);
      const args = ["--port", `${port}`, "--sets", "1", "--dir", directory];
      const playground = await start(...args);
      expect(await playground.end("SIGINT")).toBe(0);
      expect(readdirSync(directory)).toContain(`${port}.log`);
      const { exitCode, stdout } = await runDkv(["check", join(directory, `${port}`)]);
      expect([exitCode, stdout]).toEqual([0, expect.stringContaining("clean")]);
      const again = await runDkv(["playground", ...args]);
      expect(again.exitCode).toBe(1);
      expect(again.stderr).toContain(`${directory} is not empty`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("says which port is taken, and leaves nothing behind", async () => {
    const port = freePorts(3);
    const other = Bun.listen({ hostname: "127.0.0.1", port: port + 1, socket: { data() {} } });
    const temporary = mkdtempSync(join(tmpdir(), "dkv-test-"));
    const command = [process.execPath, MAIN, "playground", "--port", `${port}`, "--sets", "1"];
    try {
      const result = await runCommand(["env", `TMPDIR=${temporary}`, ...command]);
      expect(result.exitCode).toBe(1);
      expect(result.stderr).toContain(`cannot listen on 127.0.0.1:${port + 1}`);
      expect(readdirSync(temporary)).toEqual([]);
    } finally {
      other.stop(true);
      rmSync(temporary, { recursive: true, force: true });
    }
  });

  test.each([
    [["--port", "70000"], "--port"],
    [["--nodes", "0"], "--nodes"],
    [["--sets", "9"], "27 nodes in one process are too many"],
    [["--port", "55535"], "no 6 ports from 55535 on"],
    [["everything"], "too many arguments"],
  ])("%j: says what is wrong, and ends with status 2", async (args, problem) => {
    const { exitCode, stderr } = await runDkv(["playground", ...args]);
    expect(stderr).toContain(problem);
    expect(exitCode).toBe(2);
  });

  test("--help has every option, its default and examples", async () => {
    const { exitCode, stdout } = await runDkv(["playground", "--help"]);
    expect(exitCode).toBe(0);
    for (const word of ["--port", "7000", "--sets", "--nodes", "--dir", "Exit status", "Examples"])
      expect(stdout).toContain(word);
  });
});
