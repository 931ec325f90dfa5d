/**
 * The scripts of test/golden/compat: requests and the exact bytes that answer them. Sections are independent: each
 * starts with FLUSHALL and a new connection "a" in RESP2.
 *
 *     === title                   starts a section
 *     # text                      a comment; blank lines are kept too
 *     > SET key "a\r\nb"          a request, quoted as redis-cli quotes; its reply follows
 *     < +OK                       one line of the reply; a line ends where the server sent CRLF, bytes outside
 *     <                           printable ASCII are escaped (\r \n \\ \xNN), so the text stands for exact bytes
 *     <~ :\d+                     a line that must match a regular expression instead
 *     <*                          any further lines
 *     < (closed)                  the server closed the connection
 *     !override why               the expectation below is dkv's own: not compared with Redis, never rewritten
 *     ?> KEYS *                   a request whose arrays of strings are compared sorted
 *     scan> MATCH a* COUNT 2      SCAN from 0 until the cursor is 0 again; all keys, each once, sorted
 *     send> CLIENT REPLY OFF      a request without a reply
 *     raw> PING\r\n               escaped bytes as they are; one reply follows
 *     ...                         one more reply, without a request
 *     @connection b               the connection that later lines use, opened on first mention
 *     @resp3                      HELLO 3 on this connection, its reply dropped
 *     @sleep 20                   milliseconds
 *
 * run() plays a section and returns its text with every expectation that did not hold replaced by what the server
 * said: equal text means success, and the text itself is the rewritten file.
 */
import { decodeReply, encodeRequest, RawConnection, replyEnd } from "../support/raw-connection.ts";

export interface Section {
  readonly title: string;
  readonly lines: readonly string[];
}

const CLOSED = "(closed)";
const EXCHANGE = /^(\?>|scan>|raw>|>|\.\.\.)(?: (.*))?$/;

/** The head before the first section, and the sections; joining all lines gives the file back. */
export function parseScript(text: string): { head: string[]; sections: Section[] } {
  const head: string[] = [];
  const sections: { title: string; lines: string[] }[] = [];
  for (const line of text.replace(/\n$/, "").split("\n")) {
    if (line.startsWith("=== ")) sections.push({ title: line.slice(4), lines: [] });
    (sections.at(-1)?.lines ?? head).push(line);
  }
  return { head, sections };
}

const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", b: "\b", a: "\x07" };

/** Reads one escape or plain character at `at`; returns it and the offset behind it. */
function unescapeAt(text: string, at: number): [string, number] {
  if (text[at] !== "\\") return [text[at]!, at + 1];
  const code = text[at + 1] ?? "";
  if (code === "x") {
    return [String.fromCharCode(Number.parseInt(text.slice(at + 2, at + 4), 16)), at + 4];
  }
  return [ESCAPES[code] ?? code, at + 2];
}

export function unescapeBytes(text: string): string {
  let out = "";
  for (let at = 0; at < text.length; ) {
    const [character, next] = unescapeAt(text, at);
    out += character;
    at = next;
  }
  return out;
}

/** The words of a request line: separated by spaces, "…" with escapes, '…' without. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let at = 0;
  while (at < line.length) {
    if (line[at] === " ") {
      at++;
      continue;
    }
    let word = "";
    const quote = line[at] === '"' || line[at] === "'" ? line[at++] : undefined;
    while (at < line.length && line[at] !== (quote ?? " ")) {
      const [character, next] = quote === '"' ? unescapeAt(line, at) : [line[at]!, at + 1];
      word += character;
      at = next;
    }
    if (quote !== undefined) at++;
    words.push(word);
  }
  return words;
}

function escapeLine(line: string): string {
  let out = "";
  for (const character of line) {
    const code = character.charCodeAt(0);
    if (character === "\\") out += "\\\\";
    else if (character === "\r") out += "\\r";
    else if (character === "\n") out += "\\n";
    else if (code >= 0x20 && code < 0x7f) out += character;
    else out += `\\x${code.toString(16).padStart(2, "0")}`;
  }
  // A space at the end of a line would not survive every editor.
  return out.replace(/ $/, "\\x20");
}

/** The lines of a reply as the scripts show them. */
export function render(reply: Uint8Array | undefined): string[] {
  if (reply === undefined) return [CLOSED];
  const text = Buffer.from(reply).toString("latin1");
  return text.slice(0, -2).split("\r\n").map(escapeLine);
}

/** Whether the reply's lines satisfy the expectation's lines (which start with `<`). */
export function matches(expected: readonly string[], actual: readonly string[]): boolean {
  for (let i = 0; i < expected.length; i++) {
    const line = expected[i]!;
    if (line === "<*") return true;
    const got = actual[i];
    if (got === undefined) return false;
    if (line.startsWith("<~ ")) {
      if (!new RegExp(`^(?:${line.slice(3)})$`).test(got)) return false;
    } else if (line.replace(/^< ?/, "") !== got) {
      return false;
    }
  }
  return expected.length === actual.length;
}

/** The same reply with every array or set of bulk strings in it sorted. */
export function sortReply(reply: Uint8Array): Uint8Array {
  const text = Buffer.from(reply).toString("latin1");
  if (!/^[*~>]\d/.test(text)) return reply;
  const head = text.indexOf("\r\n") + 2;
  const items: string[] = [];
  for (let at = head; at < reply.length; ) {
    const end = replyEnd(reply, at);
    items.push(Buffer.from(sortReply(reply.slice(at, end))).toString("latin1"));
    at = end;
  }
  if (items.every((item) => item.startsWith("$"))) items.sort();
  return Buffer.from(text.slice(0, head) + items.join(""), "latin1");
}

const SCAN_CALLS_MAX = 10_000;

class Player {
  readonly #port: number;
  readonly #connections = new Map<string, RawConnection>();
  #current = "a";

  constructor(port: number) {
    this.#port = port;
  }

  async connection(): Promise<RawConnection> {
    const known = this.#connections.get(this.#current);
    if (known !== undefined) return known;
    const opened = await RawConnection.open(this.#port);
    this.#connections.set(this.#current, opened);
    return opened;
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
  }

  /** A line that expects no reply. */
  async direct(line: string): Promise<void> {
    if (line.startsWith("@connection ")) this.#current = line.slice(12);
    else if (line.startsWith("@sleep ")) await Bun.sleep(Number(line.slice(7)));
    else if (line === "@resp3") await this.ask(["HELLO", "3"]);
    else if (line.startsWith("send> ")) {
      (await this.connection()).send(encodeRequest(splitWords(line.slice(6))));
    } else if (/^(@|send|!(?!override ))/.test(line)) throw new Error(`unknown line: ${line}`);
  }

  async ask(words: readonly string[]): Promise<Uint8Array | undefined> {
    const connection = await this.connection();
    connection.send(encodeRequest(words));
    return connection.reply();
  }

  async exchange(kind: string, text: string): Promise<Uint8Array | undefined> {
    if (kind === "...") return (await this.connection()).reply();
    if (kind === "raw>") {
      const connection = await this.connection();
      connection.send(Buffer.from(unescapeBytes(text), "latin1"));
      return connection.reply();
    }
    if (kind === "scan>") return this.#scan(splitWords(text));
    const reply = await this.ask(splitWords(text));
    return kind === "?>" && reply !== undefined ? sortReply(reply) : reply;
  }

  async #scan(options: readonly string[]): Promise<Uint8Array | undefined> {
    const keys = new Set<string>();
    let cursor = "0";
    for (let calls = 0; calls < SCAN_CALLS_MAX; calls++) {
      const reply = await this.ask(["SCAN", cursor, ...options]);
      const value = reply === undefined ? null : decodeReply(reply, 0)[0];
      if (!Array.isArray(value)) return reply;
      for (const key of value[1]) keys.add(key);
      cursor = value[0];
      if (cursor === "0") return Buffer.from(encodeRequest([...keys].sort()));
    }
    throw new Error(`SCAN ${options.join(" ")} did not end within ${SCAN_CALLS_MAX} calls`);
  }
}

/** `keepsOverrides`: the server is Redis, whose replies to overridden requests are not looked at. */
export async function run(
  section: Section,
  port: number,
  keepsOverrides: boolean,
): Promise<string[]> {
  const player = new Player(port);
  const out: string[] = [];
  try {
    await player.ask(["FLUSHALL"]);
    for (let at = 0; at < section.lines.length; ) {
      const line = section.lines[at++]!;
      out.push(line);
      const exchange = EXCHANGE.exec(line);
      if (exchange === null) {
        await player.direct(line);
        continue;
      }
      const isOverride = section.lines[at]?.startsWith("!override ") === true;
      if (isOverride) out.push(section.lines[at++]!);
      const expected: string[] = [];
      while (section.lines[at]?.startsWith("<") === true) expected.push(section.lines[at++]!);
      const reply = render(await player.exchange(exchange[1]!, exchange[2] ?? ""));
      const keeps = (isOverride && keepsOverrides) || matches(expected, reply);
      out.push(...(keeps ? expected : reply.map((each) => (each === "" ? "<" : `< ${each}`))));
    }
  } finally {
    player.close();
  }
  return out;
}
