/** What memory this process takes, as the system counts it, and how garbage leaves it early. */
import { edenGC, gcAndSweep } from "bun:jsc";
import * as fs from "node:fs";

export interface MemoryReading {
  /** All of the process that is in memory. */
  readonly residentBytes: number;
  /** The part that is neither a file's pages nor shared with others: what was allocated. */
  readonly allocatedBytes: number;
  /** What JavaScript objects take, with the buffers that they hold. */
  readonly heapUsedBytes: number;
}

export interface ProcessMemory {
  /** Some tens of microseconds: not for every command. */
  read(): MemoryReading;
  /** MemoryReading.residentBytes alone, in a few microseconds. */
  residentBytes(): number;
  /**
   * Collects this thread's garbage that was allocated since the last collection, in one to five milliseconds. Its
   * objects are few, its buffers many: left to itself the collector lets as much garbage gather as there is live data.
   */
  collectYoung(): void;
  /** Collects all garbage of this thread and gives its memory back, in ten to thirty milliseconds. */
  collect(): void;
}

const STATUS = "/proc/self/status";
const KIB = 1024;

/** A field of /proc/self/status in bytes. */
function field(status: string, name: string): number | undefined {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status);
  return match === null ? undefined : Number(match[1]) * KIB;
}

export class SystemProcessMemory implements ProcessMemory {
  read(): MemoryReading {
    const { rss, heapUsed } = process.memoryUsage();
    const status = fs.existsSync(STATUS) ? fs.readFileSync(STATUS, "latin1") : "";
    const residentBytes = field(status, "VmRSS") ?? rss;
    // Shared mappings without a file (arenas are such) count as RssShmem.
    const anonymousBytes = field(status, "RssAnon");
    const allocatedBytes =
      anonymousBytes === undefined
        ? residentBytes
        : anonymousBytes + (field(status, "RssShmem") ?? 0);
    return { residentBytes, allocatedBytes, heapUsedBytes: heapUsed };
  }

  residentBytes(): number {
    return process.memoryUsage.rss();
  }

  collectYoung(): void {
    edenGC();
  }

  collect(): void {
    gcAndSweep();
  }
}
