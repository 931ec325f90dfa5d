/**
 * Reads every byte of a data directory that no process uses, changes nothing, and says what is in it, what is
 * damaged and where.
 *
 *   IDENTITY → manifest → log → tables, merged with the log: checked and counted in one pass
 *
 * Memory: index, filter and fingerprints of one table per run, and the segments of the log that are not in
 * tables, which a start would hold too.
 */
import { StartupError } from "../../base/errors.ts";
import type { FileSystem } from "../../base/file-system.ts";
import type { HashSeed } from "../../base/order-hash.ts";
import { RunIterator } from "../../lsm/run-iterator.ts";
import { level0Runs, type TableMeta, type VersionState } from "../../lsm/version-edit.ts";
import { EPOCHS_FILE, readEpochs } from "../../wal/epoch-runs.ts";
import { segmentNumberOf } from "../../wal/segment.ts";
import { INSTALLATION, STAGING } from "../checkpoint-staging.ts";
import { type Identity, readIdentity } from "../identity.ts";
import { type CheckedLog, checkLog, type LogReport } from "./check-log.ts";
import { type CheckedManifest, checkManifest, type ManifestReport } from "./check-manifest.ts";
import { CheckedTable } from "./checked-table.ts";
import { type CountedKeys, countKeys } from "./count-keys.ts";
import { type Finding, Findings } from "./findings.ts";
import { SortedRun } from "./sorted-run.ts";
import { readTableParts, type TableContext } from "./table-parts.ts";

export interface CheckOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  onProgress(doneBytes: number, totalBytes: number): void;
}

export interface LevelReport {
  readonly level: number;
  readonly tables: number;
  readonly bytes: number;
  readonly records: number;
  readonly tombstones: number;
  readonly damagedTables: number;
}

export interface PartReport {
  readonly part: string;
  readonly files: number;
  readonly bytes: number;
}

export interface KeysReport {
  /** As the manifest says, as of the last flush. */
  readonly manifest: number;
  /** Counted in the tables; undefined when damage hides some. */
  readonly tables: number | undefined;
  /** Counted in tables and log. Keys that have expired count until they are removed. */
  readonly total: number | undefined;
}

export interface CheckReport {
  readonly directory: string;
  /** Undefined parts cannot be read. */
  readonly identity: Pick<Identity, "format" | "directoryId"> | undefined;
  readonly manifest: ManifestReport | undefined;
  /** Of every level that holds tables. */
  readonly levels: readonly LevelReport[];
  readonly log: LogReport;
  readonly keys: KeysReport | undefined;
  readonly space: readonly PartReport[];
  readonly readBytes: number;
  readonly damageCount: number;
  readonly damage: readonly Finding[];
  readonly notes: readonly Finding[];
}

const IDENTITY = "IDENTITY";
const ROOT_FILES = new Set([IDENTITY, "LOCK", "LOCK.pid", "MEMBER", STAGING]);
const WAL = "wal";
const TABLES = "tables";

/** REQUIRES: no process uses the directory. Throws StartupError when it is no data directory, DiskError. */
export function checkDirectory(options: CheckOptions): CheckReport {
  return new DirectoryCheck(options).run();
}

class DirectoryCheck {
  readonly #options: CheckOptions;
  readonly #findings = new Findings();
  readonly #levels = new Map<number, LevelReport>();
  #doneBytes = 0;
  #totalBytes = 0;

  constructor(options: CheckOptions) {
    this.#options = options;
  }

  run(): CheckReport {
    const { directory } = this.#options;
    const names = this.#rootNames();
    const before = this.#current();
    const space = this.#space(names);
    this.#totalBytes = space.reduce((sum, part) => sum + part.bytes, 0);
    const identity = this.#identity();
    const seed = identity && { low: identity.hashSeed[0], high: identity.hashSeed[1] };
    const manifest = this.#manifest();
    const log = this.#log(seed, manifest);
    const counted = this.#tables(seed, manifest, log);
    const keys = manifest && this.#keys(manifest, counted);
    if (this.#current() !== before) {
      throw new StartupError(`${directory} was put into use while it was checked`);
    }
    const { damage, notes, damageCount } = this.#findings;
    return {
      directory,
      identity: identity && { format: identity.format, directoryId: identity.directoryId },
      manifest: manifest?.report,
      levels: [...this.#levels.values()].sort((a, b) => a.level - b.level),
      log: log.report,
      keys,
      space,
      readBytes: this.#doneBytes,
      damageCount,
      damage,
      notes,
    };
  }

  /** Names in the directory; throws when it is none of ours. */
  #rootNames(): string[] {
    const { fileSystem, directory } = this.#options;
    if (!fileSystem.exists(directory)) throw new StartupError(`${directory} does not exist`);
    const names = fileSystem.list(directory);
    if (![IDENTITY, WAL, TABLES].some((name) => names.includes(name))) {
      throw new StartupError(`${directory} is not a data directory: it has no ${IDENTITY}`);
    }
    if (names.includes(INSTALLATION)) {
      const remedy = "start the server with it, which finishes that";
      throw new StartupError(`${directory} is about to become a copy of another one: ${remedy}`);
    }
    for (const name of names) {
      if (ROOT_FILES.has(name) || name === WAL || name === TABLES) continue;
      const isOwn = name === `${IDENTITY}.new`;
      const message = isOwn
        ? "superfluous: the directory's creation was interrupted"
        : "not a part of a data directory";
      this.#findings.addNote(message, `${directory}/${name}`);
    }
    return names;
  }

  /** What CURRENT names: every start of a server changes it. */
  #current(): string {
    const { fileSystem, directory } = this.#options;
    const path = `${directory}/${TABLES}/CURRENT`;
    if (!fileSystem.exists(path)) return "";
    const file = fileSystem.open(path, "read");
    const bytes = Buffer.alloc(file.size());
    file.read(bytes, 0);
    file.close();
    return bytes.toString("latin1");
  }

  #identity(): Identity | undefined {
    const { fileSystem, directory } = this.#options;
    const path = `${directory}/${IDENTITY}`;
    if (!fileSystem.exists(path)) {
      this.#findings.addDamage(`${IDENTITY} is missing`, path);
      return undefined;
    }
    return this.#findings.attempt(() => readIdentity(fileSystem, directory));
  }

  #manifest(): CheckedManifest | undefined {
    const { fileSystem, directory } = this.#options;
    const path = `${directory}/${TABLES}`;
    if (!fileSystem.exists(path)) {
      this.#findings.addLoss("the directory of tables is missing", path);
      return undefined;
    }
    const manifest = checkManifest(fileSystem, path, this.#findings);
    if (manifest !== undefined) this.#addRead(manifest.report.bytes);
    return manifest;
  }

  #log(seed: HashSeed | undefined, manifest: CheckedManifest | undefined): CheckedLog {
    const { fileSystem, directory } = this.#options;
    const path = `${directory}/${WAL}`;
    if (!fileSystem.exists(path)) this.#findings.addLoss("the log's directory is missing", path);
    for (const name of this.#list(WAL)) {
      if (segmentNumberOf(name) !== undefined) continue;
      if (name === EPOCHS_FILE) {
        this.#findings.attempt(() => readEpochs(fileSystem, path), true);
        continue;
      }
      this.#findings.addNote("not a file of the log", `${path}/${name}`);
    }
    return checkLog({
      fileSystem,
      directory: path,
      names: this.#list(WAL).filter((name) => segmentNumberOf(name) !== undefined),
      seed,
      flushedSequence: manifest?.state.flushedSequence,
      findings: this.#findings,
      onRead: (bytes) => this.#addRead(bytes),
    });
  }

  /** Checks the tables and counts keys, which is one pass over everything. */
  #tables(
    seed: HashSeed | undefined,
    manifest: CheckedManifest | undefined,
    log: CheckedLog,
  ): CountedKeys {
    const state = manifest?.state;
    const context: TableContext = {
      fileSystem: this.#options.fileSystem,
      directory: `${this.#options.directory}/${TABLES}`,
      seed,
      findings: this.#findings,
      onRead: (bytes) => this.#addRead(bytes),
    };
    const levels = new Map<number, number>();
    state?.levels.forEach((tables, level) => {
      for (const table of tables) levels.set(table.id, level);
    });
    const open = (table: TableMeta) => this.#openTable(context, table, levels.get(table.id)!);
    return countKeys({
      tables: runsOf(state).map((run) => new RunIterator(run, open)),
      rangeDeletions: state?.rangeDeletions ?? [],
      log: log.sources,
    });
  }

  #openTable(context: TableContext, table: TableMeta, level: number): CheckedTable | SortedRun {
    const count = (isDamaged: boolean): void => this.#addTable(level, table, isDamaged);
    const parts = readTableParts(context, table);
    if (parts?.index === undefined) {
      parts?.file.close();
      count(true);
      return NOTHING;
    }
    const checked = new CheckedTable(context, parts, parts.index, count);
    if (parts.isNamed) return checked;
    // Its records belong elsewhere, but it is still read to its end.
    for (checked.seek(); checked.isValid(); checked.next());
    return NOTHING;
  }

  #addTable(level: number, table: TableMeta, isDamaged: boolean): void {
    const sum = this.#levels.get(level);
    this.#levels.set(level, {
      level,
      tables: (sum?.tables ?? 0) + 1,
      bytes: (sum?.bytes ?? 0) + table.bytes,
      records: (sum?.records ?? 0) + table.recordCount,
      tombstones: (sum?.tombstones ?? 0) + table.tombstoneCount,
      damagedTables: (sum?.damagedTables ?? 0) + (isDamaged ? 1 : 0),
    });
  }

  #keys(manifest: CheckedManifest, counted: CountedKeys): KeysReport {
    const { state, report } = manifest;
    if (!this.#findings.isContentWhole) {
      return { manifest: report.keys, tables: undefined, total: undefined };
    }
    const tables = counted.tables.reduce((sum, count) => sum + count, 0);
    // A deletion after the last flush has taken keys from the tables that the manifest still counts.
    const isComparable = state.rangeDeletions.every(
      ({ sequence }) => sequence < state.flushedSequence,
    );
    const wrong = state.counts.findIndex((count, slot) => count !== counted.tables[slot]);
    if (isComparable && wrong >= 0) {
      const message = `the manifest counts ${report.keys} keys, the tables hold ${tables} (slot ${wrong}: ${state.counts[wrong]} and ${counted.tables[wrong]})`;
      const path = `${this.#options.directory}/${TABLES}/${report.file ?? "CURRENT"}`;
      this.#findings.addDamage(message, path);
    }
    return { manifest: report.keys, tables, total: counted.total };
  }

  #space(names: readonly string[]): PartReport[] {
    const { fileSystem, directory } = this.#options;
    const sum = (part: string, paths: readonly string[]): PartReport => ({
      part,
      files: paths.length,
      bytes: paths.reduce((bytes, path) => bytes + sizeOf(fileSystem, path), 0),
    });
    const tables = this.#list(TABLES);
    const isTable = (name: string): boolean => name.endsWith(".table");
    const inTables = (keep: (name: string) => boolean) =>
      tables.filter(keep).map((name) => `${directory}/${TABLES}/${name}`);
    // LOCK is empty, and opening it in its holder's process would drop the lock.
    const root = names.filter((name) => ROOT_FILES.has(name) && name !== "LOCK");
    return [
      sum("tables", inTables(isTable)),
      sum(
        "manifest",
        inTables((name) => !isTable(name)),
      ),
      sum(
        "log",
        this.#list(WAL).map((name) => `${directory}/${WAL}/${name}`),
      ),
      sum(
        "identity",
        root.map((name) => `${directory}/${name}`),
      ),
    ];
  }

  #list(part: string): string[] {
    const { fileSystem, directory } = this.#options;
    const path = `${directory}/${part}`;
    return fileSystem.exists(path) ? fileSystem.list(path) : [];
  }

  #addRead(bytes: number): void {
    this.#doneBytes += bytes;
    this.#options.onProgress(this.#doneBytes, this.#totalBytes);
  }
}

const NOTHING = new SortedRun([]);

/** Runs of tables that do not overlap, newest first. */
function runsOf(state: VersionState | undefined): TableMeta[][] {
  if (state === undefined) return [];
  const deeper = state.levels.slice(1).map((tables) => [...tables]);
  return [...level0Runs(state.levels[0]!), ...deeper].filter((run) => run.length > 0);
}

function sizeOf(fileSystem: FileSystem, path: string): number {
  const file = fileSystem.open(path, "read");
  const bytes = file.size();
  file.close();
  return bytes;
}
