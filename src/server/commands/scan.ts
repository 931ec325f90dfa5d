/**
 * KEYS and SCAN.
 *
 * Neither stalls other clients. SCAN's pages are bounded, whatever COUNT asks for. KEYS reads page after page, with
 * a turn of the event loop after each slice of time, and encodes what matches at once; inside a transaction it
 * reads everything in one go, so that the transaction stays one step.
 */
import { Glob } from "../../base/glob.ts";
import { OUT_OF_MEMORY } from "../../store/interrupt.ts";
import { POSITIONS, type ScannedKey } from "../../store/scan.ts";
import { integerArgument, isWord, NOT_AN_INTEGER, SYNTAX_ERROR } from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import { KeyList } from "./scan-key-list.ts";

/** Keys that one SCAN returns at most, one position's keys aside. */
const COUNT_MAX = 1000;
const COUNT_DEFAULT = 10;
/** Keys that KEYS reads between looks at the clock. */
const SLICE_KEYS = 256;
const SLICE_MS = 1;
/** A list of keys that becomes longer waits for memory. */
const LIST_BYTES_FREE = 1 << 20;
/** What a list takes at a time that becomes longer than all large values together should. */
const STEP_BYTES = 1 << 20;
/** Steps of pattern matching after which a SCAN ends its page; the same in KEYS ends a slice. */
const MATCH_STEPS_MAX = 1 << 19;
/** One more than the largest number that strtoul() takes. */
const UINT64_END = 2 ** 64;
const INVALID_CURSOR = "ERR invalid cursor";

const BLANKS = [0x20, 0x09, 0x0a, 0x0b, 0x0c, 0x0d];
const PLUS = 0x2b;
const MINUS = 0x2d;
const ZERO = 0x30;

/**
 * bytes[start, end) as a cursor, read as strtoul() does it: a sign, any number of digits, and nothing may follow
 * but a NUL. −1: not a cursor. Infinity: one that no scan has given out.
 */
export function cursorAt(bytes: Uint8Array, start: number, end: number): number {
  if (start < end && BLANKS.includes(bytes[start]!)) return -1;
  const isNegative = bytes[start] === MINUS && start < end;
  const first = start < end && (isNegative || bytes[start] === PLUS) ? start + 1 : start;
  let value = 0n;
  let at = first;
  for (; at < end; at++) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) break;
    value = value * 10n + BigInt(digit);
    if (value >= BigInt(UINT64_END)) return -1;
  }
  // Without digits nothing is read, the sign included.
  const stop = at === first ? start : at;
  if (stop < end && bytes[stop] !== 0) return -1;
  if (value === 0n) return 0;
  return isNegative ? Number.POSITIVE_INFINITY : Number(value);
}

interface ScanOptions {
  count: number;
  glob: Glob | undefined;
  /** The TYPE asked for has keys. */
  hasType: boolean;
}

/** SCAN's options, or the error that they are. */
function scanOptions({ request }: CommandContext): ScanOptions | string {
  const options: ScanOptions = { count: COUNT_DEFAULT, glob: undefined, hasType: true };
  for (let index = 2; index < request.count; index += 2) {
    const hasValue = index + 1 < request.count;
    if (isWord(request, index, "count") && hasValue) {
      options.count = integerArgument(request, index + 1);
      if (Number.isNaN(options.count)) return NOT_AN_INTEGER;
      if (options.count < 1) return SYNTAX_ERROR;
    } else if (isWord(request, index, "match") && hasValue) {
      options.glob = globArgument(request, index + 1);
    } else if (isWord(request, index, "type") && hasValue) {
      options.hasType = isWord(request, index + 1, "string");
    } else {
      return SYNTAX_ERROR;
    }
  }
  return options;
}

function globArgument(request: CommandContext["request"], index: number): Glob {
  request.materialize();
  // The request's bytes may be gone when the work goes on in another turn.
  const { bytes, starts, ends } = request;
  return new Glob(Buffer.from(bytes.subarray(starts[index]!, ends[index]!)));
}

function scan(context: CommandContext): void {
  const { store, request, reply } = context;
  request.materialize();
  const cursor = cursorAt(request.bytes, request.starts[1]!, request.ends[1]!);
  if (cursor < 0) {
    reply.error(INVALID_CURSOR);
    return;
  }
  const options = scanOptions(context);
  if (typeof options === "string") {
    reply.error(options);
    return;
  }
  const page = store.scan(cursor, Math.min(options.count, COUNT_MAX));
  const { matching, next } = filter(page, options);
  reply.array(2);
  reply.bulkString(String(next));
  reply.array(matching.length);
  for (const { key } of matching) reply.bulkBytes(key);
}

/** The keys of a page that match, up to where matching has become too expensive, and the cursor behind them. */
function filter(
  page: { readonly next: number; readonly keys: readonly ScannedKey[] },
  { glob, hasType }: ScanOptions,
): { matching: readonly ScannedKey[]; next: number } {
  if (!hasType) return { matching: [], next: page.next };
  if (glob === undefined || glob.isEverything) return { matching: page.keys, next: page.next };
  const matching: ScannedKey[] = [];
  let previous = -1;
  for (const scanned of page.keys) {
    const { key, position } = scanned;
    // Keys of one position belong together: a cursor cannot stand between them.
    if (glob.steps > MATCH_STEPS_MAX && position !== previous) return { matching, next: position };
    if (glob.matches(key, 0, key.length)) matching.push(scanned);
    previous = position;
  }
  return { matching, next: page.next };
}

function keys(context: CommandContext): void {
  const { session, store, request, reply } = context;
  const glob = globArgument(request, 1);
  let list: KeyList;
  if (session.transaction === undefined) {
    list = store.prepare(() => collect(context, glob), "keys");
    store.tagNewest();
  } else {
    list = new KeyList(store.slabs, session.work.slabs);
    let cursor = 0;
    do {
      const page = store.scan(cursor, SLICE_KEYS);
      for (const { key } of page.keys) addIfMatching(list, glob, key);
      if (list.byteLength > store.largeBytesMax) throw OUT_OF_MEMORY;
      cursor = page.next;
    } while (cursor !== 0);
  }
  list.reply(reply);
}

/** The keys that match, read over as many turns as it takes: each is there that exists all the while. */
async function collect({ store, server, session }: CommandContext, glob: Glob): Promise<KeyList> {
  const { clock } = server;
  const list = new KeyList(store.slabs, session.work.slabs);
  let page: { next: number; keys: readonly ScannedKey[] } = { next: 0, keys: [] };
  let heldBytes = LIST_BYTES_FREE;
  let sliceEndMs = clock.monotonicMs() + SLICE_MS;
  const nextTurn = async (): Promise<void> => {
    await new Promise<void>((resolve) => clock.immediate(resolve));
    sliceEndMs = clock.monotonicMs() + SLICE_MS;
  };
  do {
    await store.runUnit(() => {
      page = store.scan(page.next, SLICE_KEYS);
    });
    for (const { key } of page.keys) {
      addIfMatching(list, glob, key);
      if (clock.monotonicMs() < sliceEndMs) continue;
      await nextTurn();
      if (session.isClosed) return list;
    }
    // Pages of deleted keys are empty, and cost as much.
    if (clock.monotonicMs() >= sliceEndMs) await nextTurn();
    if (list.byteLength <= heldBytes || page.next === 0) continue;
    // Hashes are uniform: what has been read tells how long the list will be.
    // With keys of one hash tag it tells too much.
    const expected = Math.ceil((list.byteLength * POSITIONS) / page.next);
    const wanted = Math.min(expected, Math.max(store.largeBytesMax, list.byteLength + STEP_BYTES));
    const bytes = wanted - heldBytes;
    heldBytes += bytes;
    await store.hold(session.work, bytes);
  } while (page.next !== 0);
  return list;
}

function addIfMatching(list: KeyList, glob: Glob, key: Buffer): void {
  if (glob.isEverything || glob.matches(key, 0, key.length)) list.add(key);
}

export const SCAN_HANDLERS: Handlers = { keys, scan };
