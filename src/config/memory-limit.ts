/**
 * The memory that this process may have: the lowest limit of its control groups (version 2 or 1, on every level),
 * or else the machine's memory.
 */
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

export interface MachineView {
  /** Content of a file; undefined when it cannot be read. */
  readonly read: (file: string) => string | undefined;
  readonly totalBytes: number;
}

const ROOT = "/sys/fs/cgroup";
const MIB = 1024 ** 2;
/** dkv's share: the page cache, which serves tables too, counts towards the same limit. */
const BUDGET_SHARE = 0.6;
const BUDGET_BYTES_MIN = 128 * MIB;

function readFile(file: string): string | undefined {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

export function thisMachine(): MachineView {
  return { read: readFile, totalBytes: os.totalmem() };
}

/** `/a/b` → `/a/b`, `/a`, `/`. */
function ancestors(group: string): string[] {
  const out = [group];
  for (let at = group; at !== "/"; at = path.dirname(at)) out.push(path.dirname(at));
  return out;
}

function limitFiles(groups: string): string[] {
  const files: string[] = [];
  for (const line of groups.split("\n")) {
    const [hierarchy, controllers, group] = line.split(":");
    if (group === undefined || !group.startsWith("/")) continue;
    if (hierarchy === "0") {
      files.push(...ancestors(group).map((name) => path.join(ROOT, name, "memory.max")));
    } else if (controllers?.split(",").includes("memory") === true) {
      const base = path.join(ROOT, "memory");
      files.push(...ancestors(group).map((name) => path.join(base, name, "memory.limit_in_bytes")));
    }
  }
  return files;
}

/** Bytes that this process may use before the system kills it. */
export function memoryLimitBytes(machine: MachineView): number {
  const groups = machine.read("/proc/self/cgroup") ?? "";
  let limit = machine.totalBytes;
  for (const file of limitFiles(groups)) {
    // Version 2 writes "max" for no limit, version 1 a number beyond any machine.
    const bytes = Number.parseInt(machine.read(file) ?? "", 10);
    if (bytes > 0) limit = Math.min(limit, bytes);
  }
  return limit;
}

/** The default of maxmemory. */
export function defaultBudgetBytes(machine: MachineView): number {
  return Math.max(BUDGET_BYTES_MIN, Math.floor(memoryLimitBytes(machine) * BUDGET_SHARE));
}
