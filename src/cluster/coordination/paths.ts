/**
 * Where the documents of a cluster are, below its chroot:
 *
 *     /cluster              cluster document: made once; what changes is how many sets it has had
 *     /nodes/<node id>      node document: durable, what the node says of itself
 *     /presence/<node id>   node presence: ephemeral, ends with the node's session
 *     /sets/<set id>        replica-set document: who holds the data, who writes; gone when it is retired
 *     /moves/<move id>      slot-move document: one running move
 *
 * The chroot is the one of the connection string, or else `/dkv/<name>`, so that clusters can share an ensemble.
 */
import { assert } from "../../base/assert.ts";

export const CLUSTER_PATH = "/cluster";
export const NODES_PATH = "/nodes";
export const PRESENCE_PATH = "/presence";
export const SETS_PATH = "/sets";
export const MOVES_PATH = "/moves";

/** The folders that the first node makes (ensurePath). */
export const FOLDER_PATHS: readonly string[] = [NODES_PATH, PRESENCE_PATH, SETS_PATH, MOVES_PATH];

/** Nodes, sets, moves and the cluster itself are named by 40 hexadecimal digits. */
export const ID = /^[0-9a-f]{40}$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

export function nodePath(nodeId: string): string {
  return below(NODES_PATH, nodeId);
}

export function presencePath(nodeId: string): string {
  return below(PRESENCE_PATH, nodeId);
}

export function setPath(setId: string): string {
  return below(SETS_PATH, setId);
}

export function movePath(moveId: string): string {
  return below(MOVES_PATH, moveId);
}

/** `name`: letters, digits, `_` and `-`, at most 64, as the configuration checks. */
export function chrootOf(name: string): string {
  assert(NAME.test(name), "name of a cluster");
  return `/dkv/${name}`;
}

/** Children that are no ids were put there by somebody else: they are not looked at. */
export function idsOf(names: readonly string[]): string[] {
  return names.filter((name) => ID.test(name));
}

function below(folder: string, id: string): string {
  assert(ID.test(id), "id of a document");
  return `${folder}/${id}`;
}
