/**
 * ioredis. By default it sends again what a broken connection left without a reply; here it does not, since an
 * APPEND would then be made twice without anybody to blame.
 */
import { Cluster } from "ioredis";
import type { ReplyValue } from "../../support/raw-connection.ts";
import type { ClientOptions, ClusterClient } from "./cluster-client.ts";

export class IoredisClient implements ClusterClient {
  readonly #cluster: Cluster;

  constructor({ nodes, timeoutMs }: ClientOptions) {
    this.#cluster = new Cluster([...nodes], {
      retryDelayOnFailover: 0,
      slotsRefreshTimeout: timeoutMs,
      slotsRefreshInterval: 5000,
      clusterRetryStrategy: () => 200,
      redisOptions: {
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
        connectTimeout: timeoutMs,
        commandTimeout: timeoutMs,
      },
    });
    this.#cluster.on("error", () => undefined);
  }

  call(words: readonly string[]): Promise<ReplyValue> {
    const [name, ...rest] = words;
    return this.#cluster.call(name!, ...rest) as Promise<ReplyValue>;
  }

  close(): void {
    this.#cluster.disconnect();
  }
}
