/**
 * The replies of one session on their way out: tagged, held until what they depend on is sure, sent in order.
 *
 *   reply buffer   [ 0 … gateEnds[0] … gateEnds[1] … length )
 *                  run i leaves when committed ≥ gateTags[i] and confirmed ≥ gateRounds[i]
 *
 * A reply that comes from another node has a hole in the buffer for its place; what follows the first open one waits.
 *
 * On a node of a cluster each reply is marked with what it tells, so that those that wait can be withdrawn when nobody
 * knows what will become of their frames.
 *
 * Invariant: gateEnds, gateTags and gateRounds ascend; what follows the last gate waits for it.
 */
import type { Socket } from "bun";
import { type Piece, ReplyWriter } from "../resp/reply-writer.ts";
import type { Session } from "./session.ts";
import type { Statistics } from "./statistics.ts";
import { type Effect, type Withdrawal, withdraw } from "./withdraw-replies.ts";

/** Replies of other nodes up to this length are sent together with what is around them. */
const JOINED_BYTES_MAX = 16 * 1024;
/** Marks of replies that have left are dropped when there are so many. */
const TRIM_MARKS = 1024;

/** How far what replies wait for has come. */
export interface Passed {
  /** Highest frame index that is committed. */
  readonly committed: number;
  /** Highest round of reads that is confirmed; 0 outside of clusters. */
  readonly confirmed: number;
  /** Grows with time: how long replies have waited is counted in it. */
  readonly ticks: number;
}

export class Outbox {
  readonly reply = new ReplyWriter();
  readonly #socket: Socket<Session>;
  readonly #statistics: Statistics;
  readonly #gateEnds: number[] = [];
  readonly #gateTags: number[] = [];
  readonly #gateRounds: number[] = [];
  /** Bytes at the start whose gates have been passed, or that had none. */
  #passed = 0;
  /** Bytes at the start that tag() has seen. */
  #tagged = 0;
  /** Replies from the first one that waits on, oldest first; their ends as of all bytes that there ever were. */
  readonly #markEnds: number[] = [];
  readonly #markEffects: Effect[] = [];
  #consumed = 0;
  /** Passed.ticks when the oldest gate became so. */
  waitsSinceTick = 0;
  /** The socket took less than it was given: wait for drain. */
  isBlocked = false;
  /** Bytes of replies that have left. */
  sentBytes = 0;
  /** Of this node's frames, the newest one that the client's commands have written to or depended on. */
  newestTag = 0;
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

  /** The reply to one command ends here. */
  mark(effect: Effect): void {
    this.#markEnds.push(this.#consumed + this.reply.length);
    this.#markEffects.push(effect);
  }

  /** Tags what was written since the last call. True when it must wait and nothing did before. */
  tag(tag: number, round: number, passed: Passed): boolean {
    const end = this.reply.length;
    const last = this.#gateEnds.length - 1;
    const isSure = tag <= passed.committed && round <= passed.confirmed;
    if (last < 0) {
      if (isSure) this.#dropMarks(this.#markEnds.length);
      else this.#begin(end, tag, round, passed);
    } else if (!isSure && (tag > this.#gateTags[last]! || round > this.#gateRounds[last]!)) {
      this.#gateEnds.push(end);
      this.#gateTags.push(Math.max(tag, this.#gateTags[last]!));
      this.#gateRounds.push(Math.max(round, this.#gateRounds[last]!));
    } else {
      // Replies keep request order: these wait for the ones before them.
      this.#gateEnds[last] = end;
    }
    this.#tagged = end;
    return last < 0 && !isSure;
  }

  #begin(end: number, tag: number, round: number, passed: Passed): void {
    this.#passed = this.#tagged;
    this.waitsSinceTick = passed.ticks;
    this.#gateEnds.push(end);
    this.#gateTags.push(tag);
    this.#gateRounds.push(round);
  }

  /**
   * What waits will not be sure: writes are answered that their outcome is unknown, reads that they are to be tried
   * again, in the places of their replies. Holes stay. REQUIRES: all that was written is tagged and marked.
   */
  withdraw(withdrawal: Withdrawal, passed: Passed): void {
    this.#readyBytes(passed);
    if (!this.isGated) return;
    const from = this.#passed;
    const marks = this.#markEnds.map((end, index) => ({
      end: end - this.#consumed,
      effect: this.#markEffects[index]!,
    }));
    withdraw(this.reply, from, marks, withdrawal);
    this.#clearGates();
    this.#tagged = this.reply.length;
  }

  /** Sends all that may leave. */
  send(passed: Passed): void {
    if (this.isBlocked) return;
    const { pieces } = this.reply;
    let ready = this.#readyBytes(passed);
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
    this.#clearGates();
    this.#consume(this.reply.length);
  }

  #clearGates(): void {
    this.#gateEnds.length = 0;
    this.#gateTags.length = 0;
    this.#gateRounds.length = 0;
    this.#dropMarks(this.#markEnds.length);
    this.#passed = 0;
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
    this.#consumed += count;
    this.#passed = Math.max(0, this.#passed - count);
    this.#tagged = Math.max(0, this.#tagged - count);
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

  /** Bytes at the start of `reply` that may leave; forgets the gates they pass. */
  #readyBytes(passed: Passed): number {
    if (this.#gateEnds.length === 0) return this.reply.length;
    while (this.#isFirstPassed(passed)) {
      this.#passed = this.#gateEnds.shift()!;
      this.#gateTags.shift();
      this.#gateRounds.shift();
      this.waitsSinceTick = passed.ticks;
    }
    this.#trimMarks();
    return this.#gateEnds.length === 0 ? this.reply.length : this.#passed;
  }

  #isFirstPassed({ committed, confirmed }: Passed): boolean {
    if (this.#gateEnds.length === 0) return false;
    return this.#gateTags[0]! <= committed && this.#gateRounds[0]! <= confirmed;
  }

  #trimMarks(): void {
    const ends = this.#markEnds;
    if (this.#gateEnds.length === 0) this.#dropMarks(ends.length);
    else if (ends.length > TRIM_MARKS && ends[TRIM_MARKS]! <= this.#consumed + this.#passed)
      this.#dropMarks(TRIM_MARKS);
  }

  /** The oldest ones. */
  #dropMarks(count: number): void {
    if (count === 0) return;
    this.#markEnds.splice(0, count);
    this.#markEffects.splice(0, count);
  }
}

/** Whether all before a piece may leave: a hole depends on nothing here, what an ordinary one belongs to comes behind. */
function isReady(piece: Piece, ready: number): boolean {
  return piece.hole === "none" ? piece.at < ready : piece.at <= ready;
}
