/**
 * The manifest: the log of version edits. `CURRENT` names the one in use.
 *
 *   MANIFEST-000007:  record*
 *   record:           payload length u32 LE | XXH64 of the payload u64 LE | payload (JSON, version-edit.ts)
 *   CURRENT:          "MANIFEST-000007\n"
 *
 * The first record is a snapshot. A new manifest is written whole and synced, then CURRENT is replaced by
 * write, sync, rename, directory sync. A last record that is cut short or does not match its checksum, with
 * nothing after it, is a write that never finished: it is ignored. Anything else is corruption, by offset.
 */
import { xxh64 } from "../base/checksum.ts";
import { CorruptionError } from "../base/errors.ts";
import type { File, FileSystem } from "../base/file-system.ts";
import {
  applyEdit,
  decodeEdit,
  EMPTY_STATE,
  encodeEdit,
  snapshotEdit,
  type VersionEdit,
  type VersionState,
} from "./version-edit.ts";

export const CURRENT = "CURRENT";
const CURRENT_TEMPORARY = "CURRENT.tmp";
const MANIFEST_PATTERN = /^MANIFEST-(\d{6,15})$/;
const RECORD_HEADER_BYTES = 12;
/** Bounds what a broken length can make recovery allocate: a million tables fit. */
const EDIT_BYTES_MAX = 512 * 1024 * 1024;
const EDIT_BYTES_MIN = '{"added":[],"removed":[]}'.length;
/** A manifest may grow to this many times its snapshot, whatever its limit, or it would be rewritten at each edit. */
const GROWTH_MIN = 4;
const CURRENT_BYTES_MAX = 64;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function manifestName(id: number): string {
  return `MANIFEST-${String(id).padStart(6, "0")}`;
}

/** Whether a file of this name belongs to the manifest's machinery. */
export function isManifestFile(name: string): boolean {
  return MANIFEST_PATTERN.test(name) || name === CURRENT || name === CURRENT_TEMPORARY;
}

export function encodeManifestRecord(edit: VersionEdit): Uint8Array {
  const payload = encoder.encode(encodeEdit(edit));
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length, true);
  view.setBigUint64(4, xxh64(payload), true);
  bytes.set(payload, RECORD_HEADER_BYTES);
  return bytes;
}

/** The state that the bytes of a manifest add up to. Throws CorruptionError. */
export function decodeManifest(bytes: Uint8Array, path: string): VersionState {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let state: VersionState | undefined;
  let offset = 0;
  while (offset < bytes.length) {
    const payload = payloadAt(bytes, view, offset, path);
    if (payload === undefined) break;
    const edit = decodeEdit(decodeText(payload, path, offset));
    if (typeof edit === "string") throw new CorruptionError(`bad edit: ${edit}`, { path, offset });
    const next = applyEdit(state ?? EMPTY_STATE, edit);
    if (typeof next === "string") throw new CorruptionError(`edit ${next}`, { path, offset });
    state = next;
    offset += RECORD_HEADER_BYTES + payload.length;
  }
  // The snapshot was synced before CURRENT named the file, so it cannot be a torn write.
  if (state === undefined)
    throw new CorruptionError("manifest has no snapshot", { path, offset: 0 });
  return state;
}

/** The record's payload; undefined for a torn last record. */
function payloadAt(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  path: string,
): Uint8Array | undefined {
  const payload = validPayloadAt(bytes, view, offset);
  if (payload !== undefined) return payload;
  // Appends are synced one by one, so whatever a broken record holds, a valid one after it proves that it was
  // once whole. JSON text never looks like a plausible length, so the search is cheap.
  for (let next = offset + 1; next < bytes.length; next++) {
    if (validPayloadAt(bytes, view, next) === undefined) continue;
    throw new CorruptionError("edit does not match its checksum", { path, offset });
  }
  return undefined;
}

function validPayloadAt(bytes: Uint8Array, view: DataView, offset: number): Uint8Array | undefined {
  const left = bytes.length - offset - RECORD_HEADER_BYTES;
  if (left < EDIT_BYTES_MIN) return undefined;
  const length = view.getUint32(offset, true);
  if (length < EDIT_BYTES_MIN || length > left || length > EDIT_BYTES_MAX) return undefined;
  const start = offset + RECORD_HEADER_BYTES;
  const payload = bytes.subarray(start, start + length);
  return xxh64(payload) === view.getBigUint64(offset + 4, true) ? payload : undefined;
}

function decodeText(payload: Uint8Array, path: string, offset: number): string {
  try {
    return decoder.decode(payload);
  } catch (cause) {
    throw new CorruptionError("edit is not UTF-8", { path, offset, cause });
  }
}

function readWhole(fileSystem: FileSystem, path: string): Uint8Array {
  const file = fileSystem.open(path, "read");
  try {
    const bytes = new Uint8Array(file.size());
    const count = file.read(bytes, 0);
    if (count !== bytes.length) throw new CorruptionError("file got shorter", { path });
    return bytes;
  } finally {
    file.close();
  }
}

/** The manifest that CURRENT names, or undefined in a new directory. Throws CorruptionError. */
export function readManifest(
  fileSystem: FileSystem,
  directory: string,
): { id: number; state: VersionState } | undefined {
  const currentPath = `${directory}/${CURRENT}`;
  if (!fileSystem.exists(currentPath)) {
    // CURRENT is never removed: a manifest without it lost its directory, not a fresh start.
    const orphan = fileSystem.list(directory).find((name) => name.endsWith(".table"));
    if (orphan === undefined) return undefined;
    throw new CorruptionError(`CURRENT is missing beside ${orphan}`, { path: currentPath });
  }
  const text = new TextDecoder().decode(
    readWhole(fileSystem, currentPath).subarray(0, CURRENT_BYTES_MAX),
  );
  const match = MANIFEST_PATTERN.exec(text.trimEnd());
  if (match === null || !text.endsWith("\n")) {
    throw new CorruptionError("CURRENT does not name a manifest", { path: currentPath, offset: 0 });
  }
  const path = `${directory}/${match[0]}`;
  if (!fileSystem.exists(path)) {
    throw new CorruptionError(`${match[0]}, which CURRENT names, is missing`, { path });
  }
  return { id: Number(match[1]), state: decodeManifest(readWhole(fileSystem, path), path) };
}

/** The manifest in use: appends edits, and starts a new file when this one grows long. */
export class Manifest {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #bytesMax: number;
  #file: File;
  #id: number;
  #bytes: number;
  #rollBytes: number;

  private constructor(fileSystem: FileSystem, directory: string, bytesMax: number, id: number) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#bytesMax = bytesMax;
    this.#id = id;
    this.#file = fileSystem.open(`${directory}/${manifestName(id)}`, "create");
    this.#bytes = 0;
    this.#rollBytes = bytesMax;
  }

  /** Starts manifest `id` with a snapshot of `state` and makes it the current one. */
  static create(
    fileSystem: FileSystem,
    directory: string,
    options: { id: number; state: VersionState; bytesMax: number },
  ): Manifest {
    const manifest = new Manifest(fileSystem, directory, options.bytesMax, options.id);
    manifest.#begin(options.state);
    return manifest;
  }

  get id(): number {
    return this.#id;
  }

  get path(): string {
    return this.#file.path;
  }

  /** Resolves once the edit, which led to `state`, is on stable storage. One call at a time. */
  async append(edit: VersionEdit, state: VersionState): Promise<void> {
    if (this.#bytes > this.#rollBytes) {
      this.#roll(state);
      return;
    }
    const bytes = encodeManifestRecord(edit);
    this.#file.write(bytes, this.#bytes);
    this.#bytes += bytes.length;
    await this.#file.syncAsync();
  }

  close(): void {
    this.#file.close();
  }

  #begin(state: VersionState): void {
    const bytes = encodeManifestRecord(snapshotEdit(state));
    this.#file.write(bytes, 0);
    this.#bytes = bytes.length;
    this.#rollBytes = Math.max(this.#bytesMax, GROWTH_MIN * bytes.length);
    this.#file.sync();
    const temporary = `${this.#directory}/${CURRENT_TEMPORARY}`;
    const current = this.#fileSystem.open(temporary, "create");
    current.write(encoder.encode(`${manifestName(this.#id)}\n`), 0);
    current.sync();
    current.close();
    // The manifest's own name must be durable before CURRENT can name it.
    this.#fileSystem.syncDirectory(this.#directory);
    this.#fileSystem.rename(temporary, `${this.#directory}/${CURRENT}`);
    this.#fileSystem.syncDirectory(this.#directory);
  }

  #roll(state: VersionState): void {
    const old = this.#file;
    this.#id += 1;
    this.#file = this.#fileSystem.open(`${this.#directory}/${manifestName(this.#id)}`, "create");
    this.#begin(state);
    old.close();
    this.#fileSystem.remove(old.path);
    this.#fileSystem.syncDirectory(this.#directory);
  }
}
