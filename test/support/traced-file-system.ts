/**
 * A file system in memory that writes down every change in order, so that crash-states.ts can tell what a disk may
 * hold if power fails between any two of them. A sync covers what was changed before it began; with `holdsSyncs`
 * asynchronous ones end when the test says so. With a sink, changes go there instead, and no trace is kept.
 */
import { DiskError } from "../../src/base/errors.ts";
import type { File, FileSystem, OpenMode } from "../../src/base/file-system.ts";

/** Contents by path. The bytes are shared between images and never changed in place. */
export type DiskImage = ReadonlyMap<string, Uint8Array>;

export type DataChange =
  | {
      readonly kind: "write";
      readonly file: number;
      readonly position: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "truncate"; readonly file: number; readonly length: number };

export type NameChange =
  | { readonly kind: "create"; readonly path: string; readonly file: number }
  | {
      readonly kind: "rename";
      readonly path: string;
      readonly to: string;
      readonly file: number;
    }
  | { readonly kind: "remove"; readonly path: string };

/** `before`: the sync covers changes of the trace before this one. */
export type SyncChange =
  | { readonly kind: "sync"; readonly file: number; readonly before: number }
  | { readonly kind: "sync-directory"; readonly path: string; readonly before: number };

export type Change = DataChange | NameChange | SyncChange;

export interface TraceEntry<Stamp> {
  readonly change: Change;
  /** What the test knew just before the change. */
  readonly stamp: Stamp;
}

/** Takes the changes of a file system that keeps no trace. */
export type ChangeSink = (change: Change) => void;

interface Node {
  readonly id: number;
  bytes: Uint8Array;
  length: number;
  isShared: boolean;
}

const NO_BYTES = new Uint8Array(0);

function growTo(node: Node, length: number): void {
  if (node.isShared || node.bytes.length < length) {
    const bytes = new Uint8Array(Math.max(length, node.isShared ? node.length : 2 * node.length));
    bytes.set(node.bytes.subarray(0, node.length));
    node.bytes = bytes;
    node.isShared = false;
  }
  if (length > node.length) node.length = length;
}

export class TracedFileSystem<Stamp> implements FileSystem {
  readonly initial: DiskImage;
  readonly trace: TraceEntry<Stamp>[] = [];
  holdsSyncs = false;
  openFiles = 0;
  /** Files of the initial image, by path. */
  readonly initialFiles = new Map<string, number>();
  readonly #files = new Map<string, Node>();
  readonly #stamp: () => Stamp;
  readonly #held: (() => void)[] = [];
  readonly #sink: ChangeSink | undefined;
  #nextId = 1;
  /** Changes so far. */
  changeCount = 0;

  constructor(initial: DiskImage, stamp: () => Stamp, sink?: ChangeSink) {
    this.initial = initial;
    this.#stamp = stamp;
    this.#sink = sink;
    for (const [path, bytes] of initial) {
      const node = { id: this.#nextId++, bytes, length: bytes.length, isShared: true };
      this.#files.set(path, node);
      this.initialFiles.set(path, node.id);
    }
  }

  /** Asynchronous syncs that have begun and not ended. */
  get heldSyncs(): number {
    return this.#held.length;
  }

  /** The process that asked for the held syncs is dead: they never end. */
  forgetSyncs(): void {
    this.#held.length = 0;
  }

  /** What the files hold now. */
  image(): Map<string, Uint8Array> {
    const image = new Map<string, Uint8Array>();
    for (const [path, node] of this.#files) image.set(path, node.bytes.slice(0, node.length));
    return image;
  }

  endSync(which: number): void {
    this.#held.splice(which, 1)[0]?.();
  }

  record(change: Change): void {
    this.changeCount++;
    if (this.#sink === undefined) this.trace.push({ change, stamp: this.#stamp() });
    else this.#sink(change);
  }

  /** Bytes in all files. */
  get usedBytes(): number {
    let bytes = 0;
    for (const node of this.#files.values()) bytes += node.length;
    return bytes;
  }

  /** Ends now, or when the test says so. */
  later(action: () => void): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        action();
        resolve();
      };
      if (this.holdsSyncs) this.#held.push(end);
      else queueMicrotask(end);
    });
  }

  open(path: string, mode: OpenMode): TracedFile {
    let node = this.#files.get(path);
    if (node === undefined) {
      if (mode !== "create") throw new DiskError("cannot open: no such file", { path });
      node = { id: this.#nextId++, bytes: NO_BYTES, length: 0, isShared: true };
      this.record({ kind: "create", path, file: node.id });
      this.#files.set(path, node);
    } else if (mode === "create") {
      this.record({ kind: "truncate", file: node.id, length: 0 });
      node.bytes = NO_BYTES;
      node.length = 0;
      node.isShared = true;
    }
    this.openFiles++;
    return new TracedFile(this, path, node);
  }

  exists(path: string): boolean {
    return this.#files.has(path);
  }

  list(directory: string): string[] {
    const names = [...this.#files.keys()].filter((path) => directoryOf(path) === directory);
    return names.map((path) => path.slice(directory.length + 1)).sort();
  }

  makeDirectory(): void {}

  rename(from: string, to: string): void {
    const node = this.#files.get(from);
    if (node === undefined) throw new DiskError("cannot rename: no such file", { path: from });
    this.record({ kind: "rename", path: from, to, file: node.id });
    this.#files.delete(from);
    this.#files.set(to, node);
  }

  remove(path: string): void {
    if (!this.#files.has(path)) throw new DiskError("cannot remove: no such file", { path });
    this.record({ kind: "remove", path });
    this.#files.delete(path);
  }

  syncDirectory(path: string): void {
    this.record({ kind: "sync-directory", path, before: this.changeCount });
  }

  syncDirectoryAsync(path: string): Promise<void> {
    const before = this.changeCount;
    return this.later(() => this.record({ kind: "sync-directory", path, before }));
  }

  freeBytes(): number {
    return Number.MAX_SAFE_INTEGER;
  }
}

export function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

export class TracedFile implements File {
  readonly path: string;
  readonly #fileSystem: TracedFileSystem<unknown>;
  readonly #node: Node;
  #isClosed = false;

  constructor(fileSystem: TracedFileSystem<unknown>, path: string, node: Node) {
    this.#fileSystem = fileSystem;
    this.path = path;
    this.#node = node;
  }

  /** The file, whatever its name. */
  get id(): number {
    return this.#node.id;
  }

  read(into: Uint8Array, position: number): number {
    this.#requireOpen();
    const end = Math.min(this.#node.length, position + into.length);
    if (end <= position) return 0;
    into.set(this.#node.bytes.subarray(position, end));
    return end - position;
  }

  readAsync(into: Uint8Array, position: number): Promise<number> {
    return Promise.resolve().then(() => this.read(into, position));
  }

  write(bytes: Uint8Array, position: number): void {
    this.#requireOpen();
    const copy = new Uint8Array(bytes);
    this.#fileSystem.record({ kind: "write", file: this.#node.id, position, bytes: copy });
    growTo(this.#node, position + bytes.length);
    this.#node.bytes.set(copy, position);
  }

  sync(): void {
    this.#requireOpen();
    const before = this.#fileSystem.changeCount;
    this.#fileSystem.record({ kind: "sync", file: this.#node.id, before });
  }

  syncAsync(): Promise<void> {
    this.#requireOpen();
    const before = this.#fileSystem.changeCount;
    return this.#fileSystem.later(() =>
      this.#fileSystem.record({ kind: "sync", file: this.#node.id, before }),
    );
  }

  size(): number {
    this.#requireOpen();
    return this.#node.length;
  }

  truncate(length: number): void {
    this.#requireOpen();
    this.#fileSystem.record({ kind: "truncate", file: this.#node.id, length });
    growTo(this.#node, length);
    this.#node.bytes.fill(0, length, this.#node.length);
    this.#node.length = length;
  }

  close(): void {
    this.#requireOpen();
    this.#isClosed = true;
    this.#fileSystem.openFiles--;
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new DiskError("file is closed", { path: this.path });
  }
}
