/**
 * Writes commands.json, command-docs.txt and command-help.txt of src/server from a running Redis 7.0, in cluster mode
 * because CLUSTER HELP needs it:
 *
 *     redis-server --port 7777 --cluster-enabled yes & bun scripts/extract-commands.ts 7777
 *
 * PLAIN and CONTAINERS name what dkv answers; everything else that Redis has stays unknown. ADDED holds, in the same
 * form, the commands of Redis 7.2 that clients rely on and 7.0 lacks. All is sorted by name, so a run that changes
 * nothing writes the same files.
 *
 * commands.json, to be formatted by Biome afterwards: one object a command, as COMMAND INFO has it, empty parts left
 * out (RawCommand in src/server/command-table.ts). command-docs.txt: one line a command, `name SPACE json`, as COMMAND
 * DOCS has it. command-help.txt: `[container]` and the lines of its HELP.
 */
import type { RawCommand, RawKeySpec } from "../src/server/command-table.ts";
import type { ReplyValue } from "../test/support/raw-connection.ts";
import { decodeReply, encodeRequest, RawConnection } from "../test/support/raw-connection.ts";
import { ADDED } from "./added-commands.ts";

const PLAIN = `append asking auth bgrewriteaof bgsave bitcount bitfield bitfield_ro bitop bitpos copy dbsize debug decr
  decrby del discard echo exec exists expire expireat expiretime flushall flushdb get getbit getdel getex getrange
  getset hello incr incrby incrbyfloat info keys lastsave lcs mget monitor mset msetnx multi persist pexpire
  pexpireat pexpiretime ping psetex pttl quit randomkey readonly readwrite rename renamenx reset role save scan
  select set setbit setex setnx setrange shutdown strlen substr time touch ttl type unlink unwatch wait watch`;

/** Containers with their subcommands; "*" takes all that Redis has. */
const CONTAINERS: Record<string, string> = {
  client: `getname getredir help id info kill list no-evict pause reply setname tracking trackinginfo unblock unpause`,
  cluster: "*",
  command: "*",
  config: "*",
  latency: "*",
  memory: "*",
  module: "help list",
  object: "*",
  slowlog: "*",
};

type Json = string | number | readonly Json[] | { readonly [key: string]: Json };
type Docs = { readonly [key: string]: Json };

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

function isWanted(container: string, fullName: string): boolean {
  const wanted = CONTAINERS[container];
  return wanted === "*" || words(wanted ?? "").includes(fullName.slice(container.length + 1));
}

function list(value: ReplyValue): readonly ReplyValue[] {
  return value as readonly ReplyValue[];
}

function field(map: ReplyValue, name: string): ReplyValue {
  return (map as ReadonlyMap<ReplyValue, ReplyValue>).get(name) ?? null;
}

function toKeySpec(value: ReplyValue): RawKeySpec {
  const begin = field(value, "begin_search");
  const find = field(value, "find_keys");
  if (field(begin, "type") !== "index" || field(find, "type") !== "range") {
    throw new Error("a key specification other than index and range: extend RawKeySpec");
  }
  const notes = field(value, "notes");
  const range = field(find, "spec");
  return {
    ...(notes === null ? {} : { notes: String(notes) }),
    flags: list(field(value, "flags")).join(" "),
    begin: Number(field(field(begin, "spec"), "index")),
    last: Number(field(range, "lastkey")),
    step: Number(field(range, "keystep")),
    limit: Number(field(range, "limit")),
  };
}

function toCommand(value: ReplyValue): RawCommand {
  const [name, arity, flags, first, last, step, acl, tips, keySpecs, subcommands] = list(value);
  const kept = list(subcommands!).filter((each) => isWanted(String(name), String(list(each)[0])));
  const categories = list(acl!).map((each) => String(each).slice(1));
  return {
    name: String(name),
    arity: Number(arity),
    ...(list(flags!).length === 0 ? {} : { flags: list(flags!).join(" ") }),
    ...(first === 0 ? {} : { keys: [Number(first), Number(last), Number(step)] }),
    acl: categories.join(" "),
    ...(list(tips!).length === 0 ? {} : { tips: list(tips!).map(String) }),
    ...(list(keySpecs!).length === 0 ? {} : { keySpecs: list(keySpecs!).map(toKeySpec) }),
    ...(kept.length === 0 ? {} : { subcommands: kept.map(toCommand).sort(byName) }),
  };
}

function byName(left: RawCommand, right: RawCommand): number {
  return left.name < right.name ? -1 : 1;
}

function toJson(value: ReplyValue): Json {
  if (typeof value === "string" || typeof value === "number") return value;
  if (Array.isArray(value)) return value.map(toJson);
  const entries = [...(value as ReadonlyMap<ReplyValue, ReplyValue>)];
  return Object.fromEntries(entries.map(([key, each]) => [String(key), toJson(each)]));
}

/** Docs of one command with the unwanted subcommands left out and the added ones put in, sorted. */
function toDocs(name: string, value: ReplyValue): Docs {
  const docs = toJson(value) as Docs;
  const { subcommands, ...rest } = docs;
  if (subcommands === undefined) return docs;
  const kept = Object.entries(subcommands as Docs).filter(([each]) => isWanted(name, each));
  const added = ADDED.filter((each) => each.container === name).map((each): [string, Json] => [
    each.info.name,
    each.docs,
  ]);
  const sorted = [...kept, ...added].sort(([left], [right]) => (left < right ? -1 : 1));
  return { ...rest, subcommands: Object.fromEntries(sorted) };
}

async function ask(connection: RawConnection, parts: readonly string[]): Promise<ReplyValue> {
  connection.send(encodeRequest(parts));
  const reply = await connection.reply();
  if (reply === undefined) throw new Error(`connection closed at ${parts.join(" ")}`);
  return decodeReply(reply, 0)[0];
}

/** The lines of a container's HELP without those about unwanted subcommands, with those about added ones. */
function toHelp(container: string, lines: readonly string[]): string[] {
  const added = ADDED.filter((each) => each.container === container).flatMap((each) => each.help);
  const kept: string[] = [];
  let isKept = true;
  for (const line of lines) {
    const subcommand = line.startsWith(" ") ? undefined : line.split(" ")[0]!.toLowerCase();
    if (subcommand !== undefined && subcommand !== container) {
      isKept = isWanted(container, `${container}|${subcommand}`);
      if (subcommand === "help") kept.push(...added);
    }
    if (isKept) kept.push(line);
  }
  return kept;
}

async function main(port: number): Promise<void> {
  const connection = await RawConnection.open(port);
  await ask(connection, ["HELLO", "3"]);
  const names = [...words(PLAIN), ...Object.keys(CONTAINERS)].sort();
  const commands: RawCommand[] = [];
  const docs = new Map<string, Docs>();
  for (const info of list(await ask(connection, ["COMMAND", "INFO", ...names]))) {
    if (info === null) throw new Error("a supported command that this server does not know");
    const command = toCommand(info);
    const added = ADDED.filter((each) => each.container === command.name).map((each) => each.info);
    const subcommands = [...(command.subcommands ?? []), ...added].sort(byName);
    commands.push(subcommands.length === 0 ? command : { ...command, subcommands });
    const all = await ask(connection, ["COMMAND", "DOCS", command.name]);
    docs.set(command.name, toDocs(command.name, field(all, command.name)));
  }
  const help: string[] = [];
  for (const container of Object.keys(CONTAINERS)) {
    const lines = list(await ask(connection, [container, "HELP"])).map(String);
    help.push(`[${container}]`, ...toHelp(container, lines));
  }
  connection.close();
  for (const each of ADDED) {
    if (each.container !== undefined) continue;
    commands.push(each.info);
    docs.set(each.info.name, each.docs);
  }
  const folder = `${import.meta.dir}/../src/server`;
  await Bun.write(`${folder}/command-help.txt`, `${help.join("\n")}\n`);
  const lines = [...docs].sort(([left], [right]) => (left < right ? -1 : 1));
  await Bun.write(`${folder}/commands.json`, `${JSON.stringify(commands.sort(byName), null, 2)}\n`);
  await Bun.write(
    `${folder}/command-docs.txt`,
    lines.map(([name, each]) => `${name} ${JSON.stringify(each)}\n`).join(""),
  );
}

await main(Number(process.argv[2] ?? 6379));
