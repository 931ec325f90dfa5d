/** What the nodes of a cluster of processes say of themselves and of each other, for tests. */
import { expect } from "bun:test";
import { slotOf } from "../../src/base/slot.ts";
import { type ClusterProcess, type DkvCluster, until } from "./dkv-cluster.ts";
import type { ReplyValue } from "./raw-connection.ts";

/** Client slots for each slot. */
const CLIENT_SLOTS = 16;

export interface SlotsEntry {
  readonly start: number;
  readonly end: number;
  /** Ports: the writer's, then the replicas'. */
  readonly ports: readonly number[];
  readonly writerId: string;
}

export const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** CLUSTER SLOTS as `node` answers, in slots, ascending. */
export async function slotsAt(node: ClusterProcess): Promise<SlotsEntry[]> {
  const reply = await node.ask("CLUSTER", "SLOTS");
  const entries = reply as [number, number, ...[string, number, string][]][];
  return entries
    .map(([start, end, ...nodes]) => ({
      start: start / CLIENT_SLOTS,
      end: (end + 1) / CLIENT_SLOTS - 1,
      ports: nodes.map(([, port]) => port),
      writerId: nodes[0]![2],
    }))
    .sort((a, b) => a.start - b.start);
}

export function nodeAt(cluster: DkvCluster, port: number): ClusterProcess {
  return cluster.nodes.find((node) => node.port === port)!;
}

/** Of a cluster of one set, once a node that runs is its writer. */
export async function writerOf(cluster: DkvCluster): Promise<ClusterProcess> {
  let found: ClusterProcess | undefined;
  await until("one of the nodes that run is the writer", async () => {
    for (const node of cluster.nodes.filter(({ isRunning }) => isRunning)) {
      const [role, info] = [await node.ask("ROLE"), await node.ask("CLUSTER", "INFO")];
      // It must know of itself, too.
      const isServed = `${info}`.includes("cluster_state:ok");
      if (Array.isArray(role) && role[0] === "master" && isServed) found = node;
    }
    return found !== undefined;
  });
  return found!;
}

/** Of a cluster of one set: those that run. */
export async function replicasOf(cluster: DkvCluster): Promise<ClusterProcess[]> {
  const leading = await writerOf(cluster);
  return cluster.nodes.filter((node) => node !== leading && node.isRunning);
}

export function slotOfKey(key: string): number {
  const bytes = Buffer.from(key);
  return slotOf(bytes, 0, bytes.length);
}

/** What `node` itself has, as READONLY shows it. */
export async function readAt(node: ClusterProcess, keys: readonly string[]): Promise<ReplyValue[]> {
  const [, ...values] = await node.pipeline([["READONLY"], ...keys.map((key) => ["GET", key])]);
  return values;
}

export async function untilAllRead(
  nodes: readonly ClusterProcess[],
  keys: readonly string[],
  value: string,
): Promise<void> {
  for (const node of nodes)
    await until(`${keys.length} keys at ${node.port}`, async () => {
      const values = await readAt(node, keys);
      return values.length === keys.length && values.every((each) => each === value);
    });
}

export async function field(node: ClusterProcess, section: string, name: string): Promise<string> {
  const info = await node.ask("INFO", section);
  return new RegExp(`^${name}:(.*?)\r?$`, "m").exec(`${info}`)?.[1] ?? "";
}

/** How far every running node is, once all are equally far and idle. */
export async function untilOffsetsAgree(cluster: DkvCluster): Promise<number> {
  let offsets: string[] = [];
  await until(
    "all copies are equally far",
    async () => {
      const names = ["cluster_commit_frame", "cluster_durable_frame", "cluster_last_frame"];
      const running = cluster.nodes.filter(({ isRunning }) => isRunning);
      const all = running.flatMap((node) => names.map((name) => field(node, "dkv", name)));
      offsets = await Promise.all(all);
      return offsets[0] !== "" && new Set(offsets).size === 1;
    },
    () => offsets.join(),
  );
  return Number(offsets[0]);
}

export async function setAll(
  node: ClusterProcess,
  keys: readonly string[],
  value: string,
): Promise<void> {
  const commands = keys.map((key) => ["SET", key, value]);
  expect(await node.pipeline(commands)).toEqual(keys.map(() => "OK"));
}

/** What stays of a node through restarts. */
export async function identityOf(node: ClusterProcess): Promise<unknown> {
  const id = await node.ask("CLUSTER", "MYID");
  const line = `${await node.ask("CLUSTER", "NODES")}`
    .split("\n")
    .find((each) => each.includes("myself"))!;
  const [, address, flags] = line.split(" ");
  const slots = (await slotsAt(node)).filter(({ writerId }) => writerId === id);
  const factor = await field(node, "dkv", "cluster_replication_factor");
  const quorum = await field(node, "dkv", "cluster_write_quorum");
  return { id, address, flags, slots, factor, quorum };
}
