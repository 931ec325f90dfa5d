/** Which arguments of a request are passwords: MONITOR and SLOWLOG show them as (redacted), as Redis does. */
import type { Request } from "../resp/request.ts";

export const REDACTED = "(redacted)";

const SECRET_DIRECTIVES = new Set([
  "requirepass",
  "masterauth",
  "masteruser",
  "tls-key-file-pass",
  "tls-client-key-file-pass",
]);

function word(request: Request, index: number): string {
  return request.byteLength(index) > 32 ? "" : request.latin1(index).toLowerCase();
}

/** Whether argument `index` must not be shown. */
export function isSecret(request: Request, index: number): boolean {
  if (index === 0) return false;
  const command = word(request, 0);
  if (command === "auth") return true;
  if (command === "hello") return isHelloSecret(request, index);
  if (command !== "config" || index < 3 || index % 2 === 0) return false;
  return word(request, 1) === "set" && SECRET_DIRECTIVES.has(word(request, index - 1));
}

/** HELLO version AUTH user password: both words after AUTH. */
function isHelloSecret(request: Request, index: number): boolean {
  for (let at = 2; at < index; at++) {
    if (word(request, at) === "auth" && index <= at + 2) return true;
  }
  return false;
}
