/**
 * COMMAND and HELP against what Redis answers. test/golden/command-digests.txt has, for every command, digests of
 * Redis's replies to COMMAND INFO and COMMAND DOCS in RESP2 and RESP3; of containers, the part before their
 * subcommands, which dkv has fewer of and Redis in no fixed order. (Digests, because the replies take 400 kB.)
 *
 *     DKV_COMPAT_TARGET=redis   compares with a running redis-server 7.0 instead: differences become visible
 *     DKV_REWRITE_GOLDEN=1      writes the digests anew from redis-server
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { matchesGlob } from "../../src/config/glob.ts";
import { ReplyWriter } from "../../src/resp/reply-writer.ts";
import {
  replyCommand,
  replyCommandCount,
  replyCommandDocs,
  replyCommandInfo,
  replyCommandKeys,
  replyCommandList,
  replyHelp,
} from "../../src/server/command-introspection.ts";
import {
  COMMANDS,
  type CommandSpec,
  commandNamed,
  TOP_LEVEL_COMMANDS,
} from "../../src/server/command-table.ts";
import { OWN_CLUSTER_COMMANDS } from "../../src/server/own-commands.ts";
import {
  matches,
  parseScript,
  render,
  type Section,
  sortReply,
  splitWords,
} from "../golden/compat-script.ts";
import { encodeRequest, RawConnection, replyEnd } from "../support/raw-connection.ts";
import {
  redisCommand,
  type ServerProcess,
  START_TIMEOUT_MS,
  startServer,
} from "../support/server-process.ts";

const REWRITES = process.env["DKV_REWRITE_GOLDEN"] === "1";
const USES_REDIS = REWRITES || process.env["DKV_COMPAT_TARGET"] === "redis";
const GOLDEN = join(import.meta.dir, "../golden/command-digests.txt");
const SCRIPTS = join(import.meta.dir, "../golden/compat");
/** Commands of Redis 7.2. */
const NEWER_OF_REDIS = ["client|no-touch", "client|setinfo", "cluster|myshardid", "waitaof"];
const NEWER = [...NEWER_OF_REDIS, ...OWN_CLUSTER_COMMANDS.map(({ name }) => name)];
const PROTOCOLS = [2, 3] as const;
const VARIANTS = [
  ["INFO", 2],
  ["INFO", 3],
  ["DOCS", 2],
  ["DOCS", 3],
] as const;

type Words = readonly string[];
type Protocol = 2 | 3;

function dispatch(words: Words, reply: ReplyWriter): void {
  const request = { count: words.length, latin1: (index: number): string => words[index]! };
  const name = words[0]!.toLowerCase();
  const spec = commandNamed(words.length === 1 ? name : `${name}|${words[1]}`);
  if (spec === undefined) {
    reply.error(`ERR unknown subcommand '${words[1]}'. Try COMMAND HELP.`);
  } else if (!spec.acceptsArity(words.length)) {
    reply.error(`ERR wrong number of arguments for '${spec.name}' command`);
  } else if (spec.name === "command") replyCommand(reply);
  else if (spec.name === "command|count") replyCommandCount(reply);
  else if (spec.name === "command|info") replyCommandInfo(request, reply);
  else if (spec.name === "command|docs") replyCommandDocs(request, reply);
  else if (spec.name === "command|list") replyCommandList(request, reply, matchesGlob);
  else if (spec.name.endsWith("|help")) replyHelp(spec.container!, reply);
  else replyCommandKeys(request, reply, spec.name === "command|getkeysandflags");
}

function answer(words: Words, protocol: Protocol): Uint8Array {
  const reply = new ReplyWriter();
  reply.protocol = protocol;
  dispatch(words, reply);
  return reply.buffer.subarray(0, reply.length);
}

/** The part of a reply that dkv and Redis have in common: all of it, or what precedes the subcommands. */
function comparable(reply: Uint8Array, spec: CommandSpec, kind: "INFO" | "DOCS"): string {
  const text = Buffer.from(reply).toString("latin1");
  if (!spec.isContainer) return text;
  if (kind === "DOCS") return text.slice(0, text.indexOf("$11\r\nsubcommands\r\n"));
  let at = "*1\r\n*10\r\n".length;
  for (let field = 0; field < 9; field++) at = replyEnd(reply, at);
  return text.slice(0, at);
}

function digest(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text, "latin1").digest("hex").slice(0, 16);
}

/** Compares the section's replies with ours; returns their number. */
function playSection(section: Section): number {
  let protocol: Protocol = 2;
  let played = 0;
  for (let at = 0; at < section.lines.length; at++) {
    const line = section.lines[at]!;
    if (line === "@resp3") protocol = 3;
    const request = /^\??> (.*)$/.exec(line);
    if (request === null) continue;
    const expected: string[] = [];
    while (section.lines[at + 1]?.startsWith("<") === true) expected.push(section.lines[++at]!);
    const reply = answer(splitWords(request[1]!), protocol);
    const lines = render(line.startsWith("?>") ? sortReply(reply) : reply);
    if (!matches(expected, lines)) expect([line, ...lines]).toEqual([line, ...expected]);
    played++;
  }
  return played;
}

describe("replies as Redis gives them", () => {
  const compared = COMMANDS.filter((spec) => !NEWER.includes(spec.name));
  let server: ServerProcess | undefined;
  const fromRedis = new Map<Protocol, RawConnection>();

  async function redisSays(words: Words, protocol: Protocol): Promise<Uint8Array> {
    const connection = fromRedis.get(protocol)!;
    connection.send(encodeRequest(words));
    return (await connection.reply())!;
  }

  beforeAll(async () => {
    if (!USES_REDIS) return;
    server = await startServer(redisCommand);
    for (const protocol of PROTOCOLS) {
      fromRedis.set(protocol, await RawConnection.open(server.port));
      await redisSays(["HELLO", `${protocol}`], protocol);
    }
  }, START_TIMEOUT_MS);

  afterAll(() => server?.stop());

  const digests = new Map<string, string>();
  if (!USES_REDIS) {
    for (const line of readFileSync(GOLDEN, "utf8").trimEnd().split("\n")) {
      const [name, ...rest] = line.split(" ");
      digests.set(name!, rest.join(" "));
    }
  }

  test("COMMAND INFO and COMMAND DOCS of every command in both protocols", async () => {
    const lines: string[] = [];
    for (const spec of compared) {
      const own: string[] = [];
      for (const [kind, protocol] of VARIANTS) {
        const words = ["COMMAND", kind, spec.name];
        const text = comparable(answer(words, protocol), spec, kind);
        own.push(digest(text));
        if (!USES_REDIS) continue;
        expect(text).toBe(comparable(await redisSays(words, protocol), spec, kind));
      }
      lines.push(`${spec.name} ${own.join(" ")}`);
      if (!USES_REDIS) expect(`${spec.name} ${digests.get(spec.name)}`).toBe(lines.at(-1)!);
    }
    if (REWRITES) writeFileSync(GOLDEN, `${lines.join("\n")}\n`);
    else if (!USES_REDIS) expect(digests.size).toBe(compared.length);
  });

  for (const file of ["commands.txt", "help.txt"]) {
    for (const section of parseScript(readFileSync(join(SCRIPTS, file), "utf8")).sections) {
      test(`${file}: ${section.title}`, () => {
        expect(playSection(section)).toBeGreaterThan(0);
      });
    }
  }
});

describe("replies about all commands", () => {
  for (const protocol of PROTOCOLS) {
    test(`COMMAND, COMMAND INFO and COMMAND DOCS are well-formed in RESP${protocol}`, () => {
      for (const words of [["COMMAND"], ["COMMAND", "INFO"], ["COMMAND", "DOCS"]]) {
        const reply = answer(words, protocol);
        expect(replyEnd(reply, 0)).toBe(reply.length);
      }
      const all = answer(["COMMAND"], protocol);
      expect(render(all)[0]).toBe(`*${TOP_LEVEL_COMMANDS.length}`);
      expect(all).toEqual(answer(["COMMAND", "INFO"], protocol));
    });
  }

  test("COMMAND LIST names every command and subcommand", () => {
    const lines = render(answer(["COMMAND", "LIST"], 2));
    expect(lines.filter((line) => !/^[$*]/.test(line))).toEqual(COMMANDS.map((spec) => spec.name));
  });

  test("the commands that Redis 7.0 lacks have metadata and descriptions", () => {
    for (const name of NEWER) {
      const docs = Buffer.from(answer(["COMMAND", "DOCS", name], 2)).toString();
      expect(docs).toContain("summary");
      expect(docs).toContain(NEWER_OF_REDIS.includes(name) ? "7.2.0" : "0.1.0");
    }
  });

  test("HELP of every container names each of its subcommands", () => {
    for (const container of TOP_LEVEL_COMMANDS.filter((spec) => spec.isContainer)) {
      const reply = new ReplyWriter();
      replyHelp(container, reply);
      const headings = render(reply.buffer.subarray(0, reply.length)).map(
        (line) => line.slice(1).split(" ")[0]!,
      );
      expect(headings[1]).toBe(`${container.name.toUpperCase()}`);
      for (const each of container.subcommands) {
        // An old name of REPLICAS, which Redis does not mention either.
        if (each.name === "cluster|slaves") continue;
        const word = each.name.slice(container.name.length + 1).toUpperCase();
        expect(headings).toContain(word);
      }
    }
  });

  test("COMMAND GETKEYS gives keys of any bytes back as they came", () => {
    const key = "\x00\xff\r\n\xc3\xa9";
    const reply = Buffer.from(answer(["COMMAND", "GETKEYS", "GET", key], 2));
    expect(reply.toString("latin1")).toBe(`*1\r\n$6\r\n${key}\r\n`);
  });
});
