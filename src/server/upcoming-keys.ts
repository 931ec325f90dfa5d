/**
 * The keys that a session will need next: when a command has to wait for the disk, what the commands behind it need
 * is loaded along, so that a pipeline of cold reads waits once and not once per command.
 */
import type { Request } from "../resp/request.ts";
import { type CommandSpec, FLAG_MOVABLEKEYS, lastKeyOf, lookup } from "./command-table.ts";
import type { Session } from "./session.ts";

/** Keys of the waiting command, and with those of the commands behind it. */
const OWN_KEYS_MAX = 4096;
const KEYS_MAX = 4352;

export function upcomingKeys(session: Session): Buffer[] {
  const keys: Buffer[] = [];
  addKeys(session.request, keys, OWN_KEYS_MAX);
  const { transaction } = session;
  const requests = transaction === undefined ? session.upcoming : transaction.requests;
  for (const request of requests) addKeys(request, keys, KEYS_MAX);
  return keys;
}

function addKeys(request: Request, keys: Buffer[], keysMax: number): void {
  if (request.count < 2 || request.starts[0]! < 0) return;
  const spec = lookup(request.bytes, request.starts[0]!, request.ends[0]!);
  if (spec === undefined || spec.has(FLAG_MOVABLEKEYS) || !spec.acceptsArity(request.count)) return;
  const last = Math.min(lastKey(spec, request), request.count - 1);
  for (let at = spec.firstKey; at <= last && keys.length < keysMax; at += spec.keyStep) {
    if (request.starts[at]! < 0) continue;
    keys.push(Buffer.from(request.bytes.subarray(request.starts[at]!, request.ends[at]!)));
  }
}

function lastKey(spec: CommandSpec, request: Request): number {
  return spec.firstKey === 0 ? -1 : lastKeyOf(spec, request.count);
}
