/** Messages between a benchmark and the processes that make load for it. */

import type { WorkloadSpec } from "./workloads.ts";

/** What the generator process is to do. A record's key is `keyPrefix` (4 bytes) + 12 digits: 16 bytes. */
export interface LoadSpec {
  port: number;
  connections: number;
  /** Commands that a connection sends at once; the next batch follows when all are answered. */
  pipeline: number;
  keyPrefix: string;
  valueBytes: number;
  workload: WorkloadSpec;
  /** Whether all values were written by such generators, so that reads can be held against their keys. */
  checksStamps: boolean;
  /**
   * Behind each batch a WAIT for so many replicas, without a time-out; then nothing of a batch counts as done before its
   * WAIT is. 0: none.
   */
  waitReplicas: number;
  /** Ends the load even if the workload has more. */
  seconds: number | undefined;
}

export interface LoadProgress {
  type: "progress";
  operations: number;
  seconds: number;
}

export interface LoadReport {
  type: "report";
  /** A read-modify-write is one operation. */
  operations: number;
  seconds: number;
  misses: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** Longest time without any reply on any connection. */
  longestGapMs: number;
  /** CPU time of the generator over the load: near 1 core, the generator was the limit. */
  generatorCores: number;
  /** The first key that a next insert may take. */
  nextInsert: number;
}

export interface ProbeSpec {
  port: number;
  keyPrefix: string;
  keys: number;
  intervalMs: number;
}

/** The prober is connected and sends. */
export interface ProbeReady {
  type: "ready";
}

export interface ProbeReport {
  type: "report";
  count: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** The prober's own timer was late by at most this: a bound on what the machine, not the server, may have added. */
  ownLagMaxMs: number;
}
