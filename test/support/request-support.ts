/**
 * What tests of the request parser share: requests as arrays of latin1 strings, the bytes that a client sends for them,
 * and a reader that feeds chunks as a session does, taking each request into a Request that others use too.
 */
import { Request } from "../../src/resp/request.ts";
import { type ParserLimits, ParseStatus, RequestParser } from "../../src/resp/request-parser.ts";

export const LIMITS: ParserLimits = { bulkBytesMax: 512 << 20, requestBytesMax: 1 << 30 };
/** Requests parsed before any of them is looked at. */
const AHEAD = 3;

export interface ReadOptions {
  readonly limits?: ParserLimits;
  readonly isTrusted?: boolean;
  /** Chunks are overwritten once their requests are taken: whoever kept a view of one reads garbage. */
  readonly spoils?: boolean;
}

export interface ReadResult {
  readonly requests: string[][];
  /** Set when the stream could not be understood. */
  readonly error: string | undefined;
  /** Most bytes that the parser held at a time. */
  readonly bufferedMax: number;
}

export function argumentsOf(request: Request): string[] {
  const out: string[] = [];
  for (let i = 0; i < request.count; i++) {
    out.push(Buffer.concat(request.pieces(i)).toString("latin1"));
  }
  return out;
}

/** A request as the parser leaves it, over bytes of its own. */
export function requestOf(...words: string[]): Request {
  const request = new Request();
  request.bytes = Buffer.from(words.join(""), "latin1");
  let at = 0;
  for (const [index, word] of words.entries()) {
    request.starts[index] = at;
    at += word.length;
    request.ends[index] = at;
  }
  request.count = words.length;
  return request;
}

/** Everything that `chunks` hold, as a session reads it. */
export function readRequests(chunks: readonly Buffer[], options: ReadOptions = {}): ReadResult {
  const parser = new RequestParser(options.limits ?? LIMITS);
  parser.isTrusted = options.isTrusted ?? true;
  const batch = Array.from({ length: AHEAD }, () => new Request());
  const requests: string[][] = [];
  let bufferedMax = 0;
  for (const chunk of chunks) {
    const own = Buffer.from(chunk);
    parser.feed(own);
    const status = takeRequests(parser, batch, requests);
    bufferedMax = Math.max(bufferedMax, parser.bufferedBytes);
    if (status === ParseStatus.MALFORMED) return { requests, error: parser.error, bufferedMax };
    if (options.spoils === true && parser.awaitedLarge === undefined) own.fill(0xcc);
  }
  return { requests, error: undefined, bufferedMax };
}

/** Reads what the parser has into `requests`, a batch at a time; the status that ended it. */
function takeRequests(
  parser: RequestParser,
  batch: readonly Request[],
  requests: string[][],
): ParseStatus {
  for (;;) {
    const most = parser.isBorrowing ? batch.length : 1;
    let status: ParseStatus = ParseStatus.COMPLETE;
    let count = 0;
    while (count < most) {
      status = parser.next(batch[count]!);
      if (status !== ParseStatus.COMPLETE) break;
      count++;
    }
    for (const request of batch.slice(0, count)) {
      if (request.count > 0) requests.push(argumentsOf(request));
      // The batch belongs to all sessions.
      request.reset();
    }
    if (status !== ParseStatus.COMPLETE) return status;
  }
}

/** `bytes` cut before each of the ascending `cuts`. */
export function chunksOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  let start = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut <= start) continue;
    chunks.push(bytes.subarray(start, cut));
    start = cut;
  }
  return chunks;
}
