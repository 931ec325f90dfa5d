/**
 * One connection to one node, with a deadline for everything. A reply that does not come in time closes the
 * connection, and every command without a reply then has an unknown outcome.
 */
import * as net from "node:net";
import {
  decodeReply,
  encodeRequest,
  type ReplyValue,
  replyEnd,
} from "../../support/raw-connection.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Waiting {
  readonly resolve: (reply: ReplyValue) => void;
  readonly reject: (error: Error) => void;
  readonly timer: Timer;
}

export class RespSocket {
  readonly #socket: net.Socket;
  readonly #timeoutMs: number;
  readonly #waiting: Waiting[] = [];
  #received: Buffer = Buffer.alloc(0);
  #isClosed = false;

  private constructor(socket: net.Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("error", () => this.close());
    socket.on("close", () => this.close());
  }

  static open(
    { host, port }: Address,
    timeoutMs: number,
    connectMsMax = timeoutMs,
  ): Promise<RespSocket> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host, port });
      const fail = (): void => {
        socket.destroy();
        reject(new Error(`no connection to ${host}:${port}`));
      };
      const timer = setTimeout(fail, connectMsMax);
      socket.once("error", () => {
        clearTimeout(timer);
        fail();
      });
      socket.once("connect", () => {
        clearTimeout(timer);
        resolve(new RespSocket(socket, timeoutMs));
      });
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The reply; an error reads "-ERR …". Rejects when none came. */
  call(words: readonly string[]): Promise<ReplyValue> {
    if (this.#isClosed) return Promise.reject(new Error("connection closed"));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.close(), this.#timeoutMs);
      this.#waiting.push({ resolve, reject, timer });
      this.#socket.write(encodeRequest(words));
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(new Error("connection closed"));
    }
  }

  #onData(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    let at = 0;
    while (at < this.#received.length) {
      const end = replyEnd(this.#received, at);
      if (end < 0) break;
      const waiting = this.#waiting.shift();
      if (waiting === undefined) break;
      clearTimeout(waiting.timer);
      waiting.resolve(decodeReply(this.#received, at)[0]);
      at = end;
    }
    this.#received = this.#received.subarray(at);
  }
}

/** One command on a connection of its own. */
export async function ask(
  address: Address,
  words: readonly string[],
  timeoutMs: number,
): Promise<ReplyValue> {
  const socket = await RespSocket.open(address, timeoutMs);
  try {
    return await socket.call(words);
  } finally {
    socket.close();
  }
}
