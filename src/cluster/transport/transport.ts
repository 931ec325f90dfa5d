/**
 * Transport: messages between the nodes of a cluster. `socket-transport.ts` carries them over TCP,
 * `memory-transport.ts` within one process, for tests and simulation.
 *
 *     node A ── outgoing link, one per peer and purpose ──► node B: the same link, incoming
 *            ◄───────────────── replies, on the same link ─┘
 *
 * - A node connects to each peer that setPeers() names, once per purpose, and again for ever: after a loss at once,
 *   then by exponential back-off with jitter, bounded. So between two nodes there are two links a purpose, one for
 *   each that began it. send() uses the outgoing one; whoever gets a message may answer on its link.
 * - Purposes never wait for each other: a checkpoint on `bulk` does not delay an acknowledgement on `control`.
 * - Within a link messages arrive whole, once and in order. Nothing crosses from one link to the next: each has a
 *   generation, a number that grows within the process, and what was on its way when it ended is lost or has arrived.
 *   `startedCount` of a link that has ended says how many messages may have arrived; the ones behind certainly did not.
 * - A link is down when the system says so, or when nothing has been heard for `silenceMs` on the monotonic clock.
 *   Both ends ping when they have nothing to say. A process that slept gives its peers another `silenceMs`.
 * - Back-pressure is by credits, never by not reading: a receiver grants `windowBytes`, and again what its handlers are
 *   done with. Who holds messages stops that link's sender and nothing else. A sender queues up to `queueBytes`;
 *   then send() refuses until onDrain.
 * - Handlers are called one at a time, never from within a call of this interface, except that send() may call
 *   `release` before it returns.
 *
 * Authentication is mutual (handshake.ts), at the beginning of a link. Bytes are neither encrypted nor signed after it.
 */

export const PURPOSES = ["replication", "control", "forward", "bulk"] as const;
/**
 * replication: frames of the log. control: acknowledgements, heartbeats, claims and seals. forward: clients' commands.
 * bulk: checkpoints and slots on the move.
 */
export type Purpose = (typeof PURPOSES)[number];

/** Parts of one message; the receiver sees the same ones. */
export const MESSAGE_PARTS_MAX = 64;
/** Sum of a message's parts: what a frame of the log and a large message of replication need. */
export const MESSAGE_BYTES_MAX = 66 * 1024 * 1024;
export const CHANNEL_MAX = 255;

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface PeerTarget extends Address {
  readonly purposes: readonly Purpose[];
}

export interface Link {
  readonly peer: string;
  /** Of the peer, as it said when the link began. */
  readonly incarnation: number;
  readonly purpose: Purpose;
  /** Whether this node began it. */
  readonly isOutgoing: boolean;
  readonly generation: number;
  readonly isUp: boolean;
  readonly canSend: boolean;
  /** Bytes that send() took and that have not been written yet. */
  readonly queuedBytes: number;
  /** Messages that send() took. */
  readonly sentCount: number;
  /** Messages of which at least a byte has left the process. */
  readonly startedCount: number;

  /**
   * Queues a message; false when it was not taken: the link is down or its queue is full. Large parts are not copied:
   * what they view must not change until `release` was called, which happens exactly once if the message was taken,
   * whatever becomes of it. An arena goes back to its pool after that, not before. Without `release` the caller
   * promises that the bytes never change. The array itself is not kept.
   * REQUIRES: at most MESSAGE_PARTS_MAX parts of together at most MESSAGE_BYTES_MAX.
   */
  send(channel: number, parts: readonly Uint8Array[], release?: () => void): boolean;
  /** Ends it; an outgoing one is begun again. */
  close(reason: string): void;
}

export interface IncomingMessage {
  readonly link: Link;
  /** For whoever shares a purpose; means nothing to the transport. */
  readonly channel: number;
  /** Lent until the handler returns. */
  readonly parts: readonly Uint8Array[];
  /** Keeps the parts, and their bytes of the sender's credit, until release(). REQUIRES: within the handler. */
  hold(): HeldMessage;
}

export interface HeldMessage {
  readonly parts: readonly Uint8Array[];
  release(): void;
}

export interface LinkHandlers {
  onMessage(message: IncomingMessage): void;
  onUp(link: Link): void;
  /** Once for each onUp, after the last message of the link. */
  onDown(link: Link, reason: string): void;
  /** After a send() that was refused for a full queue: there is room. */
  onDrain(link: Link): void;
}

export interface Transport {
  /** Who gets what comes for a purpose. REQUIRES: before the first link. */
  handle(purpose: Purpose, handlers: LinkHandlers): void;
  /** By node id. Links to others, and to peers at another address, are ended. */
  setPeers(peers: ReadonlyMap<string, PeerTarget>): void;
  /** The outgoing link that is up now. */
  link(peer: string, purpose: Purpose): Link | undefined;
  /** link(…).send(…), false without one. */
  send(
    peer: string,
    purpose: Purpose,
    channel: number,
    parts: readonly Uint8Array[],
    release?: () => void,
  ): boolean;
  /** Writes now what would be written at the end of the turn. */
  flush(): void;
  /** Ends all links, calling onDown, and begins none. */
  stop(): void;
}
