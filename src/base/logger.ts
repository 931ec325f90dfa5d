/**
 * The log: one JSON object per line and event, on standard output or in a file.
 *
 *     {"level":"info","time":"2026-01-02T03:04:05.678Z","component":"server","port":6379,"msg":"listening"}
 *
 * Lines are written synchronously, so that the last words before an exit are not lost. Never log values, keys'
 * contents or passwords. An Error goes into the field `error`.
 */
import * as fs from "node:fs";
import pino from "pino";
import { StartupError } from "./errors.ts";

/** Redis's names; verbose and notice are the same here. */
export type LogLevel = "debug" | "verbose" | "notice" | "warning" | "nothing";

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  /** A logger that adds the field `component`; it follows level changes of its parent. */
  child(component: string): Logger;
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

export interface RootLogger extends Logger {
  setLevel(level: LogLevel): void;
  /** Opens the file again after it was moved away; nothing on standard output. */
  reopen(): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Empty: standard output. */
  readonly file: string;
  /** On every line, such as the node's name. */
  readonly fields?: LogFields;
}

const PINO_LEVELS: Record<LogLevel, string> = {
  debug: "debug",
  verbose: "info",
  notice: "info",
  warning: "warn",
  nothing: "silent",
};
const STDOUT = 1;
const FILE_MODE = 0o640;

type Destination = ReturnType<typeof pino.destination>;

/** pino's own children keep the level of their creation; these share one pino and so its level. */
class ComponentLogger implements Logger {
  protected readonly pino: pino.Logger;
  readonly #fields: LogFields;

  constructor(target: pino.Logger, fields: LogFields) {
    this.pino = target;
    this.#fields = fields;
  }

  child(component: string): Logger {
    return new ComponentLogger(this.pino, { ...this.#fields, component });
  }

  debug(fields: LogFields, message: string): void {
    this.#log("debug", fields, message);
  }

  info(fields: LogFields, message: string): void {
    this.#log("info", fields, message);
  }

  warn(fields: LogFields, message: string): void {
    this.#log("warn", fields, message);
  }

  error(fields: LogFields, message: string): void {
    this.#log("error", fields, message);
  }

  #log(level: "debug" | "info" | "warn" | "error", fields: LogFields, message: string): void {
    if (!this.pino.isLevelEnabled(level)) return;
    this.pino[level]({ ...this.#fields, ...fields }, message);
  }
}

class PinoLogger extends ComponentLogger implements RootLogger {
  readonly #destination: Destination;
  readonly #isFile: boolean;

  constructor(target: pino.Logger, destination: Destination, options: LoggerOptions) {
    super(target, options.fields ?? {});
    this.#destination = destination;
    this.#isFile = options.file !== "";
  }

  setLevel(level: LogLevel): void {
    this.pino.level = PINO_LEVELS[level];
  }

  reopen(): void {
    if (this.#isFile) this.#destination.reopen();
  }
}

/** Throws StartupError if the file cannot be opened. */
export function createLogger(options: LoggerOptions): RootLogger {
  if (options.file !== "") checkFile(options.file);
  const destination = pino.destination({
    dest: options.file === "" ? STDOUT : options.file,
    sync: true,
    mode: FILE_MODE,
  });
  // A reader that closed the pipe, or a full disk, must not take the server down.
  destination.on("error", () => undefined);
  const target = pino(
    {
      level: PINO_LEVELS[options.level],
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
    },
    destination,
  );
  return new PinoLogger(target, destination, options);
}

function checkFile(file: string): void {
  try {
    fs.closeSync(fs.openSync(file, "a", FILE_MODE));
  } catch (cause) {
    throw new StartupError(`Can't open the log file: ${(cause as Error).message}`, { cause });
  }
}
