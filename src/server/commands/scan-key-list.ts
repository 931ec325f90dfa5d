/**
 * Keys encoded as the bulk strings of a reply, in slabs: a list of millions holds no object per key.
 */
import { copyBytes } from "../../base/bytes.ts";
import { SLAB_BYTES, type SlabPool } from "../../base/slab-pool.ts";
import type { ReplyWriter } from "../../resp/reply-writer.ts";

/** The first piece is no slab: most lists are short. */
const FIRST_BYTES = 4 * 1024;
/** `$`, up to five digits and two CRLF. */
const FRAME_BYTES_MAX = 10;

export class KeyList {
  count = 0;
  readonly #pool: SlabPool;
  readonly #slabs: Buffer[];
  readonly #pieces: Buffer[] = [];
  #piece: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;

  /** Notes the slabs that it takes from the pool in `slabs`, whose owner gives them back. */
  constructor(pool: SlabPool, slabs: Buffer[]) {
    this.#pool = pool;
    this.#slabs = slabs;
  }

  /** Bytes of the slabs in use. */
  get byteLength(): number {
    return this.#pieces.length * SLAB_BYTES;
  }

  add(key: Buffer): void {
    this.count++;
    if (this.#piece.length - this.#length < key.length + FRAME_BYTES_MAX) this.#nextPiece();
    const piece = this.#piece;
    this.#length += piece.write(`$${key.length}\r\n`, this.#length, "latin1");
    copyBytes(key, 0, key.length, piece, this.#length);
    this.#length += key.length;
    this.#length += piece.write("\r\n", this.#length, "latin1");
  }

  /** Appends all keys as an array. Nothing is added afterwards. */
  reply(reply: ReplyWriter): void {
    reply.array(this.count);
    if (this.count === 0) return;
    for (const piece of this.#pieces) reply.rawPiece(piece);
    // A piece is sent before the byte that follows it: the last key's end stays in the writer's buffer.
    reply.rawPiece(this.#piece.subarray(0, this.#length - 2));
    reply.crlf();
  }

  #nextPiece(): void {
    if (this.#length > 0) this.#pieces.push(this.#piece.subarray(0, this.#length));
    this.#length = 0;
    this.#piece = this.#pool.take();
    this.#slabs.push(this.#piece);
  }
}
