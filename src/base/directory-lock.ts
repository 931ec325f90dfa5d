/**
 * One process at a time uses a data directory.
 *
 *     LOCK      empty; locked by the kernel for as long as its holder lives
 *     LOCK.pid  who that is, for the message to whoever comes second: {"pid":123,"host":"a1b2c3"}
 *
 * The kernel's lock ends with the process, however that dies, so there is no stale lock to recognise and no race
 * in taking one over; and it holds between containers that share a volume, where a pid names different processes.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { StartupError } from "./errors.ts";
import { LockMode, tryLock } from "./file-lock.ts";

const NAME = "LOCK";
const HOLDER_NAME = "LOCK.pid";
const FILE_MODE = 0o600;
/** A check that asks holds a shared lock for microseconds: a server tries again before it gives up. */
const ATTEMPTS = 3;
const PAUSE_MS = 20;

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

export class DirectoryLock {
  readonly #directory: string;
  /** Holds the lock as long as it is open. */
  #descriptor: number | undefined;

  /** Locks an existing directory. Throws StartupError if another process has it or it cannot be written. */
  static acquire(directory: string): DirectoryLock {
    let descriptor: number | undefined;
    try {
      // For writing: a network file system gives an exclusive lock only then.
      descriptor = fs.openSync(path.join(directory, NAME), "a", FILE_MODE);
      if (lockSoon(descriptor)) {
        const holder = JSON.stringify({ pid: process.pid, host: os.hostname() });
        fs.writeFileSync(path.join(directory, HOLDER_NAME), `${holder}\n`, { mode: FILE_MODE });
        return new DirectoryLock(directory, descriptor);
      }
    } catch (cause) {
      if (descriptor !== undefined) fs.closeSync(descriptor);
      const message = `cannot lock ${directory}: ${(cause as Error).message}`;
      throw new StartupError(message, { cause });
    }
    fs.closeSync(descriptor);
    const holder = describeHolder(directory);
    throw new StartupError(
      `${directory} is in use by ${holder}: one process at a time uses a data directory`,
    );
  }

  private constructor(directory: string, descriptor: number) {
    this.#directory = directory;
    this.#descriptor = descriptor;
  }

  /** Gives the directory free; a second call does nothing. LOCK stays: removing it could split the lock in two. */
  release(): void {
    if (this.#descriptor === undefined) return;
    fs.rmSync(path.join(this.#directory, HOLDER_NAME), { force: true });
    fs.closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

function lockSoon(descriptor: number): boolean {
  for (let attempt = 1; ; attempt++) {
    if (tryLock(descriptor, LockMode.EXCLUSIVE)) return true;
    if (attempt === ATTEMPTS) return false;
    Bun.sleepSync(PAUSE_MS);
  }
}

/**
 * Throws StartupError if a process has the directory, or if that cannot be found out. Creates and changes nothing, so
 * that it can be asked of a backup on media that cannot be written; the lock that it takes to ask goes at once.
 */
export function requireUnused(directory: string): void {
  const file = path.join(directory, NAME);
  // A copy or a backup has none.
  if (!fs.existsSync(file)) return;
  let descriptor: number | undefined;
  let isFree: boolean;
  try {
    descriptor = fs.openSync(file, "r");
    isFree = tryLock(descriptor, LockMode.SHARED);
  } catch (cause) {
    const message = `cannot find out whether ${directory} is in use: ${(cause as Error).message}`;
    throw new StartupError(message, { cause });
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
  if (!isFree) throw new StartupError(`${directory} is in use by ${describeHolder(directory)}`);
}
