/** COMMAND and its subcommands, and HELP of every container (command-introspection.ts has the replies). */
import { matchesGlob } from "../../config/glob.ts";
import {
  replyCommand,
  replyCommandCount,
  replyCommandDocs,
  replyCommandInfo,
  replyCommandKeys,
  replyCommandList,
  replyHelp,
} from "../command-introspection.ts";
import { COMMANDS } from "../command-table.ts";
import type { Handler, Handlers } from "../handler.ts";

/** CLUSTER's are answered where there is a cluster. */
const helps = COMMANDS.filter(
  (spec) => spec.name.endsWith("|help") && spec.container?.name !== "cluster",
).map((spec): [string, Handler] => [spec.name, ({ reply }) => replyHelp(spec.container!, reply)]);

export const COMMAND_INTROSPECTION_HANDLERS: Handlers = {
  ...Object.fromEntries(helps),
  command: ({ reply }) => replyCommand(reply),
  "command|count": ({ reply }) => replyCommandCount(reply),
  "command|docs": ({ request, reply }) => replyCommandDocs(request, reply),
  "command|getkeys": ({ request, reply }) => replyCommandKeys(request, reply, false),
  "command|getkeysandflags": ({ request, reply }) => replyCommandKeys(request, reply, true),
  "command|info": ({ request, reply }) => replyCommandInfo(request, reply),
  "command|list": ({ request, reply }) => replyCommandList(request, reply, matchesGlob),
};
