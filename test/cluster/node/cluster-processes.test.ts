/** Three processes, a real ZooKeeper, kill -9 of the writer: the set comes back, and nothing acknowledged is lost. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, whyNoZookeeper, Zookeeper } from "../../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: tests with a real ZooKeeper: ${MISSING}`);

const SCRIPT = join(import.meta.dirname, "node-process.ts");
const WAIT_MS_MAX = 30_000;
const REQUEST_MS_MAX = 2000;
const WRITERS = 4;

setDefaultTimeout(120_000);

class NodeProcess {
  readonly #directory: string;
  readonly #zookeeper: string;
  readonly #peerPort = freePort();
  #child: Bun.Subprocess<"ignore", "pipe", "inherit"> | undefined;
  #url = "";

  constructor(directory: string, zookeeper: string) {
    this.#directory = directory;
    this.#zookeeper = zookeeper;
    mkdirSync(directory, { recursive: true });
  }

  async start(): Promise<void> {
    const command = ["bun", SCRIPT, this.#directory, `${this.#peerPort}`, this.#zookeeper];
    this.#child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    const { value } = await this.#child.stdout.getReader().read();
    this.#url = `http://127.0.0.1:${new TextDecoder().decode(value).trim()}`;
  }

  async stop(signal: "SIGKILL" | "SIGTERM"): Promise<number> {
    this.#child?.kill(signal);
    return (await this.#child?.exited) ?? 0;
  }

  /** The status; 0: no answer. */
  async put(key: string, value: string): Promise<number> {
    const signal = AbortSignal.timeout(REQUEST_MS_MAX);
    try {
      return (await fetch(`${this.#url}/${key}`, { method: "PUT", body: value, signal })).status;
    } catch {
      return 0;
    }
  }

  async get(key: string): Promise<{ status: number; text: string }> {
    const signal = AbortSignal.timeout(REQUEST_MS_MAX);
    try {
      const response = await fetch(`${this.#url}/${key}`, { signal });
      return { status: response.status, text: await response.text() };
    } catch {
      return { status: 0, text: "" };
    }
  }

  get lastWords(): string {
    return readFileSync(join(this.#directory, "log"), "utf8").split("\n").slice(-12).join("\n");
  }
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  while (!(await isSo())) {
    if (performance.now() - start > WAIT_MS_MAX) {
      const words = nodes.map(({ lastWords }) => lastWords).join("\n\n");
      throw new Error(`not in time: ${what}\n${words}`);
    }
    await Bun.sleep(10);
  }
  return performance.now() - start;
}

let zookeeper: Zookeeper;
let directory = "";
let nodes: NodeProcess[] = [];

/** The node that takes a write now. */
async function findWriter(): Promise<NodeProcess> {
  let writer: NodeProcess | undefined;
  await until("somebody is the writer", async () => {
    for (const node of nodes) if ((await node.put("probe", "1")) === 200) writer = node;
    return writer !== undefined;
  });
  return writer!;
}

describe.skipIf(MISSING !== "")("three processes", () => {
  beforeAll(async () => {
    zookeeper = await Zookeeper.start(1);
    directory = mkdtempSync(join(tmpdir(), "dkv-set-"));
    const address = `127.0.0.1:${zookeeper.servers[0]!.clientPort}/dkv`;
    nodes = [1, 2, 3].map((at) => new NodeProcess(join(directory, `${at}`), address));
    await Promise.all(nodes.map((node) => node.start()));
  });

  afterAll(async () => {
    for (const node of nodes) await node.stop("SIGKILL");
    await zookeeper?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test("keep what they acknowledged when the writer is killed, again and again", async () => {
    const acknowledged = new Map<string, string>();
    let goesOn = true;
    let next = 0;
    const write = async () => {
      let target = 0;
      while (goesOn) {
        const key = `key-${next++}`;
        if ((await nodes[target]!.put(key, `value of ${key}`)) === 200)
          acknowledged.set(key, `value of ${key}`);
        else {
          target = (target + 1) % nodes.length;
          await Bun.sleep(5);
        }
      }
    };
    await findWriter();
    const writing = Array.from({ length: WRITERS }, write);
    for (let round = 0; round < 3; round++) {
      await Bun.sleep(300);
      const writer = await findWriter();
      await writer.stop("SIGKILL");
      const before = acknowledged.size;
      await until("writes go on", () => Promise.resolve(acknowledged.size > before + WRITERS));
      await writer.start();
    }
    goesOn = false;
    await Promise.all(writing);
    expect(acknowledged.size).toBeGreaterThan(50);
    const writer = await findWriter();
    for (const [key, value] of acknowledged)
      expect(await writer.get(key)).toEqual({ status: 200, text: value });
  });

  test("hand over when the writer is asked to end, and it ends in order", async () => {
    const writer = await findWriter();
    expect(await writer.stop("SIGTERM")).toBe(0);
    const others = nodes.filter((node) => node !== writer);
    await until("another one writes", async () => {
      for (const node of others) if ((await node.put("after", "1")) === 200) return true;
      return false;
    });
  });
});
