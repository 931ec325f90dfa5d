/** SLOWLOG (https://redis.io/docs/latest/commands/slowlog-get/); slow-log.ts keeps the entries. */
import { integerArgument } from "../arguments.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext, Handlers } from "../handler.ts";

const COUNT_DEFAULT = 10;

function get({ server, request, reply }: CommandContext): void {
  if (request.count > 3) {
    reply.error(
      `ERR unknown subcommand or wrong number of arguments for '${echoed(request, 1)}'. Try SLOWLOG HELP.`,
    );
    return;
  }
  const count = request.count === 3 ? integerArgument(request, 2) : COUNT_DEFAULT;
  if (!(count >= -1)) {
    reply.error("ERR count should be greater than or equal to -1");
    return;
  }
  const { entries } = server.slowLog;
  const shown = count === -1 ? entries : entries.slice(0, count);
  reply.array(shown.length);
  for (const entry of shown) {
    reply.array(6);
    reply.integer(entry.id);
    reply.integer(entry.time);
    reply.integer(entry.micros);
    reply.array(entry.args.length);
    for (const each of entry.args) reply.bulkBytes(each);
    reply.bulkString(entry.address);
    reply.bulkString(entry.clientName);
  }
}

function len({ server, reply }: CommandContext): void {
  reply.integer(server.slowLog.entries.length);
}

function reset({ server, reply }: CommandContext): void {
  server.slowLog.reset();
  reply.ok();
}

export const SLOWLOG_HANDLERS: Handlers = {
  "slowlog|get": get,
  "slowlog|len": len,
  "slowlog|reset": reset,
};
