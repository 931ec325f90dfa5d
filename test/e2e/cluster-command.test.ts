/** `npm run cluster` as somebody uses it who follows docs/tour.md: a cluster with a ZooKeeper, and one more set for it. */
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { askAll } from "../support/dkv-cluster.ts";
import { FollowedProcess, freePorts } from "../support/followed-process.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const SCRIPT = join(import.meta.dir, "../../scripts/cluster.ts");
const MISSING = whyNoZookeeper();
if (MISSING !== "") console.log(`skipped: npm run cluster (${MISSING})`);

setDefaultTimeout(120_000);

const directory = mkdtempSync(join(tmpdir(), "dkv-cluster-command-"));
let cluster: FollowedProcess | undefined;
afterEach(async () => {
  await cluster?.end("SIGINT");
  rmSync(directory, { recursive: true, force: true });
});

test.skipIf(MISSING !== "")(
  "a cluster of one node gets a second one, which takes half of the slots, and both come back",
  async () => {
    const port = freePorts(2, [181, 1000, 10_000]);
    const place = ["--dir", directory, "--port", `${port}`];
    const size = ["--sets", "1", "--nodes", "1"];
    cluster = new FollowedProcess([SCRIPT, ...place, ...size]);
    await cluster.says("cluster ok: 1024 of 1024 slots served, 1 replica set, 1 node");
    const keys = Array.from({ length: 100 }, (_, at) => `key:${at}`);
    const writes = keys.map((key) => ["SET", key, key]);
    expect(await askAll(port, writes)).toEqual(keys.map(() => "OK"));
    const add = new FollowedProcess([SCRIPT, ...place, ...size, "add"]);
    expect(await add.exited()).toBe(0);
    expect(add.output).toContain(`1 more node: port ${port + 1}`);
    expect(add.output).toContain("cluster ok: 1024 of 1024 slots served, 2 replica sets, 2 nodes");
    expect(add.output).toContain("0-511");
    expect(await cluster.end("SIGINT")).toBe(0);
    cluster = new FollowedProcess([SCRIPT, ...place, ...size]);
    await cluster.says("cluster ok: 1024 of 1024 slots served, 2 replica sets, 2 nodes");
    const reads = keys.map((key) => ["GET", key]);
    expect(await askAll(port + 1, [["HELLO", "3"], ...reads]).then((all) => all.slice(1))).toEqual(
      keys,
    );
  },
);
