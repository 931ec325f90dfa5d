/**
 * Replies of a LocalClient as they arrive: lines of the protocol, and the bytes of a bulk string piece by piece, so that
 * a long value is never whole in memory.
 */
import type { LocalClient } from "../server/local-client.ts";

const EMPTY = Buffer.alloc(0);
const CR = 0x0d;
const LINE_END_BYTES = 2;

/** The session has ended before its reply: what it was asked to do may have been done. */
export class NoReply extends Error {
  override readonly name = "NoReply";
}

export class ReplyStream {
  readonly #client: LocalClient;
  #bytes: Buffer = EMPTY;

  constructor(client: LocalClient) {
    this.#client = client;
  }

  /** The next line, with its marker and without its end. Throws NoReply. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#bytes.indexOf(CR);
      if (end >= 0 && end + LINE_END_BYTES <= this.#bytes.length) {
        const line = this.#bytes.toString("utf8", 0, end);
        this.#bytes = this.#bytes.subarray(end + LINE_END_BYTES);
        return line;
      }
      const rest = this.#bytes;
      this.#bytes = EMPTY;
      this.#bytes = Buffer.concat([rest, await this.#next()]);
    }
  }

  /** Between one byte and `most` of a bulk string that has so many left. Throws NoReply. */
  async piece(most: number): Promise<Buffer> {
    const bytes = this.#bytes.length > 0 ? this.#bytes : await this.#next();
    this.#bytes = bytes.subarray(most);
    return bytes.subarray(0, most);
  }

  async #next(): Promise<Buffer> {
    const chunk = await this.#client.read();
    if (chunk === undefined) throw new NoReply("the server has ended the request");
    return chunk;
  }
}
