/**
 * The index of a table in memory: which block holds a key. 8 bytes per block.
 *
 * First prefixes are uniform in most tables, so a guess by interpolation is a few blocks off; a gallop and a
 * binary search finish from there, which is also fast when they are not uniform (hash tags, chunks). Blocks that begin
 * with the prefix that the block before them ends with (ties) have their first key here, so that every lookup has
 * exactly one candidate.
 *
 * Hot: locate.
 */
import { compareBytes } from "../base/bytes.ts";
import { CorruptionError } from "../base/errors.ts";
import { BLOCK_TRAILER_BYTES } from "./block.ts";
import { type KeyQuery, prefixOf, slotOfPosition } from "./order-key.ts";

const TIE_HEADER_BYTES = 12;
/** A block larger than the target holds one record: key and sub-key below 64 KiB each, a value of a chunk. */
const STORED_BYTES_MAX = 256 * 1024;

export class TableIndex {
  readonly blockCount: number;
  readonly memoryBytes: number;
  readonly #prefixes: Uint32Array;
  /** File offset of each block, and behind the last one the end of the data. */
  readonly #offsets: Uint32Array;
  readonly #firstPrefix: number;
  readonly #lastPrefix: number;
  readonly #scale: number;
  /** Block numbers of the ties, ascending, and where their entries lie in #tieBytes. */
  readonly #tieBlocks: Uint32Array;
  readonly #tieOffsets: Uint32Array;
  readonly #tieBytes: Uint8Array;
  readonly #tieView: DataView;

  /** Throws CorruptionError when the section contradicts itself. Copies what it keeps. */
  constructor(
    section: Uint8Array,
    blockCount: number,
    dataBytes: number,
    place: { readonly path: string; readonly offset: number },
  ) {
    const fail = (message: string): never => {
      throw new CorruptionError(message, place);
    };
    const wordBytes = 8 * blockCount + 4;
    if (blockCount === 0 || section.length < wordBytes) fail("table index is too short");
    const words = new Uint32Array(section.slice(0, wordBytes).buffer);
    const prefixes = words.slice(0, blockCount);
    const offsets = new Uint32Array(blockCount + 1);
    offsets.set(words.subarray(blockCount, 2 * blockCount));
    offsets[blockCount] = dataBytes;
    if (offsets[0] !== 0) fail("the first block is not at the start of the table");
    for (let i = 0; i < blockCount; i++) {
      if (offsets[i]! + BLOCK_TRAILER_BYTES > offsets[i + 1]!) fail("block offsets do not ascend");
      if (offsets[i + 1]! - offsets[i]! > STORED_BYTES_MAX) fail("a block is impossibly large");
      if (i > 0 && prefixes[i - 1]! > prefixes[i]!) fail("block prefixes do not ascend");
    }
    this.blockCount = blockCount;
    this.#prefixes = prefixes;
    this.#offsets = offsets;
    this.#firstPrefix = prefixes[0]!;
    this.#lastPrefix = prefixes[blockCount - 1]!;
    const span = this.#lastPrefix - this.#firstPrefix;
    this.#scale = span === 0 ? 0 : (blockCount - 1) / span;
    const tieCount = words[2 * blockCount]!;
    this.#tieBytes = section.slice(wordBytes);
    this.#tieView = new DataView(this.#tieBytes.buffer);
    if (tieCount > this.#tieBytes.length / TIE_HEADER_BYTES) fail("table index ties are cut short");
    this.#tieBlocks = new Uint32Array(tieCount);
    this.#tieOffsets = new Uint32Array(tieCount);
    if (this.#readTies() !== this.#tieBytes.length) fail("table index ties are malformed");
    this.memoryBytes =
      prefixes.byteLength + offsets.byteLength + this.#tieBytes.length + 8 * tieCount;
  }

  offsetOf(block: number): number {
    return this.#offsets[block]!;
  }

  /** Bytes of the block in the file, trailer included. */
  storedBytesOf(block: number): number {
    return this.#offsets[block + 1]! - this.#offsets[block]!;
  }

  prefixOfBlock(block: number): number {
    return this.#prefixes[block]!;
  }

  /** The only block that can hold the query's record; −1 when it would stand before the first block. */
  locate(query: KeyQuery): number {
    const prefix = query.prefix;
    const block = this.#lastNotBehind(prefix);
    if (block < 0 || this.#tieBlocks.length === 0) return block;
    return this.#prefixes[block] === prefix ? this.#locateTie(query, block) : block;
  }

  /** The block in which the first record at or behind `position` stands, or the one before it. */
  blockBefore(position: number): number {
    const prefix = prefixOf(slotOfPosition(position), position >>> 0);
    let low = 0;
    let high = this.blockCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#prefixes[middle]! < prefix) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** The last block whose first prefix is ≤ `prefix`, −1 if none. */
  #lastNotBehind(prefix: number): number {
    const prefixes = this.#prefixes;
    const count = this.blockCount;
    if (prefix < this.#firstPrefix) return -1;
    if (prefix >= this.#lastPrefix) return count - 1;
    // Invariant: prefixes[low] <= prefix < prefixes[high].
    let low = ((prefix - this.#firstPrefix) * this.#scale) | 0;
    let high = low + 1;
    let step = 1;
    if (prefixes[low]! <= prefix) {
      while (high < count && prefixes[high]! <= prefix) {
        low = high;
        step += step;
        high = low + step;
      }
      if (high > count - 1) high = count - 1;
    } else {
      high = low;
      low = high - 1;
      while (low > 0 && prefixes[low]! > prefix) {
        high = low;
        step += step;
        low = high - step;
      }
      if (low < 0) low = 0;
    }
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (prefixes[middle]! <= prefix) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Several blocks may hold the query's prefix; `block` is the last of them. */
  #locateTie(query: KeyQuery, block: number): number {
    let low = 0;
    let high = this.#tieBlocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compareTie(query, middle) >= 0) low = middle + 1;
      else high = middle;
    }
    // Ties [0, low) are not behind the query, and the others are.
    const prefix = query.prefix;
    const before = low > 0 ? this.#tieBlocks[low - 1]! : -1;
    if (before >= 0 && this.#prefixes[before] === prefix) return before;
    const after = low < this.#tieBlocks.length ? this.#tieBlocks[low]! : -1;
    if (after >= 0 && this.#prefixes[after] === prefix) return after - 1;
    return block;
  }

  /** Order of the query and the first record of tie `tie`. */
  #compareTie(query: KeyQuery, tie: number): number {
    const prefixOrder = query.prefix - this.#prefixes[this.#tieBlocks[tie]!]!;
    if (prefixOrder !== 0) return prefixOrder;
    const at = this.#tieOffsets[tie]!;
    const hashOrder = query.hash - this.#tieView.getUint32(at + 4, true);
    if (hashOrder !== 0) return hashOrder;
    const tieKeyBytes = this.#tieView.getUint16(at + 8, true);
    const keyBytes = query.keyEnd - query.keyStart;
    const keyAt = at + TIE_HEADER_BYTES;
    const order = compareBytes(
      query.bytes,
      query.keyStart,
      this.#tieBytes,
      keyAt,
      Math.min(keyBytes, tieKeyBytes),
    );
    if (order !== 0) return order;
    if (keyBytes !== tieKeyBytes) return keyBytes - tieKeyBytes;
    const tieSubKeyBytes = this.#tieView.getUint16(at + 10, true);
    const subKeyBytes = query.subKeyEnd - query.subKeyStart;
    const subOrder = compareBytes(
      query.subBytes,
      query.subKeyStart,
      this.#tieBytes,
      keyAt + tieKeyBytes,
      Math.min(subKeyBytes, tieSubKeyBytes),
    );
    return subOrder !== 0 ? subOrder : subKeyBytes - tieSubKeyBytes;
  }

  /** Finds the tie entries; the offset behind the last one, −1 when they contradict themselves. */
  #readTies(): number {
    let at = 0;
    let previous = 0;
    for (let tie = 0; tie < this.#tieBlocks.length; tie++) {
      if (at + TIE_HEADER_BYTES > this.#tieBytes.length) return -1;
      const block = this.#tieView.getUint32(at, true);
      if (block <= previous || block >= this.blockCount) return -1;
      previous = block;
      this.#tieBlocks[tie] = block;
      this.#tieOffsets[tie] = at;
      at +=
        TIE_HEADER_BYTES +
        this.#tieView.getUint16(at + 8, true) +
        this.#tieView.getUint16(at + 10, true);
    }
    return at;
  }
}
