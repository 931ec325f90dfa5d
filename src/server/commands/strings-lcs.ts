/**
 * LCS: the longest common subsequence of two values (https://redis.io/docs/latest/commands/lcs/).
 *
 *            b₀ b₁ b₂ …
 *        0  0  0  0
 *     a₀ 0  …               length(i, j) = length(i−1, j−1) + 1       where aᵢ₋₁ = bⱼ₋₁
 *     a₁ 0     …                         = max(length(i−1, j), length(i, j−1))   else
 *
 * Redis keeps the table, four bytes a cell. Of several longest subsequences, which one it answers follows from how
 * it walks back: diagonally where the bytes are equal, else up when length(i−1, j) > length(i, j−1), else left. So
 * one bit a cell is enough here, besides two rows. The table is limited in size as Redis limits it, and one that
 * takes long is filled over several turns.
 */
import {
  integerArgument,
  isWord,
  keysFit,
  NOT_AN_INTEGER,
  SYNTAX_ERROR,
  selectKey,
} from "../arguments.ts";
import type { CommandContext, Handlers } from "../handler.ts";
import { findForRead } from "./strings.ts";

const BOTH_FORMS = "ERR If you want both the length and indexes, please just use IDX.";
const TABLE_TOO_LARGE =
  "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
const REDIS_CELL_BYTES = 4;
/** Cells filled per turn: some 4 ms. */
const CELLS_PER_TURN = 1 << 21;
const NO_BYTES = Buffer.alloc(0);

interface LcsOptions {
  readonly wantsLength: boolean;
  readonly wantsRanges: boolean;
  readonly withLengths: boolean;
  readonly lengthMin: number;
}

/** A run of bytes that both values have, by its first and last offsets. */
interface Match {
  readonly aFirst: number;
  readonly bFirst: number;
  readonly count: number;
}

/** Options of the request; an error's text when they are wrong. */
function optionsOf({ request }: CommandContext): LcsOptions | string {
  let wantsLength = false;
  let wantsRanges = false;
  let withLengths = false;
  let lengthMin = 0;
  for (let index = 3; index < request.count; index++) {
    if (isWord(request, index, "idx")) {
      wantsRanges = true;
    } else if (isWord(request, index, "len")) {
      wantsLength = true;
    } else if (isWord(request, index, "withmatchlen")) {
      withLengths = true;
    } else if (isWord(request, index, "minmatchlen") && index + 1 < request.count) {
      index++;
      lengthMin = integerArgument(request, index);
      if (Number.isNaN(lengthMin)) return NOT_AN_INTEGER;
    } else {
      return SYNTAX_ERROR;
    }
  }
  if (wantsLength && wantsRanges) return BOTH_FORMS;
  return { wantsLength, wantsRanges, withLengths, lengthMin };
}

/** The table of two values, filled row by row. */
class LcsTable {
  readonly a: Buffer;
  readonly b: Buffer;
  /** One row: length(i, j) for the i filled last. */
  readonly #lengths: Uint32Array;
  /** Bit (i−1) × |b| + j−1: walk up from (i, j) when the bytes differ. Empty when only the length is wanted. */
  readonly #goesUp: Uint8Array;
  #filled = 0;

  constructor(a: Buffer, b: Buffer, lengthOnly: boolean) {
    this.a = a;
    this.b = b;
    this.#lengths = new Uint32Array(b.length + 1);
    this.#goesUp = new Uint8Array(lengthOnly ? 0 : Math.ceil((a.length * b.length) / 8));
  }

  get isFull(): boolean {
    return this.#filled === this.a.length || this.b.length === 0;
  }

  /** Fills rows until about `cells` more cells are done. */
  fill(cells: number): void {
    const rows = Math.max(1, Math.floor(cells / (this.b.length + 1)));
    const end = Math.min(this.a.length, this.#filled + rows);
    for (; this.#filled < end; this.#filled++) this.#fillRow(this.#filled);
  }

  #fillRow(row: number): void {
    const b = this.b;
    const lengths = this.#lengths;
    const goesUp = this.#goesUp;
    const keepsBits = goesUp.length > 0;
    const byte = this.a[row]!;
    const firstBit = row * b.length;
    let diagonal = 0;
    let left = 0;
    for (let j = 0; j < b.length; j++) {
      const up = lengths[j + 1]!;
      if (b[j] === byte) {
        left = diagonal + 1;
      } else if (up > left) {
        left = up;
        if (keepsBits) {
          const bit = firstBit + j;
          goesUp[(bit / 8) | 0]! |= 1 << (bit % 8);
        }
      }
      diagonal = up;
      lengths[j + 1] = left;
    }
  }

  get length(): number {
    return this.#lengths[this.b.length]!;
  }

  /** The common runs, from the values' ends to their starts; `visit` is given each. REQUIRES: isFull. */
  walk(visit: (match: Match) => void): void {
    let i = this.a.length;
    let j = this.b.length;
    let count = 0;
    const end = () => {
      if (count > 0) visit({ aFirst: i, bFirst: j, count });
      count = 0;
    };
    while (i > 0 && j > 0) {
      if (this.a[i - 1] === this.b[j - 1]) {
        count++;
        i--;
        j--;
        continue;
      }
      end();
      const bit = (i - 1) * this.b.length + j - 1;
      if ((this.#goesUp[Math.floor(bit / 8)]! & (1 << (bit % 8))) !== 0) i--;
      else j--;
    }
    end();
  }
}

/** A whole value of its own memory; nothing when the key does not exist. */
function copyOf(context: CommandContext, index: number): Buffer {
  selectKey(context, index);
  if (!findForRead(context)) return NO_BYTES;
  const { store } = context;
  return store.isInline ? store.copyValue() : Buffer.concat(store.valuePieces());
}

function valueLengthOf(context: CommandContext, index: number): number {
  selectKey(context, index);
  return context.store.find() ? context.store.valueLength : 0;
}

function lcs(context: CommandContext): void {
  const { reply, server } = context;
  if (!keysFit(context, 1, 3, 1)) return;
  const options = optionsOf(context);
  if (typeof options === "string") {
    reply.error(options);
    return;
  }
  const cells = (valueLengthOf(context, 1) + 1) * (valueLengthOf(context, 2) + 1);
  if (cells * REDIS_CELL_BYTES > server.config.get("proto-max-bulk-len")) {
    reply.error(TABLE_TOO_LARGE);
    return;
  }
  const a = copyOf(context, 1);
  const b = copyOf(context, 2);
  const table = filledTable(context, new LcsTable(a, b, options.wantsLength), cells);
  if (options.wantsLength) reply.integer(table.length);
  else if (options.wantsRanges) replyRanges(context, table, options);
  else replySubsequence(context, table);
}

/** The table with all rows filled; in an open transaction at once, so that nothing comes in between. */
function filledTable({ store, server, session }: CommandContext, table: LcsTable, cells: number) {
  if (cells <= CELLS_PER_TURN || session.transaction !== undefined) {
    table.fill(Number.POSITIVE_INFINITY);
    return table;
  }
  return store.prepare(async () => {
    while (!table.isFull) {
      table.fill(CELLS_PER_TURN);
      await new Promise<void>((resolve) => server.clock.immediate(resolve));
    }
    return table;
  });
}

function replySubsequence({ reply }: CommandContext, table: LcsTable): void {
  const bytes = Buffer.allocUnsafe(table.length);
  let at = bytes.length;
  table.walk(({ aFirst, count }) => {
    at -= count;
    table.a.copy(bytes, at, aFirst, aFirst + count);
  });
  reply.bulkPieces([bytes]);
}

function replyRanges({ reply }: CommandContext, table: LcsTable, options: LcsOptions): void {
  const matches: Match[] = [];
  table.walk((match) => {
    if (match.count >= options.lengthMin) matches.push(match);
  });
  reply.map(2);
  reply.bulkString("matches");
  reply.array(matches.length);
  for (const { aFirst, bFirst, count } of matches) {
    reply.array(options.withLengths ? 3 : 2);
    for (const first of [aFirst, bFirst]) {
      reply.array(2);
      reply.integer(first);
      reply.integer(first + count - 1);
    }
    if (options.withLengths) reply.integer(count);
  }
  reply.bulkString("len");
  reply.integer(table.length);
}

export const LCS_HANDLERS: Handlers = { lcs };
