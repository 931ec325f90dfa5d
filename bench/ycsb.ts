/**
 * YCSB core workloads A, B, C, F and D against dkv and redis-server (appendfsync everysec), from an own generator.
 *
 * A record is one value of 1000 bytes, standing for ten fields of 100; a read-modify-write is a GET, then a SET of the
 * same key. Workload D, which inserts, runs last. Scans (E) need an order of keys that Redis does not have.
 */

import { type Cell, compareCell, contenderList, startContenders } from "./compare/rounds.ts";
import {
  Progress,
  peerKind,
  type ServerProcess,
  SetupError,
  targetKind,
  Workspace,
} from "./harness.ts";
import { runLoad } from "./load/load-process.ts";
import type { LoadReport } from "./load/protocol.ts";
import type { WorkloadSpec, YcsbName } from "./load/workloads.ts";
import { type Comparison, printComparisons, saveResults } from "./report.ts";

export const RECORD_BYTES = 1000;
const KEY_PREFIX = "user";
const LOAD_PIPELINE = 16;
const IN_ORDER: readonly YcsbName[] = ["a", "b", "c", "f", "d"];

export interface YcsbOptions {
  workloads: readonly string[];
  pipelines: readonly number[];
  records: number;
  rounds: number;
  seconds: number;
  connections: number;
  maxmemory: string;
  peer: string;
  target: string | undefined;
  portBase: number;
  parent: string | undefined;
  keep: boolean;
  out: string | undefined;
  isLocal: boolean;
}

/** One run: what it is to do, and what the generator told beside the comparisons. */
interface Run {
  options: YcsbOptions;
  progress: Progress;
  /** The first key that the next insert on a server takes. */
  nextInsert: Map<ServerProcess, number>;
  generatorCores: Record<string, number[]>;
  seed: number;
}

/** Runs, prints, saves. There are no budgets for these workloads: always 0 missed. */
export async function ycsb(options: YcsbOptions): Promise<number> {
  const kinds = { target: targetKind(options.target), peer: peerKind(options.peer) };
  const workspace = await Workspace.open(options);
  const settings = { fsync: "everysec", maxmemory: options.maxmemory } as const;
  const servers = await startContenders(workspace, kinds, settings);
  const progress = new Progress();
  const run: Run = { options, progress, nextInsert: new Map(), generatorCores: {}, seed: 1 };
  for (const server of contenderList(servers)) await loadRecords(run, server);
  const done: Comparison[] = [];
  for (const cell of plan(options)) {
    const compared = await compareCell(cell, servers, options.rounds, (server) => {
      progress.show(`YCSB ${cell.workload} pipeline ${cell.pipeline}: ${server.name}`);
      return runWorkload(run, server, cell);
    });
    done.push(compared);
    const rate = (compared.target.operationsPerSecond / 1000).toFixed(1);
    progress.show(`YCSB ${cell.workload} pipeline ${cell.pipeline}: ${rate} k/s`, true);
  }
  workspace.close();
  progress.done();
  printComparisons(done, kinds);
  warnOfGenerator(run);
  const path = await saveResults(
    {
      benchmark: "ycsb",
      ...kinds,
      busyCoresBefore: workspace.busyCoresBefore,
      settings: { ...options, recordBytes: RECORD_BYTES },
      budgets: [],
      cells: done,
      generatorCores: run.generatorCores,
    },
    { path: options.out, isLocal: options.isLocal },
  );
  console.log(`\nsaved ${path}`);
  return 0;
}

function plan(options: YcsbOptions): Cell[] {
  return IN_ORDER.filter((name) => options.workloads.includes(name)).flatMap((workload) =>
    options.pipelines.map((pipeline) => ({
      workload,
      valueBytes: RECORD_BYTES,
      pipeline,
      fsync: "everysec",
    })),
  );
}

async function loadRecords(run: Run, server: ServerProcess): Promise<void> {
  const { records, connections } = run.options;
  run.progress.show(`loading ${records} records of ${RECORD_BYTES} B into ${server.name}`);
  await runLoad({
    port: server.port,
    ...{ connections, pipeline: LOAD_PIPELINE, keyPrefix: KEY_PREFIX, valueBytes: RECORD_BYTES },
    checksStamps: true,
    waitReplicas: 0,
    workload: { kind: "fill", keys: records, seed: 1 },
    seconds: undefined,
  });
  run.nextInsert.set(server, records);
  await server.settle(10_000);
}

async function runWorkload(run: Run, server: ServerProcess, cell: Cell): Promise<LoadReport> {
  const firstInsert = run.nextInsert.get(server)!;
  const name = cell.workload as YcsbName;
  const workload: WorkloadSpec = {
    kind: "ycsb",
    ...{ name, keys: run.options.records, firstInsert, seed: run.seed++ },
  };
  const report = await runLoad({
    port: server.port,
    connections: run.options.connections,
    pipeline: cell.pipeline,
    checksStamps: true,
    waitReplicas: 0,
    ...{ keyPrefix: KEY_PREFIX, valueBytes: RECORD_BYTES, workload, seconds: run.options.seconds },
  });
  if (report.misses > 0) {
    throw new SetupError(
      `${server.name}: ${report.misses} reads of existing records found nothing`,
    );
  }
  run.nextInsert.set(server, Math.max(firstInsert, report.nextInsert));
  const label = `${name} ${cell.pipeline} ${server.name}`;
  run.generatorCores[label] = [...(run.generatorCores[label] ?? []), report.generatorCores];
  return report;
}

/** Throughput says nothing of the server where the generator used up its core. */
function warnOfGenerator(run: Run): void {
  const limited = Object.entries(run.generatorCores)
    .filter(([, cores]) => Math.max(...cores) > 0.95)
    .map(([label]) => label);
  if (limited.length === 0) return;
  console.log(
    `\nthe generator used its whole core in: ${limited.join(", ")}; compare CPU, not throughput, there`,
  );
}
