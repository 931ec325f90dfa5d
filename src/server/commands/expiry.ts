/**
 * Times to live: EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, TTL, PTTL, EXPIRETIME, PEXPIRETIME, PERSIST.
 *
 * Times are milliseconds since the epoch, exact up to 2^53 − 1; that one stands for all later ones and is shown as
 * the last time there is in Redis.
 *
 * Hot: expire and ttl.
 */
import {
  EX,
  EXAT,
  INT64_MAX,
  invalidExpireTime,
  isWord,
  NOT_AN_INTEGER,
  PX,
  PXAT,
  selectKey,
  type TimeForm,
  timeArgument,
} from "../arguments.ts";
import { echoed } from "../error-text.ts";
import type { CommandContext, Handlers } from "../handler.ts";

const NX = 1;
const XX = 2;
const GT = 4;
const LT = 8;
const NO_KEY = -2;
const NO_EXPIRY = -1;

/** The conditions among the options as bits, −1 when they are not valid, which has been replied then. */
function conditions({ request, reply }: CommandContext): number {
  let bits = 0;
  for (let index = 3; index < request.count; index++) {
    if (isWord(request, index, "nx")) bits |= NX;
    else if (isWord(request, index, "xx")) bits |= XX;
    else if (isWord(request, index, "gt")) bits |= GT;
    else if (isWord(request, index, "lt")) bits |= LT;
    else {
      reply.error(`ERR Unsupported option ${echoed(request, index, request.byteLength(index))}`);
      return -1;
    }
  }
  if ((bits & NX) !== 0 && bits !== NX) {
    reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
    return -1;
  }
  if ((bits & GT) !== 0 && (bits & LT) !== 0) {
    reply.error("ERR GT and LT options at the same time are not compatible");
    return -1;
  }
  return bits;
}

/** Whether a key that expires at `current` (0: never, which is later than all) may be made to at `time`. */
function allows(bits: number, current: number, time: number): boolean {
  if ((bits & NX) !== 0 && current !== 0) return false;
  if ((bits & XX) !== 0 && current === 0) return false;
  if ((bits & GT) !== 0 && (current === 0 || time <= current)) return false;
  return (bits & LT) === 0 || current === 0 || time < current;
}

function expireIn(context: CommandContext, form: TimeForm, command: string): void {
  const { store, request, reply } = context;
  const bits = request.count === 3 ? 0 : conditions(context);
  if (bits < 0) return;
  const time = timeArgument(request, 2, form, store.nowMs);
  if (Number.isNaN(time)) {
    reply.error(NOT_AN_INTEGER);
    return;
  }
  if (time === Number.POSITIVE_INFINITY) {
    reply.error(invalidExpireTime(command));
    return;
  }
  if (!selectKey(context, 1)) return;
  if (!store.find() || (bits !== 0 && !allows(bits, store.found.expiry, time))) {
    reply.integer(0);
    return;
  }
  if (time <= store.nowMs) store.remove();
  else store.setExpiry(time);
  reply.integer(1);
}

function expire(context: CommandContext): void {
  expireIn(context, EX, "expire");
}

function pexpire(context: CommandContext): void {
  expireIn(context, PX, "pexpire");
}

function expireat(context: CommandContext): void {
  expireIn(context, EXAT, "expireat");
}

function pexpireat(context: CommandContext): void {
  expireIn(context, PXAT, "pexpireat");
}

/** Selects and finds key 1; its expiry, 0 for none, or a negative number when the reply has been given. */
function expiryOf(context: CommandContext): number {
  const { store, reply, server } = context;
  if (!selectKey(context, 1)) return NO_KEY;
  if (!store.find()) {
    server.statistics.keyspaceMisses++;
    reply.integer(NO_KEY);
    return NO_KEY;
  }
  server.statistics.keyspaceHits++;
  if (store.found.expiry !== 0) return store.found.expiry;
  reply.integer(NO_EXPIRY);
  return NO_EXPIRY;
}

function ttl(context: CommandContext): void {
  const expiry = expiryOf(context);
  if (expiry >= 0) context.reply.integer(wholeSeconds(expiry - context.store.nowMs));
}

function pttl(context: CommandContext): void {
  const expiry = expiryOf(context);
  if (expiry >= 0) context.reply.integer(expiry - context.store.nowMs);
}

function expiretime(context: CommandContext): void {
  const expiry = expiryOf(context);
  if (expiry === Number.MAX_SAFE_INTEGER) context.reply.bigInteger((INT64_MAX + 500n) / 1000n);
  else if (expiry >= 0) context.reply.integer(wholeSeconds(expiry));
}

function pexpiretime(context: CommandContext): void {
  const expiry = expiryOf(context);
  if (expiry === Number.MAX_SAFE_INTEGER) context.reply.bigInteger(INT64_MAX);
  else if (expiry >= 0) context.reply.integer(expiry);
}

/** Rounded to the nearest, as Redis does. */
function wholeSeconds(millis: number): number {
  return Math.floor((millis + 500) / 1000);
}

function persist(context: CommandContext): void {
  const { store, reply } = context;
  if (!selectKey(context, 1)) return;
  if (!store.find() || store.found.expiry === 0) {
    reply.integer(0);
    return;
  }
  store.setExpiry(0);
  reply.integer(1);
}

export const EXPIRY_HANDLERS: Handlers = {
  expire,
  pexpire,
  expireat,
  pexpireat,
  ttl,
  pttl,
  expiretime,
  pexpiretime,
  persist,
};
