/**
 * CLUSTER MOVE, REBALANCE, DRAIN, MOVES and ABORT: slots between replica sets, as operators and tools ask for it. dkv's
 * own; any node answers them. Nothing waits until slots have moved: MOVES says how far that is.
 *
 *     CLUSTER MOVE <slot | first-last> [<slot | first-last> …] TO <set or node> [DRYRUN]
 *     CLUSTER REBALANCE [WEIGHT <set or node> <weight>] … [DRYRUN]
 *     CLUSTER DRAIN <set or node> [DRYRUN]             a set without slots goes; MOVE … TO it, or a WEIGHT, calls that off
 *     CLUSTER MOVES                                   CLUSTER ABORT <move | ALL>
 *
 * The plans are arrays of (source set, destination set, slots as ranges, number of slots).
 */
import { parseRange, rangeText, type SlotRange, slotCount } from "../../base/slot-ranges.ts";
import type { MoveReply } from "../../cluster/node/move-requests.ts";
import { integerArgument, isWord, SYNTAX_ERROR } from "../arguments.ts";
import type { ClusterContext } from "../cluster-context.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext } from "../handler.ts";

const WEIGHT_MAX = 1_000_000;
const UNREACHABLE = "CLUSTERDOWN the coordinator cannot be reached now";

/** The replica set that argument `at` names, by its id or that of one of its nodes. */
function setArgument(
  { request, reply }: CommandContext,
  cluster: ClusterContext,
  at: number,
): string | undefined {
  const id = request.latin1(at);
  const { sets } = cluster.topology.value;
  const found = sets.find((set) => set.id === id) ?? cluster.topology.value.setOf(id);
  if (found === undefined) reply.error(`ERR Unknown replica set ${echoed(request, at)}`);
  return found?.id;
}

/** Whether the last argument is DRYRUN, and the arguments without it. */
function dryRun({ request }: CommandContext): { isDry: boolean; count: number } {
  const isDry = request.count > 2 && isWord(request, request.count - 1, "dryrun");
  return { isDry, count: request.count - (isDry ? 1 : 0) };
}

function textOf(slots: readonly SlotRange[]): string {
  return slots.map(rangeText).join(",");
}

function replyPlan({ reply }: CommandContext, result: MoveReply): void {
  if ("problem" in result) {
    reply.error(`ERR ${result.problem}`);
    return;
  }
  reply.array(result.moves.length);
  for (const { source, destination, slots } of result.moves) {
    reply.array(4);
    reply.bulkString(source);
    reply.bulkString(destination);
    reply.bulkString(textOf(slots));
    reply.integer(slotCount(slots));
  }
}

export function move(context: CommandContext, cluster: ClusterContext): void {
  const { request, reply, store } = context;
  const { isDry, count } = dryRun(context);
  const to = count - 2;
  if (to < 3 || !isWord(request, to, "to")) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  const ranges: SlotRange[] = [];
  for (let at = 2; at < to; at++) {
    const range = parseRange(request.latin1(at));
    if (range === undefined) {
      reply.error("ERR Invalid or out of range slot");
      return;
    }
    ranges.push(range);
  }
  const setId = setArgument(context, cluster, to + 1);
  if (setId === undefined) return;
  replyPlan(
    context,
    store.prepare(() => cluster.moves.move(ranges, setId, isDry), "cluster move"),
  );
}

export function rebalance(context: CommandContext, cluster: ClusterContext): void {
  const { request, reply } = context;
  const { isDry, count } = dryRun(context);
  const weights = new Map<string, number>();
  for (let at = 2; at < count; at += 3) {
    if (at + 3 > count || !isWord(request, at, "weight")) {
      reply.error(SYNTAX_ERROR);
      return;
    }
    const setId = setArgument(context, cluster, at + 1);
    if (setId === undefined) return;
    const weight = integerArgument(request, at + 2);
    if (!(weight >= 0 && weight <= WEIGHT_MAX)) {
      reply.error("ERR weight must be an integer, not negative");
      return;
    }
    weights.set(setId, weight);
  }
  const plan = () => cluster.moves.rebalance(weights, isDry);
  replyPlan(context, context.store.prepare(plan, "cluster rebalance"));
}

export function drain(context: CommandContext, cluster: ClusterContext): void {
  const { isDry, count } = dryRun(context);
  if (count !== 3) {
    context.reply.error(SYNTAX_ERROR);
    return;
  }
  const setId = setArgument(context, cluster, 2);
  if (setId === undefined) return;
  const plan = () => cluster.moves.drain(setId, isDry);
  replyPlan(context, context.store.prepare(plan, "cluster drain"));
}

export function moves({ reply, store }: CommandContext, cluster: ClusterContext): void {
  const list = async () => (await cluster.moves.list()) ?? null;
  const all = store.prepare(list, "cluster moves");
  if (all === null) {
    reply.error(UNREACHABLE);
    return;
  }
  reply.array(all.length);
  for (const { id, source, destination, slots, state } of all) {
    reply.map(5);
    reply.bulkString("id");
    reply.bulkString(id);
    reply.bulkString("source");
    reply.bulkString(source);
    reply.bulkString("destination");
    reply.bulkString(destination);
    reply.bulkString("slots");
    reply.bulkString(textOf(slots));
    reply.bulkString("state");
    reply.bulkString(state);
  }
}

export function abort({ request, reply, store }: CommandContext, cluster: ClusterContext): void {
  const id = isWord(request, 2, "all") ? undefined : request.latin1(2);
  const abortAll = async () => (await cluster.moves.abort(id)) ?? -1;
  const count = store.prepare(abortAll, "cluster abort");
  if (count < 0) reply.error(UNREACHABLE);
  else reply.integer(count);
}
