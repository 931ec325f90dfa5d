/** What the benchmark of moving slots and its load process say to each other. */

import type { StockClientName } from "./stock-client.ts";

export interface MoveLoadSpec {
  ports: readonly number[];
  keys: number;
  valueBytes: number;
  /** Commands a second of each client. */
  rate: number;
}

/** What one client has seen since the mark before. */
export interface ClientMark {
  client: StockClientName;
  seconds: number;
  commands: number;
  p50Ms: number;
  p99Ms: number;
  longestMs: number;
}

export interface LoadMark {
  clients: ClientMark[];
  /** How late the load's own timer was: what the machine, not the cluster, may have added to a latency. */
  ownLagMs: number;
}

export interface MoveLoadReport {
  acknowledged: number;
  reads: number;
  /** Messages of errors that clients handed to their users, and how often. */
  failures: Record<string, number>;
  /** Reads that found less than was acknowledged, or seen, before they began; or what nobody wrote. */
  stale: string[];
  /** Keys that do not have their newest acknowledged value at the end. */
  lost: string[];
  keysRead: number;
}

export type LoadMessage =
  | { type: "ready" }
  | { type: "mark"; mark: LoadMark }
  | { type: "report"; report: MoveLoadReport };

export type LoadOrder = "mark" | "stop";

/** Keys are `key:<index>`; a value tells its key and its version, 0 before anybody has written it. */
export function keyOf(index: number): string {
  return `key:${index}`;
}

export function valueFor(index: number, version: number, bytes: number): string {
  return `${index}:${version}:`.padEnd(bytes, "x");
}

/** The version of a value of the key; −1: it is none. */
export function versionOf(index: number, value: string | null): number {
  const [key, version] = (value ?? "").split(":");
  return key === String(index) ? Number(version) : -1;
}
