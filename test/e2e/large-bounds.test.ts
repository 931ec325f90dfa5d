/**
 * What one client can make the server hold: replies and transactions of many large values are refused in words, and
 * leave nothing behind, so that the next client gets all of the share.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { encodeCommand } from "../../bench/client.ts";
import { type Reply, Skimmer } from "../../bench/noisy/replies.ts";
import { type ServerProcess, startServer } from "../support/server-process.ts";

const MIB = 1024 * 1024;
const MAIN = join(import.meta.dir, "../../src/main.ts");
/** The share for large values is 24 MiB: one of these fits it twice. */
const VALUE = Buffer.alloc(11 * MIB, "large");
const KEYS = Array.from({ length: 8 }, (_, i) => `large:${i}`);
const OUT_OF_MEMORY =
  "OOM the values of this command need more memory than maxmemory leaves for them";

let server: ServerProcess;

beforeAll(async () => {
  server = await startServer((port, directory) => [
    ...[process.execPath, MAIN, "--port", `${port}`, "--dir", directory],
    ...["--maxmemory", "192mb", "--appendfsync", "no", "--loglevel", "warning"],
  ]);
  const connection = await Skimmer.open(server.port);
  for (const key of KEYS) await connection.ask([encodeCommand(["SET", key, VALUE])]);
  connection.close();
}, 60_000);

afterAll(async () => {
  await server.stop();
});

async function ask(...words: (string | Buffer)[]): Promise<Reply> {
  const connection = await Skimmer.open(server.port);
  const reply = await connection.ask([encodeCommand(words)]);
  connection.close();
  return reply;
}

test("MGET of more than memory allows is refused, and of two values answered, again and again", async () => {
  for (let round = 0; round < 3; round++) {
    const refused = await ask("MGET", ...KEYS);
    expect(refused.kind + refused.text).toBe(`-${OUT_OF_MEMORY}`);
    const answered = await ask("MGET", ...KEYS.slice(0, 2));
    expect([answered.kind, answered.bulks]).toEqual(["*", 2]);
  }
});

test("EXEC of more than memory allows is refused, changes nothing, and its client goes on", async () => {
  const connection = await Skimmer.open(server.port);
  const run = (...words: string[]): Promise<Reply> => connection.ask([encodeCommand(words)]);
  await run("MULTI");
  await run("SET", "small", "written");
  for (const key of KEYS) await run("GET", key);
  const refused = await run("EXEC");
  expect(refused.kind + refused.text).toBe(`-${OUT_OF_MEMORY}`);
  expect((await run("GET", "small")).kind).toBe("_");
  expect((await run("MGET", ...KEYS.slice(0, 2))).bulks).toBe(2);
  connection.close();
});

test("a client that queues more than memory allows is closed, and others get all of it", async () => {
  const connection = await Skimmer.open(server.port);
  await connection.ask([encodeCommand(["MULTI"])]);
  let ending = "";
  for (const key of KEYS) {
    try {
      const reply = await connection.ask([encodeCommand(["SET", key, VALUE])]);
      if (reply.kind !== "-") continue;
      ending = reply.text;
    } catch (error) {
      ending = (error as Error).message;
    }
    break;
  }
  expect(ending).not.toBe("");
  expect((await ask("MGET", ...KEYS.slice(0, 2))).bulks).toBe(2);
  expect((await ask("GET", KEYS[7]!)).bytes).toBe(VALUE.length);
}, 20_000);
