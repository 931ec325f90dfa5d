/**
 * Tables on a disk that is full. A table that no manifest names can be given up: the job removes what it has written,
 * and is run again when there is room. Reads and the log go on. What cannot be synced, or concerns the manifest, is
 * another matter: that ends the process.
 *
 * A merge begins only when all of its inputs would fit once more beside what is to be left free.
 */
import { DiskFullError } from "../base/errors.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { StorageExecutor } from "./storage-executor.ts";
import type { StorageJob, StorageResult } from "./storage-job.ts";

/** Calls of maintain(), each about a second after the one before, until a merge that found no room is tried again. */
const RETRY_CALLS = 5;

export interface DiskRoomOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly executor: StorageExecutor;
  /** Bytes of the disk that merges leave free. */
  spareDiskBytes?(): number;
  onDiskFull?(error: DiskFullError): void;
}

/** The job's result; undefined when the disk is full. */
export async function runIfRoom(
  options: DiskRoomOptions,
  job: StorageJob,
): Promise<StorageResult | undefined> {
  try {
    return await options.executor.run(job);
  } catch (error) {
    if (!(error instanceof DiskFullError)) throw error;
    options.onDiskFull?.(error);
    return undefined;
  }
}

/** Which merges may begin. */
export class DiskRoom {
  readonly #options: DiskRoomOptions;
  /** Calls of maintain() until a merge may begin again. */
  #waitCalls = 0;
  #isLacking = false;

  constructor(options: DiskRoomOptions) {
    this.#options = options;
  }

  /** Whether the last answer of hasRoom() was no. */
  get isLacking(): boolean {
    return this.#isLacking;
  }

  /** Whether a merge that writes up to `bytes` may begin. */
  hasRoom(bytes: number): boolean {
    const { fileSystem, directory, spareDiskBytes } = this.#options;
    const free = fileSystem.freeBytes(directory) - (spareDiskBytes?.() ?? 0);
    const hasRoom = this.#waitCalls === 0 && bytes <= free;
    if (!hasRoom && !this.#isLacking) {
      const message = `a merge needs ${bytes} bytes, and ${Math.max(0, free)} may be used`;
      this.#options.onDiskFull?.(new DiskFullError(message, { path: directory }));
    }
    this.#isLacking = !hasRoom;
    return hasRoom;
  }

  /** No merge is due. */
  noteNone(): void {
    this.#isLacking = false;
  }

  /** A merge that had begun found no room after all. */
  noteFull(): void {
    this.#waitCalls = RETRY_CALLS;
    this.#isLacking = true;
  }

  maintain(): void {
    if (this.#waitCalls > 0) this.#waitCalls--;
  }
}
