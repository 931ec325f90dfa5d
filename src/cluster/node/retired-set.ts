/**
 * How a replica set that has been drained comes to an end, and how its nodes know.
 *
 *     draining, without slots, named by no move ──► one multi: its document goes, and the cluster's counts it as retired
 *     a node does not find its set's document ────► retired only if the cluster's document accounts for its absence
 *
 * - Who makes a move checks, in the same multi, that neither of its sets has changed since the one owned the slots and the
 *   other was not draining. So every move that names the set is there to be seen once its document says that it drains and
 *   has nothing; a flip demands the document's version, as the removal does.
 * - A document that is missing without being counted was lost, or another ensemble is looked at, or an older state of it.
 *   Nothing follows from that: a writer goes on serving, and nobody deletes anything.
 */
import type { Coordinator, Document } from "../coordination/coordinator.ts";
import {
  type ClusterDocument,
  clusterDocument,
  DocumentError,
  replicaSetDocument,
  slotMoveDocument,
} from "../coordination/documents.ts";
import {
  CLUSTER_PATH,
  idsOf,
  MOVES_PATH,
  movePath,
  SETS_PATH,
  setPath,
} from "../coordination/paths.ts";
import type { KnownDocument } from "./document-folder.ts";

/** `formed`: sets that there have been before it. */
export function setIdOf(clusterId: string, formed: number): string {
  return new Bun.CryptoHasher("sha1").update(`${clusterId}/${formed}`).digest("hex");
}

/** Sets that there must be. */
export function countSets({ setsFormed, setsRetired }: ClusterDocument): number {
  return setsFormed - setsRetired;
}

/**
 * Removes the document of a set that has nothing left to do. Its writer sees to it, but nobody's authority is needed: what
 * has no slots answers nobody. Whether it has happened, the set's nodes see: they ask fateOfSet. May throw DocumentError.
 */
export async function retireSet(coordinator: Coordinator, setId: string): Promise<void> {
  const cluster = await readCluster(coordinator);
  const path = setPath(setId);
  const read = await coordinator.read(path);
  if (cluster === undefined || cluster === null || read.kind !== "ok") return;
  const set = replicaSetDocument.parse(path, read.data);
  if (!set.isDraining || set.slots.length > 0) return;
  // Behind the set's document: what was made before that became so is seen.
  if ((await isInMove(coordinator, setId)) !== false) return;
  const { document, version } = cluster;
  const counted = { ...document, setsRetired: document.setsRetired + 1 };
  await coordinator.multi([
    { kind: "remove", path, version: read.version },
    { kind: "write", path: CLUSTER_PATH, version, data: clusterDocument.encode(counted) },
  ]);
}

/** What has become of a set whose document was not found; undefined: ask again. */
export async function fateOfSet(
  coordinator: Coordinator,
  clusterId: string,
  setId: string,
): Promise<"there" | "retired" | "lost" | undefined> {
  const before = await readCluster(coordinator);
  const listed = await coordinator.list(SETS_PATH);
  const after = await readCluster(coordinator);
  if (before === undefined || after === undefined || listed.kind === "unavailable")
    return undefined;
  if (before === null || after === null || listed.kind === "missing") return "lost";
  // Sets come and go together with a change of it.
  if (after.version !== before.version) return undefined;
  const ids = idsOf(listed.names);
  if (ids.includes(setId)) return "there";
  const { id, setsFormed } = after.document;
  const isWhole = id === clusterId && ids.length === countSets(after.document);
  return isWhole && wasFormed(id, setsFormed, setId) ? "retired" : "lost";
}

/** Of a set that it has not formed yet, an ensemble that was put back to an older state knows nothing. */
function wasFormed(clusterId: string, setsFormed: number, setId: string): boolean {
  for (let at = 0; at < setsFormed; at++) if (setIdOf(clusterId, at) === setId) return true;
  return false;
}

/** Null: there is none that could be understood. Undefined: it cannot be read now. */
export async function readCluster(
  coordinator: Coordinator,
): Promise<KnownDocument<ClusterDocument> | null | undefined> {
  const read = await coordinator.read(CLUSTER_PATH, { fresh: true });
  if (read.kind === "missing") return null;
  if (read.kind !== "ok") return undefined;
  try {
    return { document: clusterDocument.parse(CLUSTER_PATH, read.data), version: read.version };
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    return null;
  }
}

/** Undefined: nobody can say now. */
async function isInMove(coordinator: Coordinator, setId: string): Promise<boolean | undefined> {
  const listed = await coordinator.list(MOVES_PATH);
  if (listed.kind !== "ok") return undefined;
  for (const id of idsOf(listed.names)) {
    const read = await coordinator.read(movePath(id));
    if (read.kind === "missing") continue;
    if (read.kind !== "ok") return undefined;
    if (names(id, read, setId)) return true;
  }
  return false;
}

function names(id: string, { data }: Document, setId: string): boolean {
  const { source, destination } = slotMoveDocument.parse(movePath(id), data);
  return source === setId || destination === setId;
}
