/** Replies of RESP2 as values, decoded by redis-parser; for tools that read replies rather than show them. */
import RedisParser from "redis-parser";
import { ToolError } from "./tool-error.ts";

export type ReplyValue = string | number | null | Error | readonly ReplyValue[];

/** REQUIRES: one whole reply. */
export function decodeReply(reply: Buffer): ReplyValue {
  let value: ReplyValue = null;
  const keep = (decoded: unknown) => {
    value = decoded as ReplyValue;
  };
  const parser = new RedisParser({
    returnBuffers: false,
    returnReply: keep,
    returnError: keep,
    returnFatalError: keep,
  });
  parser.execute(reply);
  return value;
}

/** The text of a reply that is to be text. Throws ToolError with the error that came in its place. */
export function textOf(reply: Buffer): string {
  const value = decodeReply(reply);
  if (value instanceof Error) throw new ToolError(value.message);
  return typeof value === "string" ? value : "";
}

/** The elements of a reply that is to be an array. Throws ToolError with the error that came in its place. */
export function listOf(reply: Buffer): readonly ReplyValue[] {
  const value = decodeReply(reply);
  if (value instanceof Error) throw new ToolError(value.message);
  return Array.isArray(value) ? value : [];
}

/** An array of names and values as RESP2 sends a map. */
export function mapOf(value: ReplyValue | undefined): ReadonlyMap<string, ReplyValue> {
  const map = new Map<string, ReplyValue>();
  if (!Array.isArray(value)) return map;
  for (let at = 0; at + 1 < value.length; at += 2) map.set(`${value[at]}`, value[at + 1]);
  return map;
}

/** The fields of INFO and CLUSTER INFO. */
export function infoFields(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0 && !line.startsWith("#")) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}
