/**
 * One connection between two nodes, from its first byte on: handshake, then a Link. It knows bytes and time, no socket.
 *
 *     handshaking ──► up ──► closed          chunks ─► FrameParser ─► handlers
 *          └───────────────────►┘            send() ─► OutQueue ─► wire, at the end of the turn
 *
 * Credit: the receiver counts the bytes of the message frames that it got (`received`) and is done with (`done`), and
 * reports the second; a message may begin when the ones before it amount to less than the last report and a window.
 * Both ends compute that alike, so a sender that does otherwise is found out.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import {
  decodeCredit,
  encodeCredit,
  FRAME_ACCEPT,
  FRAME_CREDIT,
  FRAME_HELLO,
  FRAME_MESSAGE,
  FRAME_PING,
  FRAME_REFUSAL,
} from "./frame.ts";
import { FrameParser } from "./frame-parser.ts";
import {
  type AcceptorHandshake,
  type DialerHandshake,
  encodeRefusal,
  HANDSHAKE_BYTES_MAX,
  type HandshakeStep,
  type PeerIdentity,
  type Refusal,
} from "./handshake.ts";
import { type ByteSink, OutQueue } from "./out-queue.ts";
import {
  type HeldMessage,
  type IncomingMessage,
  type Link,
  type LinkHandlers,
  MESSAGE_BYTES_MAX,
  type Purpose,
} from "./transport.ts";
import type { TransportLimits } from "./transport-limits.ts";

export interface Wire extends ByteSink {
  /** The other end's address, for the log. */
  readonly remote: string;
  /** Closes once the system has sent what it took. */
  end(): void;
  /** Closes now. */
  terminate(): void;
}

export interface ConnectionHost {
  readonly clock: Clock;
  readonly limits: TransportLimits;
  /** The handshake is done: the link's generation, or why there can be none. */
  admit(connection: PeerConnection, peer: PeerIdentity): number | Refusal;
  handlersOf(purpose: Purpose): LinkHandlers;
  /** Calls flush() at the end of the turn. */
  flushSoon(connection: PeerConnection): void;
  /** Once. `refusal`: the handshake failed by it. */
  onClosed(connection: PeerConnection, reason: string, refusal: Refusal | undefined): void;
}

/** Queued bytes that do not wait for the end of the turn. */
const FLUSHED_AT_ONCE = 256 * 1024;
/** A report of credit is due after this part of a window. */
const REPORTS_PER_WINDOW = 4;

export class PeerConnection implements Link {
  readonly isOutgoing: boolean;
  readonly remote: string;
  generation = 0;
  /** Set by the host, which flushes all that are marked. */
  isFlushDue = false;
  readonly #host: ConnectionHost;
  readonly #wire: Wire;
  readonly #handshake: DialerHandshake | AcceptorHandshake;
  readonly #queue: OutQueue;
  readonly #parser = new FrameParser(HANDSHAKE_BYTES_MAX);
  readonly #incoming: CurrentMessage;
  readonly #openedMs: number;
  #state: "handshaking" | "up" | "closed" = "handshaking";
  #peer: PeerIdentity | undefined;
  #handlers: LinkHandlers | undefined;
  #lastHeardMs: number;
  #lastSentMs: number;
  #wantsDrain = false;
  #receivedBytes = 0;
  #doneBytes = 0;
  #reportedBytes = 0;

  constructor(host: ConnectionHost, wire: Wire, handshake: DialerHandshake | AcceptorHandshake) {
    this.#host = host;
    this.#wire = wire;
    this.#handshake = handshake;
    this.isOutgoing = "hello" in handshake;
    this.remote = wire.remote;
    this.#queue = new OutQueue(wire, 0);
    this.#incoming = new CurrentMessage(this, this.#parser);
    this.#openedMs = host.clock.monotonicMs();
    this.#lastHeardMs = this.#openedMs;
    this.#lastSentMs = this.#openedMs;
  }

  /** The connection stands. */
  begin(): void {
    if ("hello" in this.#handshake) this.#sendControl(FRAME_HELLO, this.#handshake.hello);
  }

  get peer(): string {
    return this.#peer?.nodeId ?? "";
  }

  get incarnation(): number {
    return this.#peer?.incarnation ?? 0;
  }

  get purpose(): Purpose {
    assert(this.#peer !== undefined, "the purpose of a connection that has not become a link");
    return this.#peer.purpose;
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  get canSend(): boolean {
    return this.isUp && this.#queue.queuedBytes < this.#host.limits.queueBytes;
  }

  get queuedBytes(): number {
    return this.#queue.queuedBytes;
  }

  get sentCount(): number {
    return this.#queue.sentCount;
  }

  get startedCount(): number {
    return this.#queue.startedCount;
  }

  send(channel: number, parts: readonly Uint8Array[], release?: () => void): boolean {
    if (!this.isUp) return false;
    if (this.#queue.queuedBytes >= this.#host.limits.queueBytes) {
      this.#wantsDrain = true;
      return false;
    }
    this.#queue.append(channel, parts, release);
    if (this.#queue.queuedBytes >= FLUSHED_AT_ONCE) this.#write();
    else this.#host.flushSoon(this);
    return true;
  }

  /** Handlers hear of it later, since this is called from outside. */
  close(reason: string): void {
    if (!this.#shut()) return;
    this.#wire.terminate();
    this.#host.clock.immediate(() => this.#tell(reason));
  }

  /** As close(), but handlers have heard of it when it returns. REQUIRES: no call of a handler's is under way. */
  closeNow(reason: string, refusal?: Refusal): void {
    if (!this.#shut()) return;
    this.#wire.terminate();
    this.#tell(reason, refusal);
  }

  /** Borrows `chunk` until it returns; held messages may keep it longer. */
  onData(chunk: Buffer): void {
    if (this.isClosed) return;
    this.#lastHeardMs = this.#host.clock.monotonicMs();
    this.#parser.feed(chunk);
    for (;;) {
      const status = this.#parser.next();
      if (status === "more") return;
      if (status === "bad") {
        this.closeNow(this.#parser.problem, this.isUp ? undefined : "garbage");
        return;
      }
      this.#onFrame();
      if (this.isClosed) return;
    }
  }

  onDrain(): void {
    this.#queue.isBlocked = this.isClosed;
    this.#write();
  }

  /** The wire has closed, by whichever side. */
  onWireClosed(): void {
    if (this.#shut()) this.#tell("connection closed");
  }

  tick(nowMs: number): void {
    const { limits } = this.#host;
    if (this.#state === "handshaking" && nowMs - this.#openedMs >= limits.handshakeMs) {
      this.closeNow("handshake timed out");
    } else if (nowMs - this.#lastHeardMs >= limits.silenceMs) {
      this.closeNow("silent");
    } else if (this.isUp && nowMs - this.#lastSentMs >= limits.pingMs && !this.#queue.isBlocked) {
      this.#queue.appendControl(FRAME_PING, []);
      this.#write();
    }
  }

  /** The process slept for so long: what the peer has said meanwhile has not been read yet. */
  forgiveSilence(sleptMs: number): void {
    this.#lastHeardMs += sleptMs;
  }

  flush(): void {
    this.isFlushDue = false;
    this.#write();
  }

  /** The handlers are done with so many bytes more. */
  addCredit(bytes: number): void {
    this.#doneBytes += bytes;
    const unreported = this.#doneBytes - this.#reportedBytes;
    if (!this.isUp || unreported * REPORTS_PER_WINDOW < this.#host.limits.windowBytes) return;
    this.#reportedBytes = this.#doneBytes;
    this.#queue.appendControl(FRAME_CREDIT, [encodeCredit(this.#doneBytes)]);
    this.#host.flushSoon(this);
  }

  #onFrame(): void {
    const { type, parts } = this.#parser;
    if (this.#state === "handshaking") this.#onHandshake(type, parts);
    else if (type === FRAME_MESSAGE) this.#onMessage();
    else if (type === FRAME_CREDIT) this.#onCredit(parts);
    else if (type !== FRAME_PING) this.closeNow("a frame out of place");
  }

  #onMessage(): void {
    const { frameBytes } = this.#parser;
    if (this.#receivedBytes >= this.#reportedBytes + this.#host.limits.windowBytes) {
      this.closeNow("more than its credit");
      return;
    }
    this.#receivedBytes += frameBytes;
    const isHeld = this.#incoming.deliver(this.#handlers!);
    if (!isHeld) this.addCredit(frameBytes);
  }

  #onCredit(parts: readonly Uint8Array[]): void {
    const doneBytes = parts.length === 1 ? decodeCredit(parts[0]!) : undefined;
    if (doneBytes === undefined || doneBytes > this.#queue.writtenBytes) {
      this.closeNow("credit for what was not sent");
      return;
    }
    this.#queue.admit(doneBytes + this.#peer!.windowBytes);
    this.#write();
  }

  #onHandshake(type: number, parts: readonly Uint8Array[]): void {
    const payload = parts[0];
    if (payload === undefined || parts.length !== 1) {
      this.closeNow("garbage", "garbage");
      return;
    }
    const step = this.#handshake.step(type, payload);
    if (step.kind === "reply") this.#sendControl(step.type, step.payload);
    else if (step.kind === "refused") this.#refuse(step);
    else this.#becomeLink(step);
  }

  #becomeLink(step: Extract<HandshakeStep, { kind: "done" }>): void {
    const admitted = this.#host.admit(this, step.peer);
    if (typeof admitted === "string") {
      this.#refuse({ kind: "refused", reason: admitted, isTold: !this.isOutgoing, byPeer: false });
      return;
    }
    this.generation = admitted;
    this.#peer = step.peer;
    this.#state = "up";
    this.#parser.payloadBytesMax = MESSAGE_BYTES_MAX;
    this.#handlers = this.#host.handlersOf(step.peer.purpose);
    this.#queue.admit(step.peer.windowBytes);
    if (step.reply !== undefined) this.#sendControl(FRAME_ACCEPT, step.reply);
    this.#handlers.onUp(this);
  }

  #refuse(step: Extract<HandshakeStep, { kind: "refused" }>): void {
    if (step.isTold) this.#sendControl(FRAME_REFUSAL, encodeRefusal(step.reason));
    if (!this.#shut()) return;
    if (step.isTold) this.#wire.end();
    else this.#wire.terminate();
    const by = step.byPeer ? "refused by the peer" : "refused";
    this.#tell(`${by}: ${step.reason}`, step.reason);
  }

  #sendControl(type: number, payload: Uint8Array): void {
    this.#queue.appendControl(type, [payload]);
    this.#write();
  }

  #write(): void {
    if (this.isClosed || !this.#queue.isReady) return;
    this.#lastSentMs = this.#host.clock.monotonicMs();
    this.#queue.write();
    if (!this.#wantsDrain || this.#queue.queuedBytes * 2 > this.#host.limits.queueBytes) return;
    this.#wantsDrain = false;
    this.#host.clock.immediate(() => {
      if (this.isUp) this.#handlers!.onDrain(this);
    });
  }

  /** False when it was closed already. */
  #shut(): boolean {
    if (this.isClosed) return false;
    this.#state = "closed";
    this.#queue.clear();
    return true;
  }

  #tell(reason: string, refusal?: Refusal): void {
    this.#handlers?.onDown(this, reason);
    this.#host.onClosed(this, reason, refusal);
  }
}

/** The message that is being handled: one object for all of a connection. */
class CurrentMessage implements IncomingMessage {
  readonly link: PeerConnection;
  readonly #parser: FrameParser;
  #isCurrent = false;
  #isHeld = false;

  constructor(link: PeerConnection, parser: FrameParser) {
    this.link = link;
    this.#parser = parser;
  }

  get channel(): number {
    return this.#parser.channel;
  }

  get parts(): readonly Uint8Array[] {
    return this.#parser.parts;
  }

  /** Whether the handler keeps it. */
  deliver(handlers: LinkHandlers): boolean {
    this.#isCurrent = true;
    this.#isHeld = false;
    handlers.onMessage(this);
    this.#isCurrent = false;
    return this.#isHeld;
  }

  hold(): HeldMessage {
    assert(this.#isCurrent && !this.#isHeld, "a message held twice, or after its handler");
    this.#isHeld = true;
    const { link } = this;
    const bytes = this.#parser.frameBytes;
    let isReleased = false;
    return {
      parts: this.#parser.own(),
      release: () => {
        assert(!isReleased, "a message released twice");
        isReleased = true;
        link.addCredit(bytes);
      },
    };
  }
}
