/** Arguments of the commands that run in this process: commander parses them, and neither prints nor exits by itself. */
import { type Command, CommanderError } from "commander";

export interface Printed {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

/** "help": that was asked for, and printed. "wrong": what is wrong has been printed. */
export function parseArguments(
  program: Command,
  argv: readonly string[],
  { stdout, stderr }: Printed,
): "parsed" | "help" | "wrong" {
  program.exitOverride().configureOutput({
    writeOut: (text) => stdout.write(text),
    writeErr: (text) => stderr.write(text),
  });
  try {
    program.parse([...argv], { from: "user" });
    return "parsed";
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? "help" : "wrong";
  }
}
