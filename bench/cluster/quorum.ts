/**
 * Quorum writes: SET of uniform keys that exist, each answered once two of three processes have it, on dkv and on
 * Redis with WAIT 1 behind each batch, by the same generator.
 *
 * Interleaved rounds, medians. A latency is that of a batch; of Redis until its WAIT is answered. CPU a command of the
 * writer alone, and of all three processes, until they are quiet again.
 */

import { command, encodeCommand, pipeline } from "../client.ts";
import { type FsyncPolicy, median, type Progress, SetupError, type Workspace } from "../harness.ts";
import { runLoad } from "../load/load-process.ts";
import { Random } from "../load/random.ts";
import { othersCpuSeconds } from "../process-stats.ts";
import type { Comparison, Measurement } from "../report.ts";
import { DkvGroup, type Group, RedisGroup } from "./groups.ts";

export const QUORUM_VALUE_BYTES = 64;
const KEY_PREFIX = "key:";
const SETTLE_DEADLINE_MS = 3000;
const WARM_UP_SECONDS = 0.3;
const SAMPLED_KEYS = 200;

export interface QuorumOptions {
  fsyncs: readonly FsyncPolicy[];
  pipelines: readonly number[];
  rounds: number;
  seconds: number;
  keyspace: number;
  connections: number;
  maxmemory: string;
  peer: string;
}

/** cpuMicros is the writer's alone. */
export interface QuorumMeasurement extends Measurement {
  groupCpuMicros: number;
  /** Of the generator; near one core it was the limit. */
  generatorCores: number;
}

export interface QuorumComparison extends Comparison {
  target: QuorumMeasurement;
  peer: QuorumMeasurement | undefined;
  rounds: { target: QuorumMeasurement[]; peer: QuorumMeasurement[] };
}

interface Run {
  options: QuorumOptions;
  progress: Progress;
  seed: number;
}

export async function measureQuorum(
  options: QuorumOptions,
  workspace: Workspace,
  progress: Progress,
): Promise<QuorumComparison[]> {
  const run: Run = { options, progress, seed: 1 };
  const cells: QuorumComparison[] = [];
  for (const fsync of options.fsyncs) {
    progress.show(`quorum writes, ${fsync}: starting`, true);
    const settings = { fsync, maxmemory: options.maxmemory };
    const target = await DkvGroup.start(workspace, settings);
    const peer = await RedisGroup.start(workspace, options.peer, settings);
    const groups = peer === undefined ? [target] : [peer, target];
    for (const group of groups) await preload(run, group);
    for (const depth of options.pipelines)
      cells.push(await measureCell(run, { target, peer }, fsync, depth));
    for (const group of groups) await group.stop();
  }
  return cells;
}

async function measureCell(
  run: Run,
  groups: { target: Group; peer: Group | undefined },
  fsync: FsyncPolicy,
  depth: number,
): Promise<QuorumComparison> {
  const { rounds: count } = run.options;
  const rounds: QuorumComparison["rounds"] = { target: [], peer: [] };
  for (const group of [groups.peer, groups.target])
    if (group !== undefined) await load(run, group, depth, WARM_UP_SECONDS);
  for (let round = 0; round < count; round++) {
    const order = round % 2 === 0 ? (["peer", "target"] as const) : (["target", "peer"] as const);
    for (const side of order) {
      const group = groups[side];
      if (group === undefined) continue;
      run.progress.show(`quorum writes, ${fsync}, pipeline ${depth}, round ${round + 1}`);
      rounds[side].push(await measure(run, group, depth));
    }
  }
  return {
    ...{ workload: "set", valueBytes: QUORUM_VALUE_BYTES, pipeline: depth, fsync, rounds },
    target: medians(rounds.target),
    peer: rounds.peer.length > 0 ? medians(rounds.peer) : undefined,
  };
}

async function load(run: Run, group: Group, depth: number, seconds: number) {
  const { connections, keyspace } = run.options;
  const report = await runLoad({
    port: (await group.writer()).port,
    ...{ connections, pipeline: depth, keyPrefix: KEY_PREFIX, valueBytes: QUORUM_VALUE_BYTES },
    workload: { kind: "write", keys: keyspace, seed: ++run.seed },
    ...{ checksStamps: true, waitReplicas: group.waitReplicas, seconds },
  });
  // A copy that fell away would make the rest cheaper.
  await group.untilComplete();
  await Promise.all(group.processes.map((server) => server.settle(SETTLE_DEADLINE_MS)));
  return report;
}

async function measure(run: Run, group: Group, depth: number): Promise<QuorumMeasurement> {
  const writer = await group.writer();
  const others = (): number => othersCpuSeconds();
  const groupCpu = (): number =>
    group.processes.reduce((sum, server) => sum + server.cpuSeconds(), 0);
  const before = { at: performance.now(), others: others(), writer: writer.cpuSeconds() };
  const groupBefore = groupCpu();
  const report = await load(run, group, depth, run.options.seconds);
  const elapsed = (performance.now() - before.at) / 1000;
  const perCommand = (cpuSeconds: number): number => (cpuSeconds * 1e6) / report.operations;
  return {
    operationsPerSecond: report.operations / report.seconds,
    p50Ms: report.p50Ms,
    p99Ms: report.p99Ms,
    cpuMicros: perCommand(writer.cpuSeconds() - before.writer),
    groupCpuMicros: perCommand(groupCpu() - groupBefore),
    generatorCores: report.generatorCores,
    otherCores: (others() - before.others) / elapsed,
  };
}

function medians(rounds: QuorumMeasurement[]): QuorumMeasurement {
  const of = (field: keyof QuorumMeasurement): number =>
    median(rounds.map((round) => round[field]));
  return {
    operationsPerSecond: of("operationsPerSecond"),
    p50Ms: of("p50Ms"),
    p99Ms: of("p99Ms"),
    cpuMicros: of("cpuMicros"),
    groupCpuMicros: of("groupCpuMicros"),
    generatorCores: of("generatorCores"),
    otherCores: of("otherCores"),
  };
}

/** Writes every key, and checks that all are there. */
async function preload(run: Run, group: Group): Promise<void> {
  const { keyspace } = run.options;
  run.progress.show(`loading ${keyspace} keys into ${group.name}`);
  const { port } = await group.writer();
  const value = Buffer.alloc(QUORUM_VALUE_BYTES, "VXK");
  const keyOf = (index: number): string => `${KEY_PREFIX}${String(index).padStart(12, "0")}`;
  await pipeline(port, keyspace, (index) => encodeCommand(["SET", keyOf(index), value]));
  const counted = Number(await command(port, "DBSIZE"));
  if (counted !== keyspace)
    throw new SetupError(`${group.name}: DBSIZE is ${counted} after loading ${keyspace} keys`);
  const random = new Random(1);
  for (let at = 0; at < SAMPLED_KEYS; at++) {
    const key = keyOf(random.below(keyspace));
    const read = await command(port, "GET", key);
    if (read !== value.toString()) throw new SetupError(`${group.name}: wrong value at ${key}`);
  }
  await group.untilComplete();
}
