/**
 * The owner's side of forwarding: runs the requests that come and sends their replies, all of a turn for one node
 * together.
 *
 * Requests of one link begin in the order in which they came. Few run at a time, and none begins while many replies
 * wait to be sent; the others wait in their messages, whose credit is not given back, so in the end the sender waits.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import {
  CHANNEL_REPLIES,
  CHANNEL_REQUESTS,
  FORWARD_BYTES_MAX,
  ForwardBatch,
  KIND_NOT_RUN,
  KIND_REPLIED,
  KIND_UNKNOWN,
  readEntries,
} from "./forward-codec.ts";
import type { HeldMessage, IncomingMessage, Link } from "./transport.ts";

export interface ForwardReply {
  /** `not-run`: the request certainly had and will have no effect; `bytes` is the reason in UTF-8. */
  readonly kind: "replied" | "not-run";
  readonly bytes: Uint8Array;
}

export interface ForwardServerOptions {
  readonly clock: Clock;
  /**
   * Runs `request` and calls `respond` exactly once, now or later. `request` is lent until then; the reply is copied
   * before `respond` returns.
   */
  execute(from: Link, request: Uint8Array, respond: (reply: ForwardReply) => void): void;
}

/** Requests of one link that run. */
const RUNNING_MAX = 1024;
/** Replies of one link that wait to be sent, above which nothing begins. */
const REPLY_BYTES = 8 * 1024 * 1024;
/** A batch that has grown to this does not wait for the end of the turn. */
const BATCH_BYTES = 1024 * 1024;
const TOO_LARGE = Buffer.from("reply too large to forward");

/** The requests of one message. */
interface Bundle {
  readonly held: HeldMessage;
  readonly requests: readonly { readonly id: number; readonly bytes: Uint8Array }[];
  next: number;
  unanswered: number;
}

interface Lane {
  readonly link: Link;
  readonly batch: ForwardBatch;
  readonly bundles: Bundle[];
  /** Batches that the link did not take. */
  readonly unsent: Buffer[];
  unsentBytes: number;
  running: number;
  isAdvancing: boolean;
}

export class ForwardServer {
  readonly #options: ForwardServerOptions;
  readonly #lanes = new Map<Link, Lane>();
  #isFlushDue = false;

  constructor(options: ForwardServerOptions) {
    this.#options = options;
  }

  onUp(link: Link): void {
    this.#lanes.set(link, {
      link,
      batch: new ForwardBatch(),
      bundles: [],
      unsent: [],
      unsentBytes: 0,
      running: 0,
      isAdvancing: false,
    });
  }

  onDown(link: Link): void {
    // What runs goes on; its replies have nowhere to go.
    this.#lanes.delete(link);
  }

  onMessage(message: IncomingMessage): void {
    const lane = this.#lanes.get(message.link);
    if (lane === undefined) return;
    const held = message.hold();
    const requests = message.channel === CHANNEL_REQUESTS ? readEntries(held.parts) : undefined;
    if (requests === undefined || requests.length === 0) {
      held.release();
      message.link.close("not a batch of requests");
      return;
    }
    lane.bundles.push({ held, requests, next: 0, unanswered: requests.length });
    this.#advance(lane);
  }

  onDrain(link: Link): void {
    const lane = this.#lanes.get(link);
    if (lane === undefined) return;
    this.#sendUnsent(lane);
    this.#advance(lane);
  }

  /** Sends now what would be sent at the end of the turn. */
  flush(): void {
    this.#isFlushDue = false;
    for (const lane of this.#lanes.values()) this.#send(lane);
  }

  /** Begins what may begin. */
  #advance(lane: Lane): void {
    if (lane.isAdvancing) return;
    lane.isAdvancing = true;
    for (let bundle = lane.bundles[0]; bundle !== undefined; bundle = lane.bundles[0]) {
      while (bundle.next < bundle.requests.length && this.#mayBegin(lane)) {
        this.#begin(lane, bundle, bundle.requests[bundle.next++]!);
      }
      if (bundle.next < bundle.requests.length) break;
      lane.bundles.shift();
    }
    lane.isAdvancing = false;
  }

  #mayBegin(lane: Lane): boolean {
    const isUp = this.#lanes.get(lane.link) === lane;
    return isUp && lane.running < RUNNING_MAX && lane.unsentBytes + lane.batch.length < REPLY_BYTES;
  }

  #begin(lane: Lane, bundle: Bundle, request: { id: number; bytes: Uint8Array }): void {
    lane.running++;
    let isAnswered = false;
    this.#options.execute(lane.link, request.bytes, (reply) => {
      assert(!isAnswered, "a request answered twice");
      isAnswered = true;
      lane.running--;
      this.#addReply(lane, request.id, reply);
      if (--bundle.unanswered === 0) bundle.held.release();
      this.#advance(lane);
    });
  }

  #addReply(lane: Lane, id: number, reply: ForwardReply): void {
    if (this.#lanes.get(lane.link) !== lane) return;
    if (reply.bytes.length > FORWARD_BYTES_MAX) lane.batch.add(id, KIND_UNKNOWN, TOO_LARGE);
    else lane.batch.add(id, reply.kind === "replied" ? KIND_REPLIED : KIND_NOT_RUN, reply.bytes);
    if (lane.batch.length >= BATCH_BYTES) this.#send(lane);
    else this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#options.clock.immediate(() => this.flush());
  }

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
