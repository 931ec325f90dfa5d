/** Messages between `bench noisy` and its two processes: the prober and the hostile clients. */

export interface ProberSpec {
  port: number;
  intervalMs: number;
  keys: number;
}

export interface HostileSpec {
  port: number;
  /** Keys that the refilling client keeps writing. */
  keys: number;
  largeBytes: number;
  seconds: number;
  /** Between two FLUSHALLs. */
  flushIntervalMs: number;
}

export interface Ready {
  type: "ready";
}

/** A read that found nothing: right only if a FLUSHALL was under way between the write and the answer. Times: epoch ms. */
export interface Miss {
  key: string;
  writtenAt: number;
  answeredAt: number;
}

/** A FLUSHALL, from sending it to its answer. Times: epoch ms. */
export interface Deletion {
  sentAt: number;
  answeredAt: number;
}

export interface ProberReport {
  type: "report";
  count: number;
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
  /** Lateness of the prober's own timer: what the machine, not the server, may have added. */
  lagP99Ms: number;
  lagMaxMs: number;
  misses: Miss[];
  /** Values that were not the one written last. */
  wrong: string[];
}

export interface HostileReport {
  type: "report";
  seconds: number;
  /** How often each kind of command was answered. */
  counts: Record<string, number>;
  deletions: Deletion[];
  misses: Miss[];
  wrong: string[];
  /** Keys and versions of the large values that must exist now, and how many small keys must. */
  large: { key: string; version: number }[];
  smallKeys: number;
}
