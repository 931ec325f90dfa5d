/**
 * What callers do with a Coordinator beyond single operations: find out how a write of unknown outcome ended, and
 * make sure that parents exist.
 */
import {
  type Coordinator,
  type Document,
  parentOf,
  type Unavailable,
  type WriteOutcome,
} from "./coordinator.ts";

/**
 * `applied`: the document carries the caller's mark. `superseded`: others wrote it since, so whether the write was
 * among them no longer matters: nothing may be built on it. `missing`: no such document.
 */
export type SettledWrite =
  | { readonly kind: "applied"; readonly document: Document }
  | { readonly kind: "not applied"; readonly document: Document }
  | { readonly kind: "superseded"; readonly document: Document }
  | { readonly kind: "missing" }
  | Unavailable;

/**
 * How a write from `version` that answered `unknown` ended. `isOwn` looks for a mark that only this write leaves,
 * such as its claim id. `unavailable`: ask again later. Every other answer is final: the read is fresh, so the write
 * comes before it or never.
 */
export async function settleWrite(
  coordinator: Coordinator,
  path: string,
  version: number,
  isOwn: (document: Document) => boolean,
): Promise<SettledWrite> {
  const read = await coordinator.read(path, { fresh: true });
  if (read.kind !== "ok") return read;
  if (read.version === version) return { kind: "not applied", document: read };
  if (read.version > version && isOwn(read)) return { kind: "applied", document: read };
  // The one write after `version` is somebody else's; or there were more, or the document is another one.
  const kind = read.version === version + 1 ? "not applied" : "superseded";
  return { kind, document: read };
}

/** Creates `path` and what is missing above it, durable and empty; `ok` also when all of it was there. */
export async function ensurePath(coordinator: Coordinator, path: string): Promise<WriteOutcome> {
  const outcome = await coordinator.create(path, new Uint8Array(0), "durable");
  if (outcome.kind !== "conflict") return outcome;
  if (outcome.cause === "exists") return { kind: "ok", version: 0 };
  const above = await ensurePath(coordinator, parentOf(path));
  if (above.kind !== "ok") return above;
  const again = await coordinator.create(path, new Uint8Array(0), "durable");
  // Somebody else may have made it meanwhile.
  const exists = again.kind === "conflict" && again.cause === "exists";
  return exists ? { kind: "ok", version: 0 } : again;
}
