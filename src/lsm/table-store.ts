/**
 * The current version and how it changes: one edit at a time is made durable, then installed.
 *
 * Invariant: the manifest's state is the current version's, or one edit ahead of it while that edit is synced.
 * A failed edit is final: what reached the disk is unknown, so every later one fails too.
 */
import { assert } from "../base/assert.ts";
import { CorruptionError } from "../base/errors.ts";
import type { FileSystem } from "../base/file-system.ts";
import { BlockCache } from "./block-cache.ts";
import type { LsmTuning } from "./lsm-options.ts";
import { isManifestFile, Manifest, manifestName, readManifest } from "./manifest.ts";
import { TableReader, type TableReaderOptions } from "./table-reader.ts";
import { tableIdOf, tablePath } from "./table-writer.ts";
import { TableHandle, Version } from "./version.ts";
import {
  applyEdit,
  EMPTY_STATE,
  type TableMeta,
  type VersionEdit,
  type VersionState,
} from "./version-edit.ts";

export interface TableStoreOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly tuning: LsmTuning;
  nowMicros(): number;
  onError(error: Error): void;
  /** Called after each edit, with the new version in place. */
  onInstalled(): void;
}

export class TableStore {
  readonly cache: BlockCache;
  readonly #options: TableStoreOptions;
  readonly #manifest: Manifest;
  #version: Version;
  #nextTableId: number;
  /** The last edit in the queue. */
  #edits: Promise<void> = Promise.resolve();
  #failure: Error | undefined = undefined;
  /** Files being removed. */
  #removals: Promise<void> = Promise.resolve();
  #closed = false;

  /** Opens the directory: reads the manifest, opens all tables, removes files that no version names. */
  constructor(options: TableStoreOptions) {
    this.#options = options;
    const { fileSystem, directory, tuning } = options;
    this.cache = new BlockCache(tuning.cacheBytes);
    fileSystem.makeDirectory(directory);
    const found = readManifest(fileSystem, directory);
    const state = found?.state ?? EMPTY_STATE;
    const handles = new Map<number, TableHandle>();
    for (const table of state.levels.flat()) handles.set(table.id, this.#open(table));
    this.#version = new Version(state, handles);
    this.#nextTableId = state.nextTableId;
    const id = (found?.id ?? 0) + 1;
    this.#manifest = Manifest.create(fileSystem, directory, {
      id,
      state,
      bytesMax: tuning.manifestBytes,
    });
    this.#removeStrays(handles, id);
  }

  get version(): Version {
    return this.#version;
  }

  get state(): VersionState {
    return this.#version.state;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Reserves `count` consecutive table ids; the first one. */
  reserveIds(count: number): number {
    const first = this.#nextTableId;
    this.#nextTableId += count;
    return first;
  }

  /** Keeps tables open and their files in place until the returned function is called. */
  retain(tables: Iterable<TableMeta>): () => void {
    const handles: TableHandle[] = [];
    for (const table of tables) {
      const handle = this.#version.handles.get(table.id);
      assert(handle !== undefined, "a retained table is in the current version");
      handle.retain();
      handles.push(handle);
    }
    return () => {
      for (const handle of handles) handle.release();
    };
  }

  /**
   * Makes an edit durable and installs it. `build` sees the state that the edit applies to and may answer
   * undefined to change nothing. Resolves to whether an edit was made; rejects after a failure.
   */
  apply(build: (state: VersionState) => VersionEdit | undefined): Promise<boolean> {
    const run = this.#edits.then(() => this.#applyNow(build));
    this.#edits = run.then(
      () => undefined,
      (error: Error) => this.#fail(error),
    );
    return run;
  }

  /** Resolves when the edits asked for so far, and removals of files, are done. */
  async settled(): Promise<void> {
    await this.#edits;
    await this.#removals;
  }

  /** Removes table files that no version will name. */
  discard(tables: readonly TableMeta[]): void {
    if (tables.length === 0) return;
    for (const table of tables) this.#remove(table.id);
  }

  /** REQUIRES: nothing is retained. */
  async close(): Promise<void> {
    await this.settled();
    this.#closed = true;
    this.#manifest.close();
    for (const handle of this.#version.handles.values()) handle.reader.close();
  }

  async #applyNow(build: (state: VersionState) => VersionEdit | undefined): Promise<boolean> {
    if (this.#failure !== undefined) throw this.#failure;
    const before = this.#version;
    const partial = build(before.state);
    if (partial === undefined) return false;
    const edit = { ...partial, nextTableId: this.#nextTableId };
    const state = applyEdit(before.state, edit);
    if (typeof state === "string") assert(false, `an edit does not fit: ${state}`);
    const handles = new Map(before.handles);
    for (const id of edit.removed) handles.delete(id);
    for (const { table } of edit.added) {
      handles.set(table.id, before.handles.get(table.id) ?? this.#open(table));
    }
    await this.#manifest.append(edit, state);
    this.#version = new Version(state, handles);
    for (const id of edit.removed) if (!handles.has(id)) before.handles.get(id)!.release();
    this.#options.onInstalled();
    return true;
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#options.onError(error);
  }

  #open(table: TableMeta): TableHandle {
    const { fileSystem, directory, tuning } = this.#options;
    const path = tablePath(directory, table.id);
    if (!fileSystem.exists(path)) {
      throw new CorruptionError("a table that the manifest names is missing", { path });
    }
    const reader = openNamedTable(fileSystem, path, table, {
      cache: this.cache,
      nowMicros: () => this.#options.nowMicros(),
      slowReadMicros: tuning.slowReadMicros,
      asyncForMs: tuning.asyncForMs,
      forceAsync: tuning.forceAsync,
    });
    return new TableHandle(reader, (handle) => {
      handle.reader.close();
      this.#remove(handle.reader.id);
    });
  }

  #remove(id: number): void {
    const { fileSystem, directory } = this.#options;
    try {
      fileSystem.remove(tablePath(directory, id));
    } catch (error) {
      this.#fail(error as Error);
      return;
    }
    this.#removals = this.#removals.then(async () => {
      if (this.#closed) return;
      try {
        await fileSystem.syncDirectoryAsync(directory);
      } catch (error) {
        this.#fail(error as Error);
      }
    });
  }

  #removeStrays(handles: ReadonlyMap<number, TableHandle>, manifestId: number): void {
    const { fileSystem, directory } = this.#options;
    const current = new Set(["CURRENT", manifestName(manifestId)]);
    let removed = false;
    for (const name of fileSystem.list(directory)) {
      const id = tableIdOf(name);
      const isStray =
        id !== undefined ? !handles.has(id) : isManifestFile(name) && !current.has(name);
      if (!isStray) continue;
      fileSystem.remove(`${directory}/${name}`);
      removed = true;
    }
    if (removed) fileSystem.syncDirectory(directory);
  }
}

/** The table at `path`, which must be what the manifest says. Throws CorruptionError or DiskError. */
export function openNamedTable(
  fileSystem: FileSystem,
  path: string,
  table: TableMeta,
  options: TableReaderOptions,
): TableReader {
  const reader = TableReader.open(fileSystem, path, table.id, options);
  const { properties } = reader;
  if (
    properties.fileBytes !== table.bytes ||
    properties.recordCount !== table.recordCount ||
    properties.minPosition !== table.minPosition ||
    properties.maxPosition !== table.maxPosition ||
    properties.maxSequence !== table.maxSequence
  ) {
    reader.close();
    throw new CorruptionError("a table is not the one that the manifest names", { path });
  }
  return reader;
}
