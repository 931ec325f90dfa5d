/** CLIENT KILL, in its old form (an address) and its new one (filters, all of which must hold). */
import type { Request } from "../../resp/request.ts";
import { integerArgument, isWord, SYNTAX_ERROR } from "../arguments.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext } from "../handler.ts";
import type { Session } from "../session.ts";

export type ClientType = "normal" | "replica" | "pubsub" | "master";

/** All connections here are of type normal, monitors included. */
export function clientTypeOf(request: Request, index: number): ClientType | undefined {
  for (const type of ["normal", "replica", "pubsub", "master"] as const) {
    if (isWord(request, index, type)) return type;
  }
  return isWord(request, index, "slave") ? "replica" : undefined;
}

interface Filter {
  id: number | undefined;
  type: ClientType | undefined;
  address: string | undefined;
  localAddress: string | undefined;
  skipsSelf: boolean;
}

/** Takes one option of the new form; the error's text when it is wrong. */
function takeOption(request: Request, at: number, filter: Filter): string | undefined {
  if (at + 1 === request.count) return SYNTAX_ERROR;
  if (isWord(request, at, "id")) {
    filter.id = integerArgument(request, at + 1);
    return filter.id >= 1 ? undefined : "ERR client-id should be greater than 0";
  }
  if (isWord(request, at, "type")) {
    filter.type = clientTypeOf(request, at + 1);
    if (filter.type !== undefined) return undefined;
    return `ERR Unknown client type '${echoed(request, at + 1)}'`;
  }
  if (isWord(request, at, "addr")) filter.address = request.latin1(at + 1);
  else if (isWord(request, at, "laddr")) filter.localAddress = request.latin1(at + 1);
  else if (isWord(request, at, "user")) {
    const user = request.latin1(at + 1);
    return user === "default" ? undefined : `ERR No such user '${echoed(request, at + 1)}'`;
  } else if (isWord(request, at, "skipme")) {
    filter.skipsSelf = isWord(request, at + 1, "yes");
    return filter.skipsSelf || isWord(request, at + 1, "no") ? undefined : SYNTAX_ERROR;
  } else return SYNTAX_ERROR;
  return undefined;
}

function matches(session: Session, filter: Filter): boolean {
  if (filter.id !== undefined && session.id !== filter.id) return false;
  if (filter.type !== undefined && filter.type !== "normal") return false;
  if (filter.address !== undefined && session.address !== filter.address) return false;
  return filter.localAddress === undefined || session.localAddress === filter.localAddress;
}

/** Ends the connections that match; this one only once its reply has left. */
function killMatching({ server, session }: CommandContext, filter: Filter): number {
  let killed = 0;
  for (const each of [...server.clients.all()]) {
    if (!matches(each, filter) || (each === session && filter.skipsSelf)) continue;
    if (each === session) session.isClosing = true;
    else each.kill();
    killed++;
  }
  return killed;
}

export function clientKill(context: CommandContext): void {
  const { request, reply } = context;
  const filter: Filter = {
    id: undefined,
    type: undefined,
    address: undefined,
    localAddress: undefined,
    skipsSelf: true,
  };
  if (request.count === 3) {
    filter.address = request.latin1(2);
    filter.skipsSelf = false;
    if (killMatching(context, filter) > 0) reply.ok();
    else reply.error("ERR No such client");
    return;
  }
  for (let at = 2; at < request.count; at += 2) {
    const error = takeOption(request, at, filter);
    if (error === undefined) continue;
    reply.error(error);
    return;
  }
  reply.integer(killMatching(context, filter));
}
