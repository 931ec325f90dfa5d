/**
 * INCR, DECR, INCRBY, DECRBY and INCRBYFLOAT (https://redis.io/docs/latest/commands/incr/).
 *
 * Counters are 64-bit. As long as value, increment and sum are exact as numbers they stay numbers; beyond 2^53 the
 * same sum is made with bigints.
 *
 * Hot: add.
 */
import {
  bigintArgument,
  exactlyIntegerAt,
  INT64_MAX,
  INT64_MIN,
  integerArgument,
  integerAt,
  NOT_AN_INTEGER,
  selectKey,
} from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import {
  addLongDoubles,
  formatLongDouble,
  isFiniteLongDouble,
  LONG_DOUBLE_TEXT_BYTES_MAX,
  type LongDouble,
  parseLongDouble,
  ZERO_LONG_DOUBLE,
} from "../long-double.ts";

const OVERFLOW = "ERR increment or decrement would overflow";
const DECREMENT_OVERFLOW = "ERR decrement would overflow";
const NOT_A_FLOAT = "ERR value is not a valid float";
const NOT_FINITE = "ERR increment would produce NaN or Infinity";

const MINUS = 0x2d;
const ZERO = 0x30;
const DIGITS_MAX = 24;
/** Numbers below are divided as 32-bit integers. */
const INT32_RANGE = 0x8000_0000;

/** Digits of a counter until put() has copied them. */
const digits = Buffer.alloc(DIGITS_MAX);

/** Writes an exact integer in decimal to the end of `digits`; returns where it starts. */
function writeDigits(value: number): number {
  let at = DIGITS_MAX;
  let rest = value < 0 ? -value : value;
  while (rest >= INT32_RANGE) {
    const quotient = Math.floor(rest / 10);
    digits[--at] = ZERO + (rest - quotient * 10);
    rest = quotient;
  }
  do {
    const quotient = (rest / 10) | 0;
    digits[--at] = ZERO + (rest - quotient * 10);
    rest = quotient;
  } while (rest > 0);
  if (value < 0) digits[--at] = MINUS;
  return at;
}

/** Adds an increment that integerArgument gave to the counter at argument 1. */
function add(context: CommandContext, increment: number): void {
  if (!selectKey(context, 1)) return;
  const { store, reply } = context;
  let value = 0;
  let expiry = 0;
  if (store.find()) {
    const found = store.found;
    value = store.isInline ? integerAt(found.bytes, found.valueStart, found.valueEnd) : Number.NaN;
    if (Number.isNaN(value)) {
      reply.error(NOT_AN_INTEGER);
      return;
    }
    expiry = found.expiry;
  }
  const sum = value + increment;
  if (!Number.isSafeInteger(sum) || !Number.isSafeInteger(increment)) {
    addExactly(context, value, expiry);
    return;
  }
  store.put(digits, writeDigits(sum), DIGITS_MAX, expiry);
  reply.integer(sum);
}

/** The same where a number would not be exact; `value` is the counter's as far as a number can tell. */
function addExactly(context: CommandContext, value: number, expiry: number): void {
  const { store, reply } = context;
  const found = store.found;
  const before = Number.isFinite(value)
    ? BigInt(value)
    : exactlyIntegerAt(found.bytes, found.valueStart, found.valueEnd)!;
  const sum = before + exactIncrement(context);
  if (sum > INT64_MAX || sum < INT64_MIN) {
    reply.error(OVERFLOW);
    return;
  }
  const text = Buffer.from(sum.toString(), "latin1");
  store.put(text, 0, text.length, expiry);
  reply.bigInteger(sum);
}

/** The increment of the request, from its words. */
function exactIncrement({ request }: CommandContext): bigint {
  const name = request.latin1(0).toLowerCase();
  if (request.count === 2) return name === "incr" ? 1n : -1n;
  const increment = bigintArgument(request, 2)!;
  return name === "incrby" ? increment : -increment;
}

function incr(context: CommandContext): void {
  add(context, 1);
}

function decr(context: CommandContext): void {
  add(context, -1);
}

function incrby(context: CommandContext): void {
  const increment = integerArgument(context.request, 2);
  if (Number.isNaN(increment)) context.reply.error(NOT_AN_INTEGER);
  else add(context, increment);
}

function decrby(context: CommandContext): void {
  const decrement = integerArgument(context.request, 2);
  if (Number.isNaN(decrement)) {
    context.reply.error(NOT_AN_INTEGER);
  } else if (
    decrement === Number.NEGATIVE_INFINITY &&
    bigintArgument(context.request, 2) === INT64_MIN
  ) {
    context.reply.error(DECREMENT_OVERFLOW);
  } else {
    add(context, -decrement);
  }
}

function incrbyfloat(context: CommandContext): void {
  if (!selectKey(context, 1)) return;
  const { store, request, reply } = context;
  let value: LongDouble | undefined = ZERO_LONG_DOUBLE;
  let expiry = 0;
  if (store.find()) {
    expiry = store.found.expiry;
    const isShort = store.valueLength <= LONG_DOUBLE_TEXT_BYTES_MAX;
    value = isShort ? parseLongDouble(store.copyValue().toString("latin1")) : undefined;
  }
  const isShort = request.byteLength(2) <= LONG_DOUBLE_TEXT_BYTES_MAX;
  const increment = isShort ? parseLongDouble(request.latin1(2)) : undefined;
  if (value === undefined || increment === undefined) {
    reply.error(NOT_A_FLOAT);
    return;
  }
  const sum = addLongDoubles(value, increment);
  if (!isFiniteLongDouble(sum)) {
    reply.error(NOT_FINITE);
    return;
  }
  const text = Buffer.from(formatLongDouble(sum), "latin1");
  store.put(text, 0, text.length, expiry);
  reply.bulkBytes(text);
}

export const COUNTER_HANDLERS: Handlers = { incr, decr, incrby, decrby, incrbyfloat };
