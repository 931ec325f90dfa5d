/** The tools that talk to servers: their names, arguments and exit status. Loaded only when one is asked for. */
import { Command, CommanderError } from "commander";
import { benchCommand } from "./bench-command.ts";
import { cliCommand, runCli } from "./cli-command.ts";
import { clusterCommand } from "./cluster-command.ts";
import type { ToolEnvironment } from "./environment.ts";
import { EXIT_NOT_DONE, EXIT_OK, ToolError } from "./tool-error.ts";

/** Runs `argv[0]` with the words behind it; the exit status. */
export async function runTool(
  argv: readonly string[],
  environment: ToolEnvironment,
): Promise<number> {
  const { command, stdout, stderr } = environment;
  let status = EXIT_OK;
  const keep = (outcome: number): void => {
    status = outcome;
  };
  const program = new Command(command).enablePositionalOptions();
  const cli = cliCommand(environment);
  cli.action(async (words: string[]) => keep(await runCli(words, cli.opts(), environment)));
  program.addCommand(cli);
  program.addCommand(clusterCommand(environment, keep));
  program.addCommand(benchCommand(environment, keep));
  configure(program, environment);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_NOT_DONE;
    if (!(error instanceof ToolError)) throw error;
    stderr.write(`dkv: ${error.message}\n${error.hint === "" ? "" : `${error.hint}\n`}`);
    return error.exitCode;
  }
  function configure(each: Command, of: ToolEnvironment): void {
    each.exitOverride().configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => of.stderr.write(text),
    });
    each.showHelpAfterError(`Try --help.`);
    for (const inner of each.commands) configure(inner, of);
  }
}
