/**
 * SLOWLOG: the slowest recent commands, with their arguments cut as Redis cuts them (32 arguments, 128 bytes
 * each) and secrets left out (https://redis.io/docs/latest/commands/slowlog-get/).
 */
import type { Request } from "../resp/request.ts";
import { isSecret, REDACTED } from "./secrets.ts";

const ARGUMENTS_MAX = 32;
const ARGUMENT_BYTES_MAX = 128;

export interface SlowLogEntry {
  readonly id: number;
  /** Seconds since the epoch. */
  readonly time: number;
  readonly micros: number;
  readonly args: readonly Buffer[];
  readonly address: string;
  readonly clientName: string;
}

export class SlowLog {
  /** Newest first. */
  #entries: SlowLogEntry[] = [];
  #nextId = 0;

  get entries(): readonly SlowLogEntry[] {
    return this.#entries;
  }

  /** Keeps the newest `lengthMax`. */
  trim(lengthMax: number): void {
    if (this.#entries.length > lengthMax) this.#entries.length = lengthMax;
  }

  add(entry: Omit<SlowLogEntry, "id">, lengthMax: number): void {
    this.#entries.unshift({ ...entry, id: this.#nextId++ });
    this.trim(lengthMax);
  }

  reset(): void {
    this.#entries = [];
  }
}

/** The arguments of a request as the slow log keeps them. */
export function slowLogArguments(request: Request): Buffer[] {
  const kept = Math.min(request.count, ARGUMENTS_MAX);
  const args: Buffer[] = [];
  for (let index = 0; index < kept; index++) {
    if (kept !== request.count && index === kept - 1) {
      args.push(Buffer.from(`... (${request.count - kept + 1} more arguments)`));
    } else {
      args.push(argumentOf(request, index));
    }
  }
  return args;
}

function argumentOf(request: Request, index: number): Buffer {
  if (isSecret(request, index)) return Buffer.from(REDACTED);
  const length = request.byteLength(index);
  if (request.isLarge(index)) return Buffer.from(`... (${length} more bytes)`);
  const start = request.starts[index]!;
  const shown = Buffer.from(
    request.bytes.subarray(start, start + Math.min(length, ARGUMENT_BYTES_MAX)),
  );
  if (length <= ARGUMENT_BYTES_MAX) return shown;
  return Buffer.concat([shown, Buffer.from(`... (${length - ARGUMENT_BYTES_MAX} more bytes)`)]);
}
