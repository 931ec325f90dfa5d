/**
 * Redis's line syntax, as configuration files and inline commands use it:
 *
 *     name value 'single quoted, only \' is an escape' "double quoted, \n \r \t \b \a \xHH \" \\"
 *
 * Escapes stand for bytes, so a line is scanned as the bytes of its UTF-8 form, one per character, and every
 * argument is decoded again: "\xc3\xa4" and ä are the same.
 */

const toBytes = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", b: "\b", a: "\x07" };
const HEX_PAIR = /^[0-9a-fA-F]{2}$/;
/** C's isspace; a regular expression's \s would also take the byte 0xa0. */
const SPACE = /[ \t\n\v\f\r]/;

interface Scanned {
  readonly text: string;
  /** Position behind the closing quote. */
  readonly end: number;
}

function scanDouble(line: string, start: number): Scanned | undefined {
  let text = "";
  let at = start;
  while (at < line.length) {
    const character = line[at]!;
    if (character === '"') return { text, end: at + 1 };
    if (character !== "\\" || at + 1 === line.length) {
      text += character;
      at++;
      continue;
    }
    const escaped = line[at + 1]!;
    const hex = line.slice(at + 2, at + 4);
    if (escaped === "x" && HEX_PAIR.test(hex)) {
      text += String.fromCharCode(Number.parseInt(hex, 16));
      at += 4;
    } else {
      text += ESCAPES[escaped] ?? escaped;
      at += 2;
    }
  }
  return undefined;
}

function scanSingle(line: string, start: number): Scanned | undefined {
  let text = "";
  let at = start;
  while (at < line.length) {
    if (line[at] === "'") return { text, end: at + 1 };
    if (line[at] === "\\" && line[at + 1] === "'") at++;
    text += line[at];
    at++;
  }
  return undefined;
}

/** One argument from `start` to the next space; a closing quote must be followed by one. */
function scanArgument(line: string, start: number): Scanned | undefined {
  let text = "";
  let at = start;
  while (at < line.length && !SPACE.test(line[at]!)) {
    const character = line[at]!;
    if (character !== '"' && character !== "'") {
      text += character;
      at++;
      continue;
    }
    const quoted = character === '"' ? scanDouble(line, at + 1) : scanSingle(line, at + 1);
    if (quoted === undefined) return undefined;
    if (quoted.end < line.length && !SPACE.test(line[quoted.end]!)) return undefined;
    text += quoted.text;
    at = quoted.end;
  }
  return { text, end: at };
}

/** The arguments of one line; undefined when quotes do not balance or a closing quote touches more text. */
export function splitArguments(text: string): string[] | undefined {
  return splitArgumentBytes(text)?.map((argument) => argument.toString("utf8"));
}

/** The same for arguments that may hold any byte. */
export function splitArgumentBytes(text: string): Buffer[] | undefined {
  const line = toBytes(text);
  const out: Buffer[] = [];
  let at = 0;
  for (;;) {
    while (at < line.length && SPACE.test(line[at]!)) at++;
    if (at === line.length) return out;
    const argument = scanArgument(line, at);
    if (argument === undefined) return undefined;
    out.push(Buffer.from(argument.text, "latin1"));
    at = argument.end;
  }
}

const NEEDS_QUOTES = /^$|^#|[\s"'\\]|[^\x20-\x7e]/;
const NAMED_ESCAPES = new Map(Object.entries(ESCAPES).map(([name, value]) => [value, `\\${name}`]));

function escapeByte(byte: string): string {
  if (byte === '"' || byte === "\\") return `\\${byte}`;
  if (byte >= " " && byte <= "~") return byte;
  const hex = byte.charCodeAt(0).toString(16).padStart(2, "0");
  return NAMED_ESCAPES.get(byte) ?? `\\x${hex}`;
}

/** `argument` such that splitArguments gives it back. */
export function quoteArgument(argument: string): string {
  if (!NEEDS_QUOTES.test(argument)) return argument;
  return `"${[...toBytes(argument)].map(escapeByte).join("")}"`;
}
