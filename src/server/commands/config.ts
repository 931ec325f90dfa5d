/** CONFIG (https://redis.io/docs/latest/commands/?group=server); the directives and their rules are in src/config. */
import { SYNTAX_ERROR } from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";

/** Names and values for the arguments; one that is no pattern keeps the case in which it was asked for. */
function get({ server, request, reply }: CommandContext): void {
  const found = new Map<string, string>();
  for (let at = 2; at < request.count; at++) {
    const name = request.text(at);
    if (/[[*?]/.test(name)) {
      for (const [each, value] of server.config.match([name])) found.set(each, value);
      continue;
    }
    const value = server.config.getString(name);
    if (value !== undefined) found.set(name, value);
  }
  reply.map(found.size);
  for (const [name, value] of found) {
    reply.bulkString(name);
    reply.bulkString(value);
  }
}

function set({ server, request, reply }: CommandContext): void {
  if (request.count % 2 !== 0) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  const pairs: [string, string][] = [];
  for (let at = 2; at < request.count; at += 2)
    pairs.push([request.text(at), request.text(at + 1)]);
  const error = server.config.set(pairs);
  if (error === undefined) reply.ok();
  else reply.error(error);
}

function resetStatistics({ server, store, reply }: CommandContext): void {
  server.statistics.reset();
  store.expiredKeys = 0;
  reply.ok();
}

function rewrite({ server, reply }: CommandContext): void {
  const error = server.config.rewrite();
  if (error === undefined) reply.ok();
  else reply.error(error);
}

export const CONFIG_HANDLERS: Handlers = {
  "config|get": get,
  "config|resetstat": resetStatistics,
  "config|rewrite": rewrite,
  "config|set": set,
};
