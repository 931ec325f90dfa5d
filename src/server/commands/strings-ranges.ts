/**
 * Parts of values: APPEND, STRLEN, SETRANGE, GETRANGE, SUBSTR
 * (https://redis.io/docs/latest/commands/setrange/).
 *
 * A part of a large value is read and written without the rest of it. Only an argument that is itself large makes
 * the whole value be written anew: over several turns, which a patch in place is not.
 */
import { integerArgument, NOT_AN_INTEGER, selectKey } from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import { findForRead } from "./strings.ts";

export const TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
const OFFSET_OUT_OF_RANGE = "ERR offset is out of range";

/** Longer ranges are read over several turns. */
const RANGE_BYTES_MAX = 1 << 20;
const NO_BYTES = Buffer.alloc(0);

/** Bytes of the longest value. */
export function lengthMax({ server, store }: CommandContext): number {
  return Math.min(server.config.get("proto-max-bulk-len"), store.valueBytesMax);
}

/** Writes argument `index` at `offset` of the selected key's value; `exists` is what find() has just said. */
function patchArgument(
  context: CommandContext,
  index: number,
  offset: number,
  exists: boolean,
): number {
  const { store, request } = context;
  const start = request.starts[index]!;
  if (start >= 0) {
    return store.patch(exists, offset, request.bytes, start, request.ends[index]!);
  }
  const expiry = exists ? store.found.expiry : 0;
  const pieces = request.pieces(index);
  const end = offset + request.byteLength(index);
  if (!exists && offset === 0) {
    store.putPieces(pieces, expiry);
    return end;
  }
  const old = exists ? store.valuePieces() : [];
  const length = old.reduce((sum, piece) => sum + piece.length, 0);
  const gap = Math.max(0, offset - length);
  const before = slices(old, 0, Math.min(offset, length));
  const after = slices(old, end, length);
  store.putPieces([...before, ...zeros(gap), ...pieces, ...after], expiry);
  return Math.max(end, length);
}

/** Bytes [from, to) of the pieces together, as views. */
function slices(pieces: readonly Buffer[], from: number, to: number): Buffer[] {
  const parts: Buffer[] = [];
  let at = 0;
  for (const piece of pieces) {
    const start = Math.max(0, from - at);
    const end = Math.min(piece.length, to - at);
    if (start < end) parts.push(piece.subarray(start, end));
    at += piece.length;
  }
  return parts;
}

/** `count` zero bytes, in pieces that share their memory. */
function zeros(count: number): Buffer[] {
  const block = Buffer.alloc(Math.min(count, RANGE_BYTES_MAX));
  const parts: Buffer[] = [];
  for (let rest = count; rest > 0; rest -= block.length) {
    parts.push(block.subarray(0, Math.min(rest, block.length)));
  }
  return parts;
}

function append(context: CommandContext): void {
  if (!selectKey(context, 1)) return;
  const { store, request, reply } = context;
  const exists = store.find();
  const length = exists ? store.valueLength : 0;
  if (length + request.byteLength(2) > lengthMax(context)) {
    reply.error(TOO_LONG);
    return;
  }
  reply.integer(patchArgument(context, 2, length, exists));
}

function strlen(context: CommandContext): void {
  if (!selectKey(context, 1)) return;
  context.reply.integer(findForRead(context) ? context.store.valueLength : 0);
}

function setrange(context: CommandContext): void {
  const { store, request, reply } = context;
  const offset = integerArgument(request, 2);
  if (Number.isNaN(offset)) {
    reply.error(NOT_AN_INTEGER);
    return;
  }
  if (offset < 0) {
    reply.error(OFFSET_OUT_OF_RANGE);
    return;
  }
  if (!selectKey(context, 1)) return;
  const exists = store.find();
  const count = request.byteLength(3);
  if (count === 0) reply.integer(exists ? store.valueLength : 0);
  else if (offset + count > lengthMax(context)) reply.error(TOO_LONG);
  else reply.integer(patchArgument(context, 3, offset, exists));
}

function getrange(context: CommandContext): void {
  const { request, reply } = context;
  const first = integerArgument(request, 2);
  const last = integerArgument(request, 3);
  if (Number.isNaN(first) || Number.isNaN(last)) {
    reply.error(NOT_AN_INTEGER);
    return;
  }
  if (!selectKey(context, 1)) return;
  if (findForRead(context) && !(first < 0 && last < 0 && first > last)) {
    replyRange(context, first, last);
  } else {
    reply.bulk(NO_BYTES, 0, 0);
  }
}

/** Replies bytes `first` to `last` of the found value, which count from its end where negative. */
function replyRange({ store, reply }: CommandContext, first: number, last: number): void {
  const length = store.valueLength;
  const start = Math.max(0, first < 0 ? length + first : first);
  const end = Math.min(length, Math.max(0, last < 0 ? length + last : last) + 1);
  if (start >= end) {
    reply.bulk(NO_BYTES, 0, 0);
  } else if (store.isInline) {
    const { bytes, valueStart } = store.found;
    reply.bulk(bytes, valueStart + start, valueStart + end);
  } else if (end - start <= RANGE_BYTES_MAX) {
    const bytes = Buffer.allocUnsafe(end - start);
    store.readValue(start, end, bytes, 0);
    reply.bulkPieces([bytes]);
  } else {
    reply.bulkPieces(slices(store.valuePieces(), start, end));
  }
}

export const RANGE_HANDLERS: Handlers = {
  append,
  strlen,
  setrange,
  getrange,
  substr: getrange,
};
