/**
 * Sends clients' requests to the node that owns their slot and brings back the replies.
 *
 *     forward(node, requests) ─► one message ─► the outgoing link ─► ForwardServer there: all of it, in order
 *     settle(request, kind) ◄── by message and index ◄────────────── replies, in any order ◄┘
 *
 * Each request is settled exactly once, by a kind of forward-codec.ts:
 *
 *   replied     what the owner answered
 *   not run     it certainly has not run and will not: there was no link, it was still in this process when the link
 *               ended or its time did, or the owner says so. It may be sent again.
 *   unwatched   the same, because what its client watches is not watched there any more
 *   unknown     it may have run or may run yet: the link ended, or the time did. Never sent again by anybody.
 *
 * While the link's queue is full, or many requests are under way, messages wait here, in order.
 *
 * Requests for one node begin in the order of the calls as long as the link lasts; replies are told in the order in
 * which they come.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import {
  CHANNEL_REPLIES,
  CHANNEL_REQUESTS,
  EntryReader,
  ForwardBatch,
  KIND_NOT_RUN,
  KIND_UNKNOWN,
} from "./forward-codec.ts";
import type { ForwardServer } from "./forward-server.ts";
import type { IncomingMessage, Link, LinkHandlers, Transport } from "./transport.ts";

export interface ForwarderOptions<T> {
  readonly transport: Pick<Transport, "flush">;
  readonly clock: Clock;
  /** From forward() to the outcome. */
  readonly timeoutMs: number;
  /** Requests without an outcome, per node, above which messages wait. */
  readonly pendingMax: number;
  /** Appends the request's bytes. At most FORWARD_BYTES_MAX, and of one message FORWARD_MESSAGE_BYTES_MAX. */
  write(request: T, batch: ForwardBatch): void;
  /** `reply` is the receiver's own; empty unless the kind is "replied". */
  settle(request: T, kind: number, reply: Buffer): void;
}

/** The requests of one message; undefined where one has been settled. */
interface Sent<T> {
  readonly requests: (T | undefined)[];
  readonly deadlineMs: number;
  /** Of those that have no outcome. */
  open: number;
  /** As the link counts messages; 0: it waits. */
  message: number;
}

/** What goes over one outgoing link. */
interface Lane<T> {
  readonly link: Link;
  readonly batch: ForwardBatch;
  /** By number, in the order of the calls, hence of the deadlines. */
  readonly sent: Map<number, Sent<T>>;
  readonly waiting: Sent<T>[];
  /** Requests in `sent` without an outcome. */
  pending: number;
  lastNumber: number;
}

const NUMBER_MAX = 2 ** 32 - 1;
/** Of replies that are kept together: a client that is slow to take one of them keeps them all. */
const KEPT_BYTES_MAX = 16 * 1024;
const NONE = Buffer.alloc(0);

export class Forwarder<T> {
  readonly #options: ForwarderOptions<T>;
  readonly #lanes = new Map<string, Lane<T>>();
  #timer: Timer | undefined;

  constructor(options: ForwarderOptions<T>) {
    this.#options = options;
  }

  /** Sends `requests` in one message, at the latest when there is room. Some may be settled before it returns. */
  forward(node: string, requests: readonly T[]): void {
    const lane = this.#lanes.get(node);
    const { clock, timeoutMs, transport } = this.#options;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    const sent = { requests: [...requests], deadlineMs, open: requests.length, message: 0 };
    if (lane === undefined || !lane.link.isUp) {
      this.#settleAll(sent, KIND_NOT_RUN);
      return;
    }
    lane.waiting.push(sent);
    this.#sendWaiting(lane);
    // The end of the turn is now: its requests have been gathered.
    transport.flush();
    this.#timer ??= clock.after(timeoutMs, this.#expire);
  }

  /** Nobody waits for outcomes any more: all are as if their time were over. */
  abandon(): void {
    for (const lane of this.#lanes.values()) this.#end(lane, (sent) => sent.message > 0);
  }

  onMessage(message: IncomingMessage): void {
    const lane = this.#lanes.get(message.link.peer);
    if (lane?.link !== message.link) return;
    const reader = new EntryReader(message.parts);
    reader.isMalformed ||= message.channel !== CHANNEL_REPLIES;
    // The message is only lent.
    const kept = reader.bytes.length <= KEPT_BYTES_MAX ? Buffer.from(reader.bytes) : undefined;
    while (reader.next()) {
      const { start, end } = reader;
      const sent = lane.sent.get(reader.message);
      const request = sent?.requests[reader.index];
      // Its time is over.
      if (sent === undefined || request === undefined) continue;
      sent.requests[reader.index] = undefined;
      lane.pending--;
      if (--sent.open === 0) lane.sent.delete(reader.message);
      const reply = kept?.subarray(start, end) ?? Buffer.from(reader.bytes.subarray(start, end));
      this.#options.settle(request, reader.kind, reply);
    }
    if (reader.isMalformed) message.link.close("not a batch of replies");
    else this.#sendWaiting(lane);
  }

  onUp(link: Link): void {
    const batch = new ForwardBatch();
    this.#lanes.set(link.peer, {
      ...{ link, batch, sent: new Map(), waiting: [], pending: 0, lastNumber: 0 },
    });
  }

  onDown(link: Link): void {
    const lane = this.#lanes.get(link.peer);
    if (lane?.link !== link) return;
    this.#lanes.delete(link.peer);
    const started = link.startedCount;
    this.#end(lane, ({ message }) => message > 0 && message <= started);
  }

  onDrain(link: Link): void {
    const lane = this.#lanes.get(link.peer);
    if (lane?.link === link) this.#sendWaiting(lane);
  }

  #sendWaiting(lane: Lane<T>): void {
    const { link, waiting } = lane;
    while (waiting.length > 0 && link.canSend && lane.pending < this.#options.pendingMax) {
      if (!this.#send(lane, waiting[0]!)) return;
      waiting.shift();
    }
    // Only who was refused is told of room.
    if (waiting.length > 0 && !link.canSend) link.send(CHANNEL_REQUESTS, [NONE]);
  }

  #send(lane: Lane<T>, sent: Sent<T>): boolean {
    const { batch, link } = lane;
    const { requests } = sent;
    const number = (lane.lastNumber % NUMBER_MAX) + 1;
    for (let index = 0; index < requests.length; index++) {
      batch.begin(number, index, 0);
      this.#options.write(requests[index]!, batch);
      batch.end();
    }
    const bytes = batch.take();
    // Before send(): it may end the link.
    sent.message = link.sentCount + 1;
    lane.sent.set(number, sent);
    lane.pending += sent.open;
    lane.lastNumber = number;
    if (link.send(CHANNEL_REQUESTS, [bytes], () => batch.giveBack(bytes))) return true;
    batch.giveBack(bytes);
    lane.sent.delete(number);
    lane.pending -= sent.open;
    sent.message = 0;
    return false;
  }

  readonly #expire = (): void => {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes.values()) {
      for (const [number, sent] of lane.sent) {
        if (sent.deadlineMs > nowMs) {
          nextMs = Math.min(nextMs, sent.deadlineMs);
          break;
        }
        lane.sent.delete(number);
        lane.pending -= sent.open;
        this.#settleAll(sent, KIND_UNKNOWN);
      }
      while (lane.waiting.length > 0 && lane.waiting[0]!.deadlineMs <= nowMs)
        this.#settleAll(lane.waiting.shift()!, KIND_NOT_RUN);
      if (lane.waiting.length > 0) nextMs = Math.min(nextMs, lane.waiting[0]!.deadlineMs);
      this.#sendWaiting(lane);
    }
    const isMore = nextMs < Number.POSITIVE_INFINITY;
    this.#timer = isMore ? clock.after(nextMs - nowMs, this.#expire) : undefined;
  };

  #end(lane: Lane<T>, mayHaveRun: (sent: Sent<T>) => boolean): void {
    const all = [...lane.sent.values(), ...lane.waiting];
    lane.sent.clear();
    lane.waiting.length = 0;
    lane.pending = 0;
    for (const sent of all) this.#settleAll(sent, mayHaveRun(sent) ? KIND_UNKNOWN : KIND_NOT_RUN);
  }

  #settleAll(sent: Sent<T>, kind: number): void {
    for (const request of sent.requests.splice(0))
      if (request !== undefined) this.#options.settle(request, kind, NONE);
  }
}

/** Both sides of forwarding share the purpose: replies come on outgoing links, requests on incoming ones. */
export function forwardHandlers<T>(forwarder: Forwarder<T>, server: ForwardServer): LinkHandlers {
  const sideOf = (link: Link) => (link.isOutgoing ? forwarder : server);
  return {
    onMessage: (message) => sideOf(message.link).onMessage(message),
    onUp: (link) => sideOf(link).onUp(link),
    onDown: (link) => sideOf(link).onDown(link),
    onDrain: (link) => sideOf(link).onDrain(link),
  };
}
