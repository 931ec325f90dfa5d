/** What memory this process takes, as the system counts it. */
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
  /**
   * Collects this thread's garbage now. Its objects are few, its buffers many: left to itself the collector lets
   * as much garbage gather as there is live data.
   */
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

  collect(): void {
    Bun.gc(true);
  }
}
