/**
 * Entry of all load benchmarks: `bench` (against redis-server), `bench ycsb`, `bench large`, `bench noisy`,
 * `bench cluster`.
 *
 * Without arguments it runs the canonical comparison. Exit status: 0, or 1 when `--assert` is given and a budget was
 * missed, or when moving slots did harm, or 2 when the benchmark could not run.
 */

import { Command, InvalidArgumentError, Option } from "commander";
import { CLUSTER_PARTS, type ClusterPart, cluster } from "./cluster/cluster.ts";
import { CANONICAL_WORKLOADS, compare } from "./compare/compare.ts";
import { type FsyncPolicy, SetupError, Violation } from "./harness.ts";
import { large, sizeBytes } from "./large.ts";
import { YCSB_NAMES } from "./load/workloads.ts";
import { noisy } from "./noisy.ts";
import { ycsb } from "./ycsb.ts";

type Size = "full" | "quick" | "smoke";

interface CommonFlags {
  quick?: true;
  smoke?: true;
  target?: string;
  peer: string;
  maxmemory: string;
  portBase: number;
  dir?: string;
  keep?: true;
  out?: string;
  assert?: true;
  connections: number;
}

interface CompareFlags extends CommonFlags {
  only: string[];
  pipeline?: number[];
  valueSize?: number[];
  fsync: string[];
  rounds?: number;
  seconds?: number;
  keyspace?: number;
  generatorThreads: number;
}

interface YcsbFlags extends CommonFlags {
  only: string[];
  pipeline?: number[];
  records?: number;
  rounds?: number;
  seconds?: number;
}

interface LargeFlags extends CommonFlags {
  keys?: number;
  readSeconds?: number;
  logPattern: string;
}

interface NoisyFlags extends CommonFlags {
  keys?: number;
  largeBytes?: string;
  seconds?: number;
}

interface ClusterFlags extends CommonFlags {
  only: string[];
  pipeline?: number[];
  fsync: string[];
  rounds?: number;
  seconds?: number;
  keyspace?: number;
  failovers?: number;
  handovers?: number;
  keys?: number;
  valueSize: number;
  rate: number;
}

const FSYNC_POLICIES = ["everysec", "always"] as const;

const COMPARE_SIZES = {
  full: {
    rounds: 3,
    seconds: 2,
    keyspace: 100_000,
    pipelines: [1, 16, 64],
    valueSizes: [64, 1024],
  },
  quick: { rounds: 3, seconds: 0.7, keyspace: 100_000, pipelines: [1, 16, 64], valueSizes: [64] },
  smoke: { rounds: 1, seconds: 0.1, keyspace: 2000, pipelines: [16], valueSizes: [64] },
};

const YCSB_SIZES = {
  full: { records: 100_000, rounds: 3, seconds: 3, pipelines: [1, 16] },
  quick: { records: 100_000, rounds: 1, seconds: 1, pipelines: [1, 16] },
  smoke: { records: 2000, rounds: 1, seconds: 0.2, pipelines: [16] },
};

const LARGE_SIZES = {
  full: { keys: 10_000_000, readSeconds: 10, quietSeconds: 4 },
  quick: { keys: 1_000_000, readSeconds: 3, quietSeconds: 3 },
  smoke: { keys: 20_000, readSeconds: 0.3, quietSeconds: 0.5 },
};

const NOISY_SIZES = {
  full: { keys: 1_000_000, largeBytes: "100m", seconds: 25, flushIntervalMs: 6000 },
  quick: { keys: 300_000, largeBytes: "100m", seconds: 10, flushIntervalMs: 3000 },
  smoke: { keys: 20_000, largeBytes: "16m", seconds: 2, flushIntervalMs: 700 },
};

const CLUSTER_SIZES = {
  full: {
    ...{ rounds: 3, seconds: 2, keyspace: 100_000, pipelines: [1, 16, 64] },
    ...{ failovers: 30, nodeRedisFailovers: 5, handovers: 20 },
    ...{ keys: 1_000_000, restSeconds: 10 },
  },
  quick: {
    ...{ rounds: 3, seconds: 0.7, keyspace: 100_000, pipelines: [1, 16, 64] },
    ...{ failovers: 5, nodeRedisFailovers: 1, handovers: 3 },
    ...{ keys: 100_000, restSeconds: 5 },
  },
  smoke: {
    ...{ rounds: 1, seconds: 0.2, keyspace: 2000, pipelines: [16] },
    ...{ failovers: 1, nodeRedisFailovers: 0, handovers: 1 },
    ...{ keys: 5000, restSeconds: 1 },
  },
};

function count(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("must be a positive number");
  return value;
}

const counts = (text: string): number[] => text.split(",").map(count);

/** A parser of comma-separated words that refuses others than `offered`. */
function words(offered: readonly string[]): (text: string) => string[] {
  return (text) => {
    const chosen = text.split(",");
    const unknown = chosen.find((word) => !offered.includes(word));
    if (unknown === undefined) return chosen;
    throw new InvalidArgumentError(`${unknown} is none of ${offered.join(", ")}`);
  };
}

function withCommonOptions(command: Command, maxmemory = "512mb"): Command {
  return command
    .option("--quick", "shorter and fewer cells")
    .option("--smoke", "seconds only: does the tool work")
    .option("--maxmemory <size>", "memory budget given to dkv", maxmemory)
    .option("--connections <n>", "client connections", count, 50)
    .option("--port-base <port>", "first port to try", count, 21200)
    .option("--dir <path>", "where to put temporary data (default: the system's)")
    .option("--keep", "keep the data and the servers' logs")
    .option("--out <file>", "where to save the results")
    .option("--assert", "exit with 1 when a budget is missed")
    .addOption(
      new Option("--peer <program>", "what to compare with, or none").default("redis-server"),
    );
}

function withTarget(command: Command): Command {
  return command.option(
    "--target <command>",
    "measure this instead of dkv; {port} {dir} {fsync} {maxmemory}",
  );
}

function sizeOf(flags: CommonFlags): Size {
  return flags.smoke ? "smoke" : flags.quick ? "quick" : "full";
}

function common(flags: CommonFlags) {
  return {
    connections: flags.connections,
    maxmemory: flags.maxmemory,
    peer: flags.peer,
    target: flags.target,
    portBase: flags.portBase,
    parent: flags.dir,
    keep: flags.keep === true,
    out: flags.out,
    isLocal: sizeOf(flags) !== "full",
  };
}

async function runCompare(flags: CompareFlags): Promise<number> {
  const size = COMPARE_SIZES[sizeOf(flags)];
  return await compare({
    ...common(flags),
    workloads: flags.only,
    pipelines: flags.pipeline ?? size.pipelines,
    valueSizes: flags.valueSize ?? size.valueSizes,
    fsyncs: flags.fsync as FsyncPolicy[],
    rounds: flags.rounds ?? size.rounds,
    seconds: flags.seconds ?? size.seconds,
    keyspace: flags.keyspace ?? size.keyspace,
    generatorThreads: flags.generatorThreads,
  });
}

async function runYcsb(flags: YcsbFlags): Promise<number> {
  const size = YCSB_SIZES[sizeOf(flags)];
  return await ycsb({
    ...common(flags),
    workloads: flags.only,
    pipelines: flags.pipeline ?? size.pipelines,
    records: flags.records ?? size.records,
    rounds: flags.rounds ?? size.rounds,
    seconds: flags.seconds ?? size.seconds,
  });
}

async function runLarge(flags: LargeFlags): Promise<number> {
  const size = LARGE_SIZES[sizeOf(flags)];
  return await large({
    ...common(flags),
    keys: flags.keys ?? size.keys,
    readSeconds: flags.readSeconds ?? size.readSeconds,
    quietSeconds: size.quietSeconds,
    logPattern: flags.logPattern,
  });
}

async function runNoisy(flags: NoisyFlags): Promise<number> {
  const size = NOISY_SIZES[sizeOf(flags)];
  return await noisy({
    ...common(flags),
    keys: flags.keys ?? size.keys,
    largeBytes: sizeBytes(flags.largeBytes ?? size.largeBytes),
    seconds: flags.seconds ?? size.seconds,
    flushIntervalMs: size.flushIntervalMs,
  });
}

async function runCluster(flags: ClusterFlags): Promise<number> {
  const size = CLUSTER_SIZES[sizeOf(flags)];
  return await cluster({
    ...common(flags),
    parts: flags.only as ClusterPart[],
    pipelines: flags.pipeline ?? size.pipelines,
    fsyncs: flags.fsync as FsyncPolicy[],
    rounds: flags.rounds ?? size.rounds,
    seconds: flags.seconds ?? size.seconds,
    keyspace: flags.keyspace ?? size.keyspace,
    failovers: flags.failovers ?? size.failovers,
    nodeRedisFailovers: size.nodeRedisFailovers,
    handovers: flags.handovers ?? size.handovers,
    moves: {
      keys: flags.keys ?? size.keys,
      ...{ valueBytes: flags.valueSize, rate: flags.rate, restSeconds: size.restSeconds },
    },
  });
}

async function run(flags: CommonFlags, benchmark: () => Promise<number>): Promise<void> {
  try {
    const missed = await benchmark();
    process.exit(flags.assert && missed > 0 ? 1 : 0);
  } catch (error) {
    if (error instanceof Violation) {
      console.error(`bench: ${error.message}`);
      process.exit(1);
    }
    if (error instanceof SetupError) console.error(`bench: ${error.message}`);
    else console.error(error);
    process.exit(2);
  }
}

const program = new Command("bench").description("load benchmarks of dkv");

withTarget(withCommonOptions(program.command("compare", { isDefault: true })))
  .description("SET, GET, INCR, MSET and a mix against redis-server (the default)")
  .option("--only <workloads>", "of set,get,incr,mset,mixed", words(CANONICAL_WORKLOADS), [
    ...CANONICAL_WORKLOADS,
  ])
  .option("--pipeline <depths>", "commands in flight on a connection, e.g. 1,16,64", counts)
  .option("--value-size <bytes>", "value sizes, e.g. 64,1024", counts)
  .option("--fsync <policies>", "of everysec,always", words(FSYNC_POLICIES), [...FSYNC_POLICIES])
  .option("--rounds <n>", "interleaved rounds; medians are reported", count)
  .option("--seconds <s>", "time of one measurement", count)
  .option("--keyspace <n>", "number of keys", count)
  .option(
    "--generator-threads <n>",
    "threads of redis-benchmark, on machines with cores to spare",
    count,
    1,
  )
  .action((flags: CompareFlags) => run(flags, () => runCompare(flags)));

withTarget(withCommonOptions(program.command("ycsb")))
  .description("YCSB A, B, C, D and F against redis-server")
  .option("--only <workloads>", "of a,b,c,d,f", words(YCSB_NAMES), [...YCSB_NAMES])
  .option("--pipeline <depths>", "operations in flight on a connection, e.g. 1,16", counts)
  .option("--records <n>", "records loaded before", count)
  .option("--rounds <n>", "interleaved rounds; medians are reported", count)
  .option("--seconds <s>", "time of one measurement", count)
  .action((flags: YcsbFlags) => run(flags, () => runYcsb(flags)));

withTarget(withCommonOptions(program.command("noisy"), "1gb"))
  .description("ten hostile clients beside one that must not notice: stalls, memory, correctness")
  .option("--keys <n>", "number of small keys", count)
  .option("--large-bytes <size>", "size of the large values, at most an eighth of maxmemory")
  .option("--seconds <s>", "time for which the hostile clients run", count)
  .action((flags: NoisyFlags) => run(flags, () => runNoisy(flags)));

withTarget(withCommonOptions(program.command("large")))
  .description("data larger than memory: stalls, memory, amplification, restart")
  .option("--keys <n>", "number of keys of 100 bytes", count)
  .option("--read-seconds <s>", "time of each read phase", count)
  .option(
    "--log-pattern <regexp>",
    "which files of the directory are log",
    "(^|/)wal/|\\.(wal|log)$",
  )
  .action((flags: LargeFlags) => run(flags, () => runLarge(flags)));

withCommonOptions(program.command("cluster"))
  .description(
    "nodes and ZooKeeper: quorum writes against Redis with WAIT, takeovers, moves of slots",
  )
  .option("--only <parts>", "of quorum,failover,handover,moves", words(CLUSTER_PARTS), [
    ...CLUSTER_PARTS,
  ])
  .option("--pipeline <depths>", "commands in flight on a connection, e.g. 1,16,64", counts)
  .option("--fsync <policies>", "of everysec,always; for quorum writes", words(FSYNC_POLICIES), [
    ...FSYNC_POLICIES,
  ])
  .option("--rounds <n>", "interleaved rounds of quorum writes; medians are reported", count)
  .option("--seconds <s>", "time of one measurement of quorum writes", count)
  .option("--keyspace <n>", "number of keys of quorum writes", count)
  .option("--failovers <n>", "writers killed under ioredis", count)
  .option("--handovers <n>", "handovers by SIGTERM, and as many by CLUSTER FAILOVER", count)
  .option("--keys <n>", "number of keys while slots move", count)
  .option("--value-size <bytes>", "size of their values", count, 100)
  .option("--rate <n>", "commands a second of each of two clients while slots move", count, 600)
  .action((flags: ClusterFlags) => run(flags, () => runCluster(flags)));

await program.parseAsync();
