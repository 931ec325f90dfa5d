/**
 * The connection itself: PING, ECHO, HELLO, AUTH, SELECT, RESET, QUIT
 * (https://redis.io/docs/latest/commands/?group=connection).
 */
import type { ReplyWriter } from "../../resp/reply-writer.ts";
import type { Request } from "../../resp/request.ts";
import { integerArgument, isWord, NOT_AN_INTEGER, SYNTAX_ERROR } from "../arguments.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext, Handlers, ServerContext } from "../handler.ts";
import { isAccepted } from "../passwords.ts";
import { REDIS_VERSION } from "../version.ts";
import { isValidName, NAME_ERROR } from "./client-name.ts";

const NO_PASSWORD =
  "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
const WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled.";
const HELLO_NO_AUTH =
  "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
const INT_MAX = 2 ** 31 - 1;

/** Argument `index` as a bulk string; a large one leaves from where it lies. */
function replyArgument(reply: ReplyWriter, request: Request, index: number): void {
  if (!request.isLarge(index)) {
    reply.bulk(request.bytes, request.starts[index]!, request.ends[index]!);
    return;
  }
  const pieces = request.pieces(index);
  reply.bulkPieces(
    pieces.map((piece) => Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)),
  );
}

function ping({ request, reply }: CommandContext): void {
  if (request.count > 2) reply.error("ERR wrong number of arguments for 'ping' command");
  else if (request.count === 2) replyArgument(reply, request, 1);
  else reply.simple("PONG");
}

function echo({ request, reply }: CommandContext): void {
  replyArgument(reply, request, 1);
}

function auth({ server, session, request, reply }: CommandContext): void {
  if (request.count > 3) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  const required = server.config.get("requirepass");
  if (request.count === 2 && required === "") {
    reply.error(NO_PASSWORD);
    return;
  }
  const user = request.count === 3 ? request.text(1) : "default";
  if (!isAccepted(user, request.text(request.count - 1), required)) {
    refusePassword(server.statistics, reply);
    return;
  }
  session.isAuthenticated = true;
  reply.ok();
}

function refusePassword(statistics: { authFailures: number }, reply: ReplyWriter): void {
  statistics.authFailures++;
  reply.error(WRONG_PASSWORD);
}

interface HelloOptions {
  readonly protocol: 2 | 3;
  /** Index of the user's name, which the password follows; 0: no AUTH. */
  readonly userIndex: number;
  readonly name: string | undefined;
}

/** HELLO's arguments; undefined when they are wrong, which has been replied then. */
function helloOptions({ request, reply }: CommandContext): HelloOptions | undefined {
  let protocol: 2 | 3 = reply.protocol;
  let userIndex = 0;
  let name: string | undefined;
  if (request.count > 1) {
    const version = integerArgument(request, 1);
    if (Number.isNaN(version)) {
      reply.error("ERR Protocol version is not an integer or out of range");
      return undefined;
    }
    if (version !== 2 && version !== 3) {
      reply.error("NOPROTO unsupported protocol version");
      return undefined;
    }
    protocol = version;
  }
  for (let at = 2; at < request.count; at++) {
    const more = request.count - 1 - at;
    if (more >= 2 && isWord(request, at, "auth")) {
      userIndex = at + 1;
      at += 2;
    } else if (more >= 1 && isWord(request, at, "setname")) {
      name = request.latin1(++at);
      if (isValidName(name)) continue;
      reply.error(NAME_ERROR);
      return undefined;
    } else {
      reply.error(`ERR Syntax error in HELLO option '${echoed(request, at)}'`);
      return undefined;
    }
  }
  return { protocol, userIndex, name };
}

function hello(context: CommandContext): void {
  const { server, session, request, reply } = context;
  const options = helloOptions(context);
  if (options === undefined) return;
  const { userIndex, name } = options;
  if (userIndex > 0) {
    const required = server.config.get("requirepass");
    if (!isAccepted(request.text(userIndex), request.text(userIndex + 1), required)) {
      refusePassword(server.statistics, reply);
      return;
    }
    session.isAuthenticated = true;
  }
  if (!session.isAuthenticated) {
    reply.error(HELLO_NO_AUTH);
    return;
  }
  if (name !== undefined) session.name = name;
  reply.protocol = options.protocol;
  replyServer(server, reply, session.id);
}

function replyServer(server: ServerContext, reply: ReplyWriter, clientId: number): void {
  reply.map(7);
  reply.bulkString("server");
  reply.bulkString("redis");
  reply.bulkString("version");
  reply.bulkString(REDIS_VERSION);
  reply.bulkString("proto");
  reply.integer(reply.protocol);
  reply.bulkString("id");
  reply.integer(clientId);
  reply.bulkString("mode");
  reply.bulkString(server.cluster === undefined ? "standalone" : "cluster");
  reply.bulkString("role");
  reply.bulkString(server.cluster?.replication.isServing === false ? "replica" : "master");
  reply.bulkString("modules");
  reply.array(0);
}

function select({ request, reply }: CommandContext): void {
  const index = integerArgument(request, 1);
  if (Number.isNaN(index)) reply.error(NOT_AN_INTEGER);
  else if (index > INT_MAX || index < -INT_MAX - 1) {
    reply.error("ERR value is out of range, value must between -2147483648 and 2147483647");
  } else if (index !== 0) reply.error("ERR SELECT is not allowed in cluster mode");
  else reply.ok();
}

function reset({ server, session, reply }: CommandContext): void {
  server.clients.removeMonitor(session);
  server.watchedKeys.removeAll(session);
  server.cluster?.router.forget(session);
  session.reset();
  session.isAuthenticated = server.config.get("requirepass") === "";
  reply.simple("RESET");
}

function quit({ session, reply }: CommandContext): void {
  reply.ok();
  session.isClosing = true;
}

export const CONNECTION_HANDLERS: Handlers = { ping, echo, hello, auth, select, reset, quit };
