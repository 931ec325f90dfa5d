/**
 * A checkpoint on its way into a data directory:
 *
 *   <dir>/checkpoint/    its files as they come, with those that are made of what it says of itself
 *   <dir>/INSTALL        once all of it is there, verified and synced: the names that belong to the directory from now on
 *
 *     {"format":1,"files":["tables/CURRENT",…],"checksum":"<XXH64 of the text of files, 16 hex digits>"}
 *
 * The rename that makes INSTALL is the one switch. Before it the directory is what it was, and whatever is staged is
 * dropped at the next start. Behind it the directory is the checkpoint: the files are moved to their places, all others of
 * log and tables go, and INSTALL last. A start goes on with that wherever it was interrupted: a name that is not staged
 * any more has been moved.
 */
import { z } from "zod";
import { xxh64 } from "../base/checksum.ts";
import { CorruptionError } from "../base/errors.ts";
import type { File, FileSystem } from "../base/file-system.ts";
import { BlockCache } from "../lsm/block-cache.ts";
import { CURRENT, decodeManifest } from "../lsm/manifest.ts";
import { openNamedTable } from "../lsm/table-store.ts";
import type { TableMeta, VersionState } from "../lsm/version-edit.ts";
import { EpochRuns } from "../wal/epoch-runs.ts";
import { frameLengthAt, readFrame, readSegmentHeader, SEGMENT_HEADER_BYTES } from "../wal/frame.ts";
import {
  CHECKPOINT_LOG,
  CHECKPOINT_MANIFEST,
  CHECKPOINT_SEGMENT,
  type CheckpointFacts,
  type CheckpointFile,
  checkpointTables,
  isCheckpoint,
  newViews,
  tableName,
} from "./checkpoint.ts";

export const STAGING = "checkpoint";
export const INSTALLATION = "INSTALL";
const FORMAT = 1;
const TABLES = "tables";
const LOG = "wal";
/** Of a table so much is verified in one step. */
const STEP_BYTES = 1024 * 1024;

const schema = z.strictObject({
  format: z.literal(FORMAT),
  files: z.array(z.string().regex(/^(tables|wal)\/[A-Za-z0-9_.-]{1,64}$/)),
  checksum: z.string(),
});

export class CheckpointStaging {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #staging: string;
  readonly #open = new Map<string, File>();

  /** Begins with nothing. */
  constructor(fileSystem: FileSystem, directory: string) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#staging = `${directory}/${STAGING}`;
    discardStaged(fileSystem, directory);
  }

  write(name: string, bytes: Uint8Array, position: number): void {
    let file = this.#open.get(name);
    if (file === undefined) {
      file = this.#fileSystem.open(`${this.#staging}/${name}`, "create");
      this.#open.set(name, file);
    }
    file.write(bytes, position);
  }

  /** All of it has come: done when that is durable. */
  async finish(name: string): Promise<void> {
    const file = this.#open.get(name)!;
    // The staging may be dropped meanwhile.
    this.#open.delete(name);
    await file.syncAsync();
    file.close();
  }

  /** What is to come behind the manifest. Throws CorruptionError. */
  tables(): CheckpointFile[] {
    return checkpointTables(this.#manifest());
  }

  /**
   * Verifies every byte, in steps between which others may run, and makes the rest durable. Throws CorruptionError.
   * REQUIRES: all files are finished.
   */
  *complete(facts: CheckpointFacts): Generator<void> {
    const state = this.#manifest();
    if (!isCheckpoint(state)) throw this.#damage(CHECKPOINT_MANIFEST, "a deletion is ahead");
    this.#checkLog(state, facts);
    const tables = state.levels.flat();
    for (const table of tables) yield* this.#checkTable(table);
    this.#writeNow(CURRENT, Buffer.from(`${CHECKPOINT_MANIFEST}\n`));
    new EpochRuns(facts.runs).keepBefore(this.#fileSystem, this.#staging, facts.last);
    this.#fileSystem.syncDirectory(this.#staging);
  }

  /** The switch. REQUIRES: complete; nobody uses the directory's log and tables. */
  install(): void {
    const tables = new Set(this.tables().map(({ name }) => name));
    tables.add(CURRENT).add(CHECKPOINT_MANIFEST);
    const names = this.#fileSystem.list(this.#staging);
    const files = names.map((name) => `${tables.has(name) ? TABLES : LOG}/${name}`);
    const text = JSON.stringify({ format: FORMAT, files, checksum: checksumOf(files) });
    const path = `${this.#directory}/${INSTALLATION}`;
    const file = this.#fileSystem.open(`${path}.new`, "create");
    file.write(Buffer.from(`${text}\n`), 0);
    file.sync();
    file.close();
    this.#fileSystem.rename(`${path}.new`, path);
    this.#fileSystem.syncDirectory(this.#directory);
    finishInstallation(this.#fileSystem, this.#directory);
  }

  /** Gives up. */
  discard(): void {
    for (const file of this.#open.values()) file.close();
    this.#open.clear();
    discardStaged(this.#fileSystem, this.#directory);
  }

  #manifest(): VersionState {
    const path = `${this.#staging}/${CHECKPOINT_MANIFEST}`;
    return decodeManifest(this.#read(CHECKPOINT_MANIFEST), path);
  }

  #checkLog(state: VersionState, { seed, runs, last }: CheckpointFacts): void {
    const bytes = this.#read(CHECKPOINT_LOG);
    const views = newViews(bytes.length);
    views.bytes.set(bytes);
    const header = readSegmentHeader(views, bytes.length);
    const isOwn = header?.seed.low === seed.low && header.seed.high === seed.high;
    if (!isOwn || header.number !== CHECKPOINT_SEGMENT || header.firstIndex !== last)
      throw this.#damage(CHECKPOINT_LOG, "not the segment of a checkpoint");
    const length = frameLengthAt(views, SEGMENT_HEADER_BYTES, bytes.length);
    if (length === 0 || SEGMENT_HEADER_BYTES + length !== bytes.length)
      throw this.#damage(CHECKPOINT_LOG, "not one whole frame");
    const { index, epoch, ...frame } = readFrame(views, SEGMENT_HEADER_BYTES);
    const { firstSequence, recordCount } = frame;
    if (index !== last || epoch !== runs.at(-1)?.epoch)
      throw this.#damage(CHECKPOINT_LOG, "another frame than was announced");
    const { flushedSequence } = state;
    if (
      firstSequence > Math.max(1, flushedSequence) ||
      firstSequence + recordCount < flushedSequence
    )
      throw this.#damage(CHECKPOINT_LOG, "not the frame behind the tables");
  }

  *#checkTable(table: TableMeta): Generator<void> {
    const path = `${this.#staging}/${tableName(table)}`;
    const cache = new BlockCache(0);
    const reader = openNamedTable(this.#fileSystem, path, table, { cache, nowMicros: () => 0 });
    try {
      reader.fingerprints();
      const records = reader.iterator({ readAheadBytes: STEP_BYTES, useCache: false });
      const perStep = Math.ceil((table.recordCount * STEP_BYTES) / table.bytes);
      let count = 0;
      for (records.seek(0); records.isValid(); records.next()) {
        count++;
        if (count % perStep === 0) yield;
      }
      if (count !== table.recordCount) throw this.#damage(tableName(table), "records are missing");
    } finally {
      reader.close();
    }
  }

  #read(name: string): Uint8Array {
    const file = this.#fileSystem.open(`${this.#staging}/${name}`, "read");
    const bytes = new Uint8Array(file.size());
    file.read(bytes, 0);
    file.close();
    return bytes;
  }

  #writeNow(name: string, bytes: Uint8Array): void {
    const file = this.#fileSystem.open(`${this.#staging}/${name}`, "create");
    file.write(bytes, 0);
    file.sync();
    file.close();
  }

  #damage(name: string, message: string): CorruptionError {
    return new CorruptionError(message, { path: `${this.#staging}/${name}` });
  }
}

/** Drops what is staged. REQUIRES: INSTALL is not there. */
export function discardStaged(fileSystem: FileSystem, directory: string): void {
  const staging = `${directory}/${STAGING}`;
  fileSystem.makeDirectory(staging);
  for (const name of fileSystem.list(staging)) fileSystem.remove(`${staging}/${name}`);
}

/** Ends an installation that has been decided, if there is one. Nothing may use the directory yet. */
export function finishInstallation(fileSystem: FileSystem, directory: string): void {
  const marker = `${directory}/${INSTALLATION}`;
  if (!fileSystem.exists(marker)) return;
  const files = readMarker(fileSystem, marker);
  for (const path of files) {
    const staged = `${directory}/${STAGING}/${path.slice(path.indexOf("/") + 1)}`;
    if (fileSystem.exists(staged)) fileSystem.rename(staged, `${directory}/${path}`);
  }
  const own = new Set(files);
  for (const folder of [LOG, TABLES]) {
    for (const name of fileSystem.list(`${directory}/${folder}`))
      if (!own.has(`${folder}/${name}`)) fileSystem.remove(`${directory}/${folder}/${name}`);
  }
  // The new names first: a file must not lose the old one before it has the new.
  for (const folder of [LOG, TABLES, STAGING]) fileSystem.syncDirectory(`${directory}/${folder}`);
  fileSystem.remove(marker);
  fileSystem.syncDirectory(directory);
}

function readMarker(fileSystem: FileSystem, path: string): readonly string[] {
  const file = fileSystem.open(path, "read");
  const bytes = Buffer.alloc(file.size());
  file.read(bytes, 0);
  file.close();
  try {
    const { files, checksum } = schema.parse(JSON.parse(bytes.toString("utf8")));
    if (checksumOf(files) !== checksum) throw new Error("wrong checksum");
    return files;
  } catch (cause) {
    const message = "the list of a checkpoint's files cannot be read";
    throw new CorruptionError(message, { path, offset: 0, cause });
  }
}

function checksumOf(files: readonly string[]): string {
  return xxh64(Buffer.from(JSON.stringify(files)))
    .toString(16)
    .padStart(16, "0");
}
