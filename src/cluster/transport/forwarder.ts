/**
 * Sends clients' requests to the node that owns their slot and brings back the replies.
 *
 *     forward() … forward() ─► one batch per node and turn ─► the outgoing link ─► ForwardServer there
 *     outcome ◄── by id ◄───────────────────────────────────── replies, in any order ◄┘
 *
 * Outcomes are values, and each request gets exactly one:
 *
 *   replied   what the owner answered
 *   not-run   it certainly has not run and will not: there was no link, or no room, or it was still in this process
 *             when the link ended, or the owner says so. It may be sent again.
 *   unknown   it may have run or may run yet: the link ended, or the time did. Never sent again by anybody.
 *
 * Requests for one node run in the order of the calls as long as the link lasts; replies are told in the order in
 * which they come. Who wants them in request order awaits them in that order.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import {
  CHANNEL_REPLIES,
  CHANNEL_REQUESTS,
  FORWARD_BYTES_MAX,
  ForwardBatch,
  KIND_NOT_RUN,
  KIND_REPLIED,
  readEntries,
} from "./forward-codec.ts";
import type { ForwardServer } from "./forward-server.ts";
import type { IncomingMessage, Link, LinkHandlers, Transport } from "./transport.ts";

export type ForwardOutcome =
  | { readonly kind: "replied"; readonly reply: Uint8Array }
  | { readonly kind: "not-run"; readonly reason: string }
  | { readonly kind: "unknown"; readonly reason: string };

export interface ForwarderOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  /** From forward() to the outcome. */
  readonly timeoutMs: number;
  /** Requests without an outcome, per node. */
  readonly pendingMax: number;
}

interface Pending {
  /** The message of the link that it went with; 0: not sent yet. */
  message: number;
  readonly deadlineMs: number;
  resolve(outcome: ForwardOutcome): void;
}

/** The requests of one outgoing link. */
interface Lane {
  readonly link: Link;
  readonly batch: ForwardBatch;
  /** By id, in the order of the calls, hence of the deadlines. */
  readonly pending: Map<number, Pending>;
  nextId: number;
  firstUnsent: number;
}

/** A batch that has grown to this does not wait for the end of the turn. */
const BATCH_BYTES = 1024 * 1024;

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #lanes = new Map<string, Lane>();
  #isFlushDue = false;
  #timer: Timer | undefined;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** Whether a request to `node` would be taken now. */
  canForward(node: string): boolean {
    const lane = this.#lanes.get(node);
    return lane?.link.canSend === true && lane.pending.size < this.#options.pendingMax;
  }

  /** Copies `request` before it returns. The reply's bytes belong to the caller. */
  forward(node: string, request: Uint8Array): Promise<ForwardOutcome> {
    const lane = this.#lanes.get(node);
    const refusal = this.#findRefusal(lane, request);
    if (lane === undefined || refusal !== undefined)
      return Promise.resolve({ kind: "not-run", reason: refusal ?? "" });
    const { clock, timeoutMs } = this.#options;
    const { promise, resolve } = Promise.withResolvers<ForwardOutcome>();
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    const id = lane.nextId++;
    lane.pending.set(id, { message: 0, deadlineMs, resolve });
    lane.batch.add(id, 0, request);
    if (lane.batch.length >= BATCH_BYTES) this.#send(lane);
    else this.#flushSoon();
    this.#timer ??= clock.after(timeoutMs, () => this.#expire());
    return promise;
  }

  /** Sends now what would be sent at the end of the turn. */
  flush(): void {
    this.#isFlushDue = false;
    for (const lane of this.#lanes.values()) this.#send(lane);
  }

  onMessage(message: IncomingMessage): void {
    const lane = this.#lanes.get(message.link.peer);
    if (lane?.link !== message.link) return;
    const entries = message.channel === CHANNEL_REPLIES ? readEntries(message.parts) : undefined;
    if (entries === undefined) {
      message.link.close("not a batch of replies");
      return;
    }
    for (const { id, kind, bytes } of entries) {
      const pending = lane.pending.get(id);
      // Its time is over.
      if (pending === undefined) continue;
      lane.pending.delete(id);
      pending.resolve(outcomeOf(kind, bytes));
    }
  }

  onUp(link: Link): void {
    const lane = { link, batch: new ForwardBatch(), pending: new Map(), nextId: 1, firstUnsent: 1 };
    this.#lanes.set(link.peer, lane);
  }

  onDown(link: Link, reason: string): void {
    const lane = this.#lanes.get(link.peer);
    if (lane?.link !== link) return;
    this.#lanes.delete(link.peer);
    const started = link.startedCount;
    for (const { message, resolve } of lane.pending.values()) {
      const hasLeft = message > 0 && message <= started;
      resolve({ kind: hasLeft ? "unknown" : "not-run", reason });
    }
  }

  #findRefusal(lane: Lane | undefined, request: Uint8Array): string | undefined {
    if (lane === undefined || !lane.link.isUp) return "no link";
    if (request.length > FORWARD_BYTES_MAX) return "too large";
    const isFull = lane.pending.size >= this.#options.pendingMax || !lane.link.canSend;
    return isFull ? "too many requests under way" : undefined;
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#options.clock.immediate(() => this.flush());
  }

  #send(lane: Lane): void {
    const { batch, link, pending } = lane;
    if (batch.count === 0) return;
    const bytes = batch.take();
    const isSent = link.send(CHANNEL_REQUESTS, [bytes], () => batch.giveBack(bytes));
    if (!isSent) batch.giveBack(bytes);
    for (let id = lane.firstUnsent; id < lane.nextId; id++) {
      const entry = pending.get(id);
      if (entry === undefined) continue;
      if (isSent) {
        entry.message = link.sentCount;
        continue;
      }
      pending.delete(id);
      entry.resolve({ kind: "not-run", reason: "too many requests under way" });
    }
    lane.firstUnsent = lane.nextId;
  }

  #expire(): void {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { pending } of this.#lanes.values()) {
      for (const [id, { deadlineMs, resolve }] of pending) {
        if (deadlineMs > nowMs) {
          nextMs = Math.min(nextMs, deadlineMs);
          break;
        }
        pending.delete(id);
        resolve({ kind: "unknown", reason: "timed out" });
      }
    }
    const isMore = nextMs < Number.POSITIVE_INFINITY;
    this.#timer = isMore ? clock.after(nextMs - nowMs, () => this.#expire()) : undefined;
  }
}

function outcomeOf(kind: number, bytes: Uint8Array): ForwardOutcome {
  // The message is only lent.
  if (kind === KIND_REPLIED) return { kind: "replied", reply: bytes.slice() };
  const reason = new TextDecoder().decode(bytes);
  return { kind: kind === KIND_NOT_RUN ? "not-run" : "unknown", reason };
}

/** Both sides of forwarding share the purpose: replies come on outgoing links, requests on incoming ones. */
export function forwardHandlers(forwarder: Forwarder, server: ForwardServer): LinkHandlers {
  const sideOf = (link: Link) => (link.isOutgoing ? forwarder : server);
  return {
    onMessage: (message) => sideOf(message.link).onMessage(message),
    onUp: (link) => sideOf(link).onUp(link),
    onDown: (link, reason) => sideOf(link).onDown(link, reason),
    onDrain: (link) => {
      if (!link.isOutgoing) server.onDrain(link);
    },
  };
}
