/**
 * Every directive that means something to dkv: its kind, default, section and help. One table feeds parsing,
 * CONFIG GET and SET, --help and docs/configuration.md. Redis's other directives are in redis-directives.ts.
 *
 * Sizes and times carry their unit in `help`. A default of 0 that is described as automatic is derived at start
 * from the memory budget or the machine.
 */
import { CLUSTER } from "./cluster-directives.ts";
import { type Directive, fixed, settable } from "./directive.ts";
import {
  bufferLimits,
  choice,
  directory,
  integer,
  type Kind,
  memory,
  percent,
  percentiles,
  text,
  UNBOUNDED,
  words,
  yesNo,
} from "./kinds.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const SECONDS = { min: 0, max: 2 ** 31 - 1 };
const MEMORY_MIN = 128 * MIB;

const MEMORY_PROBLEM = `argument must be 0 or at least ${MEMORY_MIN}`;

function maxmemoryKind(): Kind<number> {
  const size = memory(UNBOUNDED, true);
  return {
    ...size,
    parse(args, previous) {
      const parsed = size.parse(args, previous);
      if ("error" in parsed || parsed.value === 0 || parsed.value >= MEMORY_MIN) return parsed;
      return { error: MEMORY_PROBLEM };
    },
  };
}

const NETWORK = {
  port: fixed("network", integer({ min: 0, max: 65535 }), {
    default: "6379",
    help: "TCP port for clients.",
  }),
  bind: fixed("network", words("list of addresses"), {
    default: "* -::*",
    help: "Addresses to listen on. `*` is all of IPv4, `::*` all of IPv6; an address after `-` may be unavailable.",
  }),
  "tcp-keepalive": settable("network", integer(SECONDS), {
    default: "300",
    help: "Seconds of silence after which a client's connection is probed; 0: never.",
  }),
  "http-port": fixed("network", integer({ min: 0, max: 65535 }), {
    default: "0",
    help: "TCP port for HTTP: /metrics for Prometheus, /livez and /readyz for probes, values under /kv/, and /cluster. 0: none.",
  }),
  "http-bind": fixed("network", words("list of addresses"), {
    default: "",
    help: "Addresses to listen on for HTTP. Empty: those of `bind`.",
  }),
};

const SECURITY = {
  "protected-mode": settable("security", yesNo(), {
    default: "yes",
    help: "Without a password, serve only clients of the same machine.",
  }),
  requirepass: settable("security", text(), {
    default: "",
    isSecret: true,
    help: "Password that clients give with AUTH or HELLO; empty: none.",
  }),
};

const DATA = {
  dir: fixed("data", directory(), {
    default: "./data",
    help: "Directory of the data, created if it is missing. One process at a time uses it.",
  }),
  appendfsync: settable("data", choice("always", "everysec", "no"), {
    default: "always",
    help: "When the log is synced: before a write is answered, every second, or when the system does. Only `always` keeps every answered write through a loss of power; all three keep it through a crash of the process.",
  }),
  "min-free-disk": settable("data", memory(UNBOUNDED), {
    default: "256mb",
    help: "Writes are refused while the disk has less free space than this; reads go on.",
  }),
};

const MEMORY = {
  maxmemory: fixed("memory", maxmemoryKind(), {
    default: "0",
    help: "Memory of the whole process in bytes, not of the data, which may be many times larger. Automatic: 60 % of the container's limit or else of the machine's memory. At least 128mb.",
  }),
  "maxmemory-policy": settable("memory", choice("noeviction"), {
    default: "noeviction",
    help: "Data lives on disk, so nothing is ever evicted.",
  }),
};

const CLIENTS = {
  maxclients: settable("clients", integer({ min: 1, max: 2 ** 32 - 1 }), {
    default: "10000",
    help: "Connections at a time.",
  }),
  timeout: settable("clients", integer(SECONDS), {
    default: "0",
    help: "Seconds after which an idle client is disconnected; 0: never.",
  }),
  "proto-max-bulk-len": settable("clients", memory({ ...UNBOUNDED, min: MIB }), {
    default: "512mb",
    help: "Largest argument of a command in bytes. Values are limited to an eighth of maxmemory besides.",
  }),
  "client-query-buffer-limit": settable("clients", memory({ ...UNBOUNDED, min: MIB }), {
    default: "1gb",
    help: "Bytes of one unfinished command after which its client is disconnected.",
  }),
  "client-output-buffer-limit": settable("clients", bufferLimits(), {
    default: "normal 64mb 16mb 60 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
    help: "Replies that may wait for a client that does not read: disconnected at once above the hard limit, and after some seconds above the soft one. 0: no limit. Redis has none for class normal; here one slow client must not take the memory of all.",
  }),
};

const LOG = {
  loglevel: settable("log", choice("debug", "verbose", "notice", "warning", "nothing"), {
    default: "notice",
    help: "Least important events that are logged.",
  }),
  logfile: fixed("log", text("path"), {
    default: "",
    help: "File for the log, one JSON object per line; empty: standard output.",
  }),
  "slowlog-log-slower-than": settable("log", integer({ ...UNBOUNDED, min: -1 }), {
    default: "10000",
    help: "Microseconds from which a command enters the SLOWLOG; 0: all, -1: none.",
  }),
  "slowlog-max-len": settable("log", integer(UNBOUNDED), {
    default: "128",
    help: "Entries that the SLOWLOG keeps.",
  }),
  "latency-monitor-threshold": settable("log", integer(UNBOUNDED), {
    default: "0",
    help: "Milliseconds from which LATENCY records an event; 0: none.",
  }),
  "latency-tracking": settable("log", yesNo(), {
    default: "yes",
    help: "Keep a histogram of each command's duration for LATENCY HISTOGRAM and INFO latencystats.",
  }),
  "latency-tracking-info-percentiles": settable("log", percentiles(), {
    default: "50 99 99.9",
    help: "Percentiles that INFO latencystats prints.",
  }),
};

const ENGINE = {
  "engine-segment-bytes": fixed("engine", memory({ min: MIB, max: 256 * MIB }, true), {
    default: "0",
    help: "Size of one segment: a part of the log and the memtable over it.",
  }),
  "engine-segment-pool-percent": fixed("engine", percent(true), {
    default: "0",
    help: "Share of maxmemory for segments.",
  }),
  "engine-block-cache-percent": fixed("engine", percent(true), {
    default: "0",
    help: "Share of maxmemory for blocks read from tables.",
  }),
  "engine-block-bytes": fixed("engine", memory({ min: KIB, max: 64 * KIB }), {
    default: "4kb",
    help: "Payload of a table's block before compression.",
  }),
  "engine-bloom-bits": fixed("engine", integer({ min: 1, max: 32 }), {
    default: "10",
    help: "Bits per key in the filters of tables.",
  }),
  "engine-compression": fixed("engine", choice("none", "zstd"), {
    default: "none",
    help: "Compression of blocks in the last level.",
  }),
  "engine-level0-trigger": fixed("engine", integer({ min: 1, max: 64 }), {
    default: "4",
    help: "Tables in level 0 at which they are compacted into level 1.",
  }),
  "engine-level-base-bytes": fixed("engine", memory({ min: MIB, max: 64 * GIB }, true), {
    default: "0",
    help: "Least target size of level 1.",
  }),
  "engine-table-bytes": fixed("engine", memory({ min: MIB, max: GIB }, true), {
    default: "0",
    help: "Size at which compaction starts a new table.",
  }),
  "engine-compaction-rate": fixed("engine", memory({ min: MIB, max: 64 * GIB }, true), {
    default: "0",
    help: "Bytes per second that compaction may write.",
  }),
  "engine-slow-read-micros": fixed("engine", integer({ min: 1, max: 10_000_000 }), {
    default: "1000",
    help: "A read of a table slower than this many microseconds makes the table's next reads asynchronous.",
  }),
};

export const DIRECTIVES = {
  ...NETWORK,
  ...SECURITY,
  ...DATA,
  ...MEMORY,
  ...CLIENTS,
  ...LOG,
  ...CLUSTER,
  ...ENGINE,
} satisfies Record<string, Directive<unknown>>;

export type DirectiveName = keyof typeof DIRECTIVES;

/** Value types by directive: what Config.get returns. */
export type Values = {
  readonly [Name in DirectiveName]: (typeof DIRECTIVES)[Name] extends Directive<infer T>
    ? T
    : never;
};

export const DIRECTIVE_NAMES = Object.keys(DIRECTIVES) as readonly DirectiveName[];

export function isDirectiveName(name: string): name is DirectiveName {
  return Object.hasOwn(DIRECTIVES, name);
}
