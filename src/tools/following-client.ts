/**
 * A client of a whole cluster: it asks where it was last sent, and goes where MOVED tells it. Connections stay open, one
 * for each node.
 */
import {
  type Address,
  type ClientOptions,
  errorOf,
  formatAddress,
  RespClient,
  type Words,
} from "./resp-client.ts";

const REDIRECTS_MAX = 5;
/** An IPv6 address stands in brackets. */
const MOVED = /^MOVED (\d+) \[?([^\]]*?)\]?:(\d+)$/;

export interface Redirect {
  readonly slot: string;
  readonly address: Address;
}

export class FollowingClient {
  readonly #options: ClientOptions;
  readonly #clients = new Map<string, RespClient>();
  #current: RespClient;

  private constructor(client: RespClient, options: ClientOptions) {
    this.#options = options;
    this.#current = client;
    this.#clients.set(formatAddress(client.address), client);
  }

  /** Throws ToolError when nobody answers there. */
  static async open(address: Address, options: ClientOptions): Promise<FollowingClient> {
    return new FollowingClient(await RespClient.open(address, options), options);
  }

  /** The node that is asked next. */
  get address(): Address {
    return this.#current.address;
  }

  get connection(): RespClient {
    return this.#current;
  }

  /** The reply of whoever has answered; `onRedirect` hears of each node on the way there. */
  async request(words: Words, onRedirect: (to: Redirect) => void = () => undefined) {
    let reply = await this.#current.request(words);
    for (let count = 0; count < REDIRECTS_MAX; count++) {
      const match = MOVED.exec(errorOf(reply) ?? "");
      if (match === null) return reply;
      const address = { host: match[2] || this.address.host, port: Number(match[3]) };
      onRedirect({ slot: match[1]!, address });
      await this.connect(address);
      reply = await this.#current.request(words);
    }
    return reply;
  }

  /** Asks that node from now on. Throws ToolError when it does not answer. */
  async connect(address: Address): Promise<void> {
    const name = formatAddress(address);
    let client = this.#clients.get(name);
    if (client === undefined || client.isClosed) {
      client = await RespClient.open(address, this.#options);
      this.#clients.set(name, client);
    }
    this.#current = client;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }
}
