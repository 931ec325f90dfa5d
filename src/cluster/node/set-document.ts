/**
 * The document of one replica set, as its members read, watch and write it through the Coordinator.
 *
 * Every read arms the watch again, so whoever has read once hears of every change: as long as the connection lasts,
 * and when it returns. Outcomes are passed on as they are; what becomes of an unknown one is for the core to find out.
 *
 * A document that is missing has been removed, or lost: which of both, it does not say.
 */
import type { Logger } from "../../base/logger.ts";
import type { Coordinator, WriteOutcome } from "../coordination/coordinator.ts";
import {
  DocumentError,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../coordination/documents.ts";
import { setPath } from "../coordination/paths.ts";
import type { DocumentWriteResult } from "../replication/event.ts";

export interface SetDocumentEvents {
  onDocument(document: ReplicaSetDocument, version: number): void;
  onMissing(): void;
  onWritten(request: number, result: DocumentWriteResult, version: number): void;
}

export class SetDocument {
  readonly #coordinator: Coordinator;
  readonly #path: string;
  readonly #logger: Logger;
  readonly #events: SetDocumentEvents;
  #isReading = false;
  #isChanged = false;
  #isStopped = false;
  /** Of a document that cannot be read: said once. */
  #complaint = "";

  constructor(coordinator: Coordinator, setId: string, logger: Logger, events: SetDocumentEvents) {
    this.#coordinator = coordinator;
    this.#path = setPath(setId);
    this.#logger = logger;
    this.#events = events;
  }

  /** One read at a time: what changes meanwhile is read behind it. */
  read(): void {
    if (this.#isReading) this.#isChanged = true;
    else if (!this.#isStopped) void this.#readAll();
  }

  async write(request: number, document: ReplicaSetDocument, version: number): Promise<void> {
    const data = replicaSetDocument.encode(document);
    const outcome = await this.#coordinator.write(this.#path, data, version);
    if (this.#isStopped) return;
    this.#events.onWritten(request, resultOf(outcome), outcome.kind === "ok" ? outcome.version : 0);
  }

  stop(): void {
    this.#isStopped = true;
  }

  readonly #onChange = (): void => this.read();

  async #readAll(): Promise<void> {
    this.#isReading = true;
    do {
      this.#isChanged = false;
      const outcome = await this.#coordinator.read(this.#path, { onChange: this.#onChange });
      if (this.#isStopped) return;
      if (outcome.kind === "ok") this.#onRead(outcome.data, outcome.version);
      if (outcome.kind === "missing") this.#events.onMissing();
    } while (this.#isChanged);
    this.#isReading = false;
  }

  #onRead(data: Uint8Array, version: number): void {
    let document: ReplicaSetDocument;
    try {
      document = replicaSetDocument.parse(this.#path, data);
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error;
      if (error.message !== this.#complaint)
        this.#logger.error({ error }, "document not understood");
      this.#complaint = error.message;
      return;
    }
    this.#events.onDocument(document, version);
  }
}

function resultOf(outcome: WriteOutcome): DocumentWriteResult {
  return outcome.kind;
}
