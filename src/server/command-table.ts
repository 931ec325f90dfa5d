/**
 * What dkv knows about each command: arity, flags, key positions, categories. Pure data from commands.json, which
 * holds what Redis 7.0 reports in COMMAND INFO for the commands that dkv answers (7.2 for the few newer ones).
 *
 * A command is found in its request bytes without a string being built. All names lie in one array, in lower case;
 * a second array of the same length holds 0x20 under letters and 0 under the rest, so that `(byte | mask) === name`
 * holds exactly for the two cases of a letter and for nothing else. The hash table is open addressing with linear
 * probing, at most a quarter full:
 *
 *     hash(container, bytes) ─► SLOT_IDS[h] (id + 1, 0 is empty) ─► CONTAINER_OF[id] and the name compared
 *
 * Subcommands live in the same table, with their container mixed into the hash.
 *
 * Invariant: ids are dense, COMMANDS[spec.id] === spec; a container's subcommands follow it.
 * Hot: lookup (bench/micro/command-lookup.bench.ts).
 */
import { assert, unreachable } from "../base/assert.ts";
import rawCommands from "./commands.json" with { type: "json" };
import { OWN_CLUSTER_COMMANDS } from "./own-commands.ts";

/** A key specification in the form of commands.json: keys start at `begin`; see KeySpec. */
export interface RawKeySpec {
  readonly notes?: string;
  readonly flags: string;
  readonly begin: number;
  readonly last: number;
  readonly step: number;
  readonly limit: number;
}

/** A command in the form of commands.json; flags and categories are separated by spaces, empty parts left out. */
export interface RawCommand {
  readonly name: string;
  readonly arity: number;
  readonly flags?: string;
  /** First key, last key (negative: from the end), step. */
  readonly keys?: readonly number[];
  readonly acl: string;
  readonly tips?: readonly string[];
  readonly keySpecs?: readonly RawKeySpec[];
  readonly subcommands?: readonly RawCommand[];
}

/** In the order in which Redis reports them; a flag's bit is its index here. */
export const FLAG_NAMES = [
  "write",
  "readonly",
  "denyoom",
  "module",
  "admin",
  "pubsub",
  "noscript",
  "blocking",
  "loading",
  "stale",
  "skip_monitor",
  "skip_slowlog",
  "asking",
  "fast",
  "no_auth",
  "may_replicate",
  "no_mandatory_keys",
  "no_async_loading",
  "no_multi",
  "movablekeys",
  "allow_busy",
] as const;

export const FLAG_WRITE = 1 << 0;
export const FLAG_READONLY = 1 << 1;
export const FLAG_DENYOOM = 1 << 2;
export const FLAG_ADMIN = 1 << 4;
export const FLAG_PUBSUB = 1 << 5;
export const FLAG_NOSCRIPT = 1 << 6;
export const FLAG_BLOCKING = 1 << 7;
export const FLAG_LOADING = 1 << 8;
export const FLAG_STALE = 1 << 9;
export const FLAG_SKIP_MONITOR = 1 << 10;
export const FLAG_SKIP_SLOWLOG = 1 << 11;
export const FLAG_ASKING = 1 << 12;
export const FLAG_FAST = 1 << 13;
export const FLAG_NO_AUTH = 1 << 14;
export const FLAG_MAY_REPLICATE = 1 << 15;
export const FLAG_NO_MANDATORY_KEYS = 1 << 16;
export const FLAG_NO_ASYNC_LOADING = 1 << 17;
export const FLAG_NO_MULTI = 1 << 18;
export const FLAG_MOVABLEKEYS = 1 << 19;
export const FLAG_ALLOW_BUSY = 1 << 20;

/** Keys at begin, begin + step, … up to begin + last; a negative `last` counts from the end of the request. */
export interface KeySpec {
  readonly notes: string | undefined;
  readonly flags: readonly string[];
  readonly begin: number;
  readonly last: number;
  readonly step: number;
  readonly limit: number;
}

export class CommandSpec {
  /** Index into COMMANDS and into every array of per-command statistics. */
  readonly id: number;
  /** Lower case; a subcommand carries its container: `config|get`. */
  readonly name: string;
  readonly container: CommandSpec | undefined;
  readonly subcommands: readonly CommandSpec[];
  /** Words in the request, the name included; negative: at least that many. */
  readonly arity: number;
  /** A set of FLAG_… bits. */
  readonly flags: number;
  /** Index of the first key in the request; 0 when there is none. */
  readonly firstKey: number;
  /** Index of the last key; negative counts from the end of the request. */
  readonly lastKey: number;
  readonly keyStep: number;
  readonly aclCategories: readonly string[];
  readonly tips: readonly string[];
  readonly keySpecs: readonly KeySpec[];

  constructor(raw: RawCommand, container: CommandSpec | undefined, into: CommandSpec[]) {
    this.id = into.length;
    into.push(this);
    this.name = raw.name;
    this.container = container;
    this.arity = raw.arity;
    this.flags = flagSet(words(raw.flags));
    this.firstKey = raw.keys?.[0] ?? 0;
    this.lastKey = raw.keys?.[1] ?? 0;
    this.keyStep = raw.keys?.[2] ?? 0;
    this.aclCategories = words(raw.acl);
    this.tips = raw.tips ?? [];
    this.keySpecs = (raw.keySpecs ?? []).map(toKeySpec);
    this.subcommands = (raw.subcommands ?? []).map((each) => new CommandSpec(each, this, into));
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  /** Whether a request of `argCount` words, the name included, has as many as the command wants. */
  acceptsArity(argCount: number): boolean {
    return this.arity >= 0 ? argCount === this.arity : argCount >= -this.arity;
  }

  /** The second word, where there is one, names what to run. */
  get isContainer(): boolean {
    return this.subcommands.length > 0;
  }

  /** False for containers that want a second word; COMMAND is one that also runs alone. */
  get isRunnable(): boolean {
    return !this.isContainer || this.acceptsArity(1);
  }
}

function words(text: string | undefined): string[] {
  return text === undefined || text === "" ? [] : text.split(" ");
}

function flagSet(names: readonly string[]): number {
  let flags = 0;
  for (const name of names) {
    const bit = (FLAG_NAMES as readonly string[]).indexOf(name);
    assert(bit >= 0, "commands.json has a flag that FLAG_NAMES lacks");
    flags |= 1 << bit;
  }
  return flags;
}

function toKeySpec(raw: RawKeySpec): KeySpec {
  return { ...raw, notes: raw.notes, flags: words(raw.flags) };
}

function withOwn(cluster: RawCommand): RawCommand {
  return { ...cluster, subcommands: [...cluster.subcommands!, ...OWN_CLUSTER_COMMANDS] };
}

function build(): CommandSpec[] {
  const specs: CommandSpec[] = [];
  for (const raw of rawCommands as readonly RawCommand[])
    new CommandSpec(raw.name === "cluster" ? withOwn(raw) : raw, undefined, specs);
  return specs;
}

/** Every command and subcommand, by id. */
export const COMMANDS: readonly CommandSpec[] = build();
export const COMMAND_COUNT: number = COMMANDS.length;
/** What COMMAND lists: no subcommands. */
export const TOP_LEVEL_COMMANDS: readonly CommandSpec[] = COMMANDS.filter(
  (spec) => spec.container === undefined,
);

const TABLE_BITS = 10;
const TABLE_SIZE = 1 << TABLE_BITS;
const NO_CONTAINER = 0xffff;
const SLOT_IDS = new Uint16Array(TABLE_SIZE);
const CONTAINER_OF = new Uint16Array(COMMAND_COUNT);
/** NAME_STARTS[id] … NAME_STARTS[id + 1] in NAMES and NAME_MASKS. */
const NAME_STARTS = new Uint16Array(COMMAND_COUNT + 1);
const NAMES = new Uint8Array(COMMANDS.reduce((sum, spec) => sum + ownName(spec).length, 0));
const NAME_MASKS = new Uint8Array(NAMES.length);

function ownName(spec: CommandSpec): string {
  return spec.name.slice(spec.name.indexOf("|") + 1);
}

/** Case-insensitive because 0x20 is set in every byte; what else that merges, the comparison tells apart. */
function hashOf(container: number, bytes: Uint8Array, start: number, end: number): number {
  let hash = container ^ (end - start);
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i]! | 0x20), 0x01000193);
  return (hash ^ (hash >>> 15)) & (TABLE_SIZE - 1);
}

function index(): void {
  assert(
    COMMAND_COUNT * 4 <= TABLE_SIZE,
    "the table is more than a quarter full: raise TABLE_BITS",
  );
  let at = 0;
  for (const spec of COMMANDS) {
    const start = at;
    for (const letter of ownName(spec)) {
      NAMES[at] = letter.charCodeAt(0);
      NAME_MASKS[at++] = letter >= "a" && letter <= "z" ? 0x20 : 0;
    }
    NAME_STARTS[spec.id] = start;
    NAME_STARTS[spec.id + 1] = at;
    const container = spec.container?.id ?? NO_CONTAINER;
    CONTAINER_OF[spec.id] = container;
    let slot = hashOf(container, NAMES, start, at);
    while (SLOT_IDS[slot] !== 0) slot = (slot + 1) & (TABLE_SIZE - 1);
    SLOT_IDS[slot] = spec.id + 1;
  }
}

index();

function find(
  container: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): CommandSpec | undefined {
  let slot = hashOf(container, bytes, start, end);
  for (;;) {
    const id = SLOT_IDS[slot]! - 1;
    if (id < 0) return undefined;
    const nameStart = NAME_STARTS[id]!;
    if (CONTAINER_OF[id] === container && NAME_STARTS[id + 1]! - nameStart === end - start) {
      const shift = nameStart - start;
      let i = start;
      while (i < end && (bytes[i]! | NAME_MASKS[i + shift]!) === NAMES[i + shift]!) i++;
      if (i === end) return COMMANDS[id];
    }
    slot = (slot + 1) & (TABLE_SIZE - 1);
  }
}

/** The command named by bytes[start, end), in any case. Hot: 9 ns for GET and SET. */
export function lookup(bytes: Uint8Array, start: number, end: number): CommandSpec | undefined {
  return find(NO_CONTAINER, bytes, start, end);
}

/** The subcommand of `container` named by bytes[start, end), in any case. */
export function lookupSubcommand(
  container: CommandSpec,
  bytes: Uint8Array,
  start: number,
  end: number,
): CommandSpec | undefined {
  return find(container.id, bytes, start, end);
}

/** By the printed name (`get`, `config|get`), in any case. Not for the hot path: it encodes the string. */
export function commandNamed(name: string): CommandSpec | undefined {
  const bar = name.indexOf("|");
  const bytes = Buffer.from(name);
  if (bar < 0) return lookup(bytes, 0, bytes.length);
  const container = lookup(bytes, 0, bar);
  return container && lookupSubcommand(container, bytes, bar + 1, bytes.length);
}

/**
 * Index of the last key in a request of `argCount` words, below spec.firstKey when it has no key. So the keys are at
 * `for (let at = spec.firstKey; at <= lastKeyOf(spec, argCount); at += spec.keyStep)`.
 * REQUIRES: spec.acceptsArity(argCount).
 */
export function lastKeyOf(spec: CommandSpec, argCount: number): number {
  if (spec.firstKey === 0) return -1;
  return spec.lastKey >= 0 ? spec.lastKey : argCount + spec.lastKey;
}

/**
 * Indexes of the keys in a request. Allocates: the hot path uses lastKeyOf.
 * REQUIRES: spec.acceptsArity(argCount).
 */
export function keysOf(spec: CommandSpec, argCount: number): number[] {
  assert(!spec.has(FLAG_MOVABLEKEYS), "a command with movable keys needs its own extraction");
  const keys: number[] = [];
  const last = Math.min(lastKeyOf(spec, argCount), argCount - 1);
  for (let at = spec.firstKey; at <= last; at += spec.keyStep) keys.push(at);
  return keys;
}

/**
 * Handlers by command id, from a map by printed name. Containers have none, but for COMMAND, which runs alone too. Throws when the map lacks a command of the
 * table or names one that the table lacks: both are bugs found at start, not at the first request.
 */
export function bindHandlers<H>(handlers: Readonly<Record<string, H>>): readonly (H | undefined)[] {
  const bound = COMMANDS.map((spec) => handlers[spec.name]);
  const missing = COMMANDS.filter((spec) => spec.isRunnable && bound[spec.id] === undefined);
  const unknown = Object.keys(handlers).filter((name) => commandNamed(name)?.name !== name);
  if (missing.length > 0)
    unreachable(`no handler for ${missing.map((each) => each.name).join(" ")}`);
  if (unknown.length > 0) unreachable(`handlers of unknown commands: ${unknown.join(" ")}`);
  return bound;
}
