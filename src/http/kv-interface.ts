/**
 * Values over HTTP: /kv/<key>, the key percent-encoded, so that it may hold any byte.
 *
 *     GET     200 and the value, X-TTL-Milliseconds if it expires; 404
 *     HEAD    the same without the value
 *     PUT     204; the body is the value. X-TTL-Seconds or X-TTL-Milliseconds: it expires.
 *             If-None-Match: * only a new key, If-Match: * only one that is there, else 412
 *     DELETE  204; 404
 *
 * Each request is one command, or two of one pipeline, of a LocalClient: what RESP promises of them holds here too.
 * Bodies are passed on as they arrive, in both directions, and both sides push back.
 */
import type { LocalClient } from "../server/local-client.ts";
import { NoReply, ReplyStream } from "./reply-stream.ts";
import { errorResponse, textResponse } from "./text-response.ts";

/** Values up to this length are answered whole. */
const WHOLE_BYTES_MAX = 64 * 1024;
const CRLF = Buffer.from("\r\n");
const BINARY = { "content-type": "application/octet-stream" };
const METHODS = "GET, HEAD, PUT, DELETE";
const NO_SUCH_KEY = "ERR no such key";
const LENGTH_MISSING = "ERR a body needs Content-Length: chunked bodies are not taken";
const NO_OUTCOME = "UNKNOWN the server has ended the request: it may have been carried out";
const PERCENT = 0x25;

export interface KvRequest {
  readonly request: Request;
  readonly key: Buffer;
  readonly client: LocalClient;
  /** Longest value in bytes. */
  readonly valueBytesMax: number;
}

/** The bytes of a percent-encoded key; undefined when it is not well formed. */
export function decodeKey(text: string): Buffer | undefined {
  const source = Buffer.from(text);
  const key = Buffer.alloc(source.length);
  let length = 0;
  for (let at = 0; at < source.length; at++) {
    let byte = source[at]!;
    if (byte === PERCENT) {
      const digits = source.toString("latin1", at + 1, at + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return undefined;
      byte = Number.parseInt(digits, 16);
      at += 2;
    }
    key[length++] = byte;
  }
  return key.subarray(0, length);
}

function bulk(bytes: Uint8Array | string): Buffer {
  const content = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
  return Buffer.concat([Buffer.from(`$${content.length}\r\n`), content, CRLF]);
}

function command(...words: readonly (Uint8Array | string)[]): Buffer {
  return Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...words.map(bulk)]);
}

/** Closes the client when all has been answered, or nobody waits for it any more. */
export async function serveKv(parts: KvRequest): Promise<Response> {
  const { client } = parts;
  parts.request.signal.addEventListener("abort", () => client.close());
  let answer: Answer = textResponse(500, "ERR internal error");
  try {
    answer = await respond(parts);
  } catch (error) {
    // Nobody reads the answer to a body that has broken off.
    if (!(error instanceof NoReply) && !parts.request.signal.aborted) throw error;
    answer = errorResponse(NO_OUTCOME);
  } finally {
    if (!(answer instanceof LongValue)) client.close();
  }
  return answer instanceof LongValue ? answer.response() : answer;
}

type Answer = Response | LongValue;

function respond(parts: KvRequest): Promise<Answer> | Answer {
  switch (parts.request.method) {
    case "GET":
      return get(parts);
    case "HEAD":
      return head(parts);
    case "PUT":
      return put(parts);
    case "DELETE":
      return remove(parts);
    default:
      return textResponse(405, `ERR use ${METHODS}`, { allow: METHODS });
  }
}

/** The number in the next line, or the answer to an error. */
async function integer(replies: ReplyStream): Promise<number | Response> {
  const line = await replies.line();
  return line.startsWith("-") ? errorResponse(line.slice(1)) : Number(line.slice(1));
}

function ttlHeaders(ttlMs: number): Record<string, string> {
  return ttlMs < 0 ? { ...BINARY } : { ...BINARY, "x-ttl-milliseconds": `${ttlMs}` };
}

async function get({ client, key }: KvRequest): Promise<Answer> {
  await client.send(Buffer.concat([command("PTTL", key), command("GET", key)]));
  const replies = new ReplyStream(client);
  const ttlMs = await integer(replies);
  if (typeof ttlMs !== "number") return ttlMs;
  const length = await integer(replies);
  if (typeof length !== "number") return length;
  if (length < 0) return textResponse(404, NO_SUCH_KEY);
  const headers = ttlHeaders(ttlMs);
  if (length > WHOLE_BYTES_MAX) return new LongValue(client, replies, length, headers);
  const pieces: Buffer[] = [];
  for (let left = length; left > 0; left -= pieces.at(-1)!.length)
    pieces.push(await replies.piece(left));
  return new Response(Buffer.concat(pieces), { headers });
}

/** A value that is passed on as its reader takes it: at most a piece is ahead of him. Closes the client at its end. */
class LongValue {
  readonly #client: LocalClient;
  readonly #replies: ReplyStream;
  readonly #headers: Readonly<Record<string, string>>;
  #left: number;

  constructor(
    client: LocalClient,
    replies: ReplyStream,
    length: number,
    headers: Readonly<Record<string, string>>,
  ) {
    this.#client = client;
    this.#replies = replies;
    // Its length goes in chunks: the runtime lets no Content-Length stand beside a stream.
    this.#headers = headers;
    this.#left = length;
  }

  response(): Response {
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => this.#pull(controller),
      cancel: () => this.#client.close(),
    });
    return new Response(body, { headers: this.#headers });
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    try {
      const piece = await this.#replies.piece(this.#left);
      this.#left -= piece.length;
      controller.enqueue(piece);
    } catch (error) {
      this.#client.close();
      controller.error(error);
      return;
    }
    if (this.#left > 0) return;
    this.#client.close();
    controller.close();
  }
}

async function head({ client, key }: KvRequest): Promise<Response> {
  await client.send(Buffer.concat([command("PTTL", key), command("STRLEN", key)]));
  const replies = new ReplyStream(client);
  const ttlMs = await integer(replies);
  if (typeof ttlMs !== "number") return ttlMs;
  const length = await integer(replies);
  if (typeof length !== "number") return length;
  if (ttlMs === -2) return textResponse(404, NO_SUCH_KEY);
  return new Response(null, { headers: { ...ttlHeaders(ttlMs), "content-length": `${length}` } });
}

/** SET's options; the answer to headers that contradict each other. */
function setOptions(headers: Headers): string[] | Response {
  const seconds = headers.get("x-ttl-seconds");
  const milliseconds = headers.get("x-ttl-milliseconds");
  const isNew = headers.get("if-none-match");
  const isThere = headers.get("if-match");
  const only = isNew ?? isThere;
  if (seconds !== null && milliseconds !== null)
    return textResponse(400, "ERR use X-TTL-Seconds or X-TTL-Milliseconds, not both");
  if (isNew !== null && isThere !== null)
    return textResponse(400, "ERR use If-Match or If-None-Match, not both");
  if (only !== null && only !== "*")
    return textResponse(400, "ERR values have no tags: If-Match and If-None-Match take * only");
  const options: string[] = [];
  if (seconds !== null) options.push("EX", seconds);
  if (milliseconds !== null) options.push("PX", milliseconds);
  if (only !== null) options.push(isNew === null ? "XX" : "NX");
  return options;
}

/** Bytes of the body as its header says; undefined: it does not. */
function declaredLength({ headers, body }: Request): number | undefined {
  const text = headers.get("content-length");
  if (text !== null) return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  return body === null ? 0 : undefined;
}

async function put({ request, client, key, valueBytesMax }: KvRequest): Promise<Response> {
  const options = setOptions(request.headers);
  if (options instanceof Response) return options;
  const length = declaredLength(request);
  if (length === undefined) return textResponse(411, LENGTH_MISSING);
  if (length > valueBytesMax) {
    const reason = `ERR the value is longer than ${valueBytesMax} bytes`;
    return textResponse(413, reason, { connection: "close" });
  }
  const words = 3 + options.length;
  const start = [`*${words}\r\n`, bulk("SET"), bulk(key), `$${length}\r\n`].map(Buffer.from);
  const end = Buffer.concat([CRLF, ...options.map(bulk)]);
  const isTaken =
    (await client.send(Buffer.concat(start))) &&
    (await sendBody(request, client, length)) &&
    (await client.send(end));
  // A refusal may have come before the end of the body.
  if (!isTaken && !client.hasEnded)
    return textResponse(400, "ERR the body is not as long as it was said to be");
  const line = await new ReplyStream(client).line();
  if (line.startsWith("-")) return errorResponse(line.slice(1));
  if (line.startsWith("+")) return new Response(null, { status: 204 });
  return textResponse(412, "ERR If-Match or If-None-Match does not hold");
}

/** Passes the body on; false: the session takes no more, or the body is not `length` bytes long. */
async function sendBody(request: Request, client: LocalClient, length: number): Promise<boolean> {
  if (request.body === null) return length === 0;
  let left = length;
  for await (const chunk of request.body) {
    left -= chunk.length;
    if (left < 0 || !(await client.send(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))))
      return false;
  }
  return left === 0;
}

async function remove({ client, key }: KvRequest): Promise<Response> {
  await client.send(command("DEL", key));
  const removed = await integer(new ReplyStream(client));
  if (typeof removed !== "number") return removed;
  return removed === 0 ? textResponse(404, NO_SUCH_KEY) : new Response(null, { status: 204 });
}
