/**
 * The replies of one session on their way out: tagged, held until their tags are committed, sent in order.
 *
 *   reply buffer   [ 0 … gateEnds[0] … gateEnds[1] … length )     run i leaves when committed ≥ gateTags[i]
 *
 * A reply that comes from another node has a hole in the buffer for its place; what follows the first open one waits.
 *
 * Invariant: gateEnds and gateTags ascend; what follows the last gate waits for it.
 */
import type { Socket } from "bun";
import { type Piece, ReplyWriter } from "../resp/reply-writer.ts";
import type { Session } from "./session.ts";
import type { Statistics } from "./statistics.ts";

/** Replies of other nodes up to this length are sent together with what is around them. */
const JOINED_BYTES_MAX = 16 * 1024;

export class Outbox {
  readonly reply = new ReplyWriter();
  readonly #socket: Socket<Session>;
  readonly #statistics: Statistics;
  readonly #gateEnds: number[] = [];
  readonly #gateTags: number[] = [];
  /** Bytes at the start whose gates have been passed. */
  #passed = 0;
  /** The socket took less than it was given: wait for drain. */
  isBlocked = false;
  /** Bytes of replies that have left. */
  sentBytes = 0;
  /** How often all replies have left. */
  emptied = 0;

  constructor(socket: Socket<Session>, statistics: Statistics) {
    this.#socket = socket;
    this.#statistics = statistics;
  }

  /** Some replies wait for the commit index to grow. */
  get isGated(): boolean {
    return this.#gateEnds.length > 0;
  }

  get isEmpty(): boolean {
    return this.reply.length === 0 && this.reply.pieces.length === 0;
  }

  /** Tags what was written since the last call. True when it must wait for `tag` and nothing did before. */
  tag(tag: number, committed: number): boolean {
    const end = this.reply.length;
    const gates = this.#gateEnds.length;
    if (tag > committed && (gates === 0 || tag > this.#gateTags[gates - 1]!)) {
      this.#gateEnds.push(end);
      this.#gateTags.push(tag);
      return gates === 0;
    }
    // Replies keep request order: these wait for the ones before them.
    if (gates > 0) this.#gateEnds[gates - 1] = end;
    return false;
  }

  /** Sends all that may leave. */
  send(committed: number): void {
    if (this.isBlocked) return;
    const { pieces } = this.reply;
    let ready = this.#readyBytes(committed);
    if (pieces[0]?.hole === "filled") ready -= this.#joinHoles(ready);
    while (pieces.length > 0 && !this.isBlocked && isReady(pieces[0]!, ready)) {
      const piece = pieces[0]!;
      if (piece.at > 0) ready -= this.#write(piece.at);
      else if (piece.hole === "open") return;
      else this.#writePiece(piece);
    }
    if (ready > 0 && !this.isBlocked) this.#write(ready);
    if (this.isEmpty) this.emptied++;
  }

  /** Drops everything: the connection is gone. */
  clear(): void {
    this.reply.pieces.length = 0;
    this.reply.openHoles = 0;
    this.#gateEnds.length = 0;
    this.#gateTags.length = 0;
    this.#passed = 0;
    this.reply.consume(this.reply.length);
  }

  /** Sends buffer[0, count); returns the bytes that have left. */
  #write(count: number): number {
    const written = this.#socket.write(this.reply.buffer, 0, count);
    if (written < 0) {
      this.isBlocked = true;
      return 0;
    }
    this.isBlocked = written < count;
    this.#count(written);
    this.#consume(written);
    return written;
  }

  #consume(count: number): void {
    this.reply.consume(count);
    this.#passed = Math.max(0, this.#passed - count);
    for (let i = 0; i < this.#gateEnds.length; i++) this.#gateEnds[i]! -= count;
  }

  /**
   * Makes one piece of the short filled holes at the start and of the bytes between them, since each write to a socket
   * costs as much as many replies. Returns the bytes that have moved from the buffer into it.
   */
  #joinHoles(ready: number): number {
    const { pieces, buffer } = this.reply;
    const parts: Buffer[] = [];
    let joined = 0;
    let end = 0;
    for (const { at, bytes, hole } of pieces) {
      if (hole !== "filled" || at > ready || bytes.length > JOINED_BYTES_MAX) break;
      if (at > end) parts.push(buffer.subarray(end, at));
      parts.push(bytes);
      end = at;
      joined++;
    }
    if (parts.length < 2) return 0;
    pieces.splice(0, joined, { at: end, bytes: Buffer.concat(parts), hole: "filled" });
    this.#consume(end);
    return end;
  }

  #writePiece(piece: Piece): void {
    const written = Math.max(0, this.#socket.write(piece.bytes, 0, piece.bytes.length));
    this.#count(written);
    this.isBlocked = written < piece.bytes.length;
    if (this.isBlocked) piece.bytes = piece.bytes.subarray(written);
    else this.reply.pieces.shift();
  }

  #count(written: number): void {
    this.#statistics.writes++;
    this.#statistics.netOutputBytes += written;
    this.sentBytes += written;
  }

  /** Bytes at the start of `reply` whose tags are committed; forgets the gates they pass. */
  #readyBytes(committed: number): number {
    if (this.#gateEnds.length === 0) return this.reply.length;
    while (this.#gateEnds.length > 0 && this.#gateTags[0]! <= committed) {
      this.#passed = this.#gateEnds.shift()!;
      this.#gateTags.shift();
    }
    return this.#gateEnds.length === 0 ? this.reply.length : this.#passed;
  }
}

/** Whether all before a piece may leave: a hole depends on nothing here, what an ordinary one belongs to comes behind. */
function isReady(piece: Piece, ready: number): boolean {
  return piece.hole === "none" ? piece.at < ready : piece.at <= ready;
}
