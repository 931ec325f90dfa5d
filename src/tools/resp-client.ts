/**
 * One connection to a server: requests in, replies out in the same order, each as the bytes that have arrived. Who needs
 * values decodes them (reply-value.ts), who shows them to people does not have to (reply-text.ts).
 */
import type { Socket } from "bun";
import { AssertionError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { ReplySplitter } from "../resp/reply-splitter.ts";
import { ToolError } from "./tool-error.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface ClientOptions {
  readonly clock: Clock;
  /** Empty: none. */
  readonly password: string;
  /** RESP3. */
  readonly isNewProtocol?: boolean;
  /** Milliseconds for the connection, and for the password. */
  readonly connectMs?: number;
}

export type Words = readonly (string | Uint8Array)[];

const CONNECT_MS = 3000;
const MINUS = 0x2d;

export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

export function encodeWords(words: Words): Buffer {
  const parts: Uint8Array[] = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = typeof word === "string" ? Buffer.from(word) : word;
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n"));
  }
  return Buffer.concat(parts);
}

/** The text of an error reply, without its marker; undefined: it is none. */
export function errorOf(reply: Buffer): string | undefined {
  return reply[0] === MINUS ? reply.toString("utf8", 1, reply.length - 2) : undefined;
}

export class RespClient {
  readonly address: Address;
  readonly #options: ClientOptions;
  readonly #waiting: PromiseWithResolvers<Buffer>[] = [];
  readonly #splitter = new ReplySplitter((reply) => this.#onReply(reply));
  readonly #unsent: Buffer[] = [];
  #socket: Socket<undefined> | undefined = undefined;
  #closed: Error | undefined = undefined;
  /** What comes without having been asked for, after stream(). */
  #stream: ((reply: Buffer) => void) | undefined = undefined;

  private constructor(address: Address, options: ClientOptions) {
    this.address = address;
    this.#options = options;
  }

  /** Throws ToolError when nobody answers there, or the password is refused. */
  static async open(address: Address, options: ClientOptions): Promise<RespClient> {
    const client = new RespClient(address, options);
    await client.#connect();
    try {
      await client.#greet();
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * The bytes of the reply. Throws ToolError when the connection ends before it; it does when `withinMs` have passed:
   * a process that is stopped accepts connections, and says nothing.
   */
  request(words: Words, withinMs?: number): Promise<Buffer> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const waiting = Promise.withResolvers<Buffer>();
    this.#waiting.push(waiting);
    this.#send(encodeWords(words));
    if (withinMs === undefined) return waiting.promise;
    const timer = this.#options.clock.after(withinMs, () => this.#giveUp(withinMs));
    return waiting.promise.finally(() => timer.cancel());
  }

  /** The replies to `count` requests that are encoded one behind the other. */
  pipeline(requests: Buffer, count: number): Promise<Buffer[]> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const waiting = Array.from({ length: count }, () => Promise.withResolvers<Buffer>());
    this.#waiting.push(...waiting);
    this.#send(requests);
    return Promise.all(waiting.map(({ promise }) => promise));
  }

  /** Hands on whatever comes from now on, until the connection ends (MONITOR). */
  stream(onReply: (reply: Buffer) => void): Promise<never> {
    this.#stream = onReply;
    const ended = Promise.withResolvers<never>();
    this.#waiting.push(ended as unknown as PromiseWithResolvers<Buffer>);
    return ended.promise;
  }

  close(): void {
    this.#end("the connection was closed");
    this.#socket?.end();
  }

  async #connect(): Promise<void> {
    const { host, port } = this.address;
    const { clock, connectMs = CONNECT_MS } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = clock.after(connectMs, () => late.reject(new Error("no answer in time")));
    const connecting = Bun.connect<undefined>({
      hostname: host,
      port,
      data: undefined,
      socket: {
        data: (_socket, chunk) => this.#onData(chunk),
        drain: () => this.#flush(),
        close: () => this.#end(`${formatAddress(this.address)} has closed the connection`),
        error: () => undefined,
      },
    });
    try {
      this.#socket = await Promise.race([connecting, late.promise]);
      this.#socket.setNoDelay(true);
    } catch (cause) {
      connecting.then(
        (socket) => socket.terminate(),
        () => undefined,
      );
      throw new ToolError(`cannot connect to ${formatAddress(this.address)}`, {
        hint: "Is the server running there? Choose another one with --host and --port.",
        cause,
      });
    } finally {
      timer.cancel();
    }
  }

  async #greet(): Promise<void> {
    const { password, isNewProtocol, connectMs = CONNECT_MS } = this.#options;
    const auth = password === "" ? [] : ["default", password];
    if (isNewProtocol === true) {
      const words = auth.length === 0 ? ["HELLO", "3"] : ["HELLO", "3", "AUTH", ...auth];
      this.#refuse(errorOf(await this.request(words, connectMs)));
    } else if (auth.length > 0) {
      this.#refuse(errorOf(await this.request(["AUTH", ...auth], connectMs)));
    }
  }

  #refuse(error: string | undefined): void {
    // A server that has no password accepts everybody.
    if (error === undefined || error.includes("without any password configured")) return;
    throw new ToolError(`${formatAddress(this.address)}: ${error}`, {
      hint: "Give the password with --password, or in DKV_CLI_AUTH, which nobody sees in a list of processes.",
    });
  }

  #onData(chunk: Buffer): void {
    if (this.#closed !== undefined) return;
    try {
      this.#splitter.push(Buffer.from(chunk));
    } catch (error) {
      if (!(error instanceof AssertionError)) throw error;
      const problem = `${formatAddress(this.address)} does not speak the Redis protocol`;
      this.#end(problem, "Is it another port of the server, such as the one for HTTP?");
      this.#socket?.terminate();
    }
  }

  #onReply(reply: Buffer): void {
    if (this.#stream !== undefined) this.#stream(reply);
    else this.#waiting.shift()?.resolve(reply);
  }

  #send(bytes: Buffer): void {
    this.#unsent.push(bytes);
    if (this.#unsent.length === 1) this.#flush();
  }

  #flush(): void {
    while (this.#unsent.length > 0 && this.#socket !== undefined) {
      const bytes = this.#unsent[0]!;
      const written = Math.max(0, this.#socket.write(bytes));
      if (written < bytes.length) {
        this.#unsent[0] = bytes.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
  }

  #giveUp(afterMs: number): void {
    this.#end(`${formatAddress(this.address)} has not answered for ${afterMs / 1000} s`);
    this.#socket?.terminate();
  }

  #end(reason: string, hint = "What was asked may or may not have been done."): void {
    if (this.#closed !== undefined) return;
    this.#closed = new ToolError(reason, { hint });
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#closed);
  }
}
