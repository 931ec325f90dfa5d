/**
 * `check <dir>`: arguments, progress and exit status of the check of a data directory (store/check/).
 *
 *   0 clean    1 damage found    2 cannot check: no such directory, in use, wrong arguments
 */
import * as path from "node:path";
import { Command } from "commander";
import type { Clock } from "./base/clock.ts";
import { requireUnused } from "./base/directory-lock.ts";
import { DiskError, StartupError } from "./base/errors.ts";
import type { FileSystem } from "./base/file-system.ts";
import { formatForPeople, formatJson, formatLines } from "./check-report.ts";
import { parseArguments } from "./command-arguments.ts";
import { type CheckReport, checkDirectory } from "./store/check/check-directory.ts";

const EXIT_CLEAN = 0;
const EXIT_DAMAGED = 1;
const EXIT_UNCHECKED = 2;
const PROGRESS_INTERVAL_MS = 100;
const CLEAR_LINE = "\r\u001b[K";

export interface Terminal {
  readonly isTTY: boolean;
  write(text: string): void;
}

export interface CheckEnvironment {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  /** How the program was started. */
  readonly command: string;
}

interface CheckArguments {
  readonly directory: string;
  readonly json: boolean;
}

/** Runs the command with the arguments behind its name; the exit status. */
export function runCheck(argv: readonly string[], environment: CheckEnvironment): number {
  const { stdout, stderr, clock } = environment;
  const parsed = parse(argv, environment);
  if (typeof parsed === "number") return parsed;
  const startMs = clock.monotonicMs();
  try {
    const report = check(parsed.directory, environment);
    const seconds = (clock.monotonicMs() - startMs) / 1000;
    const plain = stdout.isTTY ? formatForPeople : formatLines;
    stdout.write((parsed.json ? formatJson : plain)(report, seconds));
    return report.damageCount === 0 ? EXIT_CLEAN : EXIT_DAMAGED;
  } catch (error) {
    if (!(error instanceof StartupError) && !(error instanceof DiskError)) throw error;
    if (parsed.json) {
      stdout.write(`${JSON.stringify({ outcome: "unchecked", error: error.message })}\n`);
    }
    stderr.write(`dkv: cannot check: ${error.message}\n`);
    return EXIT_UNCHECKED;
  }
}

function check(directory: string, environment: CheckEnvironment): CheckReport {
  const { fileSystem } = environment;
  requireUnused(directory);
  try {
    const progress = new Progress(environment);
    return checkDirectory({
      fileSystem,
      directory,
      onProgress: (done, total) => progress.show(done, total),
    });
  } finally {
    if (environment.stderr.isTTY) environment.stderr.write(CLEAR_LINE);
    // What was read while a server started means nothing, whether it looked like damage or failed.
    requireUnused(directory);
  }
}

class Progress {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  #shownMs: number;

  constructor(environment: CheckEnvironment) {
    this.#terminal = environment.stderr;
    this.#clock = environment.clock;
    this.#shownMs = environment.clock.monotonicMs();
  }

  show(doneBytes: number, totalBytes: number): void {
    if (!this.#terminal.isTTY) return;
    const now = this.#clock.monotonicMs();
    if (now - this.#shownMs < PROGRESS_INTERVAL_MS) return;
    this.#shownMs = now;
    const percent = Math.floor((100 * doneBytes) / Math.max(totalBytes, 1));
    const mib = Math.floor(doneBytes / 1024 / 1024).toLocaleString("en-US");
    this.#terminal.write(`${CLEAR_LINE}checking: ${mib} MiB, ${percent} %`);
  }
}

/** The arguments, or the exit status when there is nothing to check. */
function parse(argv: readonly string[], environment: CheckEnvironment): CheckArguments | number {
  const { command, stdout, stderr } = environment;
  const program = new Command(`${command} check`)
    .description(
      "Reads every byte of a data directory that no server uses, changes nothing, and reports what is\n" +
        "in it and what is damaged, by file and offset.",
    )
    .argument("<dir>", "the data directory (the server's --dir)")
    .option("--json", "the whole report as JSON", false)
    .addHelpText(
      "after",
      `\nExit status: ${EXIT_CLEAN} clean, ${EXIT_DAMAGED} damage found, ${EXIT_UNCHECKED} cannot check (in use, no such directory).\n` +
        `\nExamples:\n  ${command} check /var/lib/dkv\n  ${command} check /backup/dkv --json | jq .keys.total`,
    );
  const outcome = parseArguments(program, argv, { stdout, stderr });
  if (outcome !== "parsed") return outcome === "help" ? EXIT_CLEAN : EXIT_UNCHECKED;
  return {
    directory: path.resolve(program.args[0]!),
    json: program.opts<{ json: boolean }>().json,
  };
}
