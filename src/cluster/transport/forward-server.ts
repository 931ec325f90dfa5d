/**
 * The owner's side of forwarding: runs the requests that come and sends their replies, all of a turn for one node
 * together.
 *
 * Messages of one link begin in the order in which they came, each as a whole. None begins while many requests run or
 * many replies wait to be sent; what waits keeps its credit, so in the end the sender waits.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import {
  CHANNEL_REPLIES,
  CHANNEL_REQUESTS,
  ENTRY_BYTES,
  EntryReader,
  FORWARD_MESSAGE_BYTES_MAX,
  ForwardBatch,
} from "./forward-codec.ts";
import type { HeldMessage, IncomingMessage, Link, Transport } from "./transport.ts";

export interface ForwardServerOptions {
  readonly transport: Pick<Transport, "flush">;
  readonly clock: Clock;
  /**
   * Runs the requests of one message, in order; each is to be responded to exactly once, now or later. The array is
   * the receiver's own.
   */
  execute(from: Link, requests: IncomingRequest[]): void;
  /** After the last request of a link; what runs goes on, its replies have nowhere to go. */
  onEnd(from: Link): void;
}

/** Requests of one link that run, above which no message begins. */
const RUNNING_MAX = 4096;
/** Replies of one link that wait to be sent, above which nothing begins. */
const REPLY_BYTES = 8 * 1024 * 1024;
/** A batch that has grown to this does not wait for the end of the turn. */
const BATCH_BYTES = 1024 * 1024;

interface Bundle {
  readonly held: HeldMessage;
  readonly requests: IncomingRequest[];
  /** Of them without a reply. */
  open: number;
}

interface Lane {
  readonly link: Link;
  readonly batch: ForwardBatch;
  /** Messages that have not begun. */
  readonly bundles: Bundle[];
  /** Batches that the link did not take. */
  readonly unsent: Buffer[];
  unsentBytes: number;
  running: number;
  isAdvancing: boolean;
}

export class IncomingRequest {
  /** bytes[start, end), lent until the response. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly #message: number;
  readonly #index: number;
  readonly #onResponse: ResponseListener;
  #isAnswered = false;

  constructor(reader: EntryReader, onResponse: ResponseListener) {
    this.bytes = reader.bytes;
    this.start = reader.start;
    this.end = reader.end;
    this.#message = reader.message;
    this.#index = reader.index;
    this.#onResponse = onResponse;
  }

  /** `reply` is copied; at most FORWARD_BYTES_MAX. */
  respond(kind: number, reply: Uint8Array): void {
    assert(!this.#isAnswered, "a request answered twice");
    this.#isAnswered = true;
    this.#onResponse(this.#message, this.#index, kind, reply);
  }
}

type ResponseListener = (message: number, index: number, kind: number, reply: Uint8Array) => void;

export class ForwardServer {
  readonly #options: ForwardServerOptions;
  readonly #lanes = new Map<Link, Lane>();
  #isFlushDue = false;

  constructor(options: ForwardServerOptions) {
    this.#options = options;
  }

  onUp(link: Link): void {
    this.#lanes.set(link, {
      ...{ link, batch: new ForwardBatch(), bundles: [], unsent: [] },
      ...{ unsentBytes: 0, running: 0, isAdvancing: false },
    });
  }

  onDown(link: Link): void {
    this.#lanes.delete(link);
    this.#options.onEnd(link);
  }

  onMessage(message: IncomingMessage): void {
    const lane = this.#lanes.get(message.link);
    if (lane === undefined) return;
    const held = message.hold();
    const bundle: Bundle = { held, requests: [], open: 0 };
    const reader = new EntryReader(held.parts);
    const onResponse: ResponseListener = (number, index, kind, reply) => {
      lane.running--;
      this.#addReply(lane, number, index, kind, reply);
      if (--bundle.open === 0) held.release();
      this.#advance(lane);
    };
    while (reader.next()) bundle.requests.push(new IncomingRequest(reader, onResponse));
    bundle.open = bundle.requests.length;
    if (reader.isMalformed || bundle.open === 0 || message.channel !== CHANNEL_REQUESTS) {
      held.release();
      message.link.close("not a batch of requests");
      return;
    }
    lane.bundles.push(bundle);
    this.#advance(lane);
  }

  onDrain(link: Link): void {
    const lane = this.#lanes.get(link);
    if (lane === undefined) return;
    this.#sendUnsent(lane);
    this.#advance(lane);
  }

  /** Begins what may begin. */
  #advance(lane: Lane): void {
    if (lane.isAdvancing) return;
    lane.isAdvancing = true;
    while (lane.bundles.length > 0 && this.#mayBegin(lane)) {
      const { requests } = lane.bundles.shift()!;
      lane.running += requests.length;
      this.#options.execute(lane.link, requests);
    }
    lane.isAdvancing = false;
  }

  #mayBegin(lane: Lane): boolean {
    const isUp = this.#lanes.get(lane.link) === lane;
    return isUp && lane.running < RUNNING_MAX && lane.unsentBytes + lane.batch.length < REPLY_BYTES;
  }

  #addReply(lane: Lane, message: number, index: number, kind: number, reply: Uint8Array): void {
    if (this.#lanes.get(lane.link) !== lane) return;
    const { batch } = lane;
    if (batch.length + ENTRY_BYTES + reply.length > FORWARD_MESSAGE_BYTES_MAX) this.#send(lane);
    batch.begin(message, index, kind);
    batch.append(reply);
    batch.end();
    if (batch.length >= BATCH_BYTES) this.#send(lane);
    else this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#options.clock.immediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isFlushDue = false;
    for (const lane of this.#lanes.values()) this.#send(lane);
    this.#options.transport.flush();
  };

  #send(lane: Lane): void {
    if (lane.batch.count === 0) return;
    const bytes = lane.batch.take();
    lane.unsent.push(bytes);
    lane.unsentBytes += bytes.length;
    this.#sendUnsent(lane);
  }

  #sendUnsent(lane: Lane): void {
    for (let bytes = lane.unsent[0]; bytes !== undefined; bytes = lane.unsent[0]) {
      const sent = bytes;
      if (!lane.link.send(CHANNEL_REPLIES, [sent], () => lane.batch.giveBack(sent))) return;
      lane.unsent.shift();
      lane.unsentBytes -= sent.length;
    }
    this.#advance(lane);
  }
}
