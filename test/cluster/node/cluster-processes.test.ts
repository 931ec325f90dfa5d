/** Three processes, a real ZooKeeper, kill -9 of the writer: the set comes back, and nothing acknowledged is lost. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { whyNoZookeeper, Zookeeper } from "../../support/zookeeper.ts";
import { NodeProcess } from "./spawned-node.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: tests with a real ZooKeeper: ${MISSING}`);

const WAIT_MS_MAX = 30_000;
const WRITERS = 4;

setDefaultTimeout(120_000);

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
