/**
 * A file system in memory, for tests that would spend their time in fsync. It can die at any change, like a killed
 * process, or be full; what a power failure would lose is not modelled.
 */
import { DiskError, DiskFullError } from "../../src/base/errors.ts";
import type { File, FileSystem, OpenMode } from "../../src/base/file-system.ts";

class Content {
  bytes = new Uint8Array(0);
  length = 0;

  reserve(length: number): void {
    if (length <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(length, 2 * this.bytes.length, 256));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }
}

class MemoryFile implements File {
  readonly path: string;
  readonly #content: Content;
  readonly #fileSystem: MemoryFileSystem;
  #closed = false;

  constructor(path: string, content: Content, fileSystem: MemoryFileSystem) {
    this.path = path;
    this.#content = content;
    this.#fileSystem = fileSystem;
  }

  read(into: Uint8Array, position: number): number {
    this.#check();
    const end = Math.min(this.#content.length, position + into.length);
    if (end <= position) return 0;
    into.set(this.#content.bytes.subarray(position, end));
    return end - position;
  }

  readAsync(into: Uint8Array, position: number): Promise<number> {
    return Promise.resolve().then(() => this.read(into, position));
  }

  write(bytes: Uint8Array, position: number): void {
    this.#check();
    const growth = position + bytes.length - this.#content.length;
    if (growth > this.#fileSystem.freeBytes()) {
      throw new DiskFullError("cannot write: no space left", { path: this.path });
    }
    if (this.#fileSystem.isLastChange()) {
      this.#put(bytes.subarray(0, bytes.length >>> 1), position);
    }
    this.#fileSystem.countChange(this.path);
    this.#put(bytes, position);
  }

  #put(bytes: Uint8Array, position: number): void {
    this.#content.reserve(position + bytes.length);
    this.#content.bytes.set(bytes, position);
    this.#content.length = Math.max(this.#content.length, position + bytes.length);
  }

  sync(): void {
    this.#check();
    this.#fileSystem.countChange(this.path);
  }

  async syncAsync(): Promise<void> {
    await Promise.resolve();
    this.sync();
  }

  size(): number {
    this.#check();
    return this.#content.length;
  }

  truncate(bytes: number): void {
    this.#check();
    this.#content.reserve(bytes);
    this.#content.bytes.fill(0, Math.min(bytes, this.#content.length));
    this.#content.length = bytes;
  }

  close(): void {
    this.#check();
    this.#closed = true;
    this.#fileSystem.openFiles--;
  }

  #check(): void {
    if (this.#closed) throw new DiskError("file is closed", { path: this.path });
  }
}

export class MemoryFileSystem implements FileSystem {
  /** Changes (writes, syncs, names) until every further one fails, the last one half done: a process that dies. */
  changesLeft = Number.POSITIVE_INFINITY;
  capacityBytes = Number.MAX_SAFE_INTEGER;
  /** Files that are open now: none may be left over. */
  openFiles = 0;
  readonly #files = new Map<string, Content>();

  isLastChange(): boolean {
    return this.changesLeft === 1;
  }

  countChange(path: string): void {
    if (this.changesLeft > 0) this.changesLeft--;
    if (this.changesLeft === 0) throw new DiskError("the process is dead", { path });
  }

  open(path: string, mode: OpenMode): File {
    if (mode === "create") this.countChange(path);
    let content = this.#files.get(path);
    if (mode === "create") {
      content = new Content();
      this.#files.set(path, content);
    }
    if (content === undefined) throw new DiskError("cannot open: no such file", { path });
    this.openFiles++;
    return new MemoryFile(path, content, this);
  }

  exists(path: string): boolean {
    return this.#files.has(path);
  }

  list(directory: string): string[] {
    const prefix = `${directory}/`;
    return [...this.#files.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length))
      .sort();
  }

  makeDirectory(): void {}

  rename(from: string, to: string): void {
    this.countChange(from);
    const content = this.#files.get(from);
    if (content === undefined) throw new DiskError("cannot rename: no such file", { path: from });
    this.#files.delete(from);
    this.#files.set(to, content);
  }

  remove(path: string): void {
    this.countChange(path);
    if (!this.#files.delete(path)) throw new DiskError("cannot remove: no such file", { path });
  }

  syncDirectory(): void {}

  syncDirectoryAsync(): Promise<void> {
    return Promise.resolve();
  }

  freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.usedBytes);
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const content of this.#files.values()) bytes += content.length;
    return bytes;
  }
}
