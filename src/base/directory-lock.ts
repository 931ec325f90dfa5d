/**
 * One process at a time uses a data directory.
 *
 *     LOCK      empty; locked by the kernel for as long as its holder lives
 *     LOCK.pid  who that is, for the message to whoever comes second: {"pid":123,"host":"a1b2c3"}
 *
 * The kernel's lock ends with the process, however that dies, so there is no stale lock to recognise and no race
 * in taking one over; and it holds between containers that share a volume, where a pid names different processes.
 * The runtime offers no fcntl of its own: SQLite's exclusive transaction on an empty file takes exactly that lock
 * and writes nothing.
 *
 * Invariant: nothing else in this process opens LOCK. Closing any descriptor of it would drop the lock (POSIX).
 */
import { Database, SQLiteError } from "bun:sqlite";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { StartupError } from "./errors.ts";

const NAME = "LOCK";
const HOLDER_NAME = "LOCK.pid";
const FILE_MODE = 0o600;

function describeHolder(directory: string): string {
  try {
    const text = fs.readFileSync(path.join(directory, HOLDER_NAME), "utf8");
    const { pid, host } = JSON.parse(text) as { pid: number; host: string };
    return host === os.hostname() ? `process ${pid}` : `process ${pid} on host ${host}`;
  } catch {
    // It took the lock a moment ago and has not said yet who it is.
    return "another process";
  }
}

function lockError(directory: string, cause: unknown): StartupError {
  if (cause instanceof SQLiteError && cause.code === "SQLITE_BUSY") {
    const holder = describeHolder(directory);
    const message = `${directory} is in use by ${holder}: one process at a time uses a data directory`;
    return new StartupError(message, { cause });
  }
  return new StartupError(`cannot lock ${directory}: ${(cause as Error).message}`, { cause });
}

export class DirectoryLock {
  readonly #directory: string;
  /** Owns the lock: a Database that is collected closes its file. */
  #database: Database | undefined;

  /** Locks an existing directory. Throws StartupError if another process has it or it cannot be written. */
  static acquire(directory: string): DirectoryLock {
    const file = path.join(directory, NAME);
    let database: Database | undefined;
    try {
      database = new Database(file, { create: true, readwrite: true });
      fs.chmodSync(file, FILE_MODE);
      database.run("PRAGMA busy_timeout = 0");
      database.run("BEGIN EXCLUSIVE");
      const holder = JSON.stringify({ pid: process.pid, host: os.hostname() });
      fs.writeFileSync(path.join(directory, HOLDER_NAME), `${holder}\n`, { mode: FILE_MODE });
    } catch (cause) {
      database?.close();
      throw lockError(directory, cause);
    }
    return new DirectoryLock(directory, database);
  }

  private constructor(directory: string, database: Database) {
    this.#directory = directory;
    this.#database = database;
  }

  /** Gives the directory free; a second call does nothing. LOCK stays: removing it could split the lock in two. */
  release(): void {
    if (this.#database === undefined) return;
    fs.rmSync(path.join(this.#directory, HOLDER_NAME), { force: true });
    this.#database.close();
    this.#database = undefined;
  }
}
