/**
 * Arguments of a request as integers, options, times and keys, read from their bytes the way Redis reads them.
 *
 * An integer is what Redis's string2ll takes: decimal, an optional minus, no plus, blank or leading zero, in the
 * range of int64. It comes as a number where that is exact; one beyond 2^53 comes as ±Infinity, which is what
 * offsets and limits want of it, and exactlyIntegerAt() gives it as a bigint to who needs it. NaN: no integer.
 *
 * Hot: integerAt, integerArgument, isWord, selectKey.
 */
import { KEY_BYTES_MAX } from "../base/record.ts";
import type { Request } from "../resp/request.ts";
import type { CommandContext } from "./handler.ts";

export const NOT_AN_INTEGER = "ERR value is not an integer or out of range";
export const SYNTAX_ERROR = "ERR syntax error";
export const KEY_TOO_LONG = "ERR key is too long";

export const INT64_MAX = 0x7fff_ffff_ffff_ffffn;
export const INT64_MIN = -0x8000_0000_0000_0000n;

const MINUS = 0x2d;
const ZERO = 0x30;
/** Every integer of fewer digits is exact as a number. */
const SAFE_DIGITS_MAX = 16;
const INT64_DIGITS_MAX = 19;
/** Milliseconds that can be added to a time and multiplied by 1000 without leaving the exact numbers. */
const EASY_TIME_MAX = 1e12;

/** bytes[start, end) as an integer: NaN when it is none, ±Infinity when it is one beyond 2^53. */
export function integerAt(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return Number.NaN;
  const isNegative = bytes[start] === MINUS;
  const first = isNegative ? start + 1 : start;
  const digits = end - first;
  if (digits === 0 || digits > INT64_DIGITS_MAX) return Number.NaN;
  if (bytes[first] === ZERO) return digits === 1 && !isNegative ? 0 : Number.NaN;
  let value = 0;
  for (let i = first; i < end; i++) {
    const digit = bytes[i]! - ZERO;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  if (digits > SAFE_DIGITS_MAX || value > Number.MAX_SAFE_INTEGER) {
    if (digits === INT64_DIGITS_MAX && exactlyIntegerAt(bytes, start, end) === undefined) {
      return Number.NaN;
    }
    value = Number.POSITIVE_INFINITY;
  }
  return isNegative ? -value : value;
}

/** As integerAt, exactly, for what lies beyond 2^53; undefined when it is no integer. Slow: bigint. */
export function exactlyIntegerAt(
  bytes: Uint8Array,
  start: number,
  end: number,
): bigint | undefined {
  if (end - start > INT64_DIGITS_MAX + 1) return undefined;
  const text = Buffer.from(bytes.subarray(start, end)).toString("latin1");
  if (!/^(?:0|-?[1-9][0-9]*)$/.test(text)) return undefined;
  const value = BigInt(text);
  return value > INT64_MAX || value < INT64_MIN ? undefined : value;
}

/** Argument `index` as integerAt gives it. */
export function integerArgument(request: Request, index: number): number {
  if (request.isLarge(index)) return Number.NaN;
  return integerAt(request.bytes, request.starts[index]!, request.ends[index]!);
}

/** Argument `index` as exactlyIntegerAt gives it. */
export function bigintArgument(request: Request, index: number): bigint | undefined {
  if (request.isLarge(index)) return undefined;
  return exactlyIntegerAt(request.bytes, request.starts[index]!, request.ends[index]!);
}

/** Whether argument `index` is `word`, given in lower case, in any case. */
export function isWord(request: Request, index: number, word: string): boolean {
  const start = request.starts[index]!;
  if (start < 0 || request.ends[index]! - start !== word.length) return false;
  const bytes = request.bytes;
  for (let i = 0; i < word.length; i++) {
    const code = word.charCodeAt(i);
    const byte = bytes[start + i]!;
    if (byte !== code && (code < 0x61 || code > 0x7a || byte !== code - 0x20)) return false;
  }
  return true;
}

/** Selects the key that argument `index` is; false when it is too long, which has been replied then. */
export function selectKey({ request, store, reply }: CommandContext, index: number): boolean {
  const start = request.starts[index]!;
  const end = request.ends[index]!;
  if (start < 0 || end - start > KEY_BYTES_MAX) {
    reply.error(KEY_TOO_LONG);
    return false;
  }
  store.select(request.bytes, start, end);
  return true;
}

/**
 * Whether arguments first, first + step … before `end` are short enough for keys; when not, that has been replied.
 * For commands of many keys, which must not have written or replied anything before.
 */
export function keysFit(
  { request, reply }: CommandContext,
  first: number,
  end: number,
  step: number,
): boolean {
  for (let index = first; index < end; index += step) {
    if (request.byteLength(index) > KEY_BYTES_MAX) {
      reply.error(KEY_TOO_LONG);
      return false;
    }
  }
  return true;
}

export interface TimeForm {
  /** Else milliseconds. */
  readonly isSeconds: boolean;
  /** From now on; else since the epoch. */
  readonly isRelative: boolean;
}

export const EX: TimeForm = { isSeconds: true, isRelative: true };
export const PX: TimeForm = { isSeconds: false, isRelative: true };
export const EXAT: TimeForm = { isSeconds: true, isRelative: false };
export const PXAT: TimeForm = { isSeconds: false, isRelative: false };

/**
 * Argument `index` as a time in milliseconds since the epoch; it may lie in the past. NaN: no integer, Infinity:
 * beyond int64 milliseconds. What is valid but beyond 2^53 milliseconds, in some 285,000 years, comes as 2^53 − 1.
 */
export function timeArgument(
  request: Request,
  index: number,
  form: TimeForm,
  nowMs: number,
): number {
  const value = integerArgument(request, index);
  const base = form.isRelative ? nowMs : 0;
  if (value <= EASY_TIME_MAX && value >= -EASY_TIME_MAX) {
    return (form.isSeconds ? value * 1000 : value) + base;
  }
  const exact = bigintArgument(request, index);
  if (exact === undefined) return Number.NaN;
  const millis = form.isSeconds ? exact * 1000n : exact;
  const time = millis + BigInt(base);
  if (millis < INT64_MIN || time > INT64_MAX) return Number.POSITIVE_INFINITY;
  const safe = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(time > safe ? safe : time < -safe ? -safe : time);
}

/**
 * Argument `index` as the time at which a value is to expire, for SET and its like: it must be positive. 0 when it
 * is not valid, which has been replied then in the name of `command`.
 */
export function expiryArgument(
  { request, store, reply }: CommandContext,
  index: number,
  form: TimeForm,
  command: string,
): number {
  const time = timeArgument(request, index, form, store.nowMs);
  if (Number.isNaN(time)) {
    reply.error(NOT_AN_INTEGER);
    return 0;
  }
  if (time === Number.POSITIVE_INFINITY || integerArgument(request, index) <= 0) {
    reply.error(invalidExpireTime(command));
    return 0;
  }
  return time;
}

export function invalidExpireTime(command: string): string {
  return `ERR invalid expire time in '${command}' command`;
}
