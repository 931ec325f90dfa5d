/**
 * A client inside this process, for the HTTP port: a session without a socket. What it asks for is parsed, routed,
 * parked, gated and answered exactly as what comes over a connection.
 *
 *     send(bytes) ──► Session ──► replies ──► at most WINDOW_BYTES wait here ──► read()
 *
 * It pushes back in both directions: send() waits while the session takes no more (a large argument needs memory), and
 * the session stops writing while nobody reads. One that is closed early ends as a connection that breaks does.
 *
 * Commands of other nodes' slots are always forwarded: there is nobody who could be told to go elsewhere.
 */
import type { Socket } from "bun";
import { Session } from "./session.ts";
import type { SessionHost } from "./session-host.ts";
import { SessionRouting } from "./session-routing.ts";

/** Bytes of replies that wait to be read. */
const WINDOW_BYTES = 256 * 1024;

export interface LocalClientParts {
  readonly id: number;
  readonly host: SessionHost;
  /** Of whom it stands for. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Once, when it is closed. */
  onClose(): void;
}

/** What the session takes for its client's socket. */
class LocalSocket {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress = "http";
  readonly localPort = 0;
  readonly #chunks: Buffer[] = [];
  #waitingBytes = 0;
  #reader: (() => void) | undefined = undefined;
  #resume: (() => void) | undefined = undefined;
  isBlocked = false;
  isPaused = false;
  isEnded = false;

  constructor({ remoteAddress, remotePort }: LocalClientParts) {
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
  }

  write(bytes: Buffer, start: number, count: number): number {
    const taken = Math.min(count, WINDOW_BYTES - this.#waitingBytes);
    this.isBlocked = taken < count;
    if (taken === 0) return 0;
    // The session uses its memory again.
    const copy = Buffer.allocUnsafeSlow(taken);
    copy.set(bytes.subarray(start, start + taken));
    this.#chunks.push(copy);
    this.#waitingBytes += taken;
    this.#reader?.();
    return taken;
  }

  take(): Buffer | undefined {
    const chunk = this.#chunks.shift();
    this.#waitingBytes -= chunk?.length ?? 0;
    return chunk;
  }

  /** Resolves when there is something to take, or never will be. */
  readable(): Promise<void> {
    if (this.#chunks.length > 0 || this.isEnded) return Promise.resolve();
    return new Promise((resolve) => {
      this.#reader = resolve;
    });
  }

  resumed(): Promise<void> {
    if (!this.isPaused || this.isEnded) return Promise.resolve();
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  end(): void {
    this.isEnded = true;
    this.#reader?.();
    this.#resume?.();
  }

  terminate(): void {
    this.end();
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
    this.#resume?.();
  }
}

export class LocalClient {
  readonly #socket: LocalSocket;
  readonly #session: Session;
  readonly #onClose: () => void;

  constructor(parts: LocalClientParts) {
    this.#onClose = parts.onClose;
    this.#socket = new LocalSocket(parts);
    this.#session = new Session(parts.id, this.#socket as unknown as Socket<Session>, parts.host);
    this.#session.routing = new SessionRouting("local");
  }

  /** No more replies will come than those that can be read now. */
  get hasEnded(): boolean {
    return this.#socket.isEnded;
  }

  /** Takes `bytes`, a part of requests. Resolves when the next part may be sent; false: nothing more is taken. */
  async send(bytes: Buffer): Promise<boolean> {
    await this.#socket.resumed();
    if (this.#socket.isEnded || this.#session.isClosing) return false;
    this.#session.onData(bytes);
    await this.#socket.resumed();
    return !this.#socket.isEnded;
  }

  /** The next bytes of replies; undefined: there will be no more. One caller at a time. */
  async read(): Promise<Buffer | undefined> {
    await this.#socket.readable();
    const chunk = this.#socket.take();
    if (chunk !== undefined && this.#socket.isBlocked && !this.#session.isClosed) {
      this.#socket.isBlocked = false;
      this.#session.onDrain();
    }
    return chunk;
  }

  close(): void {
    if (this.#session.isClosed) return;
    this.#socket.end();
    this.#session.onClose();
    this.#session.context.server.watchedKeys.removeAll(this.#session);
    this.#onClose();
  }
}
