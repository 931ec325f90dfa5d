/**
 * The map of slots as clients are shown it. Stock clients know 16,384 slots of their own, so slots a … b of dkv are
 * shown as 16 a … 16 b + 15: all are covered, and every node shows the same.
 */
import { CLIENT_SLOT_COUNT } from "../base/client-slot.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import type { ReplicationStatus } from "../cluster/replication-status.ts";
import type { SlotRun, TopologyNode, TopologySet } from "../cluster/topology.ts";
import type { ReplyWriter } from "../resp/reply-writer.ts";
import type { ClusterContext } from "./cluster-context.ts";
import { replicationOffset } from "./info-replication.ts";

const CLIENT_SLOTS = CLIENT_SLOT_COUNT / SLOT_COUNT;

interface ClientRange {
  readonly start: number;
  readonly end: number;
}

function clientRange({ start, end }: ClientRange): ClientRange {
  return { start: start * CLIENT_SLOTS, end: end * CLIENT_SLOTS + CLIENT_SLOTS - 1 };
}

function runsOf(cluster: ClusterContext, set: TopologySet): ClientRange[] {
  return cluster.topology.value.runs.filter((run) => run.set === set).map(clientRange);
}

function replyNode(reply: ReplyWriter, node: TopologyNode): void {
  reply.array(4);
  reply.bulkString(node.host);
  reply.integer(node.port);
  reply.bulkString(node.id);
  if (node.hostname === "") {
    reply.map(0);
    return;
  }
  reply.map(1);
  reply.bulkString("hostname");
  reply.bulkString(node.hostname);
}

/**
 * CLUSTER SLOTS: an entry per run, the writer and then the replicas that are there. While a set has no writer, one of
 * its nodes has the writer's place, and holds what it is sent until there is one: the map never has a hole, since with
 * a hole stock clients fail within themselves, or take no map at all.
 */
export function replySlots({ topology }: ClusterContext, reply: ReplyWriter): void {
  const runs = topology.value.runs.filter(({ set }) => shownNodes(set).length > 0);
  reply.array(runs.length);
  for (const run of runs) replyRun(run, reply);
}

function shownNodes({ writer, replicas }: TopologySet): readonly TopologyNode[] {
  const online = replicas.filter((node) => node.health === "online");
  if (writer !== undefined) return [writer, ...online];
  return online.length > 0 ? online : replicas;
}

function replyRun(run: SlotRun, reply: ReplyWriter): void {
  const { start, end } = clientRange(run);
  const nodes = shownNodes(run.set);
  reply.array(2 + nodes.length);
  reply.integer(start);
  reply.integer(end);
  for (const node of nodes) replyNode(reply, node);
}

/** CLUSTER SHARDS: every replica set with all its nodes, those too that have failed. */
export function replyShards(cluster: ClusterContext, reply: ReplyWriter): void {
  const { sets } = cluster.topology.value;
  const status = cluster.replication.status();
  reply.array(sets.length);
  for (const set of sets) {
    reply.map(2);
    reply.bulkString("slots");
    const ranges = runsOf(cluster, set);
    reply.array(ranges.length * 2);
    for (const { start, end } of ranges) {
      reply.integer(start);
      reply.integer(end);
    }
    reply.bulkString("nodes");
    const nodes = set.writer === undefined ? set.replicas : [set.writer, ...set.replicas];
    reply.array(nodes.length);
    for (const node of nodes)
      replyShardNode(reply, node, node === set.writer, offsetOf(node.id, cluster.id, status));
  }
}

/** What a node has at least, as far as this one knows; 0: nothing is known of it. */
function offsetOf(nodeId: string, ownId: string, status: ReplicationStatus): number {
  if (nodeId === ownId) return replicationOffset(status);
  if (nodeId === status.writer?.nodeId) return status.commitIndex;
  return status.replicas.find((each) => each.nodeId === nodeId)?.durable ?? 0;
}

function replyShardNode(
  reply: ReplyWriter,
  node: TopologyNode,
  isWriter: boolean,
  offset: number,
): void {
  reply.map(node.hostname === "" ? 7 : 8);
  reply.bulkString("id");
  reply.bulkString(node.id);
  reply.bulkString("port");
  reply.integer(node.port);
  reply.bulkString("ip");
  reply.bulkString(node.host);
  reply.bulkString("endpoint");
  reply.bulkString(node.host);
  if (node.hostname !== "") {
    reply.bulkString("hostname");
    reply.bulkString(node.hostname);
  }
  reply.bulkString("role");
  reply.bulkString(isWriter ? "master" : "replica");
  reply.bulkString("replication-offset");
  reply.integer(offset);
  reply.bulkString("health");
  reply.bulkString(node.health);
}

/** What lines of CLUSTER NODES are made of. */
export interface NodesView {
  readonly cluster: ClusterContext;
  readonly status: ReplicationStatus;
  readonly nowMs: number;
}

export function nodesView(cluster: ClusterContext, nowMs: number): NodesView {
  return { cluster, status: cluster.replication.status(), nowMs };
}

interface Sighting {
  readonly isConnected: boolean;
  /** Wall time; of nodes that this one has no link for replication with, nobody notes it: now. */
  readonly seenMs: number;
}

function sightingOf({ cluster, status, nowMs }: NodesView, node: TopologyNode): Sighting {
  if (node.id === cluster.id) return { isConnected: true, seenMs: 0 };
  const { writer, replicas } = status;
  const replica = replicas.find((each) => each.nodeId === node.id);
  const link = writer?.nodeId === node.id ? writer : replica;
  if (link === undefined) return { isConnected: node.health !== "fail", seenMs: nowMs };
  const isConnected = "isUp" in link ? link.isUp : link.state !== "offline";
  return { isConnected, seenMs: link.heardMsAgo < 0 ? 0 : nowMs - link.heardMsAgo };
}

/** One line of CLUSTER NODES, without its end. */
export function nodeLine(view: NodesView, node: TopologyNode): string {
  const { cluster } = view;
  const set = cluster.topology.value.setOf(node.id)!;
  const isWriter = set.writer === node;
  const hostname = node.hostname === "" ? "" : `,${node.hostname}`;
  const { isConnected, seenMs } = sightingOf(view, node);
  const flags = [
    ...(node.id === cluster.id ? ["myself"] : []),
    isWriter ? "master" : "slave",
    ...(node.health === "fail" ? ["fail"] : []),
  ];
  const words: (string | number)[] = [
    node.id,
    `${node.host}:${node.port}@${node.peerPort}${hostname}`,
    flags.join(","),
    isWriter ? "-" : (set.writer?.id ?? "-"),
    0,
    Math.floor(seenMs),
    set.epoch,
    isConnected ? "connected" : "disconnected",
  ];
  if (isWriter) {
    for (const { start, end } of runsOf(cluster, set)) words.push(`${start}-${end}`);
  }
  return words.join(" ");
}

/** CLUSTER NODES: one line a node. */
export function nodesText(view: NodesView): string {
  const lines = view.cluster.topology.value.nodes.map((node) => `${nodeLine(view, node)}\n`);
  return lines.join("");
}

/**
 * CLUSTER INFO, without the figures of a gossip protocol, which dkv has none of. A slot is ok when this node can reach its
 * writer: after a start the documents name a writer that may not be there.
 */
export function clusterInfoText(cluster: ClusterContext): string {
  const topology = cluster.topology.value;
  const reached = new Set(cluster.links().map(({ nodeId }) => nodeId)).add(cluster.id);
  const served = topology.runs
    .filter(({ set: { writer } }) => writer !== undefined && reached.has(writer.id))
    .reduce((sum, run) => sum + run.end - run.start + 1, 0);
  const fields: [string, string | number][] = [
    ["cluster_state", served === SLOT_COUNT ? "ok" : "fail"],
    ["cluster_slots_assigned", topology.ownedSlots * CLIENT_SLOTS],
    ["cluster_slots_ok", served * CLIENT_SLOTS],
    ["cluster_slots_pfail", 0],
    ["cluster_slots_fail", (topology.ownedSlots - served) * CLIENT_SLOTS],
    ["cluster_known_nodes", topology.nodes.length],
    ["cluster_size", topology.sets.filter((set) => set.slots.length > 0).length],
    ["cluster_current_epoch", topology.epoch],
    ["cluster_my_epoch", topology.setOf(cluster.id)?.epoch ?? 0],
    ["cluster_stats_messages_sent", 0],
    ["cluster_stats_messages_received", 0],
    ["total_cluster_links_buffer_limit_exceeded", 0],
  ];
  return fields.map(([name, value]) => `${name}:${value}\r\n`).join("");
}
