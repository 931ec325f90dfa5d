/**
 * The benchmark's own small client: one administrative command at a time, and a pipelined loader.
 *
 * Needs nothing of the server but RESP2, so a server that is half built can be measured.
 */

import { REPLY_ERROR, ReplyScanner, type ReplySink } from "./load/reply-scanner.ts";

const LOAD_BATCH = 1000;

/** Sends one command on a fresh connection; returns its status, integer or bulk as text. Rejects on an error reply. */
export function command(port: number, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const finish = (socket: Bun.Socket, outcome: () => void): void => {
      outcome();
      socket.end();
    };
    Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (socket) => {
          socket.write(encodeCommand(args));
        },
        data: (socket, chunk) => {
          received = Buffer.concat([received, chunk]);
          const reply = completeReply(received);
          if (reply === undefined) return;
          if (reply.isError) finish(socket, () => reject(new Error(reply.text)));
          else finish(socket, () => resolve(reply.text));
        },
        close: () => reject(new Error(`connection closed during ${args[0]}`)),
        error: (_socket, error) => reject(error),
        connectError: (_socket, error) => reject(error),
      },
    }).catch(reject);
  });
}

/** The fields of an INFO section (or of all), by name. Empty when the server does not know it. */
export async function info(port: number, section = ""): Promise<Map<string, string>> {
  const fields = new Map<string, string>();
  const text = await command(port, "INFO", ...(section === "" ? [] : [section])).catch(() => "");
  for (const line of text.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0 && !line.startsWith("#")) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

/** Runs `count` commands in order through one pipelined connection, 1000 at a time; rejects on the first error reply. */
export function pipeline(
  port: number,
  count: number,
  encode: (index: number) => Buffer,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let sent = 0;
    let answered = 0;
    let unsent: Buffer = Buffer.alloc(0);
    const sink: ReplySink = {
      onReply: (kind, _stamp, text) => {
        answered++;
        if (kind === REPLY_ERROR) reject(new Error(`preloading failed: ${text}`));
      },
    };
    const scanner = new ReplyScanner(sink);
    const push = (socket: Bun.Socket): void => {
      const accepted = socket.write(unsent);
      unsent = unsent.subarray(Math.max(0, accepted));
    };
    const nextBatch = (socket: Bun.Socket): void => {
      const batch: Buffer[] = [];
      for (; batch.length < LOAD_BATCH && sent < count; sent++) batch.push(encode(sent));
      unsent = Buffer.concat(batch);
      push(socket);
    };
    Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: nextBatch,
        drain: push,
        data: (socket, chunk) => {
          scanner.feed(chunk);
          if (answered < sent) return;
          if (sent < count) return nextBatch(socket);
          resolve();
          socket.end();
        },
        close: () => reject(new Error("connection closed during preloading")),
        error: (_socket, error) => reject(error),
        connectError: (_socket, error) => reject(error),
      },
    }).catch(reject);
  });
}

export function encodeCommand(args: readonly (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = Buffer.from(arg as string);
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n"));
  }
  return Buffer.concat(parts);
}

function completeReply(bytes: Buffer): { text: string; isError: boolean } | undefined {
  const lineEnd = bytes.indexOf("\r\n");
  if (lineEnd < 0) return undefined;
  const line = bytes.toString("latin1", 1, lineEnd);
  const type = String.fromCharCode(bytes[0]!);
  // `$` bulk and `=` verbatim carry a body; the rest is a line.
  if ((type !== "$" && type !== "=") || line === "-1") return { text: line, isError: type === "-" };
  const bodyStart = lineEnd + 2;
  const bodyEnd = bodyStart + Number(line);
  if (bytes.length < bodyEnd + 2) return undefined;
  return { text: bytes.toString("latin1", bodyStart, bodyEnd), isError: false };
}
