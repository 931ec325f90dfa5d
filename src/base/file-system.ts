/**
 * The disk as the engine sees it. Production uses DiskFileSystem; tests put a fault-injecting or a
 * crash-simulating one in its place. All paths are absolute. Every failure is thrown as DiskError, a write or a new file
 * for which there is no room as DiskFullError.
 *
 * Durability contract: bytes survive power loss only after sync() or syncAsync() of their file; a file's name
 * (created, renamed, removed) only after syncDirectory() of its directory.
 *
 * The last close of a removed file frees its blocks, which takes 5 to 25 ms for 64 MiB. DiskFileSystem lets another
 * thread do that, for one file at a time, so that syncs find the others free.
 */
import * as fs from "node:fs";
import { DiskError, DiskFullError } from "./errors.ts";

export type OpenMode = "read" | "create" | "read-write";

export interface File {
  readonly path: string;
  /** Reads into `into` from `position`; returns the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, position: number): number;
  readAsync(into: Uint8Array, position: number): Promise<number>;
  /** Writes all bytes or throws. */
  write(bytes: Uint8Array, position: number): void;
  /** fdatasync. A failure is final (DESIGN: never retried). */
  sync(): void;
  syncAsync(): Promise<void>;
  size(): number;
  truncate(bytes: number): void;
  close(): void;
}

export interface FileSystem {
  /** "create" truncates an existing file; "read-write" requires one. */
  open(path: string, mode: OpenMode): File;
  exists(path: string): boolean;
  /** Names in a directory, sorted. */
  list(directory: string): string[];
  makeDirectory(path: string): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  syncDirectory(path: string): void;
  syncDirectoryAsync(path: string): Promise<void>;
  /** Bytes that an unprivileged process may still write on the file system of `path`. */
  freeBytes(path: string): number;
}

function attempt<T>(what: string, path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new DiskError(`cannot ${what}: ${(cause as Error).message}`, { path, cause });
  }
}

const FULL = new Set(["ENOSPC", "EDQUOT"]);

/** As attempt(), of what needs room. */
function attemptToGrow<T>(what: string, path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const { code = "", message } = cause as NodeJS.ErrnoException;
    const Kind = FULL.has(code) ? DiskFullError : DiskError;
    throw new Kind(`cannot ${what}: ${message}`, { path, cause });
  }
}

class DiskFile implements File {
  readonly path: string;
  readonly #descriptor: number;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
  }

  read(into: Uint8Array, position: number): number {
    return attempt("read", this.path, () => {
      let done = 0;
      while (done < into.length) {
        const count = fs.readSync(
          this.#descriptor,
          into,
          done,
          into.length - done,
          position + done,
        );
        if (count === 0) break;
        done += count;
      }
      return done;
    });
  }

  readAsync(into: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(this.#descriptor, into, 0, into.length, position, (cause, count) => {
        if (cause === null) resolve(count);
        else reject(new DiskError(`cannot read: ${cause.message}`, { path: this.path, cause }));
      });
    });
  }

  write(bytes: Uint8Array, position: number): void {
    attemptToGrow("write", this.path, () => {
      let done = 0;
      while (done < bytes.length) {
        done += fs.writeSync(this.#descriptor, bytes, done, bytes.length - done, position + done);
      }
    });
  }

  sync(): void {
    attempt("sync", this.path, () => fs.fdatasyncSync(this.#descriptor));
  }

  syncAsync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#descriptor, (cause) => {
        if (cause === null || cause === undefined) resolve();
        else reject(new DiskError(`cannot sync: ${cause.message}`, { path: this.path, cause }));
      });
    });
  }

  size(): number {
    return attempt("stat", this.path, () => fs.fstatSync(this.#descriptor).size);
  }

  truncate(bytes: number): void {
    attempt("truncate", this.path, () => fs.ftruncateSync(this.#descriptor, bytes));
  }

  /** What it would report, sync() has reported. */
  close(): void {
    closeSoon(this.#descriptor);
  }
}

/** Descriptors that wait to be closed; the first one is being closed. */
const closing: number[] = [];

function closeSoon(descriptor: number): void {
  if (closing.push(descriptor) === 1) closeNext();
}

function closeNext(): void {
  fs.close(closing[0]!, () => {
    closing.shift();
    if (closing.length > 0) closeNext();
  });
}

const OPEN_FLAGS: Record<OpenMode, string> = { read: "r", create: "w+", "read-write": "r+" };
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

export class DiskFileSystem implements FileSystem {
  open(path: string, mode: OpenMode): File {
    return attemptToGrow(
      "open",
      path,
      () => new DiskFile(path, fs.openSync(path, OPEN_FLAGS[mode], FILE_MODE)),
    );
  }

  exists(path: string): boolean {
    return fs.existsSync(path);
  }

  list(directory: string): string[] {
    return attempt("list", directory, () => fs.readdirSync(directory).sort());
  }

  makeDirectory(path: string): void {
    attempt("create directory", path, () =>
      fs.mkdirSync(path, { recursive: true, mode: DIRECTORY_MODE }),
    );
  }

  rename(from: string, to: string): void {
    attempt("rename", from, () => fs.renameSync(from, to));
  }

  remove(path: string): void {
    attempt("remove", path, () => {
      const descriptor = fs.openSync(path, "r");
      closeSoon(descriptor);
      fs.unlinkSync(path);
    });
  }

  syncDirectory(path: string): void {
    attempt("sync directory", path, () => {
      const descriptor = fs.openSync(path, "r");
      try {
        fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
    });
  }

  async syncDirectoryAsync(path: string): Promise<void> {
    try {
      const directory = await fs.promises.open(path, "r");
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    } catch (cause) {
      throw new DiskError(`cannot sync directory: ${(cause as Error).message}`, { path, cause });
    }
  }

  freeBytes(path: string): number {
    return attempt("stat file system", path, () => {
      const stats = fs.statfsSync(path);
      return stats.bavail * stats.bsize;
    });
  }
}
