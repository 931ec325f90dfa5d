/** CLIENT TRACKING: options are checked as Redis does it, then turning it on is refused. */
import { integerArgument, isWord, NOT_AN_INTEGER, SYNTAX_ERROR } from "../arguments.ts";
import type { CommandContext } from "../handler.ts";

const NOT_SUPPORTED = "ERR client-side caching (CLIENT TRACKING) is not supported by dkv";
const NO_TARGET = "ERR The client ID you want redirect to does not exist";
const FLAGS = ["bcast", "optin", "optout", "noloop"];

/** Gathers the names of the options; the error's text when one is wrong. */
function takeOptions({ server, request }: CommandContext, given: Set<string>): string | undefined {
  for (let at = 3; at < request.count; at++) {
    const hasMore = at + 1 < request.count;
    if (hasMore && isWord(request, at, "redirect")) {
      if (given.has("redirect")) return "ERR A client can only redirect to a single other client";
      given.add("redirect");
      const target = integerArgument(request, ++at);
      if (Number.isNaN(target)) return NOT_AN_INTEGER;
      if (server.clients.get(target) === undefined) return NO_TARGET;
    } else if (hasMore && isWord(request, at, "prefix")) {
      given.add("prefix");
      at++;
    } else {
      const flag = FLAGS.find((word) => isWord(request, at, word));
      if (flag === undefined) return SYNTAX_ERROR;
      given.add(flag);
    }
  }
  return undefined;
}

/** Why tracking is not turned on with these options. */
function refusal(given: ReadonlySet<string>): string {
  if (given.has("prefix") && !given.has("bcast")) {
    return "ERR PREFIX option requires BCAST mode to be enabled";
  }
  if (given.has("bcast") && (given.has("optin") || given.has("optout"))) {
    return "ERR OPTIN and OPTOUT are not compatible with BCAST";
  }
  if (given.has("optin") && given.has("optout")) {
    return "ERR You can't specify both OPTIN mode and OPTOUT mode";
  }
  return NOT_SUPPORTED;
}

export function clientTracking(context: CommandContext): void {
  const { request, reply } = context;
  const given = new Set<string>();
  const problem = takeOptions(context, given);
  if (problem !== undefined) reply.error(problem);
  else if (isWord(request, 2, "on")) reply.error(refusal(given));
  else if (isWord(request, 2, "off")) reply.ok();
  else reply.error(SYNTAX_ERROR);
}

export function clientTrackingInfo({ reply }: CommandContext): void {
  reply.map(3);
  reply.bulkString("flags");
  reply.set(1);
  reply.bulkString("off");
  reply.bulkString("redirect");
  reply.integer(-1);
  reply.bulkString("prefixes");
  reply.array(0);
}
