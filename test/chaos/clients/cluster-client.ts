/**
 * What a workload needs of a client of a cluster: a command with its reply. Every client is set so that it sends a
 * command again only after an answer that says it had no effect.
 */
import type { ReplyValue } from "../../support/raw-connection.ts";
import type { Address } from "./resp-socket.ts";

export interface ClusterClient {
  /** The second word is the key. Rejects with an error reply's text, or with whatever went wrong. */
  call(words: readonly string[], isRead: boolean): Promise<ReplyValue>;
  close(): void;
}

export type ClientKind = "ioredis" | "node-redis" | "raw";

export interface ClientOptions {
  readonly nodes: readonly Address[];
  readonly timeoutMs: number;
  readonly random: () => number;
}
