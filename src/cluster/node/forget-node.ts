/**
 * A node that is gone for good is taken out of the documents, so that its set lacks a node which another may be, and
 * keeps no log for it.
 *
 *     not present ──► a learner of its set? out of the set's document ──► its own document is removed
 *                      └─ a member? refused: its writer must have replaced or dropped it, since its copy counts
 *
 * One that comes back after all registers again, with the incarnation that its directory has, and is a spare or a
 * learner like any other.
 */
import type { Coordinator } from "../coordination/coordinator.ts";
import {
  DocumentError,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../coordination/documents.ts";
import { idsOf, nodePath, presencePath, SETS_PATH, setPath } from "../coordination/paths.ts";

/** A set's document changes now and then under this one. */
const TRIES = 5;
const TRY_AGAIN = "TRYAGAIN the coordinator cannot be asked now";

/** Undefined: done. Else why not, as an error reply. */
export async function forgetNode(
  coordinator: Coordinator,
  nodeId: string,
): Promise<string | undefined> {
  for (let tried = 0; tried < TRIES; tried++) {
    const problem = await tryToForget(coordinator, nodeId);
    if (problem !== TRY_AGAIN) return problem;
  }
  return TRY_AGAIN;
}

async function tryToForget(coordinator: Coordinator, nodeId: string): Promise<string | undefined> {
  const node = await coordinator.read(nodePath(nodeId), { fresh: true });
  if (node.kind === "unavailable") return TRY_AGAIN;
  if (node.kind === "missing") return `ERR Unknown node ${nodeId}`;
  const presence = await coordinator.read(presencePath(nodeId));
  if (presence.kind === "unavailable") return TRY_AGAIN;
  if (presence.kind === "ok")
    return "ERR the node is there, or has not been gone for long enough: stop it, and wait for its session to end";
  const problem = await leaveSets(coordinator, nodeId);
  if (problem !== undefined) return problem;
  const removed = await coordinator.remove(nodePath(nodeId), node.version);
  return removed.kind === "ok" ? undefined : TRY_AGAIN;
}

async function leaveSets(coordinator: Coordinator, nodeId: string): Promise<string | undefined> {
  const listed = await coordinator.list(SETS_PATH);
  if (listed.kind !== "ok") return TRY_AGAIN;
  for (const id of idsOf(listed.names)) {
    const problem = await leaveSet(coordinator, setPath(id), nodeId);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

async function leaveSet(
  coordinator: Coordinator,
  path: string,
  nodeId: string,
): Promise<string | undefined> {
  const read = await coordinator.read(path);
  if (read.kind !== "ok") return TRY_AGAIN;
  let set: ReplicaSetDocument;
  try {
    set = replicaSetDocument.parse(path, read.data);
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    return `ERR ${error.message}`;
  }
  if (set.members.some((each) => each.nodeId === nodeId))
    return `ERR the node is still a member of its replica set, whose copy counts: its writer drops it once ${set.writeQuorum} others hold all, or replaces it by a node that has caught up`;
  const learners = set.learners.filter((each) => each.nodeId !== nodeId);
  if (learners.length === set.learners.length) return undefined;
  const data = replicaSetDocument.encode({ ...set, learners });
  const outcome = await coordinator.write(path, data, read.version);
  return outcome.kind === "ok" ? undefined : TRY_AGAIN;
}
