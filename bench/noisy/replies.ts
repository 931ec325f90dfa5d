/**
 * A connection that sends one request at a time and skims its reply, whatever its length: nothing is kept of an array of
 * millions of keys but their number, and of a value of 100 MB but whether it is the right one.
 */

const LF = 0x0a;
const SHORT_BYTES_MAX = 256;

export interface Reply {
  /** The first byte: + - : $ * or _ for nil. */
  kind: string;
  /** Line of a status, error or integer; a short bulk string. */
  text: string;
  /** Bulk strings below the top level. */
  bulks: number;
  /** The first short bulk string below the top level: a cursor. */
  first: string;
  bytes: number;
  /** Bytes of a top-level bulk string that were not the expected ones. */
  wrongBytes: number;
}

export interface SkimOptions {
  /** What a top-level bulk string must hold. */
  expected?: Buffer;
  /** Called with each short bulk string below the top level. */
  onBulk?: (text: string) => void;
}

export class Skimmer {
  readonly #socket: Bun.Socket;
  #line = "";
  #open: Reply | undefined = undefined;
  #options: SkimOptions = {};
  #resolve: (reply: Reply) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;
  /** Replies of the current one still to come, at any depth. */
  #left = 0;
  /** Bytes of the current bulk string still to come, its CRLF included; −1: at the start of a line. */
  #body = -1;
  #bodyBytes = 0;
  #short = "";
  #unsent: Buffer[] = [];
  #isExpectedToClose = false;

  private constructor(socket: Bun.Socket) {
    this.#socket = socket;
  }

  static async open(port: number): Promise<Skimmer> {
    // Nothing arrives before something has been asked for.
    let skimmer!: Skimmer;
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_socket, chunk) => skimmer.#feed(chunk),
        drain: () => skimmer.#send(),
        close: () => skimmer.#fail(new Error("the server closed a connection")),
        error: (_socket, error) => skimmer.#fail(error),
      },
    });
    skimmer = new Skimmer(socket);
    return skimmer;
  }

  /** Sends encoded bytes, which must be one request, and resolves with its reply. Errors are replies too. */
  ask(request: readonly Buffer[], options: SkimOptions = {}): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#options = options;
      this.#open = { kind: "", text: "", bulks: 0, first: "", bytes: 0, wrongBytes: 0 };
      this.#left = 1;
      this.#unsent = [...request];
      this.#send();
    });
  }

  close(): void {
    this.#isExpectedToClose = true;
    this.#socket.end();
  }

  #fail(error: Error): void {
    if (!this.#isExpectedToClose) this.#reject(error);
  }

  #send(): void {
    while (this.#unsent.length > 0) {
      const part = this.#unsent[0]!;
      const taken = Math.max(0, this.#socket.write(part));
      if (taken < part.length) {
        this.#unsent[0] = part.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
  }

  #feed(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#open === undefined) throw new Error("a reply that nothing asked for");
      at = this.#body < 0 ? this.#takeLine(chunk, at) : this.#takeBody(chunk, at);
      if (this.#left === 0 && this.#body < 0) {
        const reply = this.#open;
        this.#open = undefined;
        this.#resolve(reply);
      }
    }
  }

  #takeLine(chunk: Buffer, start: number): number {
    const end = chunk.indexOf(LF, start);
    if (end < 0) {
      this.#line += chunk.toString("latin1", start);
      return chunk.length;
    }
    const line = this.#line + chunk.toString("latin1", start, end);
    this.#line = "";
    this.#takeHeader(line[0]!, line.slice(1, -1));
    return end + 1;
  }

  #takeHeader(marker: string, rest: string): void {
    const reply = this.#open!;
    const isNil = rest === "-1" || marker === "_";
    if (reply.kind === "") reply.kind = isNil ? "_" : marker;
    this.#left--;
    if (isNil) return;
    if (marker === "*") {
      this.#left += Number(rest);
    } else if (marker === "$") {
      this.#body = Number(rest) + 2;
      this.#bodyBytes = Number(rest);
      this.#short = "";
    } else {
      reply.text = rest;
    }
  }

  #takeBody(chunk: Buffer, start: number): number {
    const reply = this.#open!;
    const end = Math.min(chunk.length, start + this.#body);
    const done = this.#bodyBytes + 2 - this.#body;
    this.#body -= end - start;
    const valueEnd = Math.min(end, start + this.#bodyBytes - done);
    if (this.#bodyBytes <= SHORT_BYTES_MAX) {
      if (valueEnd > start) this.#short += chunk.toString("latin1", start, valueEnd);
    } else if (valueEnd > start) {
      reply.bytes += valueEnd - start;
      const { expected } = this.#options;
      const isRight =
        expected !== undefined &&
        expected.length === this.#bodyBytes &&
        chunk.compare(expected, done, done + valueEnd - start, start, valueEnd) === 0;
      if (!isRight) reply.wrongBytes += valueEnd - start;
    }
    if (this.#body > 0) return end;
    this.#body = -1;
    if (reply.kind === "$") {
      reply.text = this.#short;
    } else {
      if (reply.bulks++ === 0) reply.first = this.#short;
      this.#options.onBulk?.(this.#short);
    }
    return end;
  }
}
