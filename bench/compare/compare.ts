/**
 * The canonical benchmark: the same load on dkv and redis-server, side by side on loopback.
 *
 *     everysec   SET GET INCR MSET(10) MIXED(50/50)   pipeline 1 16 64   values 64 B, 1 KiB (INCR: counters)
 *     always     SET MIXED                            pipeline 1 16      values 64 B
 *
 * Load comes from redis-benchmark; the mix, which that cannot make, from this repository's generator, where each command
 * of each connection is one or the other by chance. (Two redis-benchmarks at once are no mix with `always`: where reads
 * need not wait for the disk they run ahead and leave the writes alone.)
 *
 * Every key exists before a value size is measured, checked by DBSIZE and by a sample of GETs; hit rates come from INFO.
 */

import { command, encodeCommand, info, pipeline } from "../client.ts";
import {
  type FsyncPolicy,
  Progress,
  peerKind,
  requireProgram,
  type ServerProcess,
  SetupError,
  targetKind,
  Workspace,
} from "../harness.ts";
import { runLoad } from "../load/load-process.ts";
import { Random } from "../load/random.ts";
import {
  type LoadResult,
  type RedisBenchmarkRun,
  runRedisBenchmark,
} from "../load/redis-benchmark.ts";
import { type Comparison, printBudgets, printComparisons, saveResults } from "../report.ts";
import { comparisonBudgets } from "./budgets.ts";
import {
  type Cell,
  type ContenderKinds,
  type Contenders,
  compareCell,
  contenderList,
  SETTLE_DEADLINE_MS,
  startContenders,
} from "./rounds.ts";

export const CANONICAL_WORKLOADS = ["set", "get", "incr", "mset", "mixed"] as const;

const SAMPLED_KEYS = 200;
const HIT_RATE_MIN = 0.99;
const PILOT_REQUESTS = 2000;
const PILOT_SECONDS_MIN = 0.12;
const ALWAYS_WORKLOADS: readonly string[] = ["set", "mixed"];

export interface CompareOptions {
  workloads: readonly string[];
  pipelines: readonly number[];
  valueSizes: readonly number[];
  fsyncs: readonly FsyncPolicy[];
  rounds: number;
  seconds: number;
  keyspace: number;
  connections: number;
  generatorThreads: number;
  maxmemory: string;
  peer: string;
  target: string | undefined;
  portBase: number;
  parent: string | undefined;
  keep: boolean;
  out: string | undefined;
  isLocal: boolean;
}

interface Run {
  options: CompareOptions;
  kinds: ContenderKinds;
  generator: string;
  progress: Progress;
  cells: Cell[];
  done: Comparison[];
  seed: number;
}

/** Runs everything, prints, saves; returns how many budgets were missed. */
export async function compare(options: CompareOptions): Promise<number> {
  const generator = requireProgram("redis-benchmark", "redis-tools");
  const kinds = { target: targetKind(options.target), peer: peerKind(options.peer) };
  const run: Run = {
    options,
    kinds,
    generator,
    progress: new Progress(),
    cells: plan(options),
    done: [],
    seed: 1,
  };
  if (run.cells.length === 0) throw new SetupError("these filters leave nothing to measure");
  const workspace = await Workspace.open(options);
  const hits: Record<string, number> = {};
  for (const fsync of options.fsyncs) {
    if (!run.cells.some((cell) => cell.fsync === fsync)) continue;
    const settings = { fsync, maxmemory: options.maxmemory };
    const servers = await startContenders(workspace, kinds, settings);
    await measureAll(run, servers, fsync);
    for (const server of contenderList(servers)) {
      hits[`${server.name} ${fsync}`] = await hitRate(server);
      await server.stop();
    }
  }
  workspace.close();
  run.progress.done();
  return await report(run, hits, workspace.busyCoresBefore);
}

async function report(
  run: Run,
  hits: Record<string, number>,
  busyCoresBefore: number,
): Promise<number> {
  const { options, kinds, done } = run;
  printComparisons(done, kinds);
  for (const [server, rate] of Object.entries(hits)) {
    if (Number.isNaN(rate)) console.log(`\n${server}: INFO stats tells no hit rate`);
    if (rate < HIT_RATE_MIN) {
      console.log(`\nWARNING: only ${(rate * 100).toFixed(1)} % of reads hit: ${server}`);
    }
  }
  const budgets = kinds.peer === undefined ? [] : comparisonBudgets(done);
  const missed = budgets.length === 0 ? 0 : printBudgets(budgets);
  const path = await saveResults(
    {
      benchmark: "compare",
      busyCoresBefore,
      ...kinds,
      settings: { ...options },
      budgets,
      hits,
      cells: done,
    },
    { path: options.out, isLocal: options.isLocal },
  );
  console.log(`\nsaved ${path}`);
  return missed;
}

/** All cells of the run, in the order measured: value sizes outermost, because each needs its own preload. */
function plan(options: CompareOptions): Cell[] {
  return options.fsyncs.flatMap((fsync) =>
    options.valueSizes.flatMap((valueBytes) =>
      options.workloads.flatMap((workload) =>
        options.pipelines
          .map((depth) => ({ workload, valueBytes, pipeline: depth, fsync }))
          .filter((cell) => isMeasured(cell, options)),
      ),
    ),
  );
}

/** Counters have no value size, and with `always` only what its budget is about is measured. */
function isMeasured(cell: Cell, options: CompareOptions): boolean {
  const isFirstSize = cell.valueBytes === options.valueSizes[0];
  if (cell.workload === "incr" && !isFirstSize) return false;
  if (cell.fsync === "everysec") return true;
  return isFirstSize && cell.pipeline <= 16 && ALWAYS_WORKLOADS.includes(cell.workload);
}

async function measureAll(run: Run, servers: Contenders, fsync: FsyncPolicy): Promise<void> {
  let loadedBytes = -1;
  for (const cell of run.cells.filter((candidate) => candidate.fsync === fsync)) {
    if (cell.valueBytes !== loadedBytes) {
      for (const server of contenderList(servers)) await preload(run, server, cell);
      loadedBytes = cell.valueBytes;
    }
    const requests = new Map<ServerProcess, number>();
    for (const server of contenderList(servers)) {
      requests.set(server, await pilot(run, server, cell));
    }
    const compared = await compareCell(cell, servers, run.options.rounds, (server) => {
      run.progress.show(
        `[${run.done.length + 1}/${run.cells.length}] ${describe(cell)}: ${server.name}`,
      );
      return runOnce(run, server, cell, requests.get(server)!);
    });
    run.done.push(cell.workload === "incr" ? { ...compared, valueBytes: 0 } : compared);
    run.progress.show(
      `[${run.done.length}/${run.cells.length}] ${summary(compared, run.kinds.peer?.name)}`,
      true,
    );
  }
}

function runOnce(
  run: Run,
  server: ServerProcess,
  cell: Cell,
  requests: number,
): Promise<LoadResult> {
  const { keyspace, connections, generatorThreads: threads } = run.options;
  const { workload, pipeline: depth, valueBytes } = cell;
  const { port } = server;
  if (workload === "mixed") {
    return runLoad({
      ...{ port, connections, pipeline: depth, valueBytes, keyPrefix: "key:" },
      workload: { kind: "mixed", keys: keyspace, operations: requests, seed: run.seed++ },
      seconds: undefined,
      // Others write these keys too.
      checksStamps: false,
      waitReplicas: 0,
    });
  }
  return runRedisBenchmark({
    executable: run.generator,
    test: workload as RedisBenchmarkRun["test"],
    ...{ port, connections, pipeline: depth, valueBytes, keyspace, threads, requests },
  });
}

/** Warms the server up for a cell and returns how many requests fill the time wanted. */
async function pilot(run: Run, server: ServerProcess, cell: Cell): Promise<number> {
  run.progress.show(`[${run.done.length + 1}/${run.cells.length}] ${describe(cell)}: warming up`);
  for (let requests = PILOT_REQUESTS; ; requests *= 4) {
    const result = await runOnce(run, server, cell, requests);
    if (result.seconds >= Math.min(PILOT_SECONDS_MIN, run.options.seconds)) {
      // What the pilot put off is not the first round's.
      await server.settle(SETTLE_DEADLINE_MS);
      return Math.ceil((result.operations / result.seconds) * run.options.seconds);
    }
  }
}

/** Writes every key (and counter) in order with values of the cell's size, and checks that they are there. */
async function preload(run: Run, server: ServerProcess, cell: Cell): Promise<void> {
  const { keyspace } = run.options;
  run.progress.show(`loading ${keyspace} keys of ${cell.valueBytes} B into ${server.name}`);
  const value = Buffer.alloc(cell.valueBytes, "VXK");
  const keyOf = (index: number): string => `key:${String(index).padStart(12, "0")}`;
  await pipeline(server.port, keyspace, (i) => encodeCommand(["SET", keyOf(i), value]));
  let expected = keyspace;
  if (run.cells.some((candidate) => candidate.workload === "incr")) {
    const counter = (i: number): string => `counter:${String(i).padStart(12, "0")}`;
    await pipeline(server.port, keyspace, (i) => encodeCommand(["SET", counter(i), "0"]));
    expected += keyspace;
  }
  const counted = Number(await command(server.port, "DBSIZE"));
  if (counted !== expected) {
    throw new SetupError(`${server.name}: DBSIZE is ${counted} after loading ${expected} keys`);
  }
  const random = new Random(1);
  for (let i = 0; i < SAMPLED_KEYS; i++) {
    const key = keyOf(random.below(keyspace));
    const read = await command(server.port, "GET", key);
    if (read !== value.toString()) throw new SetupError(`${server.name}: wrong value at ${key}`);
  }
}

/** The share of reads that found their key since the server started; NaN when INFO does not tell. */
async function hitRate(server: ServerProcess): Promise<number> {
  const stats = await info(server.port, "stats");
  const hits = Number(stats.get("keyspace_hits"));
  return hits / (hits + Number(stats.get("keyspace_misses")));
}

function describe(cell: Cell): string {
  return `${cell.workload.toUpperCase()} ${cell.valueBytes} B ${cell.fsync} pipeline ${cell.pipeline}`;
}

function summary(cell: Comparison, peer: string | undefined): string {
  const rate = (value: number): string => `${(value / 1000).toFixed(1)} k/s`;
  const against = cell.peer === undefined ? "" : `, ${peer} ${rate(cell.peer.operationsPerSecond)}`;
  return `${describe(cell)}: ${rate(cell.target.operationsPerSecond)}${against}`;
}
