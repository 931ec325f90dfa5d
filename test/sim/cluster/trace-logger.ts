/** A logger whose lines become events of the simulation's trace. */
import type { LogFields, Logger } from "../../../src/base/logger.ts";

export class TraceLogger implements Logger {
  readonly #note: (line: string) => void;

  constructor(note: (line: string) => void) {
    this.#note = note;
  }

  child(): Logger {
    return this;
  }

  debug(fields: LogFields, message: string): void {
    this.#write(fields, message);
  }

  info(fields: LogFields, message: string): void {
    this.#write(fields, message);
  }

  warn(fields: LogFields, message: string): void {
    this.#write(fields, message);
  }

  error(fields: LogFields, message: string): void {
    this.#write(fields, message);
  }

  #write(fields: LogFields, message: string): void {
    this.#note(`${message} ${JSON.stringify(fields)}`);
  }
}
