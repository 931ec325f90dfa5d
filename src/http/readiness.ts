/**
 * Whether clients are to be sent to this node. Not whether the process is alive: that is /livez, which always says so.
 *
 *     starting ──► loading ──► ready ⇄ waiting for its cluster ──► stopping
 *
 * A node of a cluster is ready when it knows where every command goes: it has seen the map, is not in the middle of
 * taking a checkpoint, and hears of changes, by its own session or as the writer that it is. A spare is ready too: it
 * forwards everything.
 */
import type { ServerContext } from "../server/handler.ts";

/** Why not, in a few words; undefined: ready. */
export function whyNotReady(context: ServerContext): string | undefined {
  const { cluster } = context;
  if (cluster === undefined) return undefined;
  if (cluster.topology.value.sets.length === 0) return "no replica set has been formed yet";
  const status = cluster.replication.status();
  if (status.isServing) return undefined;
  if (status.isSyncing) return "a checkpoint is being taken over";
  if (status.coordination !== "connected")
    return `the session with ZooKeeper is ${status.coordination}`;
  return undefined;
}
