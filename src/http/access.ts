/**
 * Who may use the HTTP port: whoever may use the one for RESP. The password comes as `Authorization: Basic`, for the
 * user `default` or none; without a password protected mode keeps other machines out.
 */
import type { Config } from "../config/config.ts";
import { isLoopback, PROTECTED_MODE_REPLY } from "../server/network.ts";
import { isAccepted } from "../server/passwords.ts";
import { textResponse } from "./text-response.ts";

const BASIC = /^Basic ([A-Za-z0-9+/]*={0,2})$/i;
const CHALLENGE = { "www-authenticate": 'Basic realm="dkv", charset="UTF-8"' };
/** A reply of the protocol without marker and line end. */
const PROTECTED = PROTECTED_MODE_REPLY.toString().slice(1).trimEnd();

function isAuthorized(header: string | null, required: string): boolean {
  const match = BASIC.exec(header ?? "");
  if (match === null) return false;
  const text = Buffer.from(match[1]!, "base64").toString();
  const colon = text.indexOf(":");
  if (colon < 0) return false;
  return isAccepted(text.slice(0, colon) || "default", text.slice(colon + 1), required);
}

/** The answer to somebody who may not come in; undefined: the request may be served. */
export function refuseAccess(
  config: Config,
  headers: Headers,
  remoteAddress: string,
): Response | undefined {
  const required = config.get("requirepass");
  if (required === "") {
    const isOpen = !config.get("protected-mode") || isLoopback(remoteAddress);
    return isOpen ? undefined : textResponse(403, PROTECTED);
  }
  const header = headers.get("authorization");
  if (isAuthorized(header, required)) return undefined;
  const reason =
    header === null
      ? "NOAUTH Authentication required."
      : "WRONGPASS invalid username-password pair or user is disabled.";
  return textResponse(401, reason, CHALLENGE);
}
