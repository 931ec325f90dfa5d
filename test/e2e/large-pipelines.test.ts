/**
 * Large arguments and values of many connections at once, pipelined, queued in transactions and echoed: their memory is
 * used again as soon as a request is done, so whatever was given back too early shows as another connection's bytes.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { encodeCommand } from "../../bench/client.ts";
import { type ServerProcess, startServer } from "../support/server-process.ts";

const MIB = 1024 * 1024;
const CONNECTIONS = 6;
const ROUNDS = 4;
const MAIN = join(import.meta.dir, "../../src/main.ts");

let server: ServerProcess;

beforeAll(async () => {
  server = await startServer((port, directory) => [
    ...[process.execPath, MAIN, "--port", `${port}`, "--dir", directory],
    ...["--maxmemory", "256mb", "--appendfsync", "no", "--loglevel", "warning"],
  ]);
});

afterAll(async () => {
  await server.stop();
});

/** No two values have a slab in common. */
function valueNamed(name: string, bytes: number): Buffer {
  const value = Buffer.alloc(bytes, `${name} `);
  for (let at = 0; at + 8 <= bytes; at += 4096) value.writeUInt32LE(at, at);
  return value;
}

const bulk = (value: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`$${value.length}\r\n`), value, Buffer.from("\r\n")]);
const line = (text: string): Buffer => Buffer.from(`${text}\r\n`);

/** Requests and the replies that they must get. */
function conversation(name: string): { requests: Buffer; replies: Buffer } {
  const requests: Buffer[] = [];
  const replies: Buffer[] = [];
  const ask = (words: (string | Buffer)[], reply: Buffer): void => {
    requests.push(encodeCommand(words));
    replies.push(reply);
  };
  for (let round = 0; round < ROUNDS; round++) {
    const one = valueNamed(`${name}-one-${round}`, 3 * MIB + 1);
    const two = valueNamed(`${name}-two-${round}`, 2 * MIB);
    const three = valueNamed(`${name}-three-${round}`, MIB + MIB / 2);
    ask(["SET", `${name}:a`, one], line("+OK"));
    ask(["GET", `${name}:a`], bulk(one));
    ask(["ECHO", three], bulk(three));
    ask(["MULTI"], line("+OK"));
    ask(["SET", `${name}:b`, two], line("+QUEUED"));
    ask(["ECHO", three], line("+QUEUED"));
    ask(["MSET", `${name}:c`, three, `${name}:d`, one], line("+QUEUED"));
    ask(["EXEC"], Buffer.concat([line("*3"), line("+OK"), bulk(three), line("+OK")]));
    ask(["GET", `${name}:b`], bulk(two));
    ask(["MGET", `${name}:c`, `${name}:d`], Buffer.concat([line("*2"), bulk(three), bulk(one)]));
    ask(["MULTI"], line("+OK"));
    ask(["SET", `${name}:b`, one], line("+QUEUED"));
    ask(["DISCARD"], line("+OK"));
    ask(["COPY", `${name}:d`, `${name}:e`, "REPLACE"], line(":1"));
    ask(["GETRANGE", `${name}:e`, "5", "-1"], bulk(one.subarray(5)));
    ask(["GET", `${name}:b`], bulk(two));
  }
  return { requests: Buffer.concat(requests), replies: Buffer.concat(replies) };
}

/** Sends all at once and reads meanwhile; resolves with the place of the first wrong byte, −1: none. */
function converse(name: string): Promise<number> {
  const { requests, replies } = conversation(name);
  return new Promise((resolve, reject) => {
    let sent = 0;
    let received = 0;
    const send = (socket: Bun.Socket): void => {
      while (sent < requests.length) {
        const taken = socket.write(requests, sent, Math.min(256 * 1024, requests.length - sent));
        if (taken <= 0) return;
        sent += taken;
      }
    };
    const connecting = Bun.connect({
      hostname: "127.0.0.1",
      port: server.port,
      socket: {
        open: send,
        drain: send,
        data: (socket, chunk) => {
          const end = received + chunk.length;
          if (
            end > replies.length ||
            replies.compare(chunk, 0, chunk.length, received, end) !== 0
          ) {
            let at = 0;
            while (chunk[at] === replies[received + at]) at++;
            resolve(received + at);
            socket.terminate();
            return;
          }
          received = end;
          if (received < replies.length) return;
          resolve(-1);
          socket.end();
        },
        close: () =>
          reject(new Error(`${name}: closed after ${received} of ${replies.length} bytes`)),
        error: (_socket, error) => reject(error),
      },
    });
    connecting.catch(reject);
  });
}

/** Goes away in the middle of an argument, and in the middle of a reply. */
async function leave(): Promise<void> {
  const value = valueNamed("left", 3 * MIB);
  const request = encodeCommand(["SET", "left", value]);
  const parts = [
    request.subarray(0, 2 * MIB),
    Buffer.concat([request, encodeCommand(["GET", "left"])]),
  ];
  for (const part of parts) {
    let at = 0;
    const send = (socket: Bun.Socket): void => {
      at += Math.max(0, socket.write(part, at, part.length - at));
    };
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: server.port,
      socket: { open: send, drain: send, data: (reader) => reader.terminate() },
    });
    await Bun.sleep(100);
    socket.terminate();
  }
}

test("pipelined large values of several connections keep their bytes", async () => {
  const leaving = (async () => {
    for (let i = 0; i < ROUNDS; i++) await leave();
  })();
  const names = Array.from({ length: CONNECTIONS }, (_, i) => `c${i}`);
  expect(await Promise.all(names.map(converse))).toEqual(names.map(() => -1));
  await leaving;
}, 60_000);
