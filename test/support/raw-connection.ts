/**
 * A client for tests that sees bytes: it sends what it is given and hands back each reply exactly as the server
 * wrote it, RESP2 or RESP3. replyEnd() finds where a reply ends without decoding it; decodeReply() turns one into
 * values (maps become Map, sets and arrays become arrays, simple strings and bulk strings become strings).
 */

export type ReplyValue =
  | string
  | number
  | boolean
  | null
  | readonly ReplyValue[]
  | ReadonlyMap<ReplyValue, ReplyValue>;

const REPLY_TIMEOUT_MS = 30_000;
const CR = 13;
const MINUS = 45;

/** End of the line that starts at `start` (past its CRLF), or -1 when it has not arrived. */
function lineEnd(bytes: Uint8Array, start: number): number {
  for (let at = start; at + 1 < bytes.length; at++) if (bytes[at] === CR) return at + 2;
  return -1;
}

/** The integer between `start` and the CRLF before `end`. */
function integerAt(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  const negative = bytes[start] === MINUS;
  for (let at = negative ? start + 1 : start; at < end - 2; at++)
    value = value * 10 + bytes[at]! - 48;
  return negative ? -value : value;
}

/** The offset behind the reply that starts at `start`, or -1 when it is incomplete. */
export function replyEnd(bytes: Uint8Array, start: number): number {
  const end = lineEnd(bytes, start);
  if (end < 0) return -1;
  const kind = String.fromCharCode(bytes[start]!);
  if ("$=!".includes(kind)) {
    const length = integerAt(bytes, start + 1, end);
    if (length < 0) return end;
    return end + length + 2 <= bytes.length ? end + length + 2 : -1;
  }
  if (!"*~>%|".includes(kind)) return end;
  const count = integerAt(bytes, start + 1, end) * ("%|".includes(kind) ? 2 : 1);
  let at = end;
  for (let i = 0; i < count && at >= 0; i++) at = replyEnd(bytes, at);
  return at;
}

function decodeItems(bytes: Uint8Array, from: number, count: number): [ReplyValue[], number] {
  const items: ReplyValue[] = [];
  let at = from;
  for (let i = 0; i < count; i++) {
    const [item, end] = decodeReply(bytes, at);
    items.push(item);
    at = end;
  }
  return [items, at];
}

/** REQUIRES: a complete reply at `start`. Returns its value and the offset behind it; an error reads "-ERR …". */
export function decodeReply(bytes: Uint8Array, start: number): [ReplyValue, number] {
  const end = lineEnd(bytes, start);
  const kind = String.fromCharCode(bytes[start]!);
  const text = Buffer.from(bytes.subarray(start + 1, end - 2)).toString("latin1");
  if (kind === "+" || kind === "(") return [text, end];
  if (kind === "-") return [`-${text}`, end];
  if (kind === ":" || kind === ",") return [Number(text), end];
  if (kind === "#") return [text === "t", end];
  if (kind === "_" || text === "-1") return [null, end];
  const count = Number(text);
  if ("$=!".includes(kind)) {
    const bulk = Buffer.from(bytes.subarray(end, end + count)).toString("latin1");
    return [bulk, end + count + 2];
  }
  const isMap = kind === "%" || kind === "|";
  const [items, behind] = decodeItems(bytes, end, isMap ? count * 2 : count);
  if (!isMap) return [items, behind];
  const map = new Map<ReplyValue, ReplyValue>();
  for (let i = 0; i < items.length; i += 2) map.set(items[i]!, items[i + 1]!);
  return [map, behind];
}

/** A request as the array of bulk strings that clients send; strings are latin1. */
export function encodeRequest(parts: readonly string[]): Uint8Array {
  const text = parts.map((part) => `$${part.length}\r\n${part}\r\n`).join("");
  return Buffer.from(`*${parts.length}\r\n${text}`, "latin1");
}

export class RawConnection {
  #socket: { write(bytes: Uint8Array): number; end(): void } | undefined;
  #received: Uint8Array = new Uint8Array(0);
  #closed = false;
  #unsent: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;

  static async open(port: number): Promise<RawConnection> {
    const connection = new RawConnection();
    await connection.#connect(port);
    return connection;
  }

  async #connect(port: number): Promise<void> {
    this.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        drain: () => this.#flush(),
        data: (_socket, chunk) => {
          this.#received = Buffer.concat([this.#received, chunk]);
          this.#wake?.();
        },
        close: () => {
          this.#closed = true;
          this.#wake?.();
        },
      },
    });
  }

  /** Sends all of `bytes`, as fast as the server takes them. */
  send(bytes: Uint8Array): void {
    this.#unsent = Buffer.concat([this.#unsent, bytes]);
    this.#flush();
  }

  #flush(): void {
    const written = this.#socket?.write(this.#unsent) ?? 0;
    this.#unsent = this.#unsent.subarray(Math.max(0, written));
  }

  /** The next reply's bytes; undefined when the server closed the connection first. Throws after half a minute. */
  async reply(): Promise<Uint8Array | undefined> {
    const deadline = performance.now() + REPLY_TIMEOUT_MS;
    for (;;) {
      const end = this.#received.length === 0 ? -1 : replyEnd(this.#received, 0);
      if (end >= 0) {
        const reply = this.#received.subarray(0, end);
        this.#received = this.#received.subarray(end);
        return reply;
      }
      if (this.#closed) return undefined;
      if (performance.now() > deadline) {
        throw new Error(`no reply in time; received ${JSON.stringify(String(this.#received))}`);
      }
      await this.#change(20);
    }
  }

  /** Whether the server closes the connection within `waitMs`. */
  async closes(waitMs: number): Promise<boolean> {
    const deadline = performance.now() + waitMs;
    while (!this.#closed && performance.now() < deadline) await this.#change(10);
    return this.#closed;
  }

  close(): void {
    this.#socket?.end();
  }

  #change(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
