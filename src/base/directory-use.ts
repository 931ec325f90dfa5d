/**
 * Whether a process holds a data directory (directory-lock.ts), asked without leaving a trace.
 *
 * Reading a database takes a shared lock, which the holder's exclusive one refuses. It is given back at once, so it
 * never keeps a server from starting for longer than the question takes; and a file that is only read is neither
 * created nor changed, so this works for backups on media that cannot be written.
 */
import { Database, SQLiteError } from "bun:sqlite";
import * as fs from "node:fs";
import * as path from "node:path";
import { StartupError } from "./errors.ts";

function describeHolder(directory: string): string {
  try {
    const text = fs.readFileSync(path.join(directory, "LOCK.pid"), "utf8");
    const { pid, host } = JSON.parse(text) as { pid: number; host: string };
    return `process ${pid} on host ${host}`;
  } catch {
    return "another process";
  }
}

/** Throws StartupError if a process has the directory, or if that cannot be found out. */
export function requireUnused(directory: string): void {
  const file = path.join(directory, "LOCK");
  // A copy or a backup has none.
  if (!fs.existsSync(file)) return;
  let database: Database | undefined;
  try {
    database = new Database(file, { readonly: true });
    database.run("PRAGMA busy_timeout = 0");
    database.query("SELECT count(*) FROM sqlite_schema").get();
  } catch (cause) {
    const isHeld = cause instanceof SQLiteError && cause.code === "SQLITE_BUSY";
    const message = isHeld
      ? `${directory} is in use by ${describeHolder(directory)}`
      : `cannot find out whether ${directory} is in use: ${(cause as Error).message}`;
    throw new StartupError(message, { cause });
  } finally {
    database?.close();
  }
}
