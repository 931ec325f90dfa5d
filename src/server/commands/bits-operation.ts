/**
 * BITOP: AND, OR, XOR, NOT of whole values (https://redis.io/docs/latest/commands/bitop/). A shorter value is
 * followed by zeros; the result is as long as the longest.
 */
import { type Fold, SYNC_BYTES_MAX } from "../../store/values.ts";
import { isWord, keysFit, SYNTAX_ERROR, selectKey } from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import { findForRead } from "./strings.ts";

const ONE_SOURCE = "ERR BITOP NOT must be called with a single source key.";
const FIRST_SOURCE = 3;
const OPERATIONS = ["and", "or", "xor", "not"] as const;
type Operation = (typeof OPERATIONS)[number];

/** Combines slices of the sources into slices of the result. */
class OperationFold implements Fold {
  readonly #operation: Operation;
  readonly pieces: Buffer[] = [];

  constructor(operation: Operation) {
    this.#operation = operation;
  }

  take(slices: readonly Buffer[]): boolean {
    const length = slices.reduce((most, slice) => Math.max(most, slice.length), 0);
    const result = Buffer.alloc(length);
    slices[0]!.copy(result);
    if (this.#operation === "not") invert(result);
    for (let i = 1; i < slices.length; i++) this.#combine(result, slices[i]!);
    this.pieces.push(result);
    return true;
  }

  #combine(result: Buffer, source: Buffer): void {
    const length = source.length;
    if (this.#operation === "and") {
      for (let i = 0; i < length; i++) result[i]! &= source[i]!;
      result.fill(0, length);
    } else if (this.#operation === "or") {
      for (let i = 0; i < length; i++) result[i]! |= source[i]!;
    } else {
      for (let i = 0; i < length; i++) result[i]! ^= source[i]!;
    }
  }
}

function invert(bytes: Buffer): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = ~bytes[i]!;
}

function bitop(context: CommandContext): void {
  const { request, reply, store } = context;
  const operation = OPERATIONS.find((name) => isWord(request, 1, name));
  if (operation === undefined) {
    reply.error(SYNTAX_ERROR);
    return;
  }
  if (operation === "not" && request.count !== FIRST_SOURCE + 1) {
    reply.error(ONE_SOURCE);
    return;
  }
  if (!keysFit(context, 2, request.count, 1)) return;
  let longest = 0;
  let total = 0;
  for (let index = FIRST_SOURCE; index < request.count; index++) {
    selectKey(context, index);
    const length = findForRead(context) ? store.valueLength : 0;
    longest = Math.max(longest, length);
    total += length;
  }
  const pieces = longest === 0 ? [] : combined(context, operation, { longest, total });
  selectKey(context, 2);
  if (longest === 0) store.remove();
  else store.putPieces(pieces, 0);
  reply.integer(longest);
}

function combined(
  { request, store }: CommandContext,
  operation: Operation,
  bytes: { longest: number; total: number },
): readonly Buffer[] {
  const keys: Buffer[] = [];
  for (let index = FIRST_SOURCE; index < request.count; index++) {
    keys.push(Buffer.from(request.bytes.subarray(request.starts[index]!, request.ends[index]!)));
  }
  if (bytes.total > SYNC_BYTES_MAX) {
    const range = { from: 0, to: bytes.longest };
    return store.foldValues(keys, range, () => new OperationFold(operation)).pieces;
  }
  const values = keys.map((key) => {
    store.select(key, 0, key.length);
    return store.find() ? store.copyValue() : Buffer.alloc(0);
  });
  const fold = new OperationFold(operation);
  fold.take(values);
  return fold.pieces;
}

export const BIT_OPERATION_HANDLERS: Handlers = { bitop };
