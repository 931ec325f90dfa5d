/**
 * The server as a whole: TIME, ROLE, MONITOR, SHUTDOWN, saving
 * (https://redis.io/docs/latest/commands/?group=server).
 *
 * There are no snapshots and no file to rewrite: every write is in the log, and compaction never stops. SAVE and
 * BGSAVE make sure that all writes so far are synced; BGREWRITEAOF finds nothing to do. They answer as Redis does,
 * because tools wait for its words.
 */
import { isWord, SYNTAX_ERROR } from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import { connectedReplicas, linkState, replicationOffset } from "../info-replication.ts";
import { newestFrame, whenDurable } from "./server-wait.ts";

function time({ server, reply }: CommandContext): void {
  const ms = server.clock.wallMs();
  reply.array(2);
  reply.bulkString(String(Math.floor(ms / 1000)));
  reply.bulkString(String(Math.floor(ms % 1000) * 1000));
}

function role({ server, store, reply }: CommandContext): void {
  const status = server.cluster?.replication.status();
  if (status?.isServing === false) {
    reply.array(5);
    reply.bulkString("slave");
    reply.bulkString(status.writer?.host ?? "");
    reply.integer(status.writer?.port ?? 0);
    reply.bulkString(linkState(status));
    reply.integer(status.role === "spare" ? -1 : replicationOffset(status));
    return;
  }
  const replicas = status === undefined ? [] : connectedReplicas(status);
  reply.array(3);
  reply.bulkString("master");
  reply.integer(
    status === undefined ? store.internals.log.writtenBytes : replicationOffset(status),
  );
  reply.array(replicas.length);
  for (const { host, port, durable } of replicas) {
    reply.array(3);
    reply.bulkString(host);
    reply.bulkString(`${port}`);
    reply.bulkString(`${durable}`);
  }
}

function lastSave({ server, reply }: CommandContext): void {
  reply.integer(Math.floor(server.statistics.lastSaveMs / 1000));
}

function save({ server, store, reply }: CommandContext): void {
  const index = newestFrame(server);
  store.prepare(() => new Promise<void>((resolve) => whenDurable(server, index, resolve)));
  server.statistics.noteSave(store.nowMs);
  reply.ok();
}

function backgroundSave({ server, store, request, reply }: CommandContext): void {
  const isScheduled = request.count === 2 && isWord(request, 1, "schedule");
  if (request.count > 1 && !isScheduled) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  const startMs = store.nowMs;
  whenDurable(server, newestFrame(server), () => server.statistics.noteSave(startMs));
  reply.simple("Background saving started");
}

function rewriteLog({ reply }: CommandContext): void {
  reply.simple("Background append only file rewriting started");
}

/** SHUTDOWN has no reply: the connection closes. Data is on disk in any case, so SAVE and NOSAVE are the same. */
function shutdown({ server, session, request, reply }: CommandContext): void {
  const given = new Set<string>();
  for (let at = 1; at < request.count; at++) {
    const option = ["nosave", "save", "now", "force", "abort"].find((word) =>
      isWord(request, at, word),
    );
    if (option === undefined) {
      reply.error(SYNTAX_ERROR);
      return;
    }
    given.add(option);
  }
  const isAbort = given.delete("abort");
  if ((isAbort && given.size > 0) || (given.has("nosave") && given.has("save"))) {
    reply.error(SYNTAX_ERROR);
  } else if (isAbort) {
    reply.error("ERR No shutdown in progress.");
  } else {
    session.isClosing = true;
    server.shutdown();
  }
}

function monitor({ server, session, reply }: CommandContext): void {
  if (session.transaction !== undefined) {
    reply.error("ERR MONITOR isn't allowed for DENY BLOCKING client");
    return;
  }
  session.isMonitor = true;
  server.clients.addMonitor(session);
  reply.ok();
}

function moduleList({ reply }: CommandContext): void {
  reply.array(0);
}

export const SERVER_HANDLERS: Handlers = {
  bgrewriteaof: rewriteLog,
  bgsave: backgroundSave,
  lastsave: lastSave,
  "module|list": moduleList,
  monitor,
  role,
  save,
  shutdown,
  time,
};
