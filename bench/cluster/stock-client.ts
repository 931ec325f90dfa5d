/** Cluster clients as their users have them: made with nodes' addresses and no other option. */

import { Cluster } from "ioredis";
import { createCluster } from "redis";

export const STOCK_CLIENTS = ["ioredis", "node-redis"] as const;
export type StockClientName = (typeof STOCK_CLIENTS)[number];

export interface StockClient {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<string | null>;
  close(): void;
}

/** Connected; knows the cluster when it returns. */
export async function openStockClient(
  name: StockClientName,
  ports: readonly number[],
): Promise<StockClient> {
  return name === "ioredis" ? await openIoredis(ports) : await openNodeRedis(ports);
}

async function openIoredis(ports: readonly number[]): Promise<StockClient> {
  const client = new Cluster(ports.map((port) => ({ host: "127.0.0.1", port })));
  // Of connections, while nodes are down: commands tell of their own.
  client.on("error", () => undefined);
  await client.get("");
  return {
    set: (key, value) => client.set(key, value),
    get: (key) => client.get(key),
    close: () => client.disconnect(),
  };
}

async function openNodeRedis(ports: readonly number[]): Promise<StockClient> {
  const client = createCluster({
    rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })),
  });
  client.on("error", () => undefined);
  await client.connect();
  return {
    set: (key, value) => client.set(key, value),
    get: (key) => client.get(key),
    close: () => client.destroy(),
  };
}
