/** A cluster whose documents only one ZooKeeper user may read. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { DkvCluster } from "../support/dkv-cluster.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: clusters with a real ZooKeeper: ${MISSING}`);

setDefaultTimeout(120_000);

test.skipIf(MISSING !== "")("a node without the credentials is refused, and told why", async () => {
  const cluster = await DkvCluster.start({
    ...{ sets: 1, nodesPerSet: 1, writeQuorum: 1 },
    flags: ["--zookeeper-auth", "dkv:secret"],
  });
  try {
    const [node] = cluster.nodes;
    expect(await node!.ask("SET", "key", "value")).toBe("OK");
    expect(node!.output).toContain("no replicas: what is on a lost disk is lost");
    const stranger = cluster.add();
    await stranger.kill();
    stranger.launch(["--zookeeper-auth", "dkv:wrong"]);
    expect(await stranger.exited()).toBe(1);
    expect(stranger.output).toContain("check zookeeper-auth");
    expect(stranger.output + node!.output).not.toContain("dkv:secret");
  } finally {
    await cluster.stop();
  }
});
