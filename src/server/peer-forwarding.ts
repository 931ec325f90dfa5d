/**
 * Forwarding over the peer port: units of a turn for one node are one message, and come to that node's PeerLink in one
 * call.
 *
 *     Forwarding ─► PeerForwarding ─► Forwarder ══ link ══ ForwardServer ─► PeerForwarding ─► PeerLink of that link
 *        unit.settle ◄─────────────────────┘                   ▲ respond ◄──── unit.settle ◄──────┘
 *
 * - A client's units for one slot are never in two messages of one call: what is refused behind others must not be
 *   overtaken. What does not fit is refused, and comes again in order.
 * - A request or a reply has at most FORWARD_BYTES_MAX. A larger request is not sent, and its client told so; a reply
 *   that is larger is replaced by an error that says that the command has run.
 * - The end of a link ends its PeerLink, and with it watches and sessions of that node's clients.
 */
import type { Clock } from "../base/clock.ts";
import type { TopologyNode } from "../cluster/topology.ts";
import {
  ENTRY_BYTES,
  FORWARD_BYTES_MAX,
  FORWARD_MESSAGE_BYTES_MAX,
  KIND_NOT_RUN,
  KIND_REPLIED,
  KIND_UNKNOWN,
  KIND_UNWATCHED,
} from "../cluster/transport/forward-codec.ts";
import { ForwardServer, type IncomingRequest } from "../cluster/transport/forward-server.ts";
import { forwardHandlers, Forwarder as LinkForwarder } from "../cluster/transport/forwarder.ts";
import type { Link, Transport } from "../cluster/transport/transport.ts";
import {
  type Forwarder,
  type ForwardOutcome,
  type ForwardUnit,
  REFUSED,
  UNKNOWN,
  UNWATCHED,
} from "./forwarder.ts";
import type { PeerLink } from "./peer-link.ts";
import { readUnit, unitLength, writeUnit } from "./unit-codec.ts";

/** Longer than an owner without its quorum takes to answer. */
const TIMEOUT_MS = 30_000;
const PENDING_MAX = 64 * 1024;
/** A node that stops answers what it executes for others within this time, as for its own clients. */
const DRAIN_MS_MAX = 2000;
const EMPTY = Buffer.alloc(0);

export interface PeerForwardingOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly timeoutMs?: number;
  /** Of one request or reply, and of one message: smaller in tests. */
  readonly unitBytesMax?: number;
  readonly messageBytesMax?: number;
}

export class PeerForwarding implements Forwarder {
  readonly #forwarder: LinkForwarder<ForwardUnit>;
  readonly #unitBytesMax: number;
  readonly #messageBytesMax: number;
  readonly #links = new Map<Link, PeerLink>();
  #openLink: (() => PeerLink) | undefined = undefined;
  #signal: AbortSignal | undefined = undefined;
  readonly #clock: Clock;
  /** Units that are being executed here. */
  #executing = 0;
  #isDraining = false;
  #onQuiet: (() => void) | undefined = undefined;

  /** REQUIRES: a transport that has no links yet. */
  constructor(options: PeerForwardingOptions) {
    const { transport, clock, timeoutMs = TIMEOUT_MS } = options;
    this.#clock = clock;
    this.#unitBytesMax = options.unitBytesMax ?? FORWARD_BYTES_MAX;
    this.#messageBytesMax = options.messageBytesMax ?? FORWARD_MESSAGE_BYTES_MAX;
    this.#forwarder = new LinkForwarder<ForwardUnit>({
      ...{ transport, clock, timeoutMs, pendingMax: PENDING_MAX },
      write: writeUnit,
      settle: (unit, kind, reply) => unit.settle(outcomeOf(kind, reply)),
    });
    const server = new ForwardServer({
      ...{ transport, clock },
      execute: (from, requests) => this.#execute(from, requests),
      onEnd: (from) => this.#end(from),
    });
    transport.handle("forward", forwardHandlers(this.#forwarder, server));
  }

  /** From now on executes what other nodes forward; before it everything is refused. */
  serve(openLink: () => PeerLink): void {
    this.#openLink = openLink;
  }

  /** Refuses what comes from now on; done when what is being executed has been answered, or has had its time. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    if (this.#executing === 0) return;
    await new Promise<void>((resolve) => {
      this.#onQuiet = resolve;
      this.#clock.after(DRAIN_MS_MAX, resolve);
    });
  }

  /** Executes nothing any more. */
  stop(): void {
    this.#openLink = undefined;
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  forward(node: TopologyNode, units: readonly ForwardUnit[], signal: AbortSignal): void {
    if (signal.aborted) {
      for (const unit of units) unit.settle(REFUSED);
      return;
    }
    this.#heed(signal);
    let bytes = 0;
    let isTooLarge = false;
    for (const unit of units) {
      const length = unitLength(unit);
      isTooLarge ||= length > this.#unitBytesMax;
      bytes += length + ENTRY_BYTES;
    }
    if (!isTooLarge && bytes <= this.#messageBytesMax) this.#forwarder.forward(node.id, units);
    else this.#forwardLarge(node.id, units);
  }

  #heed(signal: AbortSignal): void {
    if (this.#signal === signal) return;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#forwarder.abandon(), { once: true });
  }

  /** What is too large for one message: as few as there can be, each client's units in one. */
  #forwardLarge(nodeId: string, units: readonly ForwardUnit[]): void {
    const byClient = new Map<number, { units: ForwardUnit[]; bytes: number; isFull: boolean }>();
    const settled: [ForwardUnit, ForwardOutcome][] = [];
    for (const unit of units) {
      const length = unitLength(unit);
      if (length > this.#unitBytesMax) {
        settled.push([unit, this.#tooLarge("command", length, "send it to the slot's owner")]);
        continue;
      }
      const client = byClient.get(unit.client) ?? { units: [], bytes: 0, isFull: false };
      byClient.set(unit.client, client);
      client.isFull ||= client.bytes + length + ENTRY_BYTES > this.#messageBytesMax;
      if (client.isFull) {
        settled.push([unit, REFUSED]);
        continue;
      }
      client.units.push(unit);
      client.bytes += length + ENTRY_BYTES;
    }
    let message: ForwardUnit[] = [];
    let bytes = 0;
    for (const client of byClient.values()) {
      if (bytes + client.bytes > this.#messageBytesMax) {
        this.#forwarder.forward(nodeId, message);
        message = [];
        bytes = 0;
      }
      message.push(...client.units);
      bytes += client.bytes;
    }
    if (message.length > 0) this.#forwarder.forward(nodeId, message);
    for (const [unit, outcome] of settled) unit.settle(outcome);
  }

  #tooLarge(what: string, bytes: number, advice: string): ForwardOutcome {
    const text = `-ERR ${what} of ${bytes} bytes is too large to forward (at most ${this.#unitBytesMax} bytes): ${advice}\r\n`;
    return { kind: "reply", bytes: Buffer.from(text) };
  }

  #execute(from: Link, requests: readonly IncomingRequest[]): void {
    const units: IncomingUnit[] = [];
    const respond = (request: IncomingRequest, outcome: ForwardOutcome): void => {
      this.#respond(request, outcome);
      this.#executing--;
      if (this.#executing === 0) this.#onQuiet?.();
    };
    for (const request of requests) {
      const unit = readUnit(request.bytes, request.start, request.end);
      if (unit === undefined) {
        from.close("not a unit of work");
        return;
      }
      units.push(new IncomingUnit(unit, (outcome) => respond(request, outcome)));
    }
    this.#executing += units.length;
    const link = this.#isDraining ? undefined : this.#linkOf(from);
    if (link !== undefined) link.execute(units);
    else for (const unit of units) unit.settle(REFUSED);
  }

  #linkOf(from: Link): PeerLink | undefined {
    let link = this.#links.get(from);
    if (link !== undefined || this.#openLink === undefined) return link;
    link = this.#openLink();
    this.#links.set(from, link);
    return link;
  }

  #end(from: Link): void {
    this.#links.get(from)?.close();
    this.#links.delete(from);
  }

  #respond(request: IncomingRequest, outcome: ForwardOutcome): void {
    switch (outcome.kind) {
      case "reply": {
        const { length } = outcome.bytes;
        if (length <= this.#unitBytesMax) request.respond(KIND_REPLIED, outcome.bytes);
        else
          this.#respond(
            request,
            this.#tooLarge("the command has run, but its reply", length, "ask the slot's owner"),
          );
        break;
      }
      case "refused":
        request.respond(KIND_NOT_RUN, EMPTY);
        break;
      case "unwatched":
        request.respond(KIND_UNWATCHED, EMPTY);
        break;
      case "unknown":
        request.respond(KIND_UNKNOWN, EMPTY);
        break;
    }
  }
}

class IncomingUnit implements ForwardUnit {
  readonly client: number;
  readonly slot: number;
  readonly epoch: number;
  readonly kind: ForwardUnit["kind"];
  readonly isWatched: boolean;
  readonly protocol: 2 | 3;
  readonly bytes: readonly Buffer[];
  readonly requests: number;
  readonly #onSettled: (outcome: ForwardOutcome) => void;

  constructor(unit: Omit<ForwardUnit, "settle">, onSettled: (outcome: ForwardOutcome) => void) {
    this.client = unit.client;
    this.slot = unit.slot;
    this.epoch = unit.epoch;
    this.kind = unit.kind;
    this.isWatched = unit.isWatched;
    this.protocol = unit.protocol;
    this.bytes = unit.bytes;
    this.requests = unit.requests;
    this.#onSettled = onSettled;
  }

  settle(outcome: ForwardOutcome): void {
    this.#onSettled(outcome);
  }
}

function outcomeOf(kind: number, reply: Buffer): ForwardOutcome {
  if (kind === KIND_REPLIED) return { kind: "reply", bytes: reply };
  if (kind === KIND_NOT_RUN) return REFUSED;
  return kind === KIND_UNWATCHED ? UNWATCHED : UNKNOWN;
}
