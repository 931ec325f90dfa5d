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
/** Pages: of the address space, resident, … in decimal, on one line. */
const STATM = "/proc/self/statm";
const STATM_BYTES = 128;
const KIB = 1024;

/** A field of /proc/self/status in bytes. */
function field(status: string, name: string): number | undefined {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status);
  return match === null ? undefined : Number(match[1]) * KIB;
}

/**
 * Resident bytes from /proc/self/statm: what the runtime asks (/proc/self/stat) adds up the times of all threads first,
 * which takes a hundred times as long in a busy process.
 */
class ResidentPages {
  readonly #file: number;
  readonly #line = Buffer.alloc(STATM_BYTES);
  readonly #pageBytes: number;

  constructor(residentBytes: number) {
    this.#file = fs.openSync(STATM, "r");
    this.#pageBytes = 2 ** Math.round(Math.log2(residentBytes / this.#pages()));
  }

  get bytes(): number {
    return this.#pages() * this.#pageBytes;
  }

  #pages(): number {
    const length = fs.readSync(this.#file, this.#line, 0, STATM_BYTES, 0);
    return Number(this.#line.toString("latin1", 0, length).split(" ")[1]);
  }
}

export class SystemProcessMemory implements ProcessMemory {
  readonly #pages = fs.existsSync(STATM) ? new ResidentPages(process.memoryUsage.rss()) : undefined;

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
    return this.#pages?.bytes ?? process.memoryUsage.rss();
  }

  collectYoung(): void {
    edenGC();
  }

  collect(): void {
    gcAndSweep();
  }
}
