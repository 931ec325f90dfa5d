/**
 * The replica set's document as this member knows it, and its one open change.
 *
 * Documents change only by writes conditional on the version. A write's outcome may stay unknown (the connection
 * broke), and the write may even be applied later; so a change is open until its outcome is known:
 *
 *   1. propose      write the document on condition of version v
 *   2. ok           applied. unavailable, and no earlier attempt may have got through: refused
 *   3. else         read. A version beyond v: the change was applied if the document is the proposed one (claim id,
 *                   epoch, members), and never will be otherwise. Still v: write the same again, from 2
 *
 * Reads may be stale: a version older than known says nothing. Watches may miss a change: the document is read again
 * every refreshMs.
 */
import { assert } from "../../base/assert.ts";
import type { Outbox } from "./action.ts";
import type { DocumentWriteResult } from "./event.ts";
import type { ReplicationOptions } from "./options.ts";
import { isSameMembership, type Member, type Membership } from "./quorum.ts";

/** What replication reads and writes of the set's document; every other field is carried along. */
export interface ReplicaSetDocument extends Membership {
  readonly id: string;
  readonly epoch: number;
  /** RECOVERING from a claim on, until its claimant may serve; at first also without a claimant. */
  readonly phase: "ACTIVE" | "RECOVERING";
  /** While RECOVERING the claimant. */
  readonly writer: string | null;
  /** Of the claim that made this epoch. */
  readonly claim: string | null;
  /** N, the writer included. */
  readonly replicationFactor: number;
  /** Nodes that get the log and may become members. */
  readonly learners: readonly Member[];
}

export interface KnownDocument {
  readonly document: ReplicaSetDocument;
  readonly version: number;
}

interface OpenChange {
  readonly document: ReplicaSetDocument;
  readonly baseVersion: number;
  /** The attempt on its way; 0 when a read must tell. */
  request: number;
  /** An attempt's outcome is unknown: it may be applied now or later. */
  mayBeApplied: boolean;
}

/** "open" also when there was nothing to settle. */
export type ChangeOutcome = "open" | "applied" | "refused";

export class DocumentRegister {
  readonly #out: Outbox;
  readonly #options: ReplicationOptions;
  #known: KnownDocument | undefined;
  #change: OpenChange | undefined;
  #requests = 0;
  #lastReadMs = Number.NEGATIVE_INFINITY;

  constructor(out: Outbox, options: ReplicationOptions) {
    this.#out = out;
    this.#options = options;
  }

  get known(): KnownDocument | undefined {
    return this.#known;
  }

  get document(): ReplicaSetDocument | undefined {
    return this.#known?.document;
  }

  /** The document that the open change would make. */
  get proposed(): ReplicaSetDocument | undefined {
    return this.#change?.document;
  }

  /** REQUIRES: a known document, no open change. */
  propose(document: ReplicaSetDocument): void {
    assert(this.#known !== undefined, "a change of an unknown document");
    assert(this.#change === undefined, "two changes of a document at once");
    this.#change = {
      document,
      baseVersion: this.#known.version,
      request: 0,
      mayBeApplied: false,
    };
    this.#write(this.#change);
  }

  /** Forgets the open change: whoever proposed it has stopped to care whether it is applied. */
  abandon(): void {
    this.#change = undefined;
  }

  /** Asks for the document, at most once per retryMs. */
  read(nowMs: number): void {
    if (nowMs - this.#lastReadMs < this.#options.retryMs) return;
    this.#lastReadMs = nowMs;
    this.#out.push({ type: "read-document" });
  }

  onDocument(document: ReplicaSetDocument, version: number): ChangeOutcome {
    if (this.#known !== undefined && version < this.#known.version) return "open";
    this.#known = { document, version };
    const change = this.#change;
    if (change === undefined) return "open";
    if (version > change.baseVersion) {
      this.#change = undefined;
      return isApplied(change.document, document) ? "applied" : "refused";
    }
    if (change.request === 0) this.#write(change);
    return "open";
  }

  onWritten(
    request: number,
    result: DocumentWriteResult,
    version: number,
    nowMs: number,
  ): ChangeOutcome {
    const change = this.#change;
    if (change === undefined || change.request !== request) return "open";
    if (result === "ok") {
      assert(version > change.baseVersion, "a write that did not move the version");
      this.#change = undefined;
      if (this.#known === undefined || version >= this.#known.version)
        this.#known = { document: change.document, version };
      return "applied";
    }
    if (result === "unavailable" && !change.mayBeApplied) {
      this.#change = undefined;
      return "refused";
    }
    if (result === "unknown") change.mayBeApplied = true;
    change.request = 0;
    this.#lastReadMs = nowMs;
    this.#out.push({ type: "read-document" });
    return "open";
  }

  tick(nowMs: number): void {
    const isWanted = this.#known === undefined || this.#change?.request === 0;
    if (isWanted || nowMs - this.#lastReadMs > this.#options.refreshMs) this.read(nowMs);
  }

  #write(change: OpenChange): void {
    change.request = ++this.#requests;
    const { document, baseVersion: version } = change;
    this.#out.push({ type: "write-document", request: change.request, document, version });
  }
}

/** Whether `document`, read at a later version, has what `proposed` would have written. */
function isApplied(proposed: ReplicaSetDocument, document: ReplicaSetDocument): boolean {
  return (
    document.epoch === proposed.epoch &&
    document.claim === proposed.claim &&
    document.phase === proposed.phase &&
    isSameMembership(document, proposed)
  );
}
