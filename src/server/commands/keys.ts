/**
 * Keys whatever their values: DEL, UNLINK, EXISTS, TOUCH, TYPE, RENAME, RENAMENX, COPY.
 *
 * Hot: del and exists.
 */
import { equalBytes } from "../../base/bytes.ts";
import {
  integerArgument,
  isWord,
  keysFit,
  NOT_AN_INTEGER,
  SYNTAX_ERROR,
  selectKey,
} from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";

const NO_SUCH_KEY = "ERR no such key";
const INT32_MAX = 0x7fff_ffff;

function del(context: CommandContext): void {
  const { store, request, reply } = context;
  if (!keysFit(context, 1, request.count, 1)) return;
  let removed = 0;
  for (let index = 1; index < request.count; index++) {
    store.select(request.bytes, request.starts[index]!, request.ends[index]!);
    if (store.remove()) removed++;
  }
  reply.integer(removed);
}

/** EXISTS and TOUCH: a key that is named twice counts twice. */
function exists(context: CommandContext): void {
  const { store, request, reply, server } = context;
  if (!keysFit(context, 1, request.count, 1)) return;
  let found = 0;
  for (let index = 1; index < request.count; index++) {
    store.select(request.bytes, request.starts[index]!, request.ends[index]!);
    if (store.find()) found++;
  }
  server.statistics.keyspaceHits += found;
  server.statistics.keyspaceMisses += request.count - 1 - found;
  reply.integer(found);
}

function type(context: CommandContext): void {
  const { store, reply, server } = context;
  if (!selectKey(context, 1)) return;
  if (store.find()) {
    server.statistics.keyspaceHits++;
    reply.simple("string");
  } else {
    server.statistics.keyspaceMisses++;
    reply.simple("none");
  }
}

function isSameKey({ request }: CommandContext, one: number, other: number): boolean {
  const { bytes, starts, ends } = request;
  const length = ends[one]! - starts[one]!;
  if (ends[other]! - starts[other]! !== length) return false;
  return equalBytes(bytes, starts[one]!, bytes, starts[other]!, length);
}

/**
 * Writes the value and the expiry of the key that argument 1 is, which exists, to the key that argument 2 is.
 * The selection is either key afterwards.
 */
function copyKey({ store, request }: CommandContext): void {
  store.select(request.bytes, request.starts[1]!, request.ends[1]!);
  store.find();
  const expiry = store.found.expiry;
  const pieces = store.valuePieces();
  store.select(request.bytes, request.starts[2]!, request.ends[2]!);
  store.putPieces(pieces, expiry);
}

function renameKey(context: CommandContext, isRefusedIfTaken: boolean): void {
  const { store, request, reply } = context;
  if (!keysFit(context, 1, 3, 1)) return;
  store.select(request.bytes, request.starts[1]!, request.ends[1]!);
  if (!store.find()) {
    reply.error(NO_SUCH_KEY);
    return;
  }
  if (isSameKey(context, 1, 2)) {
    if (isRefusedIfTaken) reply.integer(0);
    else reply.ok();
    return;
  }
  if (isRefusedIfTaken) {
    store.select(request.bytes, request.starts[2]!, request.ends[2]!);
    if (store.find()) {
      reply.integer(0);
      return;
    }
  }
  copyKey(context);
  store.select(request.bytes, request.starts[1]!, request.ends[1]!);
  store.remove();
  if (isRefusedIfTaken) reply.integer(1);
  else reply.ok();
}

function rename(context: CommandContext): void {
  renameKey(context, false);
}

function renamenx(context: CommandContext): void {
  renameKey(context, true);
}

/** The error that COPY's options are; REPLACE when there is none and it is among them. */
function copyOptions({ request }: CommandContext): { error?: string; replaces: boolean } {
  let replaces = false;
  let database = 0;
  for (let index = 3; index < request.count; index++) {
    if (isWord(request, index, "replace")) {
      replaces = true;
    } else if (isWord(request, index, "db") && index + 1 < request.count) {
      index++;
      database = integerArgument(request, index);
      if (Number.isNaN(database)) return { error: NOT_AN_INTEGER, replaces };
      if (database > INT32_MAX || database < -INT32_MAX - 1)
        return { error: OUTSIDE_INT, replaces };
      if (database < 0 || database >= DATABASES) return { error: NO_SUCH_DATABASE, replaces };
    } else {
      return { error: SYNTAX_ERROR, replaces };
    }
  }
  return database === 0 ? { replaces } : { error: OTHER_DATABASE, replaces };
}

/** Redis's default; all but database 0 are refused. */
const DATABASES = 16;
const OUTSIDE_INT = `ERR value is out of range, value must between ${-INT32_MAX - 1} and ${INT32_MAX}`;
const NO_SUCH_DATABASE = "ERR DB index is out of range";
const OTHER_DATABASE = "ERR Copying to another database is not allowed in cluster mode";
const SAME_KEY = "ERR source and destination objects are the same";

function copy(context: CommandContext): void {
  const { store, request, reply, server } = context;
  if (!keysFit(context, 1, 3, 1)) return;
  const { error, replaces } = copyOptions(context);
  if (error !== undefined || isSameKey(context, 1, 2)) {
    reply.error(error ?? SAME_KEY);
    return;
  }
  store.select(request.bytes, request.starts[1]!, request.ends[1]!);
  if (!store.find()) {
    server.statistics.keyspaceMisses++;
    reply.integer(0);
    return;
  }
  if (!replaces) {
    store.select(request.bytes, request.starts[2]!, request.ends[2]!);
    if (store.find()) {
      server.statistics.keyspaceHits++;
      reply.integer(0);
      return;
    }
  }
  copyKey(context);
  server.statistics.keyspaceHits++;
  reply.integer(1);
}

export const KEY_HANDLERS: Handlers = {
  del,
  unlink: del,
  exists,
  touch: exists,
  type,
  rename,
  renamenx,
  copy,
};
