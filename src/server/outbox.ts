/**
 * The replies of one session on their way out: tagged, held until their tags are committed, sent in order.
 *
 *   reply buffer   [ 0 … gateEnds[0] … gateEnds[1] … length )     run i leaves when committed ≥ gateTags[i]
 *
 * Invariant: gateEnds and gateTags ascend; what follows the last gate waits for it.
 */
import type { Socket } from "bun";
import { ReplyWriter } from "../resp/reply-writer.ts";
import type { Session } from "./session.ts";
import type { Statistics } from "./statistics.ts";

export class Outbox {
  readonly reply = new ReplyWriter();
  readonly #socket: Socket<Session>;
  readonly #statistics: Statistics;
  readonly #gateEnds: number[] = [];
  readonly #gateTags: number[] = [];
  /** The socket took less than it was given: wait for drain. */
  isBlocked = false;
  sentBytes = 0;

  constructor(socket: Socket<Session>, statistics: Statistics) {
    this.#socket = socket;
    this.#statistics = statistics;
  }

  /** Some replies wait for the commit index to grow. */
  get isGated(): boolean {
    return this.#gateEnds.length > 0;
  }

  get isEmpty(): boolean {
    return this.reply.length === 0;
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
    while (pieces.length > 0 && !this.isBlocked && ready > 0) {
      const piece = pieces[0]!;
      if (piece.at >= ready) break;
      if (piece.at > 0) ready -= this.#write(piece.at);
      else this.#writePiece(piece);
    }
    if (ready > 0 && !this.isBlocked) this.#write(ready);
  }

  /** Drops everything: the connection is gone. */
  clear(): void {
    this.reply.pieces.length = 0;
    this.#gateEnds.length = 0;
    this.#gateTags.length = 0;
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
    this.reply.consume(written);
    for (let i = 0; i < this.#gateEnds.length; i++) this.#gateEnds[i]! -= written;
    return written;
  }

  #writePiece(piece: { at: number; bytes: Buffer }): void {
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
    let ready = 0;
    while (this.#gateEnds.length > 0 && this.#gateTags[0]! <= committed) {
      ready = this.#gateEnds.shift()!;
      this.#gateTags.shift();
    }
    return this.#gateEnds.length === 0 ? this.reply.length : ready;
  }
}
