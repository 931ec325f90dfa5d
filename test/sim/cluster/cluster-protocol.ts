/**
 * What simulated clients and the nodes of a simulated replica set say to each other: one request at a time a
 * connection, one answer; and nodes among themselves, with the codec of production.
 */
import type { StringCall, StringResult } from "../string-model.ts";

export interface ClusterRequest {
  readonly id: number;
  readonly key: string;
  readonly call: StringCall;
}

export interface ClusterReply {
  readonly id: number;
  /** "refused": it certainly had no effect. "unknown": nobody can say yet. */
  readonly outcome: "done" | "refused" | "unknown";
  readonly result: StringResult | undefined;
}

export interface PeerMessage {
  /** Node id of the sender. */
  readonly from: string;
  readonly message: Uint8Array;
  readonly frames: Uint8Array | undefined;
  /** About a checkpoint: `frames` are bytes of it. */
  readonly isBulk: boolean;
}

export const CLIENT_PORT = "clients";

export function requestBytes({ key, call }: ClusterRequest): number {
  return 40 + key.length + ("value" in call ? call.value.length : 0);
}

export function replyBytes({ result }: ClusterReply): number {
  return 16 + (typeof result === "string" ? result.length : 0);
}
