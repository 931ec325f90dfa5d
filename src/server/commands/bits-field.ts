/**
 * BITFIELD and BITFIELD_RO: integers of 1 to 64 bits at any bit offset of a value
 * (https://redis.io/docs/latest/commands/bitfield/). All operations are parsed before the first one runs; a value
 * that they write to first grows to hold the last of them, whether or not that one overflows and fails.
 */
import {
  bigintArgument,
  integerAt,
  isWord,
  NOT_AN_INTEGER,
  SYNTAX_ERROR,
  selectKey,
} from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import { isBitOffset, NOT_AN_OFFSET } from "./bits.ts";
import { findForRead } from "./strings.ts";
import { TOO_LONG } from "./strings-ranges.ts";

const NOT_A_TYPE =
  "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
const NOT_AN_OVERFLOW = "ERR Invalid OVERFLOW type specified";
const ONLY_GET = "ERR BITFIELD_RO only supports the GET subcommand";
const HASH = 0x23;
const LETTER_I = 0x69;
const LETTER_U = 0x75;
/** Operations that touch no more bytes than this read and write them together. */
const WINDOW_BYTES_MAX = 1 << 16;

const OVERFLOWS = ["wrap", "sat", "fail"] as const;
type Overflow = (typeof OVERFLOWS)[number];

interface FieldType {
  readonly isSigned: boolean;
  readonly bits: number;
}

interface Operation {
  readonly kind: "get" | "set" | "incrby";
  readonly type: FieldType;
  /** In bits. */
  readonly offset: number;
  /** Bytes [first, end) hold the field. */
  readonly first: number;
  readonly end: number;
  readonly operand: bigint;
  readonly overflow: Overflow;
}

/** Argument `index` as `u8`, `i16` …; undefined when it is none. */
function typeAt({ request }: CommandContext, index: number): FieldType | undefined {
  if (request.isLarge(index) || request.byteLength(index) === 0) return undefined;
  const start = request.starts[index]!;
  const letter = request.bytes[start]!;
  if (letter !== LETTER_I && letter !== LETTER_U) return undefined;
  const bits = integerAt(request.bytes, start + 1, request.ends[index]!);
  const isSigned = letter === LETTER_I;
  return bits >= 1 && bits <= (isSigned ? 64 : 63) ? { isSigned, bits } : undefined;
}

/** Argument `index` as an offset in bits, `#n` standing for n fields; undefined when it is none. */
function offsetAt(context: CommandContext, index: number, bits: number): number | undefined {
  const { request } = context;
  if (request.isLarge(index)) return undefined;
  const start = request.starts[index]!;
  const end = request.ends[index]!;
  const counts = start < end && request.bytes[start] === HASH;
  const offset = integerAt(request.bytes, counts ? start + 1 : start, end) * (counts ? bits : 1);
  return isBitOffset(context, offset) ? offset : undefined;
}

/** The kind of the operation at argument `index` that has all its arguments; else undefined. */
function kindAt({ request }: CommandContext, index: number): Operation["kind"] | undefined {
  const rest = request.count - index - 1;
  if (rest >= 2 && isWord(request, index, "get")) return "get";
  if (rest >= 3 && isWord(request, index, "set")) return "set";
  return rest >= 3 && isWord(request, index, "incrby") ? "incrby" : undefined;
}

/** All operations of the request, or the text of an error. */
function operationsOf(context: CommandContext): Operation[] | string {
  const { request } = context;
  const operations: Operation[] = [];
  let overflow: Overflow = "wrap";
  for (let index = 2; index < request.count; ) {
    if (isWord(request, index, "overflow") && index + 1 < request.count) {
      const named = OVERFLOWS.find((name) => isWord(request, index + 1, name));
      if (named === undefined) return NOT_AN_OVERFLOW;
      overflow = named;
      index += 2;
      continue;
    }
    const kind = kindAt(context, index);
    if (kind === undefined) return SYNTAX_ERROR;
    const operation = operationAt(context, index, kind, overflow);
    if (typeof operation === "string") return operation;
    operations.push(operation);
    index += kind === "get" ? 3 : 4;
  }
  return operations;
}

function operationAt(
  context: CommandContext,
  index: number,
  kind: Operation["kind"],
  overflow: Overflow,
): Operation | string {
  const type = typeAt(context, index + 1);
  if (type === undefined) return NOT_A_TYPE;
  const offset = offsetAt(context, index + 2, type.bits);
  if (offset === undefined) return NOT_AN_OFFSET;
  const operand = kind === "get" ? 0n : bigintArgument(context.request, index + 3);
  if (operand === undefined) return NOT_AN_INTEGER;
  const first = Math.floor(offset / 8);
  const end = Math.floor((offset + type.bits - 1) / 8) + 1;
  return { kind, type, offset, first, end, operand, overflow };
}

/** Bytes from the first to the last one that the operations touch. */
function spanOf(operations: readonly Operation[]): { first: number; end: number } {
  let first = Number.POSITIVE_INFINITY;
  let end = 0;
  for (const operation of operations) {
    first = Math.min(first, operation.first);
    end = Math.max(end, operation.end);
  }
  return { first, end };
}

function bitfield(context: CommandContext): void {
  run(context, false);
}

function bitfieldReadOnly(context: CommandContext): void {
  run(context, true);
}

function run(context: CommandContext, isReadOnly: boolean): void {
  const { store, reply } = context;
  const operations = operationsOf(context);
  if (typeof operations === "string") {
    reply.error(operations);
    return;
  }
  const writes = operations.filter(({ kind }) => kind !== "get");
  if (isReadOnly && writes.length > 0) {
    reply.error(ONLY_GET);
    return;
  }
  if (spanOf(writes).end > store.valueBytesMax) {
    reply.error(TOO_LONG);
    return;
  }
  if (!selectKey(context, 1)) return;
  if (writes.length > 0) grow(context, spanOf(writes).end);
  else findForRead(context);
  reply.array(operations.length);
  const { first, end } = spanOf(operations);
  if (end - first <= WINDOW_BYTES_MAX) runTogether(context, operations);
  else for (const operation of operations) runTogether(context, [operation]);
}

/** Makes the value at least `length` bytes long. */
function grow({ store }: CommandContext, length: number): void {
  const exists = store.find();
  if (exists && store.valueLength >= length) return;
  store.patch(exists, length - 1, Buffer.alloc(1), 0, 1);
}

/** Reads the bytes that the operations touch, lets them work there, and writes back what they may have changed. */
function runTogether(context: CommandContext, operations: readonly Operation[]): void {
  if (operations.length === 0) return;
  const { store } = context;
  const { first, end } = spanOf(operations);
  const window = Buffer.alloc(end - first);
  if (store.find()) {
    const length = store.valueLength;
    if (first < length) store.readValue(first, Math.min(end, length), window, 0);
  }
  for (const operation of operations) runOne(context, operation, window, first);
  const writes = operations.filter(({ kind }) => kind !== "get");
  if (writes.length === 0) return;
  const changed = spanOf(writes);
  // Reading may have used other records than the key's own: it is found again.
  store.patch(store.find(), changed.first, window, changed.first - first, changed.end - first);
}

function runOne(
  { reply }: CommandContext,
  operation: Operation,
  window: Buffer,
  windowFirst: number,
): void {
  const { kind, type, operand } = operation;
  const bits = BigInt(type.bits);
  const mask = (1n << bits) - 1n;
  const start = operation.first - windowFirst;
  const end = operation.end - windowFirst;
  // Bits behind the field in its last byte.
  const shift = BigInt(operation.end * 8 - operation.offset - type.bits);
  let bytes = 0n;
  for (let i = start; i < end; i++) bytes = (bytes << 8n) | BigInt(window[i]!);
  const stored = (bytes >> shift) & mask;
  const old = type.isSigned ? BigInt.asIntN(type.bits, stored) : stored;
  if (kind === "get") {
    reply.bigInteger(old);
    return;
  }
  const value = kind === "set" ? fitted(operation, operand, 0n) : fitted(operation, old, operand);
  if (value === undefined) {
    reply.nullBulk();
    return;
  }
  bytes = (bytes & ~(mask << shift)) | ((value & mask) << shift);
  for (let i = end - 1; i >= start; i--) {
    window[i] = Number(bytes & 0xffn);
    bytes >>= 8n;
  }
  reply.bigInteger(kind === "set" ? old : value);
}

/**
 * value + increment as the field can hold it; undefined when it cannot and is to fail. Redis compares with 64-bit
 * arithmetic that wraps, so that for SET a number far below the least one can count as too large; so it does here.
 */
function fitted(
  { type, overflow }: Operation,
  value: bigint,
  increment: bigint,
): bigint | undefined {
  const { isSigned, bits } = type;
  const max = (1n << BigInt(isSigned ? bits - 1 : bits)) - 1n;
  const min = isSigned ? -max - 1n : 0n;
  const seen = isSigned ? value : BigInt.asUintN(64, value);
  const incrementMax = BigInt.asIntN(64, max - seen);
  const incrementMin = BigInt.asIntN(64, min - seen);
  const isNarrow = isSigned && bits !== 64;
  const isOver =
    seen > max || ((isNarrow || (seen >= 0n && increment > 0n)) && increment > incrementMax);
  const isUnder =
    seen < min ||
    ((isNarrow || ((!isSigned || seen < 0n) && increment < 0n)) && increment < incrementMin);
  if (!isOver && !isUnder) return value + increment;
  if (overflow === "fail") return undefined;
  if (overflow === "sat") return isOver ? max : min;
  const sum = value + increment;
  return isSigned ? BigInt.asIntN(bits, sum) : BigInt.asUintN(bits, sum);
}

export const BITFIELD_HANDLERS: Handlers = { bitfield, bitfield_ro: bitfieldReadOnly };
