/**
 * What happens to a member of a replica set, as the shell tells it: `step(event, nowMs)`. `nowMs` is the node's
 * monotonic clock and never goes back.
 */

import type { ReplicaSetDocument } from "./document-register.ts";
import type { EpochRun } from "./epoch-table.ts";
import type { Message } from "./message.ts";

/** What a node has on its disk when it starts. */
export interface Boot {
  readonly nodeId: string;
  readonly incarnation: number;
  /** Epoch and lease as last persisted; both 0 on an empty disk. */
  readonly promise: PersistedPromise;
  /** The log, cut where it ends and synced. */
  readonly runs: readonly EpochRun[];
  readonly last: number;
  /** Known to be committed: tables hold it, or a frame's header says so. */
  readonly commit: number;
  /** The first frame that is still in the log. */
  readonly firstRetained: number;
  /** False when a checkpoint was being installed. */
  readonly isComplete: boolean;
}

/** The promised epoch, and the largest L that the node has granted. Both only grow. */
export interface PersistedPromise {
  readonly epoch: number;
  readonly leaseMs: number;
}

export type Event =
  /** At least every quarter of a heartbeat. */
  | { readonly type: "tick" }
  | { readonly type: "message"; readonly from: string; readonly message: Message }
  /** A connection to `node` was made or has closed. */
  | { readonly type: "link"; readonly node: string; readonly isUp: boolean }
  /** The set's document as read or watched; older ones than known are passed over. */
  | { readonly type: "document"; readonly document: ReplicaSetDocument; readonly version: number }
  /** What became of write-document `request`; `version` is the new one after "ok". */
  | {
      readonly type: "document-written";
      readonly request: number;
      readonly result: DocumentWriteResult;
      readonly version: number;
    }
  /** persist is done: in the order of the actions. */
  | { readonly type: "promise-persisted"; readonly promise: PersistedPromise }
  /** The serving writer has closed frames of its epoch up to `index` and put them into its log. */
  | { readonly type: "appended"; readonly index: number }
  /** The log is as durable as configured up to `index`; `generation` is logGeneration when the sync began. */
  | { readonly type: "durable"; readonly index: number; readonly generation: number }
  /** truncate is done and synced. */
  | { readonly type: "truncated"; readonly generation: number }
  /** Frames before `first` are no longer in the log. */
  | { readonly type: "retained"; readonly first: number }
  /** A checkpoint takes the log's place: begun (everything there goes), and complete and synced. */
  | { readonly type: "checkpoint-begun" }
  | {
      readonly type: "checkpoint-installed";
      readonly runs: readonly EpochRun[];
      readonly last: number;
    }
  /** A reader whose lease has lapsed wants to know that this is still the writer. */
  | { readonly type: "confirm"; readonly token: number }
  /** Give the writer role to `successor`, or to the member that is furthest. */
  | { readonly type: "handover"; readonly successor: string | undefined }
  /** Ask the writer to give its role to this member. */
  | { readonly type: "request-handover" }
  /** The set's document is gone, for good: the last event that means anything. */
  | { readonly type: "retired" };

/** "unavailable": certainly not applied. "unknown": it may be, now or later. */
export type DocumentWriteResult = "ok" | "conflict" | "unknown" | "unavailable";
