/**
 * Coordination: the small versioned documents by which the nodes of a cluster agree who does what. ZooKeeper holds
 * them in production, memory in the simulator; both keep this contract.
 *
 *     Coordinator (one per process) ─► session 1 ─► session 2 ─► …       one at a time, never two at once
 *                                        │
 *                          connecting ─► connected ⇄ suspended ─► expired ─► connected (the next session)
 *
 * - A document has bytes and a version, which begins at 0 and grows by one with each write. A document that was
 *   removed and created again begins at 0 again: its `creationId` tells the two apart. So what is decided by
 *   conditional writes is never removed while anybody may still hold one of its versions.
 * - Writes are linearizable. Reads may be stale, but within one Coordinator they never go back, not even across
 *   sessions; a `fresh` read sees every write that was answered, to anybody, before it was asked.
 * - Operations of one Coordinator take effect in the order of the calls.
 * - Outcomes are values. `ok` and `conflict`: known. `unavailable`: known to have had no effect. `unknown`: the
 *   connection ended between request and reply; the operation took effect once or not at all. Since a session begins
 *   only when the one before has ended, a fresh read that succeeds afterwards decides which, for good (settleWrite).
 *   Nothing is ever sent twice.
 * - A watch fires at most once, after which it must be set again by a read: when what the read saw has changed, and
 *   whenever a change may have been missed, which is at every return of the connection. It may fire without a change.
 *   It says nothing of what changed; several changes may be one notification.
 * - Ephemeral documents end with their session: at the ensemble some time after `expired`, never before it as long as
 *   clocks agree on the length of a second. The next session does not inherit them: whoever wants them creates them
 *   again when `isNew` is reported.
 * - `suspended` becomes `expired` by a deadline on the monotonic clock, counted from when the newest request that the
 *   ensemble answered was sent. It needs no word from the ensemble and is checked whenever `session` is read, so a
 *   process that slept does not believe in a session that is over. Session loss is a matter of liveness: no
 *   authority over data may rest on it.
 */
import { assert } from "../../base/assert.ts";

/** ZooKeeper refuses packets over 1 MiB; a multi of several documents must fit one. */
export const DOCUMENT_BYTES_MAX = 256 * 1024;
export const MULTI_BYTES_MAX = 768 * 1024;

export type Lifetime = "durable" | "ephemeral";

export interface Unavailable {
  readonly kind: "unavailable";
  readonly reason: UnavailableReason;
}

/** `denied`: the ensemble's access control refuses it; `refused`: its answer to a read was an error. */
export type UnavailableReason = "not connected" | "closed" | "denied" | "refused";

export interface Unknown {
  readonly kind: "unknown";
}

/**
 * `missing`: the document, or the parent of one to create. `children`: a document with children is not removed, and
 * an ephemeral one gets none.
 */
export type ConflictCause = "version" | "exists" | "missing" | "children";

export interface Conflict {
  readonly kind: "conflict";
  readonly cause: ConflictCause;
}

export interface MultiConflict extends Conflict {
  /** The first operation that could not be done. */
  readonly index: number;
}

export interface Document {
  readonly data: Uint8Array;
  readonly version: number;
  readonly creationId: string;
  readonly lifetime: Lifetime;
}

export interface Missing {
  readonly kind: "missing";
}

export type ReadOutcome = ({ readonly kind: "ok" } & Document) | Missing | Unavailable;
export type ListOutcome =
  | { readonly kind: "ok"; readonly names: readonly string[] }
  | Missing
  | Unavailable;
export type WriteOutcome =
  | { readonly kind: "ok"; readonly version: number }
  | Conflict
  | Unknown
  | Unavailable;
export type RemoveOutcome = { readonly kind: "ok" } | Conflict | Unknown | Unavailable;
export type MultiOutcome = { readonly kind: "ok" } | MultiConflict | Unknown | Unavailable;

export type Operation =
  | {
      readonly kind: "create";
      readonly path: string;
      readonly data: Uint8Array;
      readonly lifetime: Lifetime;
    }
  | {
      readonly kind: "write";
      readonly path: string;
      readonly data: Uint8Array;
      readonly version: number;
    }
  | { readonly kind: "remove"; readonly path: string; readonly version: number }
  | { readonly kind: "check"; readonly path: string; readonly version: number };

export interface ReadOptions {
  /** Sees every write that was answered before the call; costs the ensemble a write. */
  readonly fresh?: boolean;
  /** Armed only when the read is `ok` or `missing`. The same function on the same path is armed once. */
  readonly onChange?: () => void;
}

/** `connecting`: there was no session yet. `expired`: there was one, and the next is being made. */
export type SessionState = "connecting" | "connected" | "suspended" | "expired" | "closed";

export interface SessionStatus {
  readonly state: SessionState;
  /** Counts the sessions of this Coordinator; 0 before the first. */
  readonly number: number;
  /** As agreed with the ensemble. */
  readonly timeoutMs: number;
}

export interface SessionEvent extends SessionStatus {
  /** The first `connected` of a session: no ephemeral document of this process exists. */
  readonly isNew: boolean;
}

export interface Subscription {
  cancel(): void;
}

export interface Coordinator {
  /** By the clock, at this moment. */
  readonly session: SessionStatus;
  /** Called in order, once per change; the first call comes after this one returned. */
  onSession(listener: (event: SessionEvent) => void): Subscription;

  read(path: string, options?: ReadOptions): Promise<ReadOutcome>;
  /** Names of the children, sorted. The watch fires when one comes or goes. */
  list(path: string, options?: ReadOptions): Promise<ListOutcome>;
  create(path: string, data: Uint8Array, lifetime: Lifetime): Promise<WriteOutcome>;
  write(path: string, data: Uint8Array, version: number): Promise<WriteOutcome>;
  remove(path: string, version: number): Promise<RemoveOutcome>;
  /** All or nothing. */
  multi(operations: readonly Operation[]): Promise<MultiOutcome>;

  /** Ends the session, and with it its ephemeral documents, as far as the ensemble can be reached. Bounded. */
  close(): Promise<void>;
}

/** Paths are absolute, of printable ASCII without spaces; "/" is the root of the Coordinator's own tree. */
const PATH = /^(\/|(\/[!-.0-~]+)+)$/;
const RELATIVE = /\/\.{1,2}(\/|$)/;

export function isPath(path: string): boolean {
  return PATH.test(path) && !RELATIVE.test(path);
}

/** "/" for a path of one part. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

/** What both implementations demand of every operation. */
export function assertOperation(operation: Operation): void {
  assert(isPath(operation.path), "path of a document");
  if ("data" in operation)
    assert(operation.data.length <= DOCUMENT_BYTES_MAX, "document too large");
  if ("version" in operation) {
    // ZooKeeper takes −1 for any version.
    assert(Number.isSafeInteger(operation.version) && operation.version >= 0, "version");
  }
}

export function assertMulti(operations: readonly Operation[]): void {
  assert(operations.length > 0, "empty multi");
  let bytes = 0;
  for (const operation of operations) {
    assertOperation(operation);
    if ("data" in operation) bytes += operation.data.length;
  }
  assert(bytes <= MULTI_BYTES_MAX, "multi too large");
}
