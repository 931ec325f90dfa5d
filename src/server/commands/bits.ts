/**
 * SETBIT, GETBIT, BITCOUNT, BITPOS (https://redis.io/docs/latest/commands/?group=bitmap). Bit 0 of a value is the
 * highest bit of its first byte.
 *
 * A value of more than SYNC_BYTES_MAX is counted or searched slice by slice over several turns.
 */
import type { Request } from "../../resp/request.ts";
import type { Store } from "../../store/store.ts";
import { type Fold, SYNC_BYTES_MAX } from "../../store/values.ts";
import { integerArgument, isWord, NOT_AN_INTEGER, SYNTAX_ERROR, selectKey } from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import { findForRead } from "./strings.ts";
import { TOO_LONG } from "./strings-ranges.ts";

export const NOT_AN_OFFSET = "ERR bit offset is not an integer or out of range";
const NOT_A_BIT = "ERR bit is not an integer or out of range";
const BIT_MUST_BE = "ERR The bit argument must be 1 or 0.";

/** Set bits of each byte. */
const BIT_COUNTS = new Uint8Array(256);
for (let i = 1; i < 256; i++) BIT_COUNTS[i] = BIT_COUNTS[i >> 1]! + (i & 1);
/** From here on, bytes are counted four at a time. */
const WORDS_FROM_BYTES = 1024;

const scratch = Buffer.alloc(1);

/** Whether a bit offset may be asked for: within the longest value that Redis would hold. */
export function isBitOffset({ server }: CommandContext, offset: number): boolean {
  return offset >= 0 && Math.floor(offset / 8) < server.config.get("proto-max-bulk-len");
}

/** Byte `index` of the found value. REQUIRES: index < store.valueLength. */
function byteAt(store: Store, index: number): number {
  if (store.isInline) return store.found.bytes[store.found.valueStart + index]!;
  store.readValue(index, index + 1, scratch, 0);
  return scratch[0]!;
}

function setbit(context: CommandContext): void {
  const { store, request, reply } = context;
  const offset = integerArgument(request, 2);
  if (!isBitOffset(context, offset)) {
    reply.error(NOT_AN_OFFSET);
    return;
  }
  const bit = integerArgument(request, 3);
  if (bit !== 0 && bit !== 1) {
    reply.error(NOT_A_BIT);
    return;
  }
  const index = Math.floor(offset / 8);
  if (index >= store.valueBytesMax) {
    reply.error(TOO_LONG);
    return;
  }
  if (!selectKey(context, 1)) return;
  let exists = store.find();
  const isWithin = exists && index < store.valueLength;
  const old = isWithin ? byteAt(store, index) : 0;
  const shift = 7 - (offset % 8);
  const oldBit = (old >> shift) & 1;
  if (!isWithin || oldBit !== bit) {
    // Reading a value in chunks uses other records; the key's own must be found again.
    if (exists && !store.isInline) exists = store.find();
    scratch[0] = bit === 1 ? old | (1 << shift) : old & ~(1 << shift);
    store.patch(exists, index, scratch, 0, 1);
  }
  reply.integer(oldBit);
}

function getbit(context: CommandContext): void {
  const { store, request, reply } = context;
  const offset = integerArgument(request, 2);
  if (!isBitOffset(context, offset)) {
    reply.error(NOT_AN_OFFSET);
    return;
  }
  if (!selectKey(context, 1)) return;
  const index = Math.floor(offset / 8);
  const isWithin = findForRead(context) && index < store.valueLength;
  reply.integer(isWithin ? (byteAt(store, index) >> (7 - (offset % 8))) & 1 : 0);
}

/** Bytes [from, to) of a value, and which bits of the first and the last one do not belong to the range. */
interface BitRange {
  readonly from: number;
  readonly to: number;
  readonly firstMask: number;
  readonly lastMask: number;
}

/** The range from `first` to `last`, which count from the end where negative, of a value of `length` bytes. */
function bitRange(first: number, last: number, length: number, isBits: boolean): BitRange {
  const total = isBits ? length * 8 : length;
  const start = Math.max(0, first < 0 ? total + first : first);
  const end = Math.min(total - 1, Math.max(0, last < 0 ? total + last : last));
  if (start > end) return { from: 0, to: 0, firstMask: 0, lastMask: 0 };
  if (!isBits) return { from: start, to: end + 1, firstMask: 0, lastMask: 0 };
  return {
    from: Math.floor(start / 8),
    to: Math.floor(end / 8) + 1,
    firstMask: ~((1 << (8 - (start % 8))) - 1) & 0xff,
    lastMask: (1 << (7 - (end % 8))) - 1,
  };
}

/** Argument `index` as BYTE or BIT; undefined when it is neither. */
function isBitsAt(request: Request, index: number): boolean | undefined {
  if (isWord(request, index, "bit")) return true;
  return isWord(request, index, "byte") ? false : undefined;
}

/** Shows a fold the bytes of the range of the found value, the key of which is argument 1. */
function foldFound<T extends Fold>(
  { store, request }: CommandContext,
  range: BitRange,
  begin: () => T,
): T {
  const { from, to } = range;
  if (to - from > SYNC_BYTES_MAX) {
    const key = Buffer.from(request.bytes.subarray(request.starts[1]!, request.ends[1]!));
    return store.foldValues([key], { from, to }, begin);
  }
  const fold = begin();
  const bytes = Buffer.allocUnsafeSlow(to - from);
  store.readValue(from, to, bytes, 0);
  fold.take([bytes], from);
  return fold;
}

/** Set bits of all bytes. */
export function countBits(bytes: Buffer): number {
  let count = 0;
  let at = 0;
  if (bytes.length >= WORDS_FROM_BYTES && bytes.byteOffset % 4 === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    for (let i = 0; i < words.length; i++) {
      let word = words[i]!;
      word -= (word >>> 1) & 0x5555_5555;
      word = (word & 0x3333_3333) + ((word >>> 2) & 0x3333_3333);
      count += Math.imul((word + (word >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
    }
    at = words.length * 4;
  }
  for (; at < bytes.length; at++) count += BIT_COUNTS[bytes[at]!]!;
  return count;
}

class CountFold implements Fold {
  readonly #range: BitRange;
  count = 0;

  constructor(range: BitRange) {
    this.#range = range;
  }

  take(slices: readonly Buffer[], at: number): boolean {
    const bytes = slices[0]!;
    const { from, to, firstMask, lastMask } = this.#range;
    this.count += countBits(bytes);
    if (at === from) this.count -= BIT_COUNTS[bytes[0]! & firstMask]!;
    if (at + bytes.length === to) this.count -= BIT_COUNTS[bytes.at(-1)! & lastMask]!;
    return true;
  }
}

function bitcount(context: CommandContext): void {
  if (!selectKey(context, 1)) return;
  const { store, request, reply } = context;
  if (!findForRead(context)) {
    reply.integer(0);
    return;
  }
  const count = request.count;
  if (count === 3 || count > 5) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  const first = count > 2 ? integerArgument(request, 2) : 0;
  const last = count > 2 ? integerArgument(request, 3) : -1;
  if (Number.isNaN(first) || Number.isNaN(last)) {
    reply.error(NOT_AN_INTEGER);
    return;
  }
  // Redis looks at the unit only after this.
  if (first < 0 && last < 0 && first > last) {
    reply.integer(0);
    return;
  }
  const isBits = count === 5 ? isBitsAt(request, 4) : false;
  if (isBits === undefined) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  const range = bitRange(first, last, store.valueLength, isBits);
  if (range.from === range.to) reply.integer(0);
  else reply.integer(foldFound(context, range, () => new CountFold(range)).count);
}

class PositionFold implements Fold {
  readonly #range: BitRange;
  readonly #bit: number;
  /** Of the first bit found; −1: none. */
  position = -1;

  constructor(range: BitRange, bit: number) {
    this.#range = range;
    this.#bit = bit;
  }

  take(slices: readonly Buffer[], at: number): boolean {
    const bytes = slices[0]!;
    const { from, to, firstMask, lastMask } = this.#range;
    // A byte is turned over for bit 0, so that a set bit is sought in any case.
    const flip = this.#bit === 1 ? 0 : 0xff;
    for (let i = 0; i < bytes.length; i++) {
      let byte = bytes[i]! ^ flip;
      if (byte === 0) continue;
      if (at + i === from) byte &= ~firstMask;
      if (at + i === to - 1) byte &= ~lastMask;
      if (byte === 0) continue;
      this.position = (at + i) * 8 + Math.clz32(byte) - 24;
      return false;
    }
    return true;
  }
}

function bitpos(context: CommandContext): void {
  const { store, request, reply } = context;
  const count = request.count;
  const bit = integerArgument(request, 2);
  if (bit !== 0 && bit !== 1) {
    reply.error(Number.isNaN(bit) ? NOT_AN_INTEGER : BIT_MUST_BE);
    return;
  }
  if (!selectKey(context, 1)) return;
  if (!findForRead(context)) {
    // Like endless zeros.
    reply.integer(bit === 1 ? -1 : 0);
    return;
  }
  const first = count > 3 ? integerArgument(request, 3) : 0;
  const isBits = count === 6 ? isBitsAt(request, 5) : false;
  const last = count > 4 ? integerArgument(request, 4) : -1;
  if (count <= 6 && Number.isNaN(first)) {
    reply.error(NOT_AN_INTEGER);
  } else if (count > 6 || isBits === undefined) {
    reply.error(SYNTAX_ERROR);
  } else if (Number.isNaN(last)) {
    reply.error(NOT_AN_INTEGER);
  } else {
    const range = bitRange(first, last, store.valueLength, isBits);
    replyPosition(context, range, bit);
  }
}

function replyPosition(context: CommandContext, range: BitRange, bit: number): void {
  const { request, reply } = context;
  if (range.from === range.to) {
    reply.integer(-1);
    return;
  }
  const { position } = foldFound(context, range, () => new PositionFold(range, bit));
  // Without a given end, zeros follow the value.
  const isOpen = bit === 0 && request.count < 5;
  reply.integer(position < 0 && isOpen ? range.to * 8 : position);
}

export const BIT_HANDLERS: Handlers = { setbit, getbit, bitcount, bitpos };
