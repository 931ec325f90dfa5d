/** What tools get of the process and the machine. */
import type { Clock } from "../base/clock.ts";

export interface Output {
  readonly isTTY?: boolean;
  /** Of a terminal. */
  readonly columns?: number;
  readonly rows?: number;
  write(text: string | Uint8Array): unknown;
}

/** Lines that were typed before, kept from one run to the next. */
export interface HistoryFile {
  /** Oldest first. */
  read(): string[];
  append(line: string): void;
}

export interface ToolEnvironment {
  /** How the program was started, for help and hints. */
  readonly command: string;
  readonly clock: Clock;
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly history: HistoryFile;
  /** In [0, 1). */
  random(): number;
  /** Calls `action` at Ctrl-C instead of ending the process, until the returned function is called. */
  onInterrupt(action: () => void): () => void;
}
