/**
 * Takes back replies whose frames may or may not come to be committed: this node writes no more, or its quorum is silent.
 *
 *     reply buffer   [ sent or sure | reply | reply | … ]      each reply marked with what it tells
 *                                      │ tells nothing of the data: stays
 *                                      │ reads:  -TRYAGAIN …   (another node's client: refused, so that it is sent again)
 *                                      └ writes: -UNKNOWN …    nobody may send it again
 */
import { assert } from "../base/assert.ts";
import { encodeReply, type Piece, type ReplyWriter } from "../resp/reply-writer.ts";

/** What a reply tells of. A write may also have read. */
export type Effect = "none" | "read" | "write";

export interface ReplyMark {
  /** Byte of the buffer behind it. */
  readonly end: number;
  readonly effect: Effect;
}

/** What is said in the place of replies, encoded. */
export interface Withdrawal {
  readonly read: Buffer;
  readonly write: Buffer;
}

const UNKNOWN_WRITE = encodeReply(
  "-UNKNOWN the write may or may not come to be: its node lost its quorum or its role before it was committed\r\n",
);
export const WITHDRAWN: Withdrawal = {
  read: encodeReply(
    "-TRYAGAIN the node lost its quorum or its role before the read was confirmed\r\n",
  ),
  write: UNKNOWN_WRITE,
};
/** Its node sends reads again by itself. */
export const WITHDRAWN_FROM_PEER: Withdrawal = {
  read: encodeReply("-MOVED 0 :0\r\n"),
  write: UNKNOWN_WRITE,
};

/** Puts what is left of the pieces of the old buffer to where they belong in the new one. */
class PieceMover {
  readonly #reply: ReplyWriter;
  readonly #pieces: Piece[];
  #next = 0;

  constructor(reply: ReplyWriter, from: number) {
    this.#reply = reply;
    const kept = reply.pieces.findIndex(({ at }) => at > from);
    this.#pieces = kept < 0 ? [] : reply.pieces.splice(kept);
  }

  /** Those before the old byte `end` come before the new end, `shift` bytes further to the front than they were. */
  moveBefore(end: number, shift: number): void {
    for (
      let piece = this.#pieces[this.#next];
      piece !== undefined;
      piece = this.#pieces[this.#next]
    ) {
      if (piece.at >= end) return;
      piece.at -= shift;
      this.#reply.pieces.push(piece);
      this.#next++;
    }
  }

  /** Those within a reply that goes, go. */
  dropBefore(end: number): void {
    while (this.#next < this.#pieces.length && this.#pieces[this.#next]!.at < end) {
      assert(this.#pieces[this.#next]!.hole === "none", "a hole within a reply");
      this.#next++;
    }
  }
}

/** Replaces the replies from byte `from` on; what follows the last mark stays. Holes stay between their neighbours. */
export function withdraw(
  reply: ReplyWriter,
  from: number,
  marks: readonly ReplyMark[],
  withdrawal: Withdrawal,
): void {
  const old = Buffer.from(reply.buffer.subarray(from, reply.length));
  const end = reply.length;
  const pieces = new PieceMover(reply, from);
  reply.length = from;
  let start = from;
  const keep = (to: number): void => {
    pieces.moveBefore(to, start - reply.length);
    reply.raw(old.subarray(start - from, to - from));
    start = to;
  };
  for (const mark of marks) {
    if (mark.end <= start) continue;
    // Holes of commands before this one.
    pieces.moveBefore(start + 1, start - reply.length);
    if (mark.effect === "none") {
      keep(mark.end);
      continue;
    }
    pieces.dropBefore(mark.end);
    reply.raw(mark.effect === "read" ? withdrawal.read : withdrawal.write);
    start = mark.end;
  }
  keep(end);
  pieces.moveBefore(end + 1, start - reply.length);
}
