/**
 * OBJECT and MEMORY: what a key's value looks like and what it takes.
 *
 * An encoding follows from the value alone, as if SET had just written it. Nothing is evicted here and no time of
 * access is kept: IDLETIME is 0.
 */
import { RECORD_EXPIRY_BYTES, RECORD_HEADER_BYTES } from "../../base/record.ts";
import {
  exactlyIntegerAt,
  integerArgument,
  isWord,
  NOT_AN_INTEGER,
  SYNTAX_ERROR,
  selectKey,
} from "../arguments.ts";
import { replyHelp } from "../command-introspection.ts";
import { commandNamed } from "../command-table.ts";
import type { CommandContext, Handlers } from "../handler.ts";

const NO_LFU =
  "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
/** Digits and sign of the longest 64-bit integer. */
const INTEGER_BYTES_MAX = 20;
/** Longest value that Redis keeps in one piece with its header. */
const EMBEDDED_BYTES_MAX = 44;
/** The memtable's bucket, at the load it has on average, and its entries per record. */
const INDEX_BYTES = 32;

/** Selects and finds the key of an OBJECT subcommand; false when the reply has been given. */
function findObject(context: CommandContext): boolean {
  const { store, reply, server } = context;
  if (!selectKey(context, 2)) return false;
  if (store.find()) {
    server.statistics.keyspaceHits++;
    return true;
  }
  server.statistics.keyspaceMisses++;
  reply.nullBulk();
  return false;
}

function objectEncoding(context: CommandContext): void {
  if (!findObject(context)) return;
  const { store, reply } = context;
  const length = store.valueLength;
  if (length > EMBEDDED_BYTES_MAX) {
    reply.bulkString("raw");
    return;
  }
  const value = store.copyValue();
  const isInteger = length <= INTEGER_BYTES_MAX && exactlyIntegerAt(value, 0, length) !== undefined;
  reply.bulkString(isInteger ? "int" : "embstr");
}

function objectRefcount(context: CommandContext): void {
  if (findObject(context)) context.reply.integer(1);
}

function objectIdletime(context: CommandContext): void {
  if (findObject(context)) context.reply.integer(0);
}

function objectFreq(context: CommandContext): void {
  if (findObject(context)) context.reply.error(NO_LFU);
}

/** The bytes of a key's record, and of its place in the index: what it takes while it is in memory. */
function memoryUsage(context: CommandContext): void {
  const { store, request, reply } = context;
  for (let index = 3; index < request.count; index += 2) {
    if (!isWord(request, index, "samples") || index + 1 === request.count) {
      reply.error(SYNTAX_ERROR);
      return;
    }
    const samples = integerArgument(request, index + 1);
    if (Number.isNaN(samples) || samples < 0) {
      reply.error(Number.isNaN(samples) ? NOT_AN_INTEGER : SYNTAX_ERROR);
      return;
    }
  }
  if (!selectKey(context, 2)) return;
  if (!store.find()) {
    reply.nullBulk();
    return;
  }
  const expiryBytes = store.found.expiry === 0 ? 0 : RECORD_EXPIRY_BYTES;
  const bytes = RECORD_HEADER_BYTES + expiryBytes + request.byteLength(2) + store.valueLength;
  reply.integer(Math.ceil(bytes / 8) * 8 + INDEX_BYTES);
}

function memoryStats({ store, server, reply }: CommandContext): void {
  const { memtable, segments, lsm } = store.internals;
  const { cache, tableMemoryBytes } = lsm.info;
  const keys = store.approximateSize;
  const arenas = segments.residents.reduce((sum, { segment }) => sum + segment.bytes.length, 0);
  const entries: [string, number][] = [
    ["maxmemory", server.config.memoryBytes],
    ["clients.normal", [...server.clients.all()].reduce((sum, one) => sum + one.pendingBytes, 0)],
    ["keys.count", keys],
    ["segments", arenas],
    ["memtable", memtable.memoryBytes],
    ["block-cache", cache.slabBytes],
    ["tables", tableMemoryBytes],
  ];
  reply.map(entries.length);
  for (const [name, value] of entries) {
    reply.bulkString(name);
    reply.integer(value);
  }
}

function memoryDoctor({ reply }: CommandContext): void {
  reply.verbatim(
    "Hi Sam, memory is a budget here (maxmemory): segments, caches and buffers stay inside it. MEMORY STATS shows how it is divided.\n",
  );
}

function memoryMallocStats({ reply }: CommandContext): void {
  reply.bulkString("Stats not supported for the current allocator");
}

function memoryPurge({ reply }: CommandContext): void {
  reply.ok();
}

function help(container: string): (context: CommandContext) => void {
  return ({ reply }) => replyHelp(commandNamed(container)!, reply);
}

export const OBJECT_HANDLERS: Handlers = {
  "object|encoding": objectEncoding,
  "object|refcount": objectRefcount,
  "object|idletime": objectIdletime,
  "object|freq": objectFreq,
  "object|help": help("object"),
  "memory|usage": memoryUsage,
  "memory|stats": memoryStats,
  "memory|doctor": memoryDoctor,
  "memory|malloc-stats": memoryMallocStats,
  "memory|purge": memoryPurge,
  "memory|help": help("memory"),
};
