/**
 * A writer that is told to stop, under a stock client that does not wait for one command before it sends the next. The
 * cluster has one set: then a client whose connection is closed under a command sends it again to a replica.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ConstantLoad } from "../../bench/cluster/constant-load.ts";
import { openStockClient, type StockClient } from "../../bench/cluster/stock-client.ts";
import { DkvCluster } from "../support/dkv-cluster.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: a writer that stops: ${MISSING}`);

const ROUNDS = 2;
const CALM_MS = 300;

setDefaultTimeout(120_000);

describe.skipIf(MISSING !== "")("a cluster of one set with three nodes", () => {
  let cluster: DkvCluster;
  let client: StockClient;

  beforeAll(async () => {
    cluster = await DkvCluster.start({ sets: 1, nodesPerSet: 3, writeQuorum: 2 });
    client = await openStockClient(
      "ioredis",
      cluster.nodes.map(({ port }) => port),
    );
  });

  afterAll(async () => {
    client?.close();
    await cluster?.stop();
  });

  test("no command fails, no read goes back, nothing is lost when its writer stops", async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const writer = await cluster.writerOf("key");
      const load = new ConstantLoad(client, `round${round}:`);
      load.start();
      await load.nextAcknowledgement();
      await Bun.sleep(CALM_MS);
      writer.signal("SIGTERM");
      expect(await writer.exited()).toBe(0);
      await load.nextAcknowledgement();
      await Bun.sleep(CALM_MS);
      await load.stop();
      expect(load.failures).toEqual([]);
      expect(load.wrongReads).toEqual([]);
      expect(await load.readBack(client)).toEqual([]);
      writer.launch();
      await cluster.untilServing();
    }
  });
});
