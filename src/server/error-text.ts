/** Parts of requests in error texts, cut and cleaned as Redis does it. */
import type { Request } from "../resp/request.ts";
import { isWord } from "./arguments.ts";
import type { Session } from "./session.ts";

const ECHOED_BYTES_MAX = 128;

/** Argument `index` as Redis echoes it: up to the first NUL, at most 128 bytes. */
export function echoed(request: Request, index: number, bytesMax = ECHOED_BYTES_MAX): string {
  const text = request.latin1(index);
  const nul = text.indexOf("\0");
  return text.slice(0, Math.min(bytesMax, nul < 0 ? text.length : nul));
}

/** The start of an HTTP request: somebody makes a browser talk to this port. */
export function isCrossProtocol(request: Request): boolean {
  return isWord(request, 0, "post") || isWord(request, 0, "host:");
}

export function unknownCommand(session: Session): string {
  const request = session.request;
  let args = "";
  for (let index = 1; index < request.count && args.length < ECHOED_BYTES_MAX; index++) {
    args += `'${echoed(request, index, ECHOED_BYTES_MAX - args.length)}' `;
  }
  return `ERR unknown command '${echoed(request, 0)}', with args beginning with: ${args}`;
}

export function unknownSubcommand(session: Session): string {
  const name = echoed(session.request, 0).toUpperCase();
  return `ERR unknown subcommand '${echoed(session.request, 1)}'. Try ${name} HELP.`;
}
