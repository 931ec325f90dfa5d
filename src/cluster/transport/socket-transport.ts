/**
 * Transport over TCP: the peer port.
 *
 *     listener ─► handshaking (few, short) ─► incoming links, one per peer and purpose: a newer one replaces the older
 *     PeerDialer per peer and purpose ─► outgoing links
 *
 * All that is sent within a turn of the event loop leaves at its end, or at flush(). The system's socket takes what
 * fits and calls `drain`; the rest stays in the connection's OutQueue.
 */
import type { Socket, TCPSocketListener } from "bun";
import { assert } from "../../base/assert.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { StartupError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import {
  AcceptorHandshake,
  DialerHandshake,
  type HandshakeOptions,
  type Identity,
  NONCE_BYTES,
  type PeerIdentity,
  type Refusal,
} from "./handshake.ts";
import { LimitedLog } from "./limited-log.ts";
import { type ConnectionHost, PeerConnection, type Wire } from "./peer-connection.ts";
import { type DialerHost, type OnStanding, PeerDialer } from "./peer-dialer.ts";
import type { Address, Link, LinkHandlers, PeerTarget, Purpose, Transport } from "./transport.ts";
import { TRANSPORT_LIMITS, type TransportLimits } from "./transport-limits.ts";

export interface TransportRandom {
  /** Unpredictable. */
  bytes(count: number): Uint8Array;
  /** At least 0, less than 1. */
  fraction(): number;
}

export interface SocketTransportOptions {
  readonly identity: Identity;
  /** Empty is refused unless `allowsNoSecret`: then whoever reaches the port is a member. */
  readonly secret: Uint8Array;
  readonly allowsNoSecret?: boolean;
  /** To listen on; port 0 lets the system choose. */
  readonly address: Address;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: TransportRandom;
  readonly limits?: Partial<TransportLimits>;
  /** A handler has thrown. */
  onFatal(error: Error): void;
}

/** A connection that is to be closed once its last bytes are sent is not waited for longer. */
const LINGER_MS = 1000;
const TICKS_PER_PING = 4;
/** A tick that comes later than so many of its intervals: the process slept. */
const LATE_TICKS = 4;

type PeerSocket = Socket<PeerConnection | undefined>;

export class SocketTransport implements Transport, ConnectionHost, DialerHost {
  readonly clock: Clock;
  readonly limits: TransportLimits;
  readonly #options: SocketTransportOptions;
  readonly #log: LimitedLog;
  readonly #handlers = new Map<Purpose, LinkHandlers>();
  readonly #dialers = new Map<string, PeerDialer>();
  readonly #connections = new Set<PeerConnection>();
  /** Accepted, oldest first. */
  readonly #handshaking = new Set<PeerConnection>();
  readonly #incoming = new Map<string, PeerConnection>();
  #unflushed: PeerConnection[] = [];
  #listener: TCPSocketListener<PeerConnection | undefined> | undefined;
  #ticker: Timer | undefined;
  #lastTickMs = 0;
  #generation = 0;
  #isStopped = false;

  constructor(options: SocketTransportOptions) {
    if (options.secret.length === 0 && options.allowsNoSecret !== true)
      throw new StartupError("a cluster needs a secret that its nodes share");
    this.#options = options;
    this.clock = options.clock;
    this.limits = { ...TRANSPORT_LIMITS, ...options.limits };
    this.#log = new LimitedLog(options.logger, options.clock);
  }

  /** Accepts peers. Throws StartupError when the address cannot be used. */
  listen(): void {
    const { host, port } = this.#options.address;
    try {
      this.#listener = Bun.listen<PeerConnection | undefined>({
        hostname: host,
        port,
        data: undefined,
        socket: this.#socketHandlers((socket) => this.#onAccepted(socket)),
      });
    } catch (cause) {
      const reason = (cause as Error).message;
      throw new StartupError(`cannot listen for peers on ${host}:${port}: ${reason}`, { cause });
    }
    this.#startTicks();
  }

  get port(): number {
    assert(this.#listener !== undefined, "the port before listen()");
    return this.#listener.port;
  }

  /** Connections in any state. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  handle(purpose: Purpose, handlers: LinkHandlers): void {
    this.#handlers.set(purpose, handlers);
  }

  setPeers(peers: ReadonlyMap<string, PeerTarget>): void {
    if (this.#isStopped) return;
    this.#startTicks();
    const wanted = new Set<string>();
    for (const [peer, { host, port, purposes }] of peers) {
      if (peer === this.#options.identity.nodeId) continue;
      for (const purpose of purposes) {
        wanted.add(keyOf(peer, purpose));
        this.#setTarget(peer, purpose, { host, port });
      }
    }
    for (const [key, dialer] of this.#dialers) {
      if (wanted.has(key)) continue;
      this.#dialers.delete(key);
      dialer.stop();
      dialer.disconnect("not a peer any more");
    }
  }

  link(peer: string, purpose: Purpose): Link | undefined {
    return this.#dialers.get(keyOf(peer, purpose))?.link;
  }

  send(
    peer: string,
    purpose: Purpose,
    channel: number,
    parts: readonly Uint8Array[],
    release?: () => void,
  ): boolean {
    return this.link(peer, purpose)?.send(channel, parts, release) ?? false;
  }

  flush(): void {
    const unflushed = this.#unflushed;
    if (unflushed.length === 0) return;
    this.#unflushed = [];
    for (const connection of unflushed) connection.flush();
  }

  stop(): void {
    if (this.#isStopped) return;
    this.flush();
    this.#isStopped = true;
    this.#listener?.stop();
    this.#ticker?.cancel();
    for (const dialer of this.#dialers.values()) dialer.stop();
    for (const connection of [...this.#connections]) connection.closeNow("stopped");
    this.#dialers.clear();
  }

  admit(connection: PeerConnection, peer: PeerIdentity): number | Refusal {
    const key = keyOf(peer.nodeId, peer.purpose);
    if (connection.isOutgoing) {
      this.#dialers.get(key)?.onUp();
      return ++this.#generation;
    }
    const older = this.#incoming.get(key);
    if (older !== undefined && peer.incarnation < older.incarnation) return "incarnation";
    if (older === undefined && this.#incoming.size >= this.limits.linksMax) return "too many links";
    older?.closeNow("replaced by a newer connection");
    this.#handshaking.delete(connection);
    this.#incoming.set(key, connection);
    for (const dialer of this.#dialers.values()) if (dialer.peer === peer.nodeId) dialer.hurry();
    return ++this.#generation;
  }

  handlersOf(purpose: Purpose): LinkHandlers {
    const handlers = this.#handlers.get(purpose);
    assert(handlers !== undefined, "a link of a purpose that nobody handles");
    return handlers;
  }

  flushSoon(connection: PeerConnection): void {
    if (connection.isFlushDue) return;
    connection.isFlushDue = true;
    if (this.#unflushed.push(connection) === 1) this.clock.immediate(() => this.flush());
  }

  onClosed(connection: PeerConnection, reason: string, refusal: Refusal | undefined): void {
    this.#connections.delete(connection);
    this.#handshaking.delete(connection);
    if (connection.isOutgoing) {
      for (const dialer of this.#dialers.values()) dialer.onClosed(connection, reason);
      return;
    }
    if (connection.generation === 0) {
      const kind = `incoming ${refusal ?? reason}`;
      const { remote } = connection;
      this.#log.warn(kind, { remote, reason }, "connection to the peer port closed");
      return;
    }
    const key = keyOf(connection.peer, connection.purpose);
    if (this.#incoming.get(key) === connection) this.#incoming.delete(key);
  }

  randomFraction(): number {
    return this.#options.random.fraction();
  }

  connect(address: Address, onStanding: OnStanding, onFailed: (reason: string) => void): void {
    let isOver = false;
    const fail = (reason: string): void => {
      if (isOver) return;
      isOver = true;
      this.#guard(() => onFailed(reason));
    };
    const onOpen = (socket: PeerSocket): void => {
      isOver = true;
      const slot = onStanding();
      if (slot === undefined || this.#isStopped) {
        socket.terminate();
        return;
      }
      const handshake = new DialerHandshake(this.#handshakeOptions(), slot.peer, slot.purpose);
      const connection = new PeerConnection(this, this.#wireOf(socket), handshake);
      slot.take(connection);
      this.#adopt(socket, connection);
    };
    Bun.connect<PeerConnection | undefined>({
      hostname: address.host,
      port: address.port,
      data: undefined,
      socket: {
        ...this.#socketHandlers(onOpen),
        connectError: (_socket, error) => fail(error.message),
      },
    }).catch((error: Error) => fail(error.message));
  }

  onFailed(dialer: PeerDialer, reason: string): void {
    const { peer, purpose, address } = dialer;
    const remote = `${address.host}:${address.port}`;
    const kind = `outgoing ${peer} ${reason}`;
    this.#log.warn(kind, { peer, purpose, remote, reason }, "no connection to a peer");
  }

  #setTarget(peer: string, purpose: Purpose, address: Address): void {
    const key = keyOf(peer, purpose);
    const dialer = this.#dialers.get(key);
    if (dialer === undefined) {
      const fresh = new PeerDialer(this, peer, purpose, address);
      this.#dialers.set(key, fresh);
      fresh.start();
    } else if (dialer.address.host !== address.host || dialer.address.port !== address.port) {
      dialer.moveTo(address);
    }
  }

  #onAccepted(socket: PeerSocket): void {
    if (this.#isStopped) {
      socket.terminate();
      return;
    }
    if (this.#handshaking.size >= this.limits.handshakesMax) {
      // A peer needs milliseconds, so the oldest is the least likely to be one.
      const [oldest] = this.#handshaking;
      oldest!.closeNow("too many handshakes");
    }
    const handshake = new AcceptorHandshake(this.#handshakeOptions());
    const connection = new PeerConnection(this, this.#wireOf(socket), handshake);
    this.#handshaking.add(connection);
    this.#adopt(socket, connection);
  }

  #adopt(socket: PeerSocket, connection: PeerConnection): void {
    socket.setNoDelay(true);
    socket.data = connection;
    this.#connections.add(connection);
    connection.begin();
  }

  #handshakeOptions(): HandshakeOptions {
    const { identity, secret, random } = this.#options;
    const nonce = random.bytes(NONCE_BYTES);
    return { identity, secret, nonce, windowBytes: this.limits.windowBytes };
  }

  #socketHandlers(onOpen: (socket: PeerSocket) => void) {
    return {
      open: (socket: PeerSocket) => this.#guard(() => onOpen(socket)),
      data: (socket: PeerSocket, chunk: Buffer) => this.#guard(() => socket.data?.onData(chunk)),
      drain: (socket: PeerSocket) => this.#guard(() => socket.data?.onDrain()),
      close: (socket: PeerSocket) => this.#guard(() => socket.data?.onWireClosed()),
      error: () => undefined,
    };
  }

  /** The runtime would tell a socket's `error` handler and go on. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#options.onFatal(error as Error);
    }
  }

  #wireOf(socket: PeerSocket): Wire {
    return {
      // Of a connection that has ended already the system does not say.
      remote: `${socket.remoteAddress ?? "closed"}:${socket.remotePort ?? 0}`,
      write: (bytes, offset, length) => socket.write(bytes, offset, length),
      terminate: () => socket.terminate(),
      end: () => {
        socket.end();
        this.clock.after(LINGER_MS, () => socket.terminate());
      },
    };
  }

  #startTicks(): void {
    if (this.#ticker !== undefined) return;
    this.#lastTickMs = this.clock.monotonicMs();
    const intervalMs = this.limits.pingMs / TICKS_PER_PING;
    this.#ticker = this.clock.every(intervalMs, () => this.#guard(() => this.#tick(intervalMs)));
  }

  #tick(intervalMs: number): void {
    const nowMs = this.clock.monotonicMs();
    const lateMs = nowMs - this.#lastTickMs - intervalMs;
    this.#lastTickMs = nowMs;
    for (const connection of [...this.#connections]) {
      if (lateMs > intervalMs * LATE_TICKS) connection.forgiveSilence(lateMs);
      connection.tick(nowMs);
    }
  }
}

function keyOf(peer: string, purpose: Purpose): string {
  return `${purpose} ${peer}`;
}
