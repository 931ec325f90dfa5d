/**
 * MULTI, EXEC, DISCARD, WATCH, UNWATCH (https://redis.io/docs/latest/develop/interact/transactions/).
 *
 * EXEC is one unit of the store, so its writes are in one frame: after a crash all of them exist or none.
 */

import type { CommandContext, Handlers } from "../handler.ts";
import { Transaction } from "../transaction.ts";

function multi({ session, reply }: CommandContext): void {
  if (session.transaction !== undefined) {
    reply.error("ERR MULTI calls can not be nested");
    return;
  }
  session.transaction = new Transaction();
  reply.ok();
}

function discard({ session, server, reply }: CommandContext): void {
  if (session.transaction === undefined) {
    reply.error("ERR DISCARD without MULTI");
    return;
  }
  session.transaction = undefined;
  unwatchAll(server, session);
  reply.ok();
}

function exec({ session, server, store, reply }: CommandContext): void {
  const transaction = session.transaction;
  if (transaction === undefined) {
    reply.error("ERR EXEC without MULTI");
    return;
  }
  if (transaction.isDirty) {
    reply.error("EXECABORT Transaction discarded because of previous errors.");
  } else if (hasWatchedChange(session, store)) {
    // The change may be in a frame that is not committed, and a crash that undoes it would undo the reason.
    store.tagNewest();
    reply.nullArray();
  } else {
    runWatched(session, server);
  }
  session.transaction = undefined;
  unwatchAll(server, session);
}

/** Runs the transaction. When it is interrupted, what it wrote itself is taken back and breaks none of its watches. */
function runWatched(session: CommandContext["session"], server: CommandContext["server"]): void {
  try {
    server.runTransaction(session);
  } catch (error) {
    session.isWatchBroken = false;
    throw error;
  }
}

/** Whether a watched key was written, or has expired, since WATCH. */
function hasWatchedChange(
  session: CommandContext["session"],
  store: CommandContext["store"],
): boolean {
  for (const key of session.watchedKeys) {
    if (session.isWatchBroken) break;
    const bytes = Buffer.from(key, "latin1");
    store.select(bytes, 0, bytes.length);
    // Removes the key if its time has come, which is a write that breaks the watch.
    store.find();
  }
  return session.isWatchBroken;
}

function watch({ session, server, store, request, reply }: CommandContext): void {
  if (session.transaction !== undefined) {
    reply.error("ERR WATCH inside MULTI is not allowed");
    return;
  }
  for (let index = 1; index < request.count; index++) {
    const key = request.latin1(index);
    const bytes = Buffer.from(key, "latin1");
    store.select(bytes, 0, bytes.length);
    // A key that has expired already is removed now, so that its removal does not count as a change later.
    store.find();
    server.watchedKeys.add(key, session);
  }
  const { watchedKeys } = server;
  store.watcher = (bytes, start, end) => watchedKeys.touch(bytes, start, end);
  reply.ok();
}

function unwatch({ session, server, reply }: CommandContext): void {
  unwatchAll(server, session);
  reply.ok();
}

function unwatchAll(server: CommandContext["server"], session: CommandContext["session"]): void {
  server.watchedKeys.removeAll(session);
  if (server.watchedKeys.count === 0) server.store.watcher = undefined;
}

export const TRANSACTION_HANDLERS: Handlers = { multi, exec, discard, watch, unwatch };
