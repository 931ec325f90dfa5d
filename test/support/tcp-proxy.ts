/**
 * A TCP proxy on loopback that breaks connections in the ways networks do: cut, refused, silent in both directions
 * or in one. Bytes that come while it is silent are kept, as routers and kernels do, until it speaks again.
 */
import * as net from "node:net";

export type Direction = "toServer" | "toClient";

/** Looks at bytes on their way to the server. `cut`: they are lost with the connection; `cut on reply`: its reply is. */
export type RequestFilter = (bytes: Buffer) => "pass" | "cut" | "cut on reply";

interface Pair {
  readonly client: net.Socket;
  readonly server: net.Socket;
}

export class TcpProxy {
  readonly #server: net.Server;
  readonly #target: number;
  readonly #pairs = new Set<Pair>();
  readonly #isSilent: Record<Direction, boolean> = { toServer: false, toClient: false };
  #held: (() => void)[] = [];
  #isRefusing = false;
  filter: RequestFilter | undefined;
  /** So many bytes of what comes next for a client are let through, then its connection is cut. */
  cutAfterBytes: number | undefined;

  private constructor(target: number) {
    this.#target = target;
    this.#server = net.createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  static async start(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Connections end on both sides; what is held is lost. */
  cut(): void {
    this.#held = [];
    for (const { client, server } of this.#pairs) {
      client.destroy();
      server.destroy();
    }
    this.#pairs.clear();
  }

  /** New connections are closed at once. */
  refuse(isRefusing: boolean): void {
    this.#isRefusing = isRefusing;
  }

  /** Nothing passes, not even the end of a connection. */
  silence(...directions: Direction[]): void {
    for (const direction of directions) this.#isSilent[direction] = true;
  }

  speak(): void {
    this.#isSilent.toServer = false;
    this.#isSilent.toClient = false;
    const held = this.#held;
    this.#held = [];
    for (const deliver of held) deliver();
  }

  stop(): void {
    this.cut();
    this.#server.close();
  }

  #accept(client: net.Socket): void {
    if (this.#isRefusing) {
      client.destroy();
      return;
    }
    const server = net.connect({ port: this.#target, host: "127.0.0.1", allowHalfOpen: true });
    const pair = { client, server };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    server.setNoDelay(true);
    const end = () =>
      this.#deliver("toClient", () => {
        client.destroy();
        server.destroy();
        this.#pairs.delete(pair);
      });
    let isReplyLost = false;
    client.on("data", (bytes: Buffer) => {
      const verdict = this.filter?.(bytes) ?? "pass";
      if (verdict === "cut") return this.cut();
      isReplyLost ||= verdict === "cut on reply";
      this.#deliver("toServer", () => server.write(bytes));
    });
    server.on("data", (bytes: Buffer) => {
      if (isReplyLost) return this.cut();
      this.#deliver("toClient", () => this.#pass(bytes, client));
    });
    for (const socket of [client, server]) {
      socket.on("error", () => undefined);
      socket.on("end", end);
      socket.on("close", end);
    }
  }

  #pass(bytes: Buffer, client: net.Socket): void {
    const limit = this.cutAfterBytes;
    if (limit === undefined) {
      client.write(bytes);
      return;
    }
    client.write(bytes.subarray(0, limit));
    this.cutAfterBytes = limit - bytes.length;
    if (this.cutAfterBytes > 0) return;
    this.cutAfterBytes = undefined;
    // What was let through arrives before the end does.
    this.#pairs.clear();
    client.end();
  }

  #deliver(direction: Direction, action: () => void): void {
    if (this.#isSilent[direction]) this.#held.push(action);
    else action();
  }
}
