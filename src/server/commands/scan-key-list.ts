/**
 * Keys encoded as the bulk strings of a reply, in pieces: a list of millions holds no object per key.
 */
import { copyBytes } from "../../base/bytes.ts";
import type { ReplyWriter } from "../../resp/reply-writer.ts";

const PIECE_BYTES_MIN = 4 * 1024;
const PIECE_BYTES_MAX = 1024 * 1024;
/** `$`, up to five digits and two CRLF. */
const FRAME_BYTES_MAX = 10;

export class KeyList {
  count = 0;
  readonly #pieces: Buffer[] = [];
  #piece = Buffer.allocUnsafeSlow(PIECE_BYTES_MIN);
  #length = 0;

  add(key: Buffer): void {
    this.count++;
    if (this.#piece.length - this.#length < key.length + FRAME_BYTES_MAX) this.#nextPiece(key);
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

  #nextPiece(key: Buffer): void {
    if (this.#length > 0) this.#pieces.push(this.#piece.subarray(0, this.#length));
    this.#length = 0;
    const size = Math.min(PIECE_BYTES_MAX, this.#piece.length * 2);
    this.#piece = Buffer.allocUnsafeSlow(Math.max(size, key.length + FRAME_BYTES_MAX));
  }
}
