/**
 * The replies of COMMAND and its subcommands, and of every container's HELP, from the command table.
 *
 * COMMAND INFO comes from commands.json, which is in memory anyway; descriptions lie as text and are parsed when
 * somebody asks: command-docs.txt has one line a command (`name SPACE json`), command-help.txt one block a container
 * (`[name]` and the lines of its HELP). What Redis sends as a set, a map or a simple string is one here too.
 *
 * Words of a request are read as latin1, so that keys of any bytes come back as they were.
 */
import docsText from "./command-docs.txt" with { type: "text" };
import helpText from "./command-help.txt" with { type: "text" };
import {
  COMMANDS,
  type CommandSpec,
  commandNamed,
  FLAG_NAMES,
  type KeySpec,
  TOP_LEVEL_COMMANDS,
} from "./command-table.ts";
import { OWN_CLUSTER_DOCS, OWN_CLUSTER_HELP } from "./own-commands.ts";

/** What of a reply writer is needed here; maps and sets are arrays in RESP2. */
export interface IntrospectionReply {
  simple(text: string): void;
  error(text: string): void;
  integer(value: number): void;
  bulkString(text: string): void;
  bulkBytes(bytes: Buffer): void;
  array(count: number): void;
  map(entries: number): void;
  set(count: number): void;
  nullBulk(): void;
}

/** The words of a request, 0 the command's name. */
export interface RequestWords {
  readonly count: number;
  latin1(index: number): string;
}

type Json = string | number | readonly Json[] | JsonMap;
interface JsonMap {
  readonly [key: string]: Json;
}

function simpleSet(reply: IntrospectionReply, texts: readonly string[]): void {
  reply.set(texts.length);
  for (const text of texts) reply.simple(text);
}

function bulkSet(reply: IntrospectionReply, texts: readonly string[]): void {
  reply.set(texts.length);
  for (const text of texts) reply.bulkString(text);
}

function replyNumbers(reply: IntrospectionReply, numbers: Readonly<Record<string, number>>): void {
  const entries = Object.entries(numbers);
  reply.map(entries.length);
  for (const [name, value] of entries) {
    reply.bulkString(name);
    reply.integer(value);
  }
}

function replyKeySpec(reply: IntrospectionReply, spec: KeySpec): void {
  reply.map(spec.notes === undefined ? 3 : 4);
  if (spec.notes !== undefined) {
    reply.bulkString("notes");
    reply.bulkString(spec.notes);
  }
  reply.bulkString("flags");
  simpleSet(reply, spec.flags);
  reply.bulkString("begin_search");
  reply.map(2);
  reply.bulkString("type");
  reply.bulkString("index");
  reply.bulkString("spec");
  replyNumbers(reply, { index: spec.begin });
  reply.bulkString("find_keys");
  reply.map(2);
  reply.bulkString("type");
  reply.bulkString("range");
  reply.bulkString("spec");
  replyNumbers(reply, { lastkey: spec.last, keystep: spec.step, limit: spec.limit });
}

/** One command as COMMAND INFO shows it. */
function replyInfo(reply: IntrospectionReply, spec: CommandSpec): void {
  reply.array(10);
  reply.bulkString(spec.name);
  reply.integer(spec.arity);
  simpleSet(
    reply,
    FLAG_NAMES.filter((_name, bit) => spec.has(1 << bit)),
  );
  reply.integer(spec.firstKey);
  reply.integer(spec.lastKey);
  reply.integer(spec.keyStep);
  simpleSet(
    reply,
    spec.aclCategories.map((category) => `@${category}`),
  );
  bulkSet(reply, spec.tips);
  reply.set(spec.keySpecs.length);
  for (const each of spec.keySpecs) replyKeySpec(reply, each);
  // Redis sends an empty set where there are no subcommands and an array of them otherwise.
  if (spec.subcommands.length === 0) reply.set(0);
  else reply.array(spec.subcommands.length);
  for (const each of spec.subcommands) replyInfo(reply, each);
}

/** COMMAND */
export function replyCommand(reply: IntrospectionReply): void {
  reply.array(TOP_LEVEL_COMMANDS.length);
  for (const spec of TOP_LEVEL_COMMANDS) replyInfo(reply, spec);
}

/** COMMAND COUNT */
export function replyCommandCount(reply: IntrospectionReply): void {
  reply.integer(TOP_LEVEL_COMMANDS.length);
}

/** COMMAND INFO [name …] */
export function replyCommandInfo(request: RequestWords, reply: IntrospectionReply): void {
  if (request.count === 2) {
    replyCommand(reply);
    return;
  }
  reply.array(request.count - 2);
  for (let at = 2; at < request.count; at++) {
    const spec = commandNamed(request.latin1(at));
    if (spec === undefined) reply.nullBulk();
    else replyInfo(reply, spec);
  }
}

let docsLines: Map<string, string> | undefined;

/** The description of a command, or of a subcommand within its container's. */
function docsOf(spec: CommandSpec): JsonMap {
  docsLines ??= new Map(
    docsText
      .trimEnd()
      .split("\n")
      .map((line) => {
        const space = line.indexOf(" ");
        return [line.slice(0, space), line.slice(space + 1)];
      }),
  );
  const container = spec.container?.name ?? spec.name;
  const docs = JSON.parse(docsLines.get(container) ?? "{}") as JsonMap;
  const own = container === "cluster" ? OWN_CLUSTER_DOCS : {};
  const subcommands = { ...(docs["subcommands"] as JsonMap | undefined), ...own };
  if (spec.container !== undefined) return subcommands[spec.name] as JsonMap;
  return docs["subcommands"] === undefined ? docs : { ...docs, subcommands };
}

function replyDocs(reply: IntrospectionReply, docs: JsonMap): void {
  const entries = Object.entries(docs);
  reply.map(entries.length);
  for (const [field, value] of entries) {
    reply.bulkString(field);
    replyDocsField(reply, field, value);
  }
}

function replyDocsField(reply: IntrospectionReply, field: string, value: Json): void {
  if (typeof value === "string") {
    reply.bulkString(value);
  } else if (typeof value === "number") {
    reply.integer(value);
  } else if (field === "flags" || field === "doc_flags") {
    simpleSet(reply, value as readonly string[]);
  } else if (field === "history") {
    const changes = value as readonly (readonly string[])[];
    reply.set(changes.length);
    for (const change of changes) {
      reply.array(change.length);
      for (const text of change) reply.bulkString(text);
    }
  } else if (field === "arguments") {
    const items = value as readonly JsonMap[];
    reply.array(items.length);
    for (const each of items) replyDocs(reply, each);
  } else {
    const subcommands = Object.entries(value as JsonMap);
    reply.map(subcommands.length);
    for (const [name, docs] of subcommands) {
      reply.bulkString(name);
      replyDocs(reply, docs as JsonMap);
    }
  }
}

/** COMMAND DOCS [name …]: names that are no command are left out. */
export function replyCommandDocs(request: RequestWords, reply: IntrospectionReply): void {
  const specs: CommandSpec[] = request.count === 2 ? [...TOP_LEVEL_COMMANDS] : [];
  for (let at = 2; at < request.count; at++) {
    const spec = commandNamed(request.latin1(at));
    if (spec !== undefined) specs.push(spec);
  }
  reply.map(specs.length);
  for (const spec of specs) {
    reply.bulkString(spec.name);
    replyDocs(reply, docsOf(spec));
  }
}

/**
 * COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]
 * `matchesGlob` is case-sensitive; pattern and names come in lower case.
 */
export function replyCommandList(
  request: RequestWords,
  reply: IntrospectionReply,
  matchesGlob: (pattern: string, name: string) => boolean,
): void {
  let specs = COMMANDS;
  if (request.count !== 2) {
    const isFilter = request.count === 5 && request.latin1(2).toLowerCase() === "filterby";
    const kind = isFilter ? request.latin1(3).toLowerCase() : "";
    const wanted = isFilter ? request.latin1(4).toLowerCase() : "";
    if (kind === "module") specs = [];
    else if (kind === "aclcat") specs = specs.filter((each) => each.aclCategories.includes(wanted));
    else if (kind === "pattern") specs = specs.filter((each) => matchesGlob(wanted, each.name));
    else {
      reply.error("ERR syntax error");
      return;
    }
  }
  reply.array(specs.length);
  for (const spec of specs) reply.bulkString(spec.name);
}

/** What SET does to its key: it reads the old value only with GET. */
function setKeyFlags(request: RequestWords, start: number): string[] {
  for (let at = start + 3; at < request.count; at++) {
    if (request.latin1(at).toLowerCase() === "get") return ["RW", "access", "update"];
  }
  return ["OW", "update"];
}

/** What BITFIELD does to its key: it only reads when all its operations are GET. */
function bitfieldKeyFlags(request: RequestWords, start: number): string[] {
  for (let at = start + 2; at < request.count; at++) {
    const operation = request.latin1(at).toLowerCase();
    const rest = request.count - at - 1;
    if (operation === "get" && rest >= 2) at += 2;
    else if (operation === "overflow" && rest >= 1) at += 1;
    else return ["RW", "access", "update"];
  }
  return ["RO", "access"];
}

function keyFlags(command: CommandSpec, key: KeySpec, request: RequestWords): readonly string[] {
  if (!key.flags.includes("variable_flags")) return key.flags;
  // The request that is asked about starts behind the two words of COMMAND GETKEYSANDFLAGS.
  return command.name === "set" ? setKeyFlags(request, 2) : bitfieldKeyFlags(request, 2);
}

function commandAt(request: RequestWords, index: number): CommandSpec | undefined {
  const spec = commandNamed(request.latin1(index));
  if (spec === undefined || spec.subcommands.length === 0 || index + 1 === request.count) {
    return spec?.container === undefined ? spec : undefined;
  }
  return commandNamed(`${spec.name}|${request.latin1(index + 1)}`);
}

/** COMMAND GETKEYS | GETKEYSANDFLAGS command [argument …] */
export function replyCommandKeys(
  request: RequestWords,
  reply: IntrospectionReply,
  withFlags: boolean,
): void {
  const spec = commandAt(request, 2);
  const argCount = request.count - 2;
  if (spec === undefined) {
    reply.error("ERR Invalid command specified");
    return;
  }
  if (spec.keySpecs.length === 0) {
    reply.error("ERR The command has no key arguments");
    return;
  }
  if (!spec.acceptsArity(argCount)) {
    reply.error("ERR Invalid number of arguments specified for command");
    return;
  }
  const found: { at: number; flags: readonly string[] }[] = [];
  for (const key of spec.keySpecs) {
    const flags = keyFlags(spec, key, request);
    const last = key.last >= 0 ? key.begin + key.last : argCount + key.last;
    for (let at = key.begin; at <= last; at += key.step) found.push({ at: at + 2, flags });
  }
  reply.array(found.length);
  for (const { at, flags } of found) {
    if (withFlags) reply.array(2);
    reply.bulkBytes(Buffer.from(request.latin1(at), "latin1"));
    if (withFlags) simpleSet(reply, flags);
  }
}

let helpBlocks: Map<string, readonly string[]> | undefined;

/** The HELP subcommand of any container. */
export function replyHelp(container: CommandSpec, reply: IntrospectionReply): void {
  helpBlocks ??= new Map(
    helpText
      .trimEnd()
      .split(/\n?^\[(?=[a-z]+\]$)/m)
      .slice(1)
      .map((block) => {
        const [name, ...lines] = block.split("\n");
        return [name!.slice(0, -1), lines];
      }),
  );
  const known = helpBlocks.get(container.name) ?? [];
  const own = container.name === "cluster" ? OWN_CLUSTER_HELP : [];
  // The last two lines are about HELP itself.
  const lines = [...known.slice(0, -2), ...own, ...known.slice(-2)];
  reply.array(lines.length);
  for (const line of lines) reply.simple(line);
}
