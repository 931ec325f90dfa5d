/**
 * Interleaved rounds: A B, B A, A B … on one cell, so drift of the machine hits both servers alike; medians of each.
 *
 * CPU a command counts the server's process tree from before the load until it is quiet again, so work that a server
 * puts off (log rewriting, flushes, compactions) is paid by the command that caused it.
 */

import {
  type LaunchOptions,
  median,
  type ServerKind,
  type ServerProcess,
  type Workspace,
} from "../harness.ts";
import type { LoadResult } from "../load/redis-benchmark.ts";
import { othersCpuSeconds } from "../process-stats.ts";
import type { Comparison, Measurement } from "../report.ts";

/** How long deferred work is waited for after a measurement. */
export const SETTLE_DEADLINE_MS = 3000;

export interface ContenderKinds {
  target: ServerKind;
  peer: ServerKind | undefined;
}

export interface Contenders {
  target: ServerProcess;
  peer: ServerProcess | undefined;
}

export type Cell = Pick<Comparison, "workload" | "valueBytes" | "pipeline" | "fsync">;

export async function startContenders(
  workspace: Workspace,
  kinds: ContenderKinds,
  settings: Pick<LaunchOptions, "fsync" | "maxmemory">,
): Promise<Contenders> {
  const target = await workspace.start(kinds.target, settings);
  const peer = kinds.peer === undefined ? undefined : await workspace.start(kinds.peer, settings);
  return { target, peer };
}

export function contenderList(servers: Contenders): ServerProcess[] {
  return servers.peer === undefined ? [servers.target] : [servers.peer, servers.target];
}

/** Runs `load` on both servers in turn, `rounds` times. `load` is told the server and the round. */
export async function compareCell(
  cell: Cell,
  servers: Contenders,
  rounds: number,
  load: (server: ServerProcess) => Promise<LoadResult>,
): Promise<Comparison> {
  const results: Comparison["rounds"] = { target: [], peer: [] };
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? (["peer", "target"] as const) : (["target", "peer"] as const);
    for (const side of order) {
      const server = servers[side];
      if (server !== undefined) results[side].push(await measure(server, load));
    }
  }
  const peer = results.peer.length > 0 ? medians(results.peer) : undefined;
  return { ...cell, target: medians(results.target), peer, rounds: results };
}

async function measure(
  server: ServerProcess,
  load: (server: ServerProcess) => Promise<LoadResult>,
): Promise<Measurement> {
  const startedAt = performance.now();
  const othersBefore = othersCpuSeconds();
  const cpuBefore = server.cpuSeconds();
  const result = await load(server);
  const others = othersCpuSeconds() - othersBefore;
  const otherCores = others / ((performance.now() - startedAt) / 1000);
  await server.settle(SETTLE_DEADLINE_MS);
  return {
    operationsPerSecond: result.operations / result.seconds,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    cpuMicros: ((server.cpuSeconds() - cpuBefore) * 1e6) / result.operations,
    otherCores,
  };
}

function medians(rounds: Measurement[]): Measurement {
  return {
    operationsPerSecond: median(rounds.map((round) => round.operationsPerSecond)),
    p50Ms: median(rounds.map((round) => round.p50Ms)),
    p99Ms: median(rounds.map((round) => round.p99Ms)),
    cpuMicros: median(rounds.map((round) => round.cpuMicros)),
    otherCores: median(rounds.map((round) => round.otherCores)),
  };
}
