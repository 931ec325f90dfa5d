/** DEBUG: only SLEEP, which holds up its own client and nobody else, and HELP. */
import { isWord } from "../arguments.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext, Handlers } from "../handler.ts";

const HELP = [
  "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
  "SLEEP <seconds>",
  "    Answer after <seconds>. Decimals allowed. Other clients are served meanwhile.",
  "HELP",
  "    Prints this help.",
];
const SECONDS_MAX = 24 * 3600;

function sleep({ server, store, request, reply }: CommandContext): void {
  const seconds = Number.parseFloat(request.text(2));
  const ms = Math.ceil(Math.min(SECONDS_MAX, seconds > 0 ? seconds : 0) * 1000);
  store.prepare(() => new Promise<void>((resolve) => server.clock.after(ms, resolve)));
  reply.ok();
}

function debug(context: CommandContext): void {
  const { request, reply } = context;
  if (request.count === 3 && isWord(request, 1, "sleep")) {
    sleep(context);
  } else if (request.count === 2 && isWord(request, 1, "help")) {
    reply.array(HELP.length);
    for (const line of HELP) reply.simple(line);
  } else {
    reply.error(
      `ERR unknown subcommand or wrong number of arguments for '${echoed(request, 1)}'. Try DEBUG HELP.`,
    );
  }
}

export const DEBUG_HANDLERS: Handlers = { debug };
