/**
 * What simulated clients and the nodes of a simulated cluster say to each other: one request at a time a
 * connection, one answer; and nodes among themselves, with the codec of production.
 */
import type { StringCall, StringResult } from "../string-model.ts";

export interface ClusterRequest {
  readonly id: number;
  readonly key: string;
  readonly call: StringCall;
  /** As after READONLY: a replica may answer with what it has. */
  readonly isReplicaRead: boolean;
}

export interface ClusterReply {
  readonly id: number;
  /** "refused": it certainly had no effect. "unknown": nobody can say yet. */
  readonly outcome: "done" | "refused" | "unknown";
  readonly result: StringResult | undefined;
  /** Host that should be asked instead, as far as this one knows. */
  readonly to: string | undefined;
  /** A replica has answered: which life of which node. */
  readonly replica: string | undefined;
}

export interface PeerMessage {
  /** Node ids. Another node may have taken the machine over: a handshake finds out. */
  readonly from: string;
  readonly to: string;
  readonly message: Uint8Array;
  readonly frames: Uint8Array | undefined;
  /** About a checkpoint or a move of slots: `frames` are bytes of it. */
  readonly kind: "member" | "bulk" | "move";
}

export const CLIENT_PORT = "clients";

export function requestBytes({ key, call }: ClusterRequest): number {
  return 40 + key.length + ("value" in call ? call.value.length : 0);
}

export function replyBytes({ result }: ClusterReply): number {
  return 16 + (typeof result === "string" ? result.length : 0);
}
