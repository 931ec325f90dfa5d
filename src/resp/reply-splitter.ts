/**
 * Finds where replies end in a stream of RESP2 or RESP3, without decoding them.
 *
 *   *2\r\n $3\r\nabc\r\n :1\r\n │ +OK\r\n │ $5\r\nab            two whole replies, and the start of one
 *
 * What has been looked at is not looked at again: a reply of megabytes in thousands of chunks costs each byte once.
 */
import { unreachable } from "../base/assert.ts";

const LF = 0x0a;
const ZERO = 0x30;
const MINUS = 0x2d;
const BULKS = "$=!";
const SEQUENCES = "*~>";
const MAPS = "%|";

export class ReplySplitter {
  readonly #onReply: (reply: Buffer) => void;
  /** Chunks of the unfinished reply. */
  #parts: Buffer[] = [];
  /** The unfinished line: its marker and the number behind it. */
  #marker = "";
  #number = 0;
  #isNegative = false;
  /** Bytes of a bulk, its line end included, that are still to come. */
  #bulkBytes = 0;
  /** Values that the current reply still lacks. */
  #values = 1;

  constructor(onReply: (reply: Buffer) => void) {
    this.#onReply = onReply;
  }

  /** Takes `chunk`: replies may be views of it. */
  push(chunk: Buffer): void {
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      at = this.#bulkBytes > 0 ? this.#skipBulk(chunk, at) : this.#readLine(chunk, at);
      if (this.#values > 0) continue;
      this.#end(chunk.subarray(start, at));
      start = at;
    }
    if (start < at) this.#parts.push(chunk.subarray(start));
  }

  #end(last: Buffer): void {
    const reply = this.#parts.length === 0 ? last : Buffer.concat([...this.#parts, last]);
    this.#parts = [];
    this.#values = 1;
    this.#onReply(reply);
  }

  #skipBulk(chunk: Buffer, at: number): number {
    const skipped = Math.min(this.#bulkBytes, chunk.length - at);
    this.#bulkBytes -= skipped;
    if (this.#bulkBytes === 0) this.#values--;
    return at + skipped;
  }

  #readLine(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#marker === "") this.#marker = String.fromCharCode(chunk[at++]!);
    for (; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (byte === LF) {
        this.#endLine();
        return at + 1;
      }
      if (byte === MINUS) this.#isNegative = true;
      // Of lines that are text the number means nothing.
      else if (byte >= ZERO) this.#number = this.#number * 10 + byte - ZERO;
    }
    return at;
  }

  #endLine(): void {
    const count = this.#isNegative ? -1 : this.#number;
    const marker = this.#marker;
    this.#marker = "";
    this.#number = 0;
    this.#isNegative = false;
    if (BULKS.includes(marker) && count >= 0) {
      this.#bulkBytes = count + 2;
      return;
    }
    if ("+-:_,#(".includes(marker) || count < 0) this.#values--;
    else if (SEQUENCES.includes(marker)) this.#values += count - 1;
    else if (MAPS.includes(marker)) this.#values += count * 2 - 1;
    else unreachable(`a reply starts with ${JSON.stringify(marker)}`);
  }
}
