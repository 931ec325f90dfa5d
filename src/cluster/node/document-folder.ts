/**
 * All documents of one folder of coordination, as a node follows them: a watch on the folder, one on each document.
 *
 *     the folder has changed ──► list ──► new names ─┐
 *     one document has changed ──────────────────────┴─► read what has changed, and nothing else ──► onChange
 *
 * What changes together is told together: onChange comes when nothing is left to read, or after some rounds of reading
 * when there is always more. While the coordinator cannot be reached, everything stays as it was last told.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import { type DocumentCodec, DocumentError } from "../coordination/documents.ts";
import { idsOf } from "../coordination/paths.ts";

const RETRY_MS = 500;
/** Reads under way. */
const READING_MAX = 16;
const ROUNDS_MAX = 8;

export interface FolderOptions<T> {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly folder: string;
  /** Undefined: the names alone are of interest. */
  readonly codec: DocumentCodec<T> | undefined;
  /** Between a change and reading it, so that those of others are read with it. */
  readonly delayMs: number;
  /** After everything has been read for the first time, and after each change. */
  onChange(): void;
}

export interface KnownDocument<T> {
  readonly document: T;
  readonly version: number;
}

class Entry<T> {
  readonly path: string;
  readonly onChange: () => void;
  creationId = "";
  known: KnownDocument<T> | undefined = undefined;
  /** Why it cannot be read: said once. */
  complaint = "";

  constructor(path: string, onChange: (entry: Entry<T>) => void) {
    this.path = path;
    this.onChange = () => onChange(this);
  }
}

export class DocumentFolder<T> {
  readonly #options: FolderOptions<T>;
  /** By id. */
  readonly #entries = new Map<string, Entry<T>>();
  #isListed = false;
  /** To be read. */
  readonly #changed = new Set<Entry<T>>();
  /** Refused by the coordinator: tried again after a while. */
  readonly #refused = new Set<Entry<T>>();
  #isReading = false;
  #isPlanned = false;
  #isKnown = false;
  #isNew = false;
  #isStopped = false;
  #retry: Timer | undefined = undefined;

  constructor(options: FolderOptions<T>) {
    this.#options = options;
    options.clock.immediate(this.#catchUp);
  }

  /** Whether everything has been read once. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  get ids(): Iterable<string> {
    return this.#entries.keys();
  }

  /** Without those that are gone or have never been understood. May be newer than what was last told. */
  get documents(): KnownDocument<T>[] {
    const documents: KnownDocument<T>[] = [];
    for (const { known } of this.#entries.values()) if (known !== undefined) documents.push(known);
    return documents;
  }

  stop(): void {
    this.#isStopped = true;
    this.#retry?.cancel();
  }

  get #isBehind(): boolean {
    return !this.#isListed || this.#changed.size > 0;
  }

  readonly #onFolder = (): void => {
    this.#isListed = false;
    this.#plan();
  };

  readonly #onEntry = (entry: Entry<T>): void => {
    this.#changed.add(entry);
    this.#plan();
  };

  #plan(): void {
    if (this.#isReading || this.#isPlanned || this.#isStopped) return;
    this.#isPlanned = true;
    this.#options.clock.after(this.#options.delayMs, this.#catchUp);
  }

  readonly #catchUp = (): void => {
    this.#isPlanned = false;
    if (!this.#isReading && !this.#isStopped) void this.#readAll();
  };

  async #readAll(): Promise<void> {
    this.#isReading = true;
    this.#retry?.cancel();
    let isComplete = true;
    for (let round = 0; this.#isBehind && isComplete && round < ROUNDS_MAX; round++)
      isComplete = await this.#readChanged();
    this.#isReading = false;
    if (this.#isStopped) return;
    if (!isComplete || this.#refused.size > 0)
      this.#retry = this.#options.clock.after(RETRY_MS, this.#tryAgain);
    if (!isComplete) return;
    if (this.#isBehind) this.#plan();
    if (this.#isKnown && !this.#isNew) return;
    this.#isKnown = true;
    this.#isNew = false;
    this.#options.onChange();
  }

  readonly #tryAgain = (): void => {
    for (const entry of this.#refused) this.#changed.add(entry);
    this.#refused.clear();
    this.#catchUp();
  };

  /** False: the coordinator cannot be reached. */
  async #readChanged(): Promise<boolean> {
    if (!this.#isListed && !(await this.#list())) return false;
    const entries = [...this.#changed];
    let isComplete = true;
    let next = 0;
    const read = async (): Promise<void> => {
      while (isComplete && !this.#isStopped && next < entries.length)
        if (!(await this.#read(entries[next++]!))) isComplete = false;
    };
    await Promise.all(Array.from({ length: Math.min(READING_MAX, entries.length) }, read));
    return isComplete;
  }

  async #list(): Promise<boolean> {
    const { coordinator, folder, codec } = this.#options;
    this.#isListed = true;
    const listed = await coordinator.list(folder, { onChange: this.#onFolder });
    if (listed.kind === "unavailable") {
      this.#isListed = false;
      return false;
    }
    const ids = new Set(idsOf(listed.kind === "ok" ? listed.names : []));
    for (const [id, entry] of this.#entries) {
      if (ids.has(id)) continue;
      this.#entries.delete(id);
      this.#changed.delete(entry);
      this.#refused.delete(entry);
      this.#isNew = true;
    }
    for (const id of ids) {
      if (this.#entries.has(id)) continue;
      const entry = new Entry<T>(`${folder}/${id}`, this.#onEntry);
      this.#entries.set(id, entry);
      if (codec === undefined) this.#isNew = true;
      else this.#changed.add(entry);
    }
    return true;
  }

  async #read(entry: Entry<T>): Promise<boolean> {
    const { coordinator, logger } = this.#options;
    this.#changed.delete(entry);
    const read = await coordinator.read(entry.path, { onChange: entry.onChange });
    if (read.kind === "unavailable") {
      const isReachable = read.reason === "denied" || read.reason === "refused";
      if (!isReachable) {
        this.#changed.add(entry);
        return false;
      }
      this.#refused.add(entry);
      if (read.reason !== entry.complaint)
        logger.error({ path: entry.path, reason: read.reason }, "document not readable");
      entry.complaint = read.reason;
      return true;
    }
    if (read.kind === "ok") {
      this.#take(entry, read);
    } else if (entry.known !== undefined) {
      entry.known = undefined;
      this.#isNew = true;
    }
    return true;
  }

  /** A document that is not understood leaves what was known. */
  #take(entry: Entry<T>, read: { data: Uint8Array; version: number; creationId: string }): void {
    const { codec, logger } = this.#options;
    const { version, creationId } = read;
    if (entry.known?.version === version && entry.creationId === creationId) return;
    try {
      entry.known = { document: codec!.parse(entry.path, read.data), version };
      entry.creationId = creationId;
      entry.complaint = "";
      this.#isNew = true;
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error;
      if (error.message !== entry.complaint) logger.error({ error }, "document not understood");
      entry.complaint = error.message;
    }
  }
}
