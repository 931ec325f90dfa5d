/**
 * What a campaign torments: a cluster of replica sets on hosts of the lab. A target knows how its processes are
 * started and joined; faults, workload and checks are the same for all targets.
 */
import type { Address } from "./clients/resp-socket.ts";
import type { LabNetwork } from "./lab-network.ts";
import type { LabProcess } from "./lab-process.ts";

export const TARGETS = ["dkv", "redis"] as const;
export type TargetName = (typeof TARGETS)[number];

export interface LabNode {
  readonly host: string;
  readonly address: Address;
  readonly directory: string;
  readonly process: LabProcess;
}

/** Servers that the nodes agree with each other by, if the target has any. */
export interface Coordination {
  readonly hosts: readonly string[];
  /** As nodes are told of it. */
  readonly address: string;
  kill(): Promise<void>;
  killServer(at: number): Promise<void>;
  pauseServer(at: number): void;
  /** Starts those that do not run, wakes those that are paused; resolves once they serve. */
  restart(): Promise<void>;
  /** As its logs end. */
  readonly lastWords: string;
}

export interface TargetOptions {
  readonly network: LabNetwork;
  readonly directory: string;
  /** Of the nodes: nodesPerSet for each set. */
  readonly hosts: readonly string[];
  readonly sets: number;
  readonly nodesPerSet: number;
  readonly writeQuorum: number;
  readonly coordinators: 1 | 3;
}

export interface Target {
  readonly name: TargetName;
  readonly nodes: readonly LabNode[];
  readonly coordination: Coordination | undefined;
  /** Connections to this port carry what nodes replicate. */
  readonly replicationPort: number;
  /** Starts everything; resolves once the cluster is formed. */
  start(): Promise<void>;
  /** REQUIRES: it does not run. `under`: program and arguments to start it by. */
  startNode(node: LabNode, under?: readonly string[]): void;
  /** Makes a node that has lost its directory part of the cluster again. REQUIRES: it was just started. */
  readmit(node: LabNode, writer: LabNode): Promise<void>;
  /** The slot of a key, as CLUSTER SLOTS counts. */
  slotOf(key: string): number;
}
