/**
 * Three processes, a real ZooKeeper: a node that has lost its disk comes back as a new one, gets the tables of a writer that
 * has recycled its log, is equal in the end, and counts for the quorum.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { whyNoZookeeper, Zookeeper } from "../../support/zookeeper.ts";
import { NodeProcess } from "./spawned-node.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: tests with a real ZooKeeper: ${MISSING}`);

const WAIT_MS_MAX = 60_000;
const KIB = 1024;
const RETAIN_BYTES = 512 * KIB;
const VALUE_BYTES = 40 * KIB;
const WRITERS = 4;

setDefaultTimeout(180_000);

let zookeeper: Zookeeper;
let directory = "";
let nodes: NodeProcess[] = [];
const acknowledged = new Map<string, string>();

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const start = performance.now();
  while (!(await isSo())) {
    if (performance.now() - start > WAIT_MS_MAX) {
      const words = nodes.map(({ lastWords }) => lastWords).join("\n\n");
      throw new Error(`not in time: ${what}\n${words}`);
    }
    await Bun.sleep(20);
  }
}

async function findWriter(): Promise<NodeProcess> {
  let writer: NodeProcess | undefined;
  await until("somebody is the writer", async () => {
    for (const node of nodes) if ((await node.put("probe", "1")) === 200) writer = node;
    return writer !== undefined;
  });
  return writer!;
}

/** Some keys anew, some of those before again. */
async function write(to: NodeProcess, from: number, end: number): Promise<void> {
  let next = from;
  const work = async () => {
    while (next < end) {
      const at = next++;
      const key = `key-${at % 300}`;
      const value = `${at} `.padEnd(VALUE_BYTES, `${at}`);
      if ((await to.put(key, value)) === 200) acknowledged.set(key, value);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, work));
}

describe.skipIf(MISSING !== "")("three processes", () => {
  beforeAll(async () => {
    zookeeper = await Zookeeper.start(1);
    directory = mkdtempSync(join(tmpdir(), "dkv-checkpoint-"));
    const address = `127.0.0.1:${zookeeper.servers[0]!.clientPort}/dkv`;
    nodes = [1, 2, 3].map((at) => new NodeProcess(join(directory, `${at}`), address, RETAIN_BYTES));
    await Promise.all(nodes.map((node) => node.start()));
  });

  afterAll(async () => {
    for (const node of nodes) await node.stop("SIGKILL");
    await zookeeper?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test("bring back a node whose disk is gone, though the log is recycled", async () => {
    const writer = await findWriter();
    await write(writer, 0, 400);
    const at = nodes.findIndex((node) => node !== writer);
    const wiped = nodes[at]!;
    await wiped.stop("SIGKILL");
    rmSync(join(directory, `${at + 1}`), { recursive: true });
    await write(writer, 400, 800);
    const address = `127.0.0.1:${zookeeper.servers[0]!.clientPort}/dkv`;
    const fresh = new NodeProcess(join(directory, `${at + 1}`), address, RETAIN_BYTES);
    nodes[at] = fresh;
    expect((await writer.report())!.firstIndex).toBeGreaterThan(1);
    await fresh.start();
    await write(writer, 800, 900);
    await until("the new node is a member that has all of it", async () => {
      const [own, of] = await Promise.all([fresh.report(), writer.report()]);
      return own?.isMember === true && own.commit === of?.commit && own.last === of.last;
    });
    // The beginning of the log it never had.
    expect((await fresh.report())!.firstIndex).toBeGreaterThan(1);
    expect(readFileSync(join(directory, `${at + 1}`, "log"), "utf8")).toContain("became a copy");
    for (const [key, value] of acknowledged)
      expect(await fresh.getLocal(key)).toEqual({ status: 200, text: value });
    // Writes go on with it and without the other one.
    const other = nodes.find((node) => node !== writer && node !== fresh)!;
    await other.stop("SIGKILL");
    await until("writes go on", async () => (await writer.put("after", "1")) === 200);
  });
});
