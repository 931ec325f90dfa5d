/**
 * One end of a simulated connection, as TCP is: what is sent arrives in order and once, or the connection breaks.
 *
 *   connecting ──► open ──► closed (by close(), the peer, a reset, a time-out)
 *
 * A message is any object of the sender's, with its size in bytes; it belongs to the receiver once it is sent. Unread
 * messages count against the sender's queue, so a receiver that is stopped pushes back.
 *
 * While the way is cut or the other machine is off, messages stall; they go on when the way heals, and the end that
 * waits for an acknowledgement gives up after `breakMicros`. The other end learns nothing of that until it sends
 * something itself, or its keepalive fails.
 */
import type { Link } from "./link.ts";
import type { NetworkHost } from "./network.ts";
import type { Scheduler } from "./scheduler.ts";

export type CloseReason = "ended" | "reset" | "timed out" | "refused";

export interface ConnectionLimits {
  /** Bytes on the way and unread; send() refuses more. */
  readonly queueBytes: number;
  /** How long an end waits for acknowledgements. */
  readonly breakMicros: number;
  /** How long an idle end takes to notice that the other has gone without a word. */
  readonly keepaliveMicros: number;
}

export interface ConnectionHandlers {
  onOpen?(): void;
  onMessage?(message: unknown): void;
  /** Exactly once, unless this end has closed. */
  onClose?(reason: CloseReason): void;
  /** After send() was refused: there is room again. */
  onDrain?(): void;
}

interface InFlight {
  readonly message: unknown;
  readonly bytes: number;
  readonly arrival: number;
  /** The end of the stream. */
  readonly isEnd: boolean;
}

/** What a connection needs of its network. */
export interface ConnectionContext {
  readonly scheduler: Scheduler;
  readonly limits: ConnectionLimits;
  link(from: string, to: string): Link;
  /** Whether the machine answers at all. */
  isUp(name: string): boolean;
  /** Remembers an end that waits for its way to heal. */
  stall(end: Connection): void;
}

export class Connection {
  readonly host: NetworkHost;
  readonly peerName: string;
  readonly #context: ConnectionContext;
  /** The other end. */
  peer: Connection | undefined = undefined;
  handlers: ConnectionHandlers = {};
  isOpen = false;
  isClosed = false;
  queuedBytes = 0;
  readonly #flight: InFlight[] = [];
  #lastArrival = 0;
  #isPumping = false;
  #isStalled = false;
  #wantsDrain = false;

  constructor(context: ConnectionContext, host: NetworkHost, peerName: string) {
    this.#context = context;
    this.host = host;
    this.peerName = peerName;
  }

  /** False: not taken, because too much is on its way (onDrain follows) or the connection is not open. */
  send(message: unknown, bytes: number): boolean {
    if (!this.isOpen || this.isClosed || !this.host.isAlive) return false;
    if (this.queuedBytes > 0 && this.queuedBytes + bytes > this.#context.limits.queueBytes) {
      this.#wantsDrain = true;
      return false;
    }
    this.queuedBytes += bytes;
    this.#enqueue(message, bytes, false);
    return true;
  }

  /** The peer gets what was sent before, then the end. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.isOpen) this.#enqueue(undefined, 0, true);
  }

  /** The peer is told at once, if it can be; what was sent may be lost. */
  abort(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#flight.length = 0;
    this.peer?.resetLater(this.#link().latencyMicros());
  }

  /** The machine is off: what has left it still arrives, and then nothing, for as long as the peer likes to wait. */
  vanish(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.peer?.resetLater(this.#context.limits.keepaliveMicros, "timed out");
  }

  /** Both ends can send. */
  open(): void {
    if (this.isClosed || this.isOpen) return;
    this.isOpen = true;
    this.handlers.onOpen?.();
  }

  /** This end is told that the connection is over, `delayMicros` from now. */
  resetLater(delayMicros: number, reason: CloseReason = "reset"): void {
    this.#context.scheduler.after(delayMicros, `${this.host.name} ${reason}`, () => {
      // A reset does not come through a cut; the keepalive finds out.
      const isCut = reason === "reset" && this.peer !== undefined && this.peer.#link().isCut;
      if (isCut) this.resetLater(this.#context.limits.keepaliveMicros, "timed out");
      else this.fail(reason);
    });
  }

  /** The system closes this end. */
  fail(reason: CloseReason): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#flight.length = 0;
    this.host.run(`connection ${reason}`, () => this.handlers.onClose?.(reason));
  }

  /** The way has healed, or the machine has come back. */
  resume(): void {
    if (!this.#isStalled) return;
    this.#isStalled = false;
    this.#pumpAt(this.#context.scheduler.nowMicros + this.#link().resumeMicros());
  }

  #link(): Link {
    return this.#context.link(this.host.name, this.peerName);
  }

  #enqueue(message: unknown, bytes: number, isEnd: boolean): void {
    const link = this.#link();
    const sent = link.transmit(bytes, this.host.nowMicros());
    const arrival = Math.ceil(sent + link.latencyMicros() + link.retransmitMicros());
    this.#lastArrival = Math.max(arrival, this.#lastArrival);
    this.#flight.push({ message, bytes, arrival: this.#lastArrival, isEnd });
    if (!this.#isPumping && !this.#isStalled) this.#pumpAt(this.#lastArrival);
  }

  #pumpAt(micros: number): void {
    const { scheduler } = this.#context;
    this.#isPumping = true;
    const due = Math.max(scheduler.nowMicros, Math.ceil(micros));
    scheduler.at(due, `${this.host.name}→${this.peerName}`, () => {
      this.#isPumping = false;
      this.#pump();
    });
  }

  /** The oldest message arrives, unless it cannot. */
  #pump(): void {
    const first = this.#flight[0];
    const peer = this.peer;
    if (first === undefined || peer === undefined) return;
    if (this.#link().isCut || !this.#context.isUp(this.peerName)) {
      this.#stall();
      return;
    }
    this.#flight.shift();
    if (peer.isClosed || !peer.host.isAlive) {
      // Nobody is there for it.
      this.#flight.length = 0;
      this.resetLater(this.#link().latencyMicros());
      return;
    }
    peer.host.run("message", () => this.#deliver(peer, first));
    const next = this.#flight[0];
    if (next !== undefined) this.#pumpAt(next.arrival);
  }

  #deliver(peer: Connection, item: InFlight): void {
    this.queuedBytes -= item.bytes;
    if (this.#wantsDrain && !this.isClosed) {
      this.#wantsDrain = false;
      this.host.run("drain", () => {
        if (!this.isClosed) this.handlers.onDrain?.();
      });
    }
    if (peer.isClosed) return;
    peer.open();
    if (!item.isEnd) {
      peer.handlers.onMessage?.(item.message);
      return;
    }
    peer.isClosed = true;
    peer.handlers.onClose?.("ended");
  }

  #stall(): void {
    const { scheduler, limits } = this.#context;
    this.#isStalled = true;
    this.#context.stall(this);
    const oldest = this.#flight[0];
    scheduler.after(limits.breakMicros, `${this.host.name} waits for ${this.peerName}`, () => {
      if (this.#isStalled && this.#flight[0] === oldest) this.#giveUp();
    });
  }

  #giveUp(): void {
    this.#isStalled = false;
    this.#flight.length = 0;
    this.peer?.resetLater(this.#context.limits.keepaliveMicros, "timed out");
    this.fail("timed out");
  }
}
