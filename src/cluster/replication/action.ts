/**
 * What a member asks its shell to do. Actions of one step are carried out in order, before the next event; what takes
 * time comes back as an event.
 */

import type { ReplicaSetDocument } from "./document-register.ts";
import type { PersistedPromise } from "./event.ts";
import type { FrameMessage, Message } from "./message.ts";

export type Action =
  /** Make durable, in order, and answer promise-persisted. */
  | { readonly type: "persist"; readonly promise: PersistedPromise }
  /** Put the frames [first, last] of the message being stepped into the log, at once; durable follows. */
  | { readonly type: "append"; readonly first: number; readonly last: number }
  /** Put an EPOCH_START frame of `epoch` into the log at `index`, at once; durable follows. */
  | { readonly type: "append-epoch-start"; readonly epoch: number; readonly index: number }
  /** Drop all frames behind `last`, newest first, sync, and answer truncated. */
  | { readonly type: "truncate"; readonly last: number; readonly generation: number }
  /** Sync the log now, whatever appendfsync says; durable follows. */
  | { readonly type: "sync" }
  | { readonly type: "send"; readonly to: string; readonly message: Message }
  /** Send `message` with the bytes of its frames. */
  | { readonly type: "ship"; readonly to: string; readonly message: FrameMessage }
  /** Read the set's document (a synced read is not needed) and answer document. */
  | { readonly type: "read-document" }
  /** Write `document` if its version is still `version`, and answer document-written. */
  | {
      readonly type: "write-document";
      readonly request: number;
      readonly document: ReplicaSetDocument;
      readonly version: number;
    }
  /** Frames up to `index` are committed: replies leave, a replica indexes them, tables may have them. */
  | { readonly type: "commit"; readonly index: number }
  /** Take clients' commands as the writer of `epoch`; the log holds everything that was ever committed. */
  | { readonly type: "serve"; readonly epoch: number }
  /** Close the open frame and take no new writes: a handover goes on. resume: it was called off. */
  | { readonly type: "pause" }
  | { readonly type: "resume" }
  /**
   * No longer claimant or writer of `epoch`: drop gated replies (writes UNKNOWN, reads TRYAGAIN), drop the memtables
   * and rebuild them from tables and the log up to `commit`.
   */
  | {
      readonly type: "step-down";
      readonly epoch: number;
      readonly commit: number;
      readonly reason: string;
    }
  /** What the confirm with this token asked is so: a read whose data was pinned before it may be answered. */
  | { readonly type: "confirmed"; readonly token: number }
  /** `node` needs frames that are gone from the log: send it a checkpoint, if none is on its way. Repeated. */
  | { readonly type: "need-checkpoint"; readonly node: string }
  /** What must not happen has: stop the node, keep its disk. */
  | { readonly type: "halt"; readonly reason: string }
  | { readonly type: "log"; readonly text: string };

/** Collects the actions of a step. What a node says to itself does not leave it. */
export class Outbox {
  readonly #nodeId: string;
  #actions: Action[] = [];
  readonly #toSelf: Message[] = [];

  constructor(nodeId: string) {
    this.#nodeId = nodeId;
  }

  push(action: Action): void {
    this.#actions.push(action);
  }

  send(to: string, message: Message): void {
    if (to === this.#nodeId) this.#toSelf.push(message);
    else this.#actions.push({ type: "send", to, message });
  }

  log(text: string): void {
    this.#actions.push({ type: "log", text });
  }

  takeMessageToSelf(): Message | undefined {
    return this.#toSelf.shift();
  }

  takeActions(): Action[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }
}
