/**
 * All keys together: DBSIZE, RANDOMKEY, FLUSHDB, FLUSHALL.
 */
import { isWord, SYNTAX_ERROR } from "../arguments.ts";
import type { CommandContext, Handlers, ServerContext } from "../handler.ts";

function dbsize({ store, reply }: CommandContext): void {
  reply.integer(store.size());
}

function randomkey({ store, server, reply }: CommandContext): void {
  const key = store.randomKey(randomOf(server));
  if (key === undefined) reply.nullBulk();
  else reply.bulkBytes(key);
}

/** Uniform in [0, 1), another one for each command that the server has run. */
function randomOf(server: ServerContext): number {
  const seed = Number.parseInt(server.runId.slice(0, 8), 16);
  let mixed = Math.imul(seed ^ (server.statistics.commands + 1), 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
}

/** Both SYNC and ASYNC: a deletion of all keys is one record, whatever it deletes. */
function flush({ store, server, request, reply }: CommandContext): void {
  const { count } = request;
  const isPlain = count === 1;
  if (!isPlain && (count > 2 || !(isWord(request, 1, "sync") || isWord(request, 1, "async")))) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  touchWatched(server);
  store.removeAll();
  reply.ok();
}

/** A deletion of all keys changes the watched ones that exist. */
function touchWatched({ store, watchedKeys }: ServerContext): void {
  for (const key of watchedKeys.keys()) {
    const bytes = Buffer.from(key, "latin1");
    store.select(bytes, 0, bytes.length);
    if (store.find()) watchedKeys.touch(bytes, 0, bytes.length);
  }
}

export const KEYSPACE_HANDLERS: Handlers = { dbsize, randomkey, flushdb: flush, flushall: flush };
