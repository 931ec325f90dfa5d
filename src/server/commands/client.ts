/**
 * CLIENT and its subcommands but KILL and TRACKING (https://redis.io/docs/latest/commands/?group=connection).
 *
 * There is no client-side caching: TRACKING is refused, and what tells of it answers as for a client without it.
 * Nothing is evicted and nothing has an access time, so NO-EVICT and NO-TOUCH are only remembered.
 */
import { integerArgument, isWord, NOT_AN_INTEGER, SYNTAX_ERROR } from "../arguments.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext, Handler, Handlers } from "../handler.ts";
import type { Session } from "../session.ts";
import { clientKill, clientTypeOf } from "./client-kill.ts";
import { clientLine } from "./client-line.ts";
import { isValidName, NAME_ERROR } from "./client-name.ts";
import { clientTracking, clientTrackingInfo } from "./client-tracking.ts";

function id({ session, reply }: CommandContext): void {
  reply.integer(session.id);
}

function getName({ session, reply }: CommandContext): void {
  if (session.name === "") reply.nullBulk();
  else reply.bulkString(session.name);
}

function setName({ session, request, reply }: CommandContext): void {
  const name = request.latin1(2);
  if (!isValidName(name)) {
    reply.error(NAME_ERROR);
    return;
  }
  session.name = name;
  reply.ok();
}

function setInfo({ session, request, reply }: CommandContext): void {
  const isName = isWord(request, 2, "lib-name");
  if (!isName && !isWord(request, 2, "lib-ver")) {
    reply.error(`ERR Unrecognized option '${echoed(request, 2)}'`);
    return;
  }
  const value = request.latin1(3);
  if (!isValidName(value)) {
    const option = isName ? "LIB-NAME" : "LIB-VER";
    reply.error(`ERR ${option} cannot contain spaces, newlines or special characters.`);
    return;
  }
  if (isName) session.libraryName = value;
  else session.libraryVersion = value;
  reply.ok();
}

function lines({ store, server }: CommandContext, sessions: Iterable<Session>): string {
  const monotonicMs = server.clock.monotonicMs();
  let text = "";
  for (const session of sessions) text += clientLine(session, store.nowMs, monotonicMs);
  return text;
}

function info(context: CommandContext): void {
  context.reply.verbatim(lines(context, [context.session]));
}

function list(context: CommandContext): void {
  const { server, request, reply } = context;
  if (request.count === 2) {
    reply.verbatim(lines(context, server.clients.all()));
  } else if (request.count === 4 && isWord(request, 2, "type")) {
    const type = clientTypeOf(request, 3);
    if (type === undefined) reply.error(`ERR Unknown client type '${echoed(request, 3)}'`);
    else reply.verbatim(type === "normal" ? lines(context, server.clients.all()) : "");
  } else if (request.count > 3 && isWord(request, 2, "id")) {
    const sessions: Session[] = [];
    for (let at = 3; at < request.count; at++) {
      const wanted = integerArgument(request, at);
      if (Number.isNaN(wanted)) {
        reply.error("ERR Invalid client ID");
        return;
      }
      const session = server.clients.get(wanted);
      if (session !== undefined) sessions.push(session);
    }
    reply.verbatim(lines(context, sessions));
  } else {
    reply.error(SYNTAX_ERROR);
  }
}

function wrongSubcommand({ request, reply }: CommandContext): void {
  reply.error(
    `ERR unknown subcommand or wrong number of arguments for '${echoed(request, 1)}'. Try CLIENT HELP.`,
  );
}

function pause(context: CommandContext): void {
  const { server, request, reply } = context;
  if (request.count > 4) {
    wrongSubcommand(context);
    return;
  }
  const isWriteOnly = request.count === 4 && isWord(request, 3, "write");
  if (request.count === 4 && !isWriteOnly && !isWord(request, 3, "all")) {
    reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    return;
  }
  const durationMs = integerArgument(request, 2);
  if (Number.isNaN(durationMs)) reply.error("ERR timeout is not an integer or out of range");
  else if (durationMs < 0) reply.error("ERR timeout is negative");
  else {
    server.clients.pause(server.clock, durationMs, !isWriteOnly);
    reply.ok();
  }
}

function unpause({ server, reply }: CommandContext): void {
  server.clients.unpause();
  reply.ok();
}

function replyMode({ session, request, reply }: CommandContext): void {
  if (isWord(request, 2, "on")) {
    session.replyMode.set("on");
    reply.ok();
  } else if (isWord(request, 2, "off")) {
    session.replyMode.set("off");
  } else if (isWord(request, 2, "skip")) {
    session.replyMode.set("skip");
  } else {
    reply.error(SYNTAX_ERROR);
  }
}

/** ON or OFF, for what is only remembered. */
function toggle(field: "isNoEvict" | "isNoTouch"): Handler {
  return ({ session, request, reply }) => {
    const isOn = isWord(request, 2, "on");
    if (!isOn && !isWord(request, 2, "off")) {
      reply.error(SYNTAX_ERROR);
      return;
    }
    session[field] = isOn;
    reply.ok();
  };
}

function unblock(context: CommandContext): void {
  const { server, request, reply } = context;
  if (request.count > 4) {
    wrongSubcommand(context);
    return;
  }
  const isError = request.count === 4 && isWord(request, 3, "error");
  if (request.count === 4 && !isError && !isWord(request, 3, "timeout")) {
    reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    return;
  }
  const wanted = integerArgument(request, 2);
  if (Number.isNaN(wanted)) {
    reply.error(NOT_AN_INTEGER);
    return;
  }
  const end = server.clients.get(wanted)?.unblock;
  end?.(isError ? "error" : "timeout");
  reply.integer(end === undefined ? 0 : 1);
}

function getRedirection({ reply }: CommandContext): void {
  reply.integer(-1);
}

export const CLIENT_HANDLERS: Handlers = {
  "client|getname": getName,
  "client|getredir": getRedirection,
  "client|id": id,
  "client|info": info,
  "client|kill": clientKill,
  "client|list": list,
  "client|no-evict": toggle("isNoEvict"),
  "client|no-touch": toggle("isNoTouch"),
  "client|pause": pause,
  "client|reply": replyMode,
  "client|setinfo": setInfo,
  "client|setname": setName,
  "client|tracking": clientTracking,
  "client|trackinginfo": clientTrackingInfo,
  "client|unblock": unblock,
  "client|unpause": unpause,
};
