/**
 * Replies as redis-cli prints them, made from their bytes: on a terminal with the kind of each value, quoted and
 * numbered; otherwise the bare values, one a line, for programs.
 *
 *     *2 $1 a :5        terminal   1) "a"          bare   a
 *                                  2) (integer) 5         5
 *
 * A value that is text for people, such as INFO's, is printed as it is on a terminal too.
 */
import { unreachable } from "../base/assert.ts";

const CR = 0x0d;
const NAMED: Readonly<Record<number, string>> = {
  [0x5c]: "\\\\",
  [0x22]: '\\"',
  [0x0a]: "\\n",
  [0x0d]: "\\r",
  [0x09]: "\\t",
  [0x07]: "\\a",
  [0x08]: "\\b",
};

/** One value of a reply: its marker, the text of its line or its bytes, its elements. */
interface Part {
  readonly marker: string;
  readonly line: string;
  readonly bytes: Buffer;
  readonly isNil: boolean;
  readonly elements: readonly Part[];
}

const NO_BYTES = Buffer.alloc(0);

class Reader {
  readonly #reply: Buffer;
  #at = 0;

  constructor(reply: Buffer) {
    this.#reply = reply;
  }

  next(): Part {
    const marker = String.fromCharCode(this.#reply[this.#at]!);
    const line = this.#line();
    const count = Number(line);
    const empty = { marker, line, bytes: NO_BYTES, elements: [] };
    if (marker === "_" || ("$*".includes(marker) && count < 0)) return { ...empty, isNil: true };
    if ("$=!".includes(marker)) {
      const bytes = this.#reply.subarray(this.#at, this.#at + count);
      this.#at += count + 2;
      return { ...empty, bytes, isNil: false };
    }
    const elements: Part[] = [];
    const values = "%|".includes(marker) ? count * 2 : count;
    if ("*~>%|".includes(marker)) while (elements.length < values) elements.push(this.next());
    // What an attribute is about follows it.
    if (marker === "|") return this.next();
    return { ...empty, bytes: Buffer.from(line), isNil: false, elements };
  }

  #line(): string {
    const end = this.#reply.indexOf(CR, this.#at);
    const line = this.#reply.toString("utf8", this.#at + 1, end);
    this.#at = end + 2;
    return line;
  }
}

/** As C would write it: what cannot be printed is escaped. */
export function quoteBytes(bytes: Uint8Array): string {
  let text = '"';
  for (const byte of bytes) {
    const named = NAMED[byte];
    if (named !== undefined) text += named;
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `${text}"`;
}

const EMPTY: Readonly<Record<string, string>> = {
  "*": "(empty array)",
  "~": "(empty set)",
  "%": "(empty hash)",
  ">": "(empty push)",
};
const NUMBERED: Readonly<Record<string, string>> = { "*": ")", "~": "~", "%": "#", ">": ")" };

function terminalText(part: Part, indent: string): string {
  const { marker, line, bytes, elements } = part;
  if (part.isNil) return "(nil)";
  switch (marker) {
    case "+":
    case "(":
      return line;
    case "-":
      return `(error) ${line}`;
    case "!":
      return `(error) ${bytes.toString()}`;
    case ":":
      return `(integer) ${line}`;
    case ",":
      return `(double) ${line}`;
    case "#":
      return line === "t" ? "(true)" : "(false)";
    case "$":
      return quoteBytes(bytes);
    case "=":
      // Three letters say which kind of text it is.
      return bytes.toString("utf8", 4);
    default:
      return elements.length === 0 ? EMPTY[marker]! : numbered(part, indent);
  }
}

function numbered({ marker, elements }: Part, indent: string): string {
  const step = marker === "%" ? 2 : 1;
  const count = elements.length / step;
  const width = `${count}`.length;
  const inner = indent + " ".repeat(width + 2);
  const lines: string[] = [];
  for (let at = 0; at < count; at++) {
    const number = `${`${at + 1}`.padStart(width)}${NUMBERED[marker]} `;
    const first = terminalText(elements[at * step]!, inner);
    const text = step === 1 ? first : `${first} => ${mapValue(elements[at * step + 1]!, inner)}`;
    lines.push(`${at === 0 ? "" : indent}${number}${text}`);
  }
  return lines.join("\n");
}

/** One that has elements begins on a line of its own, unless it is a map of one pair. */
function mapValue(part: Part, indent: string): string {
  const { marker, elements } = part;
  const text = terminalText(part, indent);
  const isShort = elements.length === 0 || (marker === "%" && elements.length === 2);
  return isShort ? text : `\n${indent}${text}`;
}

function bareBytes(part: Part): Buffer {
  const { marker, bytes, elements } = part;
  if (part.isNil) return NO_BYTES;
  if (marker === "=") return bytes.subarray(4);
  // An empty line sets errors off.
  if (marker === "-" || marker === "!") return Buffer.concat([bytes, Buffer.from("\n")]);
  if (marker === "#") return Buffer.from(part.line === "t" ? "(true)" : "(false)");
  if ("+:,($".includes(marker)) return bytes;
  if (!"*~>%".includes(marker)) unreachable(`a reply starts with ${JSON.stringify(marker)}`);
  const pieces: Buffer[] = [];
  for (const [at, element] of elements.entries()) {
    const isValue = marker === "%" && at % 2 === 1;
    if (at > 0) pieces.push(Buffer.from(isValue ? " " : "\n"));
    pieces.push(bareBytes(element));
  }
  return Buffer.concat(pieces);
}

/** `isText`: a bulk string is printed as it is. REQUIRES: one whole reply. No line end. */
export function terminalReply(reply: Buffer, isText = false): string {
  const part = new Reader(reply).next();
  if (isText && part.marker === "$" && !part.isNil) return part.bytes.toString().trimEnd();
  return terminalText(part, "");
}

/** REQUIRES: one whole reply. No line end. */
export function bareReply(reply: Buffer): Buffer {
  return bareBytes(new Reader(reply).next());
}
