/**
 * The files of the log's segments: what is synced, and which are deleted when.
 *
 *     deleted | kept for other nodes | newest durable frame … | unsynced
 *
 * A file goes when its records are all in tables and the next file's first frame is durable, so that index, chain and
 * clock go on from there whatever a crash takes; a cluster keeps more, as far as it has allowed bytes for it. A
 * descriptor that a running sync or read may use stays open until that ends.
 */
import { DiskFullError } from "../base/errors.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { EpochRuns } from "./epoch-runs.ts";
import type { Segment } from "./segment.ts";

/** What is kept of deletable files for other nodes. */
export interface Retention {
  /** Frames from this index on … */
  readonly from: number;
  /** … unless the files that would be deleted otherwise take more than this. */
  readonly bytesMax: number;
}

export class LogFiles {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #epochs: EpochRuns;
  /** Segments whose files exist, oldest first. */
  readonly segments: Segment[];
  /** Segments whose files are removed but still open. */
  readonly #deleted: Segment[] = [];
  /** A power failure may bring a removed file back, as replay expects: the next sync of the directory ends that. */
  #hasRemovedNames = false;
  /** Number of the first segment whose records are not all in tables. */
  #deletableBefore = 0;
  #retention: Retention = { from: Number.POSITIVE_INFINITY, bytesMax: 0 };
  isSyncing = false;
  /** Told when files have been deleted: the first frame that is left, and whether one to be kept has gone. */
  onDeleted: ((firstIndex: number, wasToBeKept: boolean) => void) | undefined = undefined;

  constructor(
    fileSystem: FileSystem,
    directory: string,
    segments: readonly Segment[],
    epochs: EpochRuns,
  ) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.segments = [...segments];
    this.#epochs = epochs;
  }

  /** Makes all that is written when it is called durable, oldest first, then names. */
  async sync(): Promise<void> {
    this.isSyncing = true;
    for (const segment of [...this.segments]) {
      // A header alone counts: without it recovery would not read on to the segments behind it.
      const end = segment.writtenEnd;
      if (segment.syncedEnd === end || !segment.isFileOpen) continue;
      await segment.file.syncAsync();
      segment.syncedEnd = end;
    }
    if (this.#hasRemovedNames || this.segments.some((segment) => !segment.isNameDurable)) {
      this.#hasRemovedNames = false;
      const named = this.segments.filter((segment) => !segment.isNameDurable);
      await this.#fileSystem.syncDirectoryAsync(this.#directory);
      for (const segment of named) segment.isNameDurable = true;
    }
    this.isSyncing = false;
    this.#closeDeleted();
  }

  /** As sync(), on this thread. */
  syncNow(): void {
    for (const segment of this.segments) {
      if (segment.syncedEnd < segment.writtenEnd && segment.isFileOpen) segment.file.sync();
      segment.syncedEnd = segment.writtenEnd;
      segment.isNameDurable = true;
    }
    this.#fileSystem.syncDirectory(this.#directory);
  }

  /** The records of all segments before number `number` are in tables. */
  deleteBefore(number: number, durableIndex: number): void {
    this.#deletableBefore = number;
    this.deleteOld(durableIndex);
  }

  retain(retention: Retention, durableIndex: number): void {
    this.#retention = retention;
    this.deleteOld(durableIndex);
  }

  /** Deletes what can go now that frames up to `durableIndex` are durable, and committed. */
  deleteOld(durableIndex: number): void {
    let deletable = 0;
    let bytes = 0;
    const { segments } = this;
    while (
      deletable + 1 < segments.length &&
      segments[deletable]!.number < this.#deletableBefore &&
      segments[deletable + 1]!.firstIndex <= durableIndex
    ) {
      bytes += segments[deletable]!.writtenEnd;
      deletable++;
    }
    const { from, bytesMax } = this.#retention;
    let count = 0;
    let wasToBeKept = false;
    for (; count < deletable; count++) {
      const isToBeKept = segments[count + 1]!.firstIndex > from;
      if (isToBeKept && bytes <= bytesMax) break;
      wasToBeKept ||= isToBeKept;
      bytes -= segments[count]!.writtenEnd;
    }
    if (count > 0) this.#delete(count, wasToBeKept);
  }

  #delete(count: number, wasToBeKept: boolean): void {
    const { firstIndex } = this.segments[count]!;
    try {
      this.#epochs.keepBefore(this.#fileSystem, this.#directory, firstIndex);
    } catch (error) {
      // Too much log costs space and nothing else: the next sync or flush tries again.
      if (error instanceof DiskFullError) return;
      throw error;
    }
    const doomed = this.segments.splice(0, count);
    for (const old of doomed) this.#fileSystem.remove(old.file.path);
    this.#deleted.push(...doomed);
    this.#hasRemovedNames = true;
    if (!this.isSyncing) this.#closeDeleted();
    this.onDeleted?.(firstIndex, wasToBeKept);
  }

  /**
   * Removes the files of all segments behind the first `count`, newest first and each durably before the next, so that
   * whatever a crash leaves is a log without a gap. REQUIRES: no sync is on.
   */
  removeBehind(count: number): readonly Segment[] {
    const removed = this.segments.splice(count);
    for (const segment of removed.toReversed()) {
      this.#fileSystem.remove(segment.file.path);
      this.#fileSystem.syncDirectory(this.#directory);
      segment.closeFile();
    }
    return removed;
  }

  #closeDeleted(): void {
    for (const segment of this.#deleted.splice(0)) segment.closeFile();
  }

  close(): void {
    for (const segment of this.segments) segment.closeFile();
  }
}
