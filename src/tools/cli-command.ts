/**
 * `cli`: a client for people and scripts.
 *
 *     cli [options]               lines from the terminal, with history and completion; from a pipe, one after the other
 *     cli [options] GET key       one command; its reply, and 0 if it is no error
 */
import * as readline from "node:readline";
import { Command } from "commander";
import { splitArgumentBytes } from "../config/quoting.ts";
import { CliSession } from "./cli-session.ts";
import {
  addConnectionOptions,
  addressOf,
  type ConnectionFlags,
  clientOptions,
} from "./connection-options.ts";
import type { ToolEnvironment } from "./environment.ts";
import { FollowingClient } from "./following-client.ts";
import { EXIT_FAILED, EXIT_OK, ToolError } from "./tool-error.ts";

interface CliFlags extends ConnectionFlags {
  readonly x?: boolean;
  readonly raw?: boolean;
  readonly resp3?: boolean;
}

/** Lines with passwords are not kept. */
const UNKEPT = /^\s*(auth|hello)\b|requirepass|\bauth\b/i;

export function cliCommand(environment: ToolEnvironment): Command {
  const { command } = environment;
  return addConnectionOptions(new Command("cli"))
    .description("Sends commands to a server, and goes where a cluster tells it to.")
    .argument("[words...]", "one command; without it, lines from the terminal or standard input")
    .option("-x", "the last argument comes from standard input")
    .option("-c", "accepted for the habit: a cluster is always followed")
    .option("--raw", "bare values, as when the output is no terminal")
    .option("--no-raw", "values with their kind, as on a terminal")
    .option("-3, --resp3", "speak RESP3")
    .passThroughOptions()
    .addHelpText(
      "after",
      `
On a terminal replies are printed as redis-cli prints them; otherwise bare, one value a line.
Own words: help [command], slot <key>, connect <host> <port>, clear, quit. Ctrl-C ends MONITOR.
Lines are kept in ~/.dkv_history, those with passwords left out; DKV_CLI_HISTORY names another file.
Exit status: 0 done, 1 the server answered an error, 2 no connection or wrong arguments.

Examples:
  ${command} cli -p 7000
  ${command} cli -p 7000 SET greeting hello EX 3600
  ${command} cli slot user:1000
  ${command} cli -x SET picture < picture.png
  ${command} cli --raw GET picture > picture.png
  seq 1000 | sed 's/.*/SET key:& &/' | ${command} cli -p 7000`,
    );
}

/** The exit status. */
export async function runCli(
  words: readonly string[],
  flags: CliFlags,
  environment: ToolEnvironment,
): Promise<number> {
  const { stdin, stdout } = environment;
  const options = { ...clientOptions(flags, environment), isNewProtocol: flags.resp3 === true };
  const client = await FollowingClient.open(addressOf(flags), options);
  const isFormatted = flags.raw === undefined ? stdout.isTTY === true : !flags.raw;
  const open = (of: ToolEnvironment) => new CliSession(client, of, { isFormatted });
  try {
    if (words.length > 0)
      return await runOnce(open(environment), words, flags.x === true, environment);
    if (flags.x === true) throw new ToolError("-x needs a command: cli -x SET key < file");
    if (stdin.isTTY && stdout.isTTY === true) return await talk(open, environment);
    return await runLines(open(environment), environment);
  } finally {
    client.close();
  }
}

async function runOnce(
  session: CliSession,
  words: readonly string[],
  readsLast: boolean,
  { stdin }: ToolEnvironment,
): Promise<number> {
  const bytes = words.map((word) => Buffer.from(word));
  if (readsLast) {
    const chunks: Buffer[] = [];
    for await (const chunk of stdin) chunks.push(chunk as Buffer);
    bytes.push(Buffer.concat(chunks));
  }
  return (await session.run(bytes)) === "failed" ? EXIT_FAILED : EXIT_OK;
}

/** Every line of standard input is a command; the first that fails does not keep the others from being run. */
async function runLines(session: CliSession, { stdin }: ToolEnvironment): Promise<number> {
  let status = EXIT_OK;
  for await (const line of readline.createInterface({ input: stdin })) {
    const words = splitArgumentBytes(line);
    if (words === undefined) throw new ToolError(`quotes do not balance: ${line}`);
    if (words.length === 0) continue;
    const outcome = await session.run(words);
    if (outcome === "failed") status = EXIT_FAILED;
    if (outcome === "quit") break;
  }
  return status;
}

/** A terminal in raw mode sends Ctrl-C as a key: it ends what runs, or else the talk. */
function interrupts(lines: readline.Interface): ToolEnvironment["onInterrupt"] {
  const actions = new Set<() => void>();
  lines.on("SIGINT", () => {
    if (actions.size === 0) lines.close();
    for (const action of [...actions]) action();
  });
  return (action) => {
    actions.add(action);
    return () => actions.delete(action);
  };
}

async function talk(
  open: (environment: ToolEnvironment) => CliSession,
  environment: ToolEnvironment,
): Promise<number> {
  const { stdin, stdout, history } = environment;
  const lines = readline.createInterface({
    input: stdin,
    output: stdout as NodeJS.WritableStream,
    history: history.read().reverse(),
    completer: (line: string, callback: (error: null, result: [string[], string]) => void) => {
      session.complete(line).then(
        (found) => callback(null, [found, line]),
        () => callback(null, [[], line]),
      );
    },
  });
  const session = open({ ...environment, onInterrupt: interrupts(lines) });
  lines.setPrompt(session.prompt);
  lines.prompt();
  for await (const line of lines) {
    if (line.trim() !== "" && !UNKEPT.test(line)) history.append(line);
    if ((await runLine(session, line, environment)) === "quit") break;
    lines.setPrompt(session.prompt);
    lines.prompt();
  }
  lines.close();
  return EXIT_OK;
}

/** What goes wrong is said, and the talk goes on. */
async function runLine(session: CliSession, line: string, { stdout }: ToolEnvironment) {
  const words = splitArgumentBytes(line);
  if (words === undefined) {
    stdout.write("Invalid argument(s)\n");
    return "failed";
  }
  if (words.length === 0) return "done";
  try {
    return await session.run(words);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    stdout.write(`${error.message}\n${error.hint === "" ? "" : `${error.hint}\n`}`);
    return "failed";
  }
}
