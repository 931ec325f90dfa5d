/** `npm run cluster`, with one small set: up, a set added, a node killed, Ctrl-C, and up again with what was written. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../support/dkv-cluster.ts";
import { decodeReply, encodeRequest, RawConnection } from "../support/raw-connection.ts";
import { runTool } from "../support/tool.ts";
import { freePort, whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: a cluster by one command: ${MISSING}`);

setDefaultTimeout(180_000);

const ROOT = join(import.meta.dirname, "..", "..");
const directory = mkdtempSync(join(tmpdir(), "dkv-local-cluster-"));
/** Everything beside it follows from the port, so it stands alone. */
const port = freePort();
let running: Bun.Subprocess | undefined;

afterAll(async () => {
  running?.kill("SIGTERM");
  await running?.exited;
  rmSync(directory, { recursive: true, force: true });
});

interface Run {
  readonly child: Bun.Subprocess;
  output: string;
}

function start(flags: readonly string[] = []): Run {
  const words = ["--dir", directory, "--port", `${port}`, "--sets", "1", "--nodes", "1", ...flags];
  const run = runScript(words);
  running = run.child;
  return run;
}

function runScript(words: readonly string[]): Run {
  const child = Bun.spawn([process.execPath, join(ROOT, "scripts", "cluster.ts"), ...words], {
    ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  });
  const run: Run = { child, output: "" };
  for (const stream of [child.stdout, child.stderr]) {
    void (async () => {
      for await (const chunk of stream) run.output += Buffer.from(chunk).toString();
    })();
  }
  return run;
}

function shows(run: Run, text: string): Promise<void> {
  return until(
    `it shows ${text}`,
    async () => run.output.includes(text),
    () => run.output,
  );
}

async function processIdOf(node: number): Promise<number> {
  const connection = await RawConnection.open(node);
  try {
    connection.send(encodeRequest(["INFO", "server"]));
    const [info] = decodeReply((await connection.reply())!, 0);
    return Number(/process_id:(\d+)/.exec(`${info}`)![1]);
  } finally {
    connection.close();
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test.skipIf(MISSING !== "")(
  "npm run cluster keeps its data over runs, and leaves no process",
  async () => {
    const first = start();
    await shows(first, "Ctrl-C ends all of it");
    expect(first.output).toContain("cluster ok: 1024 of 1024 slots served, 1 replica set, 1 node");
    const set = await runTool(["cli", "-p", `${port}`, "SET", "kept", "value"]);
    expect(set.stdout).toBe("OK\n");
    const added = runScript(["add", "--dir", directory, "--port", `${port}`]);
    await shows(first, `node ${port + 1} is new`);
    await shows(added, " of 512 slots are theirs");
    added.child.kill("SIGTERM");
    await added.child.exited;
    const pids = await Promise.all([0, 1].map((at) => processIdOf(port + at)));
    process.kill(pids[1]!, "SIGKILL");
    await shows(first, `node ${port + 1} has ended (SIGKILL); to start it again: bin/dkv server `);
    first.child.kill("SIGINT");
    expect(await first.child.exited).toBe(0);
    expect(pids.filter(isThere)).toEqual([]);
    const second = start();
    await shows(second, "Ctrl-C ends all of it");
    expect(second.output).toContain("1024 of 1024 slots served, 2 replica sets, 2 nodes");
    const got = await runTool(["cli", "-p", `${port}`, "GET", "kept"]);
    expect(got.stdout).toBe("value\n");
    second.child.kill("SIGTERM");
    expect(await second.child.exited).toBe(0);
    expect(readFileSync(join(directory, `${port}.log`), "utf8")).toContain('"msg":"stopped"');
  },
);

test("npm run cluster -- add says that a cluster has to run", async () => {
  const added = runScript(["add", "--dir", directory, "--port", `${freePort()}`]);
  expect(await added.child.exited).toBe(1);
  await shows(added, "Start the cluster first: npm run cluster -- --dir ");
});

test("npm run cluster says what is wrong with its arguments, and which programs it needs", async () => {
  const wrong = start(["--sets", "0"]);
  expect(await wrong.child.exited).toBe(1);
  const script = join(ROOT, "scripts", "cluster.ts");
  const none = Bun.spawnSync([process.execPath, script, "--dir", directory, "--port", `${port}`], {
    env: { ...process.env, PATH: "" },
  });
  expect(none.exitCode).toBe(1);
  expect(none.stderr.toString()).toContain(
    "apt-get install default-jre-headless libzookeeper-java",
  );
});
