/**
 * What a connection has yet to write. Hot: 10,000 frames a turn.
 *
 *     messages   ├── written ──┼──── admitted by credit ────┼── waiting for credit ──┤ appended
 *     pieces                   [ staging ][ view ][ staging ][ view ] …
 *     control    [ ping ][ credit ]                          goes out at the next boundary of messages
 *
 * Headers and small parts are copied into staging buffers, so the small messages of a turn leave in one write; large
 * parts stay where they are. All positions are offsets in the stream of messages since the link began; control frames
 * are not counted in it and need no credit.
 *
 * Invariant: boundary ≤ written ≤ admitted ≤ appended; #ends[#head…] are the ends of the messages behind boundary,
 * ascending; the pieces hold the bytes [written, appended).
 */
import { copyBytes } from "../../base/bytes.ts";
import { encodeFrame, FRAME_HEADER_BYTES_MAX, FRAME_MESSAGE, writeFrameHeader } from "./frame.ts";

/** Where bytes go: at most `length` of them are taken, fewer when the system's buffer is full; −1 when it is closed. */
export interface ByteSink {
  write(bytes: Uint8Array, offset: number, length: number): number;
}

interface Piece {
  readonly bytes: Uint8Array;
  start: number;
  end: number;
  /** Staging, or a view of the sender's bytes. */
  readonly isOwn: boolean;
  readonly release: (() => void) | undefined;
}

const STAGING_BYTES = 64 * 1024;
/** Parts up to this size are copied: that is cheaper than another write. */
export const COPIED_BYTES_MAX = 16 * 1024;
/** Ends of messages that have been written are dropped so many at a time. */
const FORGOTTEN_TOGETHER = 4096;
const EMPTY = Buffer.alloc(0);

export class OutQueue {
  /** The sink took less than it was given: it says when it has room. */
  isBlocked = false;
  sentCount = 0;
  readonly #sink: ByteSink;
  #pieces: Piece[] = [];
  #firstPiece = 0;
  /** The last piece, when more can be copied into it. */
  #staging: Piece | undefined;
  #spare: Buffer | undefined;
  #control: Buffer = EMPTY;
  readonly #ends: number[] = [];
  #head = 0;
  #admittedCount = 0;
  #appended = 0;
  #admitted = 0;
  #written = 0;
  #boundary = 0;
  #credit: number;
  #completedCount = 0;

  /** `credit`: the stream's offset behind which no message may begin, until admit() says more. */
  constructor(sink: ByteSink, credit: number) {
    this.#sink = sink;
    this.#credit = credit;
  }

  get queuedBytes(): number {
    return this.#appended - this.#written;
  }

  get writtenBytes(): number {
    return this.#written;
  }

  /** Messages of which at least a byte was taken by the sink. */
  get startedCount(): number {
    return this.#completedCount + (this.#written > this.#boundary ? 1 : 0);
  }

  /** Whether write() would write something if the sink takes it. */
  get isReady(): boolean {
    return !this.isBlocked && (this.#written < this.#admitted || this.#control.length > 0);
  }

  append(channel: number, parts: readonly Uint8Array[], release: (() => void) | undefined): void {
    let staging = this.#room(FRAME_HEADER_BYTES_MAX);
    const start = staging.end;
    staging.end = writeFrameHeader(staging.bytes as Buffer, start, FRAME_MESSAGE, channel, parts);
    let bytes = staging.end - start;
    let lastLarge = parts.length - 1;
    while (lastLarge >= 0 && parts[lastLarge]!.length <= COPIED_BYTES_MAX) lastLarge--;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!;
      const { length } = part;
      bytes += length;
      if (length > COPIED_BYTES_MAX) {
        this.#staging = undefined;
        this.#pieces.push({
          bytes: part,
          start: 0,
          end: length,
          isOwn: false,
          release: i === lastLarge ? release : undefined,
        });
        continue;
      }
      staging = this.#room(length);
      copyBytes(part, 0, length, staging.bytes, staging.end);
      staging.end += length;
    }
    this.#appended += bytes;
    this.#ends.push(this.#appended);
    this.sentCount++;
    this.#admit();
    if (lastLarge < 0) release?.();
  }

  appendControl(type: number, parts: readonly Uint8Array[]): void {
    const frame = encodeFrame(type, 0, parts);
    this.#control = this.#control.length === 0 ? frame : Buffer.concat([this.#control, frame]);
  }

  /** The receiver is done with more. */
  admit(credit: number): void {
    this.#credit = credit;
    this.#admit();
  }

  /** Writes until the sink is full or nothing is left that may leave. */
  write(): void {
    while (!this.isBlocked) {
      const isAtBoundary = this.#written === this.#boundary;
      if (isAtBoundary && this.#control.length > 0) this.#writeControl();
      else if (this.#written === this.#admitted) return;
      else this.#writePiece(this.#control.length > 0 ? this.#ends[this.#head]! : this.#admitted);
    }
  }

  /** The connection has ended. */
  clear(): void {
    this.isBlocked = true;
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#staging = undefined;
    this.#control = EMPTY;
    for (let i = this.#firstPiece; i < pieces.length; i++) pieces[i]!.release?.();
  }

  #writeControl(): void {
    const control = this.#control;
    const written = Math.max(0, this.#sink.write(control, 0, control.length));
    this.isBlocked = written < control.length;
    this.#control = this.isBlocked ? control.subarray(written) : EMPTY;
  }

  #writePiece(limit: number): void {
    const piece = this.#pieces[this.#firstPiece]!;
    const length = Math.min(piece.end - piece.start, limit - this.#written);
    const written = Math.max(0, this.#sink.write(piece.bytes, piece.start, length));
    this.isBlocked = written < length;
    piece.start += written;
    this.#written += written;
    this.#pass();
    if (piece.start === piece.end) this.#endPiece(piece);
  }

  #endPiece(piece: Piece): void {
    if (piece === this.#staging) {
      piece.start = 0;
      piece.end = 0;
      if (this.#firstPiece === 0) return;
      this.#pieces = [piece];
      this.#firstPiece = 0;
      return;
    }
    this.#firstPiece++;
    if (this.#firstPiece === this.#pieces.length) {
      this.#pieces.length = 0;
      this.#firstPiece = 0;
    } else if (this.#firstPiece >= FORGOTTEN_TOGETHER) {
      this.#pieces.splice(0, this.#firstPiece);
      this.#firstPiece = 0;
    }
    if (piece.isOwn) this.#spare = piece.bytes as Buffer;
    piece.release?.();
  }

  /** Passes the messages that have been written whole. */
  #pass(): void {
    while (this.#head < this.#ends.length && this.#ends[this.#head]! <= this.#written) {
      this.#boundary = this.#ends[this.#head++]!;
      this.#completedCount++;
    }
    if (this.#head === this.#ends.length || this.#head >= FORGOTTEN_TOGETHER) {
      this.#ends.splice(0, this.#head);
      this.#admittedCount -= this.#head;
      this.#head = 0;
    }
  }

  #admit(): void {
    while (this.#admittedCount < this.#ends.length && this.#admitted < this.#credit)
      this.#admitted = this.#ends[this.#admittedCount++]!;
  }

  /** The staging piece, with room for `bytes` more. */
  #room(bytes: number): Piece {
    const last = this.#staging;
    if (last !== undefined && last.bytes.length - last.end >= bytes) return last;
    const buffer = this.#spare ?? Buffer.allocUnsafeSlow(STAGING_BYTES);
    this.#spare = undefined;
    const piece: Piece = { bytes: buffer, start: 0, end: 0, isOwn: true, release: undefined };
    this.#pieces.push(piece);
    this.#staging = piece;
    return piece;
  }
}
