/** A transport that knows all its links, incoming ones too, whoever handles them: for CLUSTER LINKS. */
import type { Clock } from "../../base/clock.ts";
import type { Link, LinkHandlers, PeerTarget, Purpose, Transport } from "./transport.ts";

export interface LinkView {
  readonly direction: "to" | "from";
  readonly nodeId: string;
  readonly createdMs: number;
  /** What is waited for, as Redis words it: r for bytes to read, w for room to write. */
  readonly events: "r" | "rw";
  readonly allocatedBytes: number;
  readonly usedBytes: number;
}

export class WatchedTransport implements Transport {
  readonly #transport: Transport;
  readonly #clock: Clock;
  /** By when they began, on the wall clock. */
  readonly #links = new Map<Link, number>();

  /** REQUIRES: a transport that has no handlers yet. */
  constructor(transport: Transport, clock: Clock) {
    this.#transport = transport;
    this.#clock = clock;
  }

  /** Those that are up, one per peer, purpose and direction. */
  links(): LinkView[] {
    return [...this.#links].map(([link, createdMs]) => ({
      direction: link.isOutgoing ? "to" : "from",
      nodeId: link.peer,
      createdMs,
      events: link.queuedBytes > 0 ? "rw" : "r",
      allocatedBytes: link.queuedBytes,
      usedBytes: link.queuedBytes,
    }));
  }

  handle(purpose: Purpose, handlers: LinkHandlers): void {
    this.#transport.handle(purpose, {
      onMessage: (message) => handlers.onMessage(message),
      onUp: (link) => {
        this.#links.set(link, this.#clock.wallMs());
        handlers.onUp(link);
      },
      onDown: (link, reason) => {
        this.#links.delete(link);
        handlers.onDown(link, reason);
      },
      onDrain: (link) => handlers.onDrain(link),
    });
  }

  setPeers(peers: ReadonlyMap<string, PeerTarget>): void {
    this.#transport.setPeers(peers);
  }

  link(peer: string, purpose: Purpose): Link | undefined {
    return this.#transport.link(peer, purpose);
  }

  send(
    peer: string,
    purpose: Purpose,
    channel: number,
    parts: readonly Uint8Array[],
    release?: () => void,
  ): boolean {
    return this.#transport.send(peer, purpose, channel, parts, release);
  }

  flush(): void {
    this.#transport.flush();
  }

  stop(): void {
    this.#transport.stop();
  }
}
