/** The check of the manifest, and of the files beside it: which tables it names, and which files nothing names. */
import { xxh64 } from "../../base/checksum.ts";
import { CorruptionError } from "../../base/errors.ts";
import type { FileSystem } from "../../base/file-system.ts";
import { isManifestFile, manifestName, readManifest } from "../../lsm/manifest.ts";
import { tableIdOf } from "../../lsm/table-writer.ts";
import { EMPTY_STATE, type VersionState } from "../../lsm/version-edit.ts";
import type { Findings } from "./findings.ts";

export interface ManifestReport {
  /** Undefined: a new directory has none yet. */
  readonly file: string | undefined;
  readonly bytes: number;
  readonly edits: number;
  /** Bytes of an edit whose write never finished. */
  readonly tornBytes: number;
  readonly tables: number;
  readonly missingTables: readonly string[];
  /** Files that nothing names; the next start removes tables and manifests among them. */
  readonly superfluousFiles: readonly string[];
  readonly rangeDeletions: number;
  readonly flushedSequence: number;
  /** Live keys as of the last flush. */
  readonly keys: number;
}

export interface CheckedManifest {
  readonly report: ManifestReport;
  readonly state: VersionState;
}

/** A record's length and checksum (manifest.ts). */
const RECORD_HEADER_BYTES = 12;

/** Undefined when the manifest cannot be read: which tables belong to the directory is not known then. */
export function checkManifest(
  fileSystem: FileSystem,
  directory: string,
  findings: Findings,
): CheckedManifest | undefined {
  const found = findings.attempt(() => ({ current: readManifest(fileSystem, directory) }), true);
  if (found === undefined) return undefined;
  const { current } = found;
  const state = current?.state ?? EMPTY_STATE;
  const file = current === undefined ? undefined : manifestName(current.id);
  const path = `${directory}/${file}`;
  const records = file === undefined ? NO_RECORDS : countRecords(fileSystem, path);
  if (records.tornBytes > 0) {
    const message = "the manifest ends in an edit that was never finished; the next start drops it";
    findings.addNote(message, path, records.bytes - records.tornBytes);
  }
  const named = new Set(state.levels.flat().map((table) => table.id));
  const names = fileSystem.list(directory);
  const present = new Set(names.map(tableIdOf));
  const superfluousFiles: string[] = [];
  for (const name of names) {
    const id = tableIdOf(name);
    if (id === undefined ? name === file || name === "CURRENT" : named.has(id)) continue;
    superfluousFiles.push(name);
    const isOwn = id !== undefined || isManifestFile(name);
    const message = isOwn
      ? "superfluous: the manifest does not name it; the next start removes it"
      : "not a file of this directory";
    findings.addNote(message, `${directory}/${name}`);
  }
  const missingTables = [...named].filter((id) => !present.has(id));
  return {
    state,
    report: {
      file,
      ...records,
      tables: named.size,
      missingTables: missingTables.map((id) => `${String(id).padStart(6, "0")}.table`),
      superfluousFiles,
      rangeDeletions: state.rangeDeletions.length,
      flushedSequence: state.flushedSequence,
      keys: state.counts.reduce((sum, count) => sum + count, 0),
    },
  };
}

const NO_RECORDS = { bytes: 0, edits: 0, tornBytes: 0 };

/** REQUIRES: a manifest that readManifest takes. */
function countRecords(
  fileSystem: FileSystem,
  path: string,
): { bytes: number; edits: number; tornBytes: number } {
  const file = fileSystem.open(path, "read");
  const bytes = Buffer.alloc(file.size());
  const read = file.read(bytes, 0);
  file.close();
  if (read !== bytes.length) throw new CorruptionError("file got shorter", { path });
  let edits = 0;
  let end = 0;
  for (;;) {
    const start = end + RECORD_HEADER_BYTES;
    if (start > bytes.length) break;
    const next = start + bytes.readUInt32LE(end);
    if (next > bytes.length) break;
    if (xxh64(bytes.subarray(start, next)) !== bytes.readBigUInt64LE(end + 4)) break;
    end = next;
    edits++;
  }
  return { bytes: bytes.length, edits, tornBytes: bytes.length - end };
}
