/**
 * CLUSTER, and the commands of cluster connections: READONLY, READWRITE, ASKING
 * (https://redis.io/docs/latest/commands/?group=cluster).
 *
 * Slots in arguments and replies are dkv's 0 … 1023, but for the maps (cluster-map.ts). On a server that is not in a
 * cluster all answer as Redis does there. What changes a topology by hand in Redis is refused: coordination decides it.
 */
import { SLOT_COUNT, slotOf } from "../../base/slot.ts";
import type { TopologyNode } from "../../cluster/topology.ts";
import { POSITIONS, type ScanPage } from "../../store/scan.ts";
import type { Store } from "../../store/store.ts";
import { integerArgument, isWord, NOT_AN_INTEGER, SYNTAX_ERROR } from "../arguments.ts";
import type { ClusterContext } from "../cluster-context.ts";
import {
  clusterInfoText,
  nodeLine,
  nodesText,
  nodesView,
  replyShards,
  replySlots,
} from "../cluster-map.ts";
import { replyHelp } from "../command-introspection.ts";
import { COMMANDS, commandNamed } from "../command-table.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext, Handler, Handlers } from "../handler.ts";
import { abort, drain, move, moves, rebalance } from "./cluster-moves.ts";

const SLOT_POSITIONS = POSITIONS / SLOT_COUNT;
/** Keys of a slot that are read between turns of the event loop. */
const PAGE_KEYS = 256;
const NODE_ID = /^[0-9a-f]{40}$/;
const NO_HAND =
  "the topology is not changed by hand: nodes that start with cluster-enabled yes join by themselves, and slots are divided among the replica sets";

type ClusterHandler = (context: CommandContext, cluster: ClusterContext) => void;

function inCluster(handler: ClusterHandler): Handler {
  return (context) => {
    const { cluster } = context.server;
    if (cluster === undefined)
      context.reply.error("ERR This instance has cluster support disabled");
    else handler(context, cluster);
  };
}

function byHand(name: string): ClusterHandler {
  return ({ reply }) =>
    reply.error(`ERR CLUSTER ${name.toUpperCase()} is not supported: ${NO_HAND}`);
}

function keySlot({ request, reply }: CommandContext): void {
  if (request.isLarge(2)) request.materialize();
  reply.integer(slotOf(request.bytes, request.starts[2]!, request.ends[2]!));
}

/** Argument 2 as a slot; undefined when it is none, which has been replied then. */
function slotArgument({ request, reply }: CommandContext, error: string): number | undefined {
  const slot = integerArgument(request, 2);
  if (Number.isNaN(slot)) reply.error(NOT_AN_INTEGER);
  else if (slot < 0 || slot >= SLOT_COUNT) reply.error(error);
  else return slot;
  return undefined;
}

function countKeysInSlot(context: CommandContext): void {
  const slot = slotArgument(context, "ERR Invalid slot");
  if (slot !== undefined) context.reply.integer(context.store.size(slot));
}

function getKeysInSlot(context: CommandContext): void {
  const { store, request, reply } = context;
  const count = integerArgument(request, 3);
  if (Number.isNaN(integerArgument(request, 2)) || Number.isNaN(count)) {
    reply.error(NOT_AN_INTEGER);
    return;
  }
  const invalid = "ERR Invalid slot or number of keys";
  const slot = slotArgument(context, invalid);
  if (slot === undefined) return;
  if (count < 0) {
    reply.error(invalid);
    return;
  }
  const keys = store.prepare(() => keysOfSlot(store, slot, count), `slot ${slot}`);
  store.tagNewest();
  reply.array(keys.length);
  for (const key of keys) reply.bulkBytes(key);
}

/** Up to `count` keys of a slot, read over several turns. */
async function keysOfSlot(store: Store, slot: number, count: number): Promise<Buffer[]> {
  const keys: Buffer[] = [];
  const end = (slot + 1) * SLOT_POSITIONS;
  let cursor = slot * SLOT_POSITIONS;
  while (keys.length < count && cursor < end) {
    let page: ScanPage = { next: 0, keys: [] };
    await store.runUnit(() => {
      page = store.scan(cursor, Math.min(PAGE_KEYS, count - keys.length));
    });
    for (const { key, position } of page.keys) if (position < end) keys.push(key);
    if (page.next === 0) break;
    cursor = page.next;
    await store.nextTurn();
  }
  return keys.slice(0, count);
}

/** The node that argument 2 names; undefined when there is none, which has been replied then. */
function nodeArgument(
  { request, reply }: CommandContext,
  cluster: ClusterContext,
): TopologyNode | undefined {
  const id = request.latin1(2);
  const node = cluster.topology.value.nodes.find((each) => each.id === id);
  if (node === undefined) reply.error(`ERR Unknown node ${echoed(request, 2)}`);
  return node;
}

function replicas(context: CommandContext, cluster: ClusterContext): void {
  const { server, reply } = context;
  const node = nodeArgument(context, cluster);
  if (node === undefined) return;
  const set = cluster.topology.value.setOf(node.id)!;
  if (set.writer !== node) {
    reply.error("ERR The specified node is not a master");
    return;
  }
  const view = nodesView(cluster, server.clock.wallMs());
  reply.array(set.replicas.length);
  for (const each of set.replicas) reply.bulkString(nodeLine(view, each));
}

function countFailureReports(context: CommandContext, cluster: ClusterContext): void {
  if (nodeArgument(context, cluster) !== undefined) context.reply.integer(0);
}

function failover({ request, reply }: CommandContext, cluster: ClusterContext): void {
  if (request.count > 2) {
    const isForced = isWord(request, 2, "force") || isWord(request, 2, "takeover");
    if (request.count > 3 || !isForced) reply.error(SYNTAX_ERROR);
    else
      reply.error(
        "ERR FORCE and TAKEOVER are not supported: a writer that fails is replaced by itself, without losing a write",
      );
    return;
  }
  const set = cluster.topology.value.setOf(cluster.id);
  if (set === undefined || set.writer?.id === cluster.id) {
    reply.error("ERR You should send CLUSTER FAILOVER to a replica");
    return;
  }
  const problem = cluster.requestHandover();
  if (problem === undefined) reply.ok();
  else reply.error(problem);
}

function forget({ store, request, reply }: CommandContext, cluster: ClusterContext): void {
  const id = request.latin1(2).toLowerCase();
  if (!NODE_ID.test(id)) {
    reply.error(`ERR Unknown node ${echoed(request, 2)}`);
    return;
  }
  if (id === cluster.id) {
    reply.error("ERR I tried hard but I can't forget myself...");
    return;
  }
  const problem = store.prepare(() => cluster.forgetNode(id), `forget ${id}`);
  if (problem === undefined) reply.ok();
  else reply.error(problem);
}

function links({ reply }: CommandContext, cluster: ClusterContext): void {
  const all = cluster.links();
  reply.array(all.length);
  for (const link of all) {
    reply.map(6);
    reply.bulkString("direction");
    reply.bulkString(link.direction);
    reply.bulkString("node");
    reply.bulkString(link.nodeId);
    reply.bulkString("create-time");
    reply.integer(Math.floor(link.createdMs));
    reply.bulkString("events");
    reply.bulkString(link.events);
    reply.bulkString("send-buffer-allocated");
    reply.integer(link.allocatedBytes);
    reply.bulkString("send-buffer-used");
    reply.integer(link.usedBytes);
  }
}

/** The id of the node's replica set; a spare has none, and shows its own. */
function myShardId({ reply }: CommandContext, cluster: ClusterContext): void {
  reply.bulkString(cluster.topology.value.setOf(cluster.id)?.id ?? cluster.id);
}

function readonly({ session, reply }: CommandContext, cluster: ClusterContext): void {
  cluster.router.setReadonly(session, true);
  reply.ok();
}

function readwrite({ session, reply }: CommandContext, cluster: ClusterContext): void {
  cluster.router.setReadonly(session, false);
  reply.ok();
}

const ANSWERED: Readonly<Record<string, ClusterHandler>> = {
  "cluster|abort": abort,
  "cluster|count-failure-reports": countFailureReports,
  "cluster|countkeysinslot": countKeysInSlot,
  "cluster|drain": drain,
  "cluster|failover": failover,
  "cluster|forget": forget,
  "cluster|getkeysinslot": getKeysInSlot,
  "cluster|help": ({ reply }) => replyHelp(commandNamed("cluster")!, reply),
  "cluster|info": ({ reply }, cluster) => reply.verbatim(clusterInfoText(cluster)),
  "cluster|keyslot": keySlot,
  "cluster|links": links,
  "cluster|move": move,
  "cluster|moves": moves,
  "cluster|myid": ({ reply }, cluster) => reply.bulkString(cluster.id),
  "cluster|myshardid": myShardId,
  "cluster|nodes": ({ server, reply }, cluster) =>
    reply.verbatim(nodesText(nodesView(cluster, server.clock.wallMs()))),
  "cluster|rebalance": rebalance,
  "cluster|replicas": replicas,
  // Every document of the cluster is durable as soon as it is written.
  "cluster|saveconfig": ({ reply }) => reply.ok(),
  "cluster|shards": ({ reply }, cluster) => replyShards(cluster, reply),
  "cluster|slaves": replicas,
  "cluster|slots": ({ reply }, cluster) => replySlots(cluster, reply),
  readonly,
  readwrite,
  // There is nothing to ask for: a slot that moves is answered for by one owner at any moment.
  asking: ({ reply }) => reply.ok(),
};

const subcommands = COMMANDS.filter((spec) => spec.container?.name === "cluster");

export const CLUSTER_HANDLERS: Handlers = Object.fromEntries([
  ...subcommands.map(({ name }) => [name, inCluster(byHand(name.slice("cluster|".length)))]),
  ...Object.entries(ANSWERED).map(([name, handler]) => [name, inCluster(handler)]),
]) as Handlers;
