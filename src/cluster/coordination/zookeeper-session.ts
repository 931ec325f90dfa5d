/**
 * One session with a ZooKeeper ensemble: node-zookeeper-client with its traps closed. The library, as it is,
 *
 * - keeps requests made while it is disconnected and sends them after the reconnect, long after the caller gave up:
 *   here nothing is handed to it unless connected, and its queue is emptied when the connection ends;
 * - never notices a connection that went silent, nor a server that accepts one and says nothing: here heartbeats,
 *   two of which may fail, and a limit for each connection attempt;
 * - prefixes the first bytes of a new connection with the torn reply of the old one: the rest is dropped here;
 * - throws in the middle of a reply at error codes that it does not know (a moved session is one), which would end
 *   the process: here that ends the connection;
 * - forgets the newest transaction it saw when a reply carries none, and with a new session, so that a lagging server
 *   could show it the past: here the newest is kept and handed on;
 * - drives its timers and choice of server by itself, without back-off: here the clock and the random numbers given;
 * - sends its watches again after a reconnect, in one packet that may be too large for the server: here they are
 *   forgotten, because the Coordinator has everybody read again;
 * - reads version 0 in a transaction as any version: here operations are put into the transaction as they are.
 *
 * The session ends when the ensemble says so. Its own deadline is the business of SessionTracker; end() then makes
 * the next connection serve only to close the session, so that nothing of it can take effect afterwards.
 */
import zookeeper from "node-zookeeper-client";
import { AssertionError } from "../../base/assert.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { ZookeeperServer } from "./zookeeper-address.ts";

export interface ZookeeperSessionOptions {
  readonly servers: readonly ZookeeperServer[];
  /** Asked for; the ensemble may grant another. */
  readonly timeoutMs: number;
  /** `user:password`. */
  readonly digest: string | undefined;
  readonly clock: Clock;
  /** From [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  /** Of the session before: no server that has seen less is talked to. */
  readonly newestZxid: Buffer | undefined;
  readonly events: ZookeeperSessionEvents;
}

export interface ZookeeperSessionEvents {
  /** `sentMs`: not later than the request that opened or resumed the session was sent. */
  onConnected(sentMs: number, timeoutMs: number): void;
  onAnswered(sentMs: number): void;
  onDisconnected(): void;
  /** The ensemble has ended the session, or it never began. The object is done with. */
  onEnded(): void;
}

/** `lost`: no answer, and there will be none. `failed`: the ensemble's error code. */
export type Reply<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "failed"; readonly code: number }
  | { readonly kind: "lost" };

type Callback<T> = (error: Error | null | undefined, value: T) => void;

/** From one try of all servers to the next: doubled each time, of which a random half to whole is waited. */
const RETRY_MS_MIN = 50;
const RETRY_MS_MAX = 2000;
/** A connection that does not lead to a session in this time is given up: enough for a server that is busy. */
const CONNECT_MS_MIN = 500;
const CONNECT_MS_MAX = 5000;
/** How often servers may close the connection instead of answering before that is worth a warning. */
const REFUSALS_TO_WARN = 10;

const CLOSE_SESSION = -11;
const { CONNECTION_LOSS, SESSION_EXPIRED, OPERATION_TIMEOUT } = zookeeper.Exception;
const LOST = { kind: "lost" } as const;

export class ZookeeperSession {
  readonly #options: ZookeeperSessionOptions;
  readonly #client: zookeeper.Client;
  readonly #pending = new Set<() => void>();
  #heartbeat: Timer | undefined;
  #attemptTimer: Timer | undefined;
  #newestZxid: Buffer;
  #nextServer: number;
  #attempts = 0;
  #sentMs = 0;
  #heardMs = 0;
  #timeoutMs: number;
  #isConnected = false;
  #isEnding = false;
  #isOver = false;

  constructor(options: ZookeeperSessionOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs;
    this.#nextServer = Math.floor(options.random() * options.servers.length);
    this.#newestZxid = options.newestZxid ?? Buffer.alloc(8);
    // The library never sees the servers: findNextServer is ours.
    this.#client = zookeeper.createClient("ensemble:2181", {
      sessionTimeout: options.timeoutMs,
      spinDelay: 0,
      retries: 0,
    });
    this.#takeOver();
    if (options.digest !== undefined) {
      this.#client.addAuthInfo("digest", Buffer.from(options.digest));
    }
    this.#client.on("state", (state) => this.#onState(state));
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  get newestZxid(): Buffer {
    return this.#newestZxid;
  }

  connect(): void {
    this.#client.connect();
  }

  /** Hands a request to the library; `onOk` runs before the bytes behind the reply are looked at. */
  ask<T>(
    request: (client: zookeeper.Client, callback: Callback<T>) => void,
    onOk?: (value: T) => void,
  ): Promise<Reply<T>> {
    if (!this.#isConnected) return Promise.resolve(LOST);
    const sentMs = this.#options.clock.monotonicMs();
    return new Promise((resolve) => {
      const settleLost = () => resolve(LOST);
      this.#pending.add(settleLost);
      request(this.#client, (error, value) => {
        if (!this.#pending.delete(settleLost)) return;
        const reply = replyOf(error, value);
        if (reply.kind !== "lost") this.#options.events.onAnswered(sentMs);
        if (reply.kind === "ok") onOk?.(value);
        resolve(reply);
      });
    });
  }

  /** Ends the connection; another is tried unless the session is over. */
  disconnect(): void {
    this.#client.connectionManager.socket?.destroy();
  }

  /** The session is to end at the ensemble, now or with the next connection; onEnded follows once it has. */
  end(): void {
    if (this.#isEnding || this.#isOver) return;
    this.#isEnding = true;
    if (this.#isConnected) this.#closeSession();
  }

  /** Drops everything at once, whatever the ensemble thinks. No event follows. */
  abandon(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#heartbeat?.cancel();
    this.#attemptTimer?.cancel();
    this.#isConnected = false;
    this.#loseAll();
    this.disconnect();
  }

  #takeOver(): void {
    const manager = this.#client.connectionManager;
    manager.zxid = this.#newestZxid;
    manager.findNextServer = (callback) => this.#attempt(callback);
    manager.onSocketConnectTimeout = () => undefined;
    manager.onSocketTimeout = () => undefined;
    const onSocketData = manager.onSocketData;
    manager.onSocketData = (received) => {
      this.#heardMs = this.#options.clock.monotonicMs();
      try {
        onSocketData.call(manager, received);
      } catch (error) {
        if (error instanceof AssertionError) throw error;
        this.#options.logger.warn({ error }, "a reply of ZooKeeper that is not understood");
        manager.pendingBuffer = null;
        this.disconnect();
      }
      this.#keepNewestZxid();
    };
  }

  /** A transaction id is positive: 0 and negative ones are replies that carry none. */
  #keepNewestZxid(): void {
    const manager = this.#client.connectionManager;
    const seen = manager.zxid;
    const isPositive = seen.length === 8 && seen[0]! < 0x80;
    if (isPositive && Buffer.compare(seen, this.#newestZxid) > 0) this.#newestZxid = seen;
    else manager.zxid = this.#newestZxid;
  }

  /** The library asks for the server to connect to; it gets one when it is time, or never. */
  #attempt(callback: (server: ZookeeperServer) => void): void {
    if (this.#isOver) return;
    const { clock, random, servers, logger } = this.#options;
    const round = Math.floor(this.#attempts / servers.length);
    const limitMs = round === 0 ? 0 : Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** (round - 1));
    this.#attempts++;
    if (this.#attempts % (REFUSALS_TO_WARN * servers.length) === 0) {
      logger.warn({ attempts: this.#attempts }, "no ZooKeeper server takes the session");
    }
    this.#attemptTimer?.cancel();
    this.#attemptTimer = clock.after(limitMs * (0.5 + random() / 2), () => {
      if (this.#isOver) return;
      const server = servers[this.#nextServer++ % servers.length]!;
      logger.debug({ ...server }, "connecting to ZooKeeper");
      this.#sentMs = clock.monotonicMs();
      this.#attemptTimer = clock.after(this.#connectMs(), () => this.disconnect());
      callback(server);
    });
  }

  #connectMs(): number {
    const share = this.#timeoutMs / this.#options.servers.length;
    return Math.min(CONNECT_MS_MAX, Math.max(CONNECT_MS_MIN, share));
  }

  #onState(state: zookeeper.State): void {
    if (this.#isOver) return;
    if (state === zookeeper.State.SYNC_CONNECTED) this.#onConnected();
    else if (state === zookeeper.State.EXPIRED) this.#onOver("ended by the ensemble");
    else if (state === zookeeper.State.AUTH_FAILED) this.#onOver("credentials refused");
    else if (state === zookeeper.State.DISCONNECTED) this.#onDisconnected();
  }

  #onConnected(): void {
    this.#attemptTimer?.cancel();
    this.#timeoutMs = this.#client.getSessionTimeout();
    this.#isConnected = true;
    this.#heartbeat?.cancel();
    this.#heartbeat = this.#options.clock.every(this.#timeoutMs / 6, () => this.#beat());
    if (this.#isEnding) this.#closeSession();
    else this.#options.events.onConnected(this.#sentMs, this.#timeoutMs);
  }

  #onDisconnected(): void {
    const manager = this.#client.connectionManager;
    manager.pendingBuffer = null;
    manager.packetQueue.queue = [];
    manager.watcherManager.dataWatchers = {};
    manager.watcherManager.childWatchers = {};
    manager.watcherManager.existenceWatchers = {};
    const wasConnected = this.#isConnected;
    this.#isConnected = false;
    this.#loseAll();
    if (wasConnected && !this.#isEnding) this.#options.events.onDisconnected();
  }

  /** Not the library's close(), which does not try again when the connection ends before the answer. */
  #closeSession(): void {
    const request = {
      header: { type: CLOSE_SESSION, xid: 0 },
      payload: null,
      toBuffer(): Buffer {
        const packet = Buffer.alloc(12);
        packet.writeInt32BE(8, 0);
        packet.writeInt32BE(this.header.xid, 4);
        packet.writeInt32BE(this.header.type, 8);
        return packet;
      },
    };
    this.#client.connectionManager.queue(request, (error) => {
      if (replyOf(error, undefined).kind !== "lost" && !this.#isOver) this.#onOver("closed");
    });
  }

  #onOver(reason: string): void {
    this.#options.logger.info({ reason }, "session with ZooKeeper ended");
    this.abandon();
    this.#options.events.onEnded();
  }

  #loseAll(): void {
    const lost = [...this.#pending];
    this.#pending.clear();
    for (const settleLost of lost) settleLost();
  }

  /** Asks something small often enough that two answers may be lost before the session is at risk. */
  #beat(): void {
    if (!this.#isConnected) return;
    const silentMs = this.#options.clock.monotonicMs() - this.#heardMs;
    if (silentMs > (this.#timeoutMs * 2) / 3) {
      this.#options.logger.warn({ silentMs: Math.round(silentMs) }, "ZooKeeper is silent");
      this.disconnect();
      return;
    }
    const beat = this.ask<unknown>((client, callback) => client.exists("/", undefined, callback));
    void beat.then((reply) => {
      if (reply.kind !== "lost") this.#attempts = 0;
    });
  }
}

function replyOf<T>(error: Error | null | undefined, value: T): Reply<T> {
  if (error === null || error === undefined) return { kind: "ok", value };
  const { code } = error as { code?: unknown };
  const isAnswer = typeof code === "number" && code !== OPERATION_TIMEOUT;
  if (!isAnswer || code === CONNECTION_LOSS || code === SESSION_EXPIRED) return LOST;
  return { kind: "failed", code };
}
