/**
 * What simulated clients and a simulated server say to each other: one request at a time a connection, one answer.
 */
import type { StringCall, StringResult } from "../string-model.ts";

export interface KvRequest {
  readonly id: number;
  readonly key: string;
  readonly call: StringCall;
}

export interface KvReply {
  readonly id: number;
  /** Undefined: refused, without any effect. */
  readonly result: StringResult | undefined;
}

export const CLIENT_PORT = "clients";

export function requestBytes({ key, call }: KvRequest): number {
  return 40 + key.length + ("value" in call ? call.value.length : 0);
}

export function replyBytes({ result }: KvReply): number {
  return 16 + (typeof result === "string" ? result.length : 0);
}
