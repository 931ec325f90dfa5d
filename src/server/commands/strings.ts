/**
 * GET, SET and the older commands that SET's options replaced, for one key and for many
 * (https://redis.io/docs/latest/commands/?group=string). Checks come in the order of Redis 7.0: syntax, numbers,
 * existence.
 *
 * Hot: get, set, mget, mset.
 */
import { OUT_OF_MEMORY } from "../../store/interrupt.ts";
import {
  EX,
  EXAT,
  expiryArgument,
  isWord,
  keysFit,
  PX,
  PXAT,
  SYNTAX_ERROR,
  selectKey,
  type TimeForm,
} from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";

/** MGET looks at the length of its reply after so many values, less one. */
const CHECK_MASK = 15;

/** What options() finds: bits of these. */
const NX = 1;
const XX = 2;
const GET = 4;
const KEEPTTL = 8;
const PERSIST = 16;
const BY_EX = 32;
const BY_PX = 64;
const BY_EXAT = 128;
const BY_PXAT = 256;
/** A time may be given once more in the form in which it was given, the last one counts. */
const TIMES = BY_EX | BY_PX | BY_EXAT | BY_PXAT;
const NOT_WITH_TIME = TIMES | KEEPTTL | PERSIST;
/** options(): they do not go together, or are none. */
const INVALID = -1;
/** options() << TIME_SHIFT is the index of the argument that holds the time. */
const TIME_SHIFT = 1024;
const FLAGS_MASK = TIME_SHIFT - 1;

const SET_OPTIONS = NX | XX | GET | KEEPTTL | TIMES;
const GETEX_OPTIONS = PERSIST | TIMES;

/** Appends the found value. */
export function replyFound({ store, reply }: CommandContext): void {
  if (store.isInline) {
    const found = store.found;
    reply.bulk(found.bytes, found.valueStart, found.valueEnd);
  } else {
    reply.bulkPieces(store.valuePieces());
  }
}

/** Whether the selected key exists, counted as a read. */
export function findForRead({ store, server }: CommandContext): boolean {
  if (store.find()) {
    server.statistics.keyspaceHits++;
    return true;
  }
  server.statistics.keyspaceMisses++;
  return false;
}

/** Replies the selected key's value or nil; whether it exists. */
function replyValue(context: CommandContext): boolean {
  if (!findForRead(context)) {
    context.reply.nullBulk();
    return false;
  }
  replyFound(context);
  return true;
}

/** Writes argument `index` as the selected key's value. */
function putArgument({ store, request }: CommandContext, index: number, expiry: number): void {
  const start = request.starts[index]!;
  if (start < 0) store.putPieces(request.pieces(index), expiry);
  else store.put(request.bytes, start, request.ends[index]!, expiry);
}

function get(context: CommandContext): void {
  if (selectKey(context, 1)) replyValue(context);
}

/** The option that argument `index` names among SET's and GETEX's; 0: none. */
function optionAt(context: CommandContext, index: number): number {
  const request = context.request;
  switch (request.byteLength(index)) {
    case 2:
      if (isWord(request, index, "ex")) return BY_EX;
      if (isWord(request, index, "px")) return BY_PX;
      if (isWord(request, index, "nx")) return NX;
      return isWord(request, index, "xx") ? XX : 0;
    case 3:
      return isWord(request, index, "get") ? GET : 0;
    case 4:
      if (isWord(request, index, "exat")) return BY_EXAT;
      return isWord(request, index, "pxat") ? BY_PXAT : 0;
    case 7:
      if (isWord(request, index, "keepttl")) return KEEPTTL;
      return isWord(request, index, "persist") ? PERSIST : 0;
    default:
      return 0;
  }
}

/** The options that an option excludes. */
function rivalsOf(option: number): number {
  if (option === NX) return XX;
  if (option === XX) return NX;
  if (option === GET) return 0;
  return NOT_WITH_TIME & ~option;
}

/** The options from argument `first` on, the place of a time with them; INVALID for a syntax error. */
function options(context: CommandContext, first: number, allowed: number): number {
  const count = context.request.count;
  let flags = 0;
  let timeIndex = 0;
  for (let index = first; index < count; index++) {
    const option = optionAt(context, index);
    if ((option & allowed) === 0 || (flags & rivalsOf(option)) !== 0) return INVALID;
    if ((option & TIMES) !== 0) {
      index++;
      if (index >= count) return INVALID;
      timeIndex = index;
    }
    flags |= option;
  }
  return flags + timeIndex * TIME_SHIFT;
}

function timeFormOf(flags: number): TimeForm {
  if ((flags & BY_EX) !== 0) return EX;
  if ((flags & BY_PX) !== 0) return PX;
  return (flags & BY_EXAT) !== 0 ? EXAT : PXAT;
}

function set(context: CommandContext): void {
  if (!selectKey(context, 1)) return;
  if (context.request.count > 3) {
    setWithOptions(context);
    return;
  }
  putArgument(context, 2, 0);
  context.reply.ok();
}

function setWithOptions(context: CommandContext): void {
  const parsed = options(context, 3, SET_OPTIONS);
  if (parsed === INVALID) {
    context.reply.error(SYNTAX_ERROR);
    return;
  }
  const flags = parsed & FLAGS_MASK;
  let expiry = 0;
  if ((flags & TIMES) !== 0) {
    expiry = expiryArgument(context, Math.floor(parsed / TIME_SHIFT), timeFormOf(flags), "set");
    if (expiry === 0) return;
  }
  if ((flags & (GET | NX | XX | KEEPTTL)) === 0) {
    putArgument(context, 2, expiry);
    context.reply.ok();
  } else {
    setFound(context, flags, expiry);
  }
}

/** SET with options for which the old value matters. */
function setFound(context: CommandContext, flags: number, expiry: number): void {
  const { store, reply } = context;
  const replies = (flags & GET) !== 0;
  const exists = replies ? findForRead(context) : store.find();
  const kept = exists && (flags & KEEPTTL) !== 0 ? store.found.expiry : expiry;
  const refuses = (flags & (exists ? NX : XX)) !== 0;
  if (replies && exists) replyFound(context);
  else if (replies || refuses) reply.nullBulk();
  if (refuses) return;
  putArgument(context, 2, kept);
  if (!replies) reply.ok();
}

function setnx(context: CommandContext): void {
  if (!selectKey(context, 1)) return;
  const exists = context.store.find();
  if (!exists) putArgument(context, 2, 0);
  context.reply.integer(exists ? 0 : 1);
}

function setFor(context: CommandContext, form: TimeForm, command: string): void {
  const expiry = expiryArgument(context, 2, form, command);
  if (expiry === 0 || !selectKey(context, 1)) return;
  putArgument(context, 3, expiry);
  context.reply.ok();
}

function setex(context: CommandContext): void {
  setFor(context, EX, "setex");
}

function psetex(context: CommandContext): void {
  setFor(context, PX, "psetex");
}

function getset(context: CommandContext): void {
  if (!selectKey(context, 1)) return;
  replyValue(context);
  putArgument(context, 2, 0);
}

function getdel(context: CommandContext): void {
  if (selectKey(context, 1) && replyValue(context)) context.store.remove();
}

function getex(context: CommandContext): void {
  const { store, reply } = context;
  const parsed = options(context, 2, GETEX_OPTIONS);
  if (parsed === INVALID) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  if (!selectKey(context, 1)) return;
  if (!findForRead(context)) {
    reply.nullBulk();
    return;
  }
  const flags = parsed & FLAGS_MASK;
  let expiry = 0;
  if ((flags & TIMES) !== 0) {
    expiry = expiryArgument(context, Math.floor(parsed / TIME_SHIFT), timeFormOf(flags), "getex");
    if (expiry === 0) return;
  }
  const isInline = store.isInline;
  replyFound(context);
  if (flags === 0) return;
  // Reading a value in chunks uses other records; the key's own must be found again.
  if (!isInline && !store.find()) return;
  if (expiry === 0) {
    if (store.found.expiry !== 0) store.setExpiry(0);
  } else if (expiry <= store.nowMs) {
    store.remove();
  } else {
    store.setExpiry(expiry);
  }
}

function mget(context: CommandContext): void {
  const { store, request, reply } = context;
  const count = request.count;
  if (!keysFit(context, 1, count, 1)) return;
  reply.array(count - 1);
  for (let index = 1; index < count; index++) {
    store.select(request.bytes, request.starts[index]!, request.ends[index]!);
    replyValue(context);
    if ((index & CHECK_MASK) === 0 && reply.pendingBytes > store.largeBytesMax) throw OUT_OF_MEMORY;
  }
}

/** Whether the request is made of keys and values, all of them short enough; else that has been replied. */
function arePairs(context: CommandContext, command: string): boolean {
  const count = context.request.count;
  if ((count & 1) === 0) {
    context.reply.error(`ERR wrong number of arguments for '${command}' command`);
    return false;
  }
  return keysFit(context, 1, count, 2);
}

function putPairs(context: CommandContext): void {
  const { store, request } = context;
  for (let index = 1; index < request.count; index += 2) {
    store.select(request.bytes, request.starts[index]!, request.ends[index]!);
    putArgument(context, index + 1, 0);
  }
}

function mset(context: CommandContext): void {
  if (!arePairs(context, "mset")) return;
  putPairs(context);
  context.reply.ok();
}

function msetnx(context: CommandContext): void {
  const { store, request, reply } = context;
  if (!arePairs(context, "msetnx")) return;
  for (let index = 1; index < request.count; index += 2) {
    store.select(request.bytes, request.starts[index]!, request.ends[index]!);
    if (store.find()) {
      reply.integer(0);
      return;
    }
  }
  putPairs(context);
  reply.integer(1);
}

export const STRING_HANDLERS: Handlers = {
  get,
  set,
  setnx,
  setex,
  psetex,
  getset,
  getdel,
  getex,
  mget,
  mset,
  msetnx,
};
