/**
 * MONITOR: one line per command to each monitoring session, with what is secret left out
 * (https://redis.io/docs/latest/commands/monitor/).
 */
import type { Request } from "../resp/request.ts";
import { isSecret, REDACTED } from "./secrets.ts";
import type { Session } from "./session.ts";

export function feedMonitors(
  monitors: ReadonlySet<Session>,
  source: Session,
  request: Request,
  nowMs: number,
): void {
  const seconds = Math.floor(nowMs / 1000);
  const micros = String((nowMs % 1000) * 1000).padStart(6, "0");
  const words: string[] = [];
  for (let index = 0; index < request.count; index++) words.push(quoted(request, index));
  const line = `+${seconds}.${micros} [0 ${source.address}] ${words.join(" ")}\r\n`;
  const encoded = Buffer.from(line, "latin1");
  for (const monitor of monitors) {
    monitor.sendUnasked(encoded);
    source.context.server.limits.checkMonitor(monitor);
  }
}

const SHOWN_BYTES_MAX = 4096;

function quoted(request: Request, index: number): string {
  if (isSecret(request, index)) return `"${REDACTED}"`;
  if (request.byteLength(index) > SHOWN_BYTES_MAX) {
    return `"... (${request.byteLength(index)} bytes)"`;
  }
  return representation(request.latin1(index));
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  '"': '\\"',
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\x07": "\\a",
  "\b": "\\b",
};

/** Bytes in quotes, as Redis prints them: what is not printable ASCII as an escape. */
function representation(bytes: string): string {
  const escaped = bytes.replace(/[^ !#-[\]-~]/g, (character) => {
    const hex = character.charCodeAt(0).toString(16).padStart(2, "0");
    return ESCAPES[character] ?? `\\x${hex}`;
  });
  return `"${escaped}"`;
}
