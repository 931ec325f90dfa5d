/**
 * Lines that are kept from one run of a tool to the next. A convenience: where it cannot be read or written there are
 * none, and nobody is bothered.
 */
import * as fs from "node:fs";

/** Lines may be secrets that were typed in the wrong place. */
const OWNER_ONLY = 0o600;

export class LineFile {
  readonly #path: string;
  readonly #linesMax: number;

  constructor(path: string, linesMax: number) {
    this.#path = path;
    this.#linesMax = linesMax;
  }

  /** The newest ones, oldest first. */
  read(): string[] {
    try {
      const lines = fs.readFileSync(this.#path, "utf8").split("\n");
      return lines.filter((line) => line !== "").slice(-this.#linesMax);
    } catch {
      return [];
    }
  }

  append(line: string): void {
    try {
      fs.appendFileSync(this.#path, `${line}\n`, { mode: OWNER_ONLY });
    } catch {
      // As if it had not been typed.
    }
  }
}
