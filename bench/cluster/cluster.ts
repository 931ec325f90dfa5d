/**
 * `bench cluster`: what the cluster costs and how long it pauses, on one machine.
 *
 *     quorum     writes that two of three processes have, against Redis with two replicas and WAIT
 *     failover   kill -9 of the writer
 *     handover   SIGTERM of the writer, CLUSTER FAILOVER
 *     moves      a third replica set joins under load, and is drained again
 */

import { type FsyncPolicy, Progress, Violation, Workspace } from "../harness.ts";
import { printBudgets, saveResults } from "../report.ts";
import { clusterBudgets, printQuorum, printTakeovers } from "./cluster-report.ts";
import { requireZookeeper } from "./groups.ts";
import { type MovesOptions, measureMoves, violationsOf } from "./moves.ts";
import { movesBudgets, printMoves } from "./moves-report.ts";
import { measureQuorum } from "./quorum.ts";
import { measureTakeovers } from "./takeover.ts";

export const CLUSTER_PARTS = ["quorum", "failover", "handover", "moves"] as const;
export type ClusterPart = (typeof CLUSTER_PARTS)[number];

export interface ClusterOptions {
  parts: readonly ClusterPart[];
  fsyncs: readonly FsyncPolicy[];
  pipelines: readonly number[];
  rounds: number;
  seconds: number;
  keyspace: number;
  connections: number;
  failovers: number;
  nodeRedisFailovers: number;
  /** Of each kind. */
  handovers: number;
  moves: Omit<MovesOptions, "maxmemory">;
  maxmemory: string;
  peer: string;
  portBase: number;
  parent: string | undefined;
  keep: boolean;
  out: string | undefined;
  isLocal: boolean;
}

/** Runs everything, prints, saves; returns how many budgets were missed. Throws a Violation when moves do harm. */
export async function cluster(options: ClusterOptions): Promise<number> {
  requireZookeeper();
  const { parts } = options;
  const workspace = await Workspace.open(options);
  const progress = new Progress();
  const quorum = parts.includes("quorum") ? await measureQuorum(options, workspace, progress) : [];
  const failovers = parts.includes("failover") ? options.failovers : 0;
  const byNodeRedis = parts.includes("failover") ? options.nodeRedisFailovers : 0;
  const handovers = parts.includes("handover") ? options.handovers : 0;
  const takeovers =
    failovers + handovers === 0
      ? undefined
      : await measureTakeovers(
          {
            failovers: { ioredis: failovers, "node-redis": byNodeRedis },
            handovers: { stop: handovers, request: handovers },
            maxmemory: options.maxmemory,
          },
          workspace,
          progress,
        );
  const moves = parts.includes("moves")
    ? await measureMoves({ ...options.moves, maxmemory: options.maxmemory }, workspace, progress)
    : undefined;
  workspace.close();
  progress.done();
  printQuorum(quorum);
  if (takeovers !== undefined) printTakeovers(takeovers);
  if (moves !== undefined) printMoves(moves);
  const budgets = [
    ...clusterBudgets(quorum, takeovers),
    ...(moves === undefined ? [] : movesBudgets(moves)),
  ];
  const missed = printBudgets(budgets);
  const { busyCoresBefore } = workspace;
  const settings = { ...options };
  const run = {
    benchmark: "cluster",
    busyCoresBefore,
    settings,
    budgets,
    quorum,
    takeovers,
    moves,
  };
  const path = await saveResults(run, { path: options.out, isLocal: options.isLocal });
  console.log(`\nsaved ${path}`);
  const violations = moves === undefined ? [] : violationsOf(moves);
  if (violations.length > 0) throw new Violation(`moves: ${violations.join(", ")}`);
  return missed;
}
