/** A client as simple as `redis-cli -c`: one connection, which goes where MOVED says, and elsewhere when it breaks. */
import type { ReplyValue } from "../../support/raw-connection.ts";
import type { ClientOptions, ClusterClient } from "./cluster-client.ts";
import { type Address, RespSocket } from "./resp-socket.ts";

const REDIRECTIONS_MAX = 5;
/** Short, so that it soon finds the one node that a cut has left it. */
const CONNECT_MS_MAX = 300;
const MOVED = /^-(?:MOVED|ASK) \d+ (.+):(\d+)$/;

export class RawClient implements ClusterClient {
  readonly #options: ClientOptions;
  #socket: RespSocket | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  async call(words: readonly string[]): Promise<ReplyValue> {
    for (let i = 0; ; i++) {
      const socket = await this.#connected();
      const reply = await socket.call(words);
      if (typeof reply !== "string" || !reply.startsWith("-")) return reply;
      const moved = MOVED.exec(reply);
      if (moved === null || i === REDIRECTIONS_MAX) {
        // A node that refuses may go on to refuse: the next command asks another one.
        this.close();
        throw new Error(reply.slice(1));
      }
      this.close();
      const address = { host: moved[1]!, port: Number(moved[2]) };
      if (reply.startsWith("-ASK")) await (await this.#connected(address)).call(["ASKING"]);
      else await this.#connected(address);
    }
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  async #connected(address?: Address): Promise<RespSocket> {
    const { nodes, random, timeoutMs } = this.#options;
    if (this.#socket === undefined || this.#socket.isClosed) {
      const anyNode = nodes[Math.floor(random() * nodes.length)]!;
      this.#socket = await RespSocket.open(address ?? anyNode, timeoutMs, CONNECT_MS_MAX);
    }
    return this.#socket;
  }
}
