/**
 * What Linux says about one process: CPU time, memory, bytes written, from /proc/<pid>.
 *
 * `stat` counts all threads of the process, ended ones included, and children it has waited for; live children
 * (redis-server forks for its log rewrite) are added by walking `task/<tid>/children`. Resolution of CPU time: one tick (10 ms).
 */

import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** USER_HZ: 100 on every Linux architecture that Bun runs on. */
const TICKS_PER_SECOND = 100;

export interface MemorySample {
  rssBytes: number;
  anonymousBytes: number;
  sharedBytes: number;
}

/** CPU seconds used so far by a process, its threads and its children. 0 once the process is gone. */
export function cpuSeconds(pid: number): number {
  const stat = readProc(pid, "stat");
  if (stat === undefined) return 0;
  // The command name may hold spaces: fields are counted after the last parenthesis. There, utime is the 12th.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  let ticks = 0;
  for (let field = 11; field <= 14; field++) ticks += Number(fields[field]);
  let seconds = ticks / TICKS_PER_SECOND;
  for (const child of childrenOf(pid)) seconds += cpuSeconds(child);
  return seconds;
}

/**
 * CPU seconds that the machine spent, up to now, outside this process and all it started (servers and generators).
 * Only differences mean something.
 */
export function othersCpuSeconds(): number {
  // cpu user nice system idle iowait irq softirq steal …: all but idle and iowait.
  const fields = /^cpu +(.*)$/m
    .exec(readFileSync("/proc/stat", "utf8"))![1]!
    .split(" ")
    .map(Number);
  const [user, nice, system, , , interrupts, softInterrupts, stolen] = fields;
  const ticks = user! + nice! + system! + interrupts! + softInterrupts! + stolen!;
  return ticks / TICKS_PER_SECOND - cpuSeconds(process.pid);
}

/** Resident memory now; undefined once the process is gone. */
export function memorySample(pid: number): MemorySample | undefined {
  const status = readProc(pid, "status");
  if (status === undefined) return undefined;
  const rssBytes = kibibytesField(status, "VmRSS");
  if (rssBytes === undefined) return undefined;
  return {
    rssBytes,
    anonymousBytes: kibibytesField(status, "RssAnon") ?? 0,
    sharedBytes: kibibytesField(status, "RssShmem") ?? 0,
  };
}

/** Bytes that the process caused to be written to storage; 0 on file systems without a device (tmpfs). */
export function writtenBytes(pid: number): number {
  return Number(/^write_bytes: (\d+)/m.exec(readProc(pid, "io") ?? "")?.[1] ?? 0);
}

/** Seconds in which the main thread of a process was ready to run and had no processor. 0 where that is not counted. */
export function waitedSeconds(pid: number): number {
  const fields = readProc(pid, `task/${pid}/schedstat`)?.split(" ") ?? [];
  return Number(fields[1] ?? 0) / 1e9;
}

/** Disk space of a directory by top-level entry, from allocated blocks, as du counts. */
export function diskUsage(directory: string): Map<string, number> {
  const usage = new Map<string, number>();
  for (const name of listDirectory(directory)) usage.set(name, treeBytes(join(directory, name)));
  return usage;
}

/** Apparent size of the files under `directory` whose path below it matches `pattern`. */
export function matchingFileBytes(directory: string, pattern: RegExp): number {
  let bytes = 0;
  const visit = (relative: string): void => {
    for (const name of listDirectory(join(directory, relative))) {
      const below = join(relative, name);
      const stat = lstatSync(join(directory, below), { throwIfNoEntry: false });
      if (stat?.isDirectory()) visit(below);
      else if (stat !== undefined && pattern.test(below)) bytes += stat.size;
    }
  };
  visit("");
  return bytes;
}

function treeBytes(path: string): number {
  // The server deletes files while this walks.
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  let bytes = stat.blocks * 512;
  if (stat.isDirectory()) {
    for (const name of listDirectory(path)) bytes += treeBytes(join(path, name));
  }
  return bytes;
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function childrenOf(pid: number): number[] {
  const children: number[] = [];
  for (const thread of listDirectory(`/proc/${pid}/task`)) {
    const list = readProc(pid, `task/${thread}/children`)?.trim();
    if (list) children.push(...list.split(" ").map(Number));
  }
  return children;
}

function kibibytesField(status: string, name: string): number | undefined {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status);
  return match === null ? undefined : Number(match[1]) * 1024;
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return undefined;
  }
}
