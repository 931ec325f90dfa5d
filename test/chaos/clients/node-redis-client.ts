/** node-redis, which never sends again what it has sent. */
import { createCluster } from "redis";
import type { ReplyValue } from "../../support/raw-connection.ts";
import type { ClientOptions, ClusterClient } from "./cluster-client.ts";

export class NodeRedisClient implements ClusterClient {
  readonly #cluster: ReturnType<typeof createCluster>;
  readonly #connected: Promise<unknown>;

  constructor({ nodes, timeoutMs }: ClientOptions) {
    this.#cluster = createCluster({
      rootNodes: nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` })),
      defaults: { socket: { connectTimeout: timeoutMs, reconnectStrategy: () => 200 } },
    });
    this.#cluster.on("error", () => undefined);
    this.#connected = this.#cluster.connect();
    this.#connected.catch(() => undefined);
  }

  async call(words: readonly string[], isRead: boolean): Promise<ReplyValue> {
    await this.#connected;
    return (await this.#cluster.sendCommand(words[1], isRead, [...words])) as ReplyValue;
  }

  close(): void {
    this.#cluster.destroy();
  }
}
