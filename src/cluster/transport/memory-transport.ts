/**
 * Transport within one process, for tests and simulation: nodes, addresses and links that take a time, end on demand,
 * or fall silent in one direction. Everything runs by the given clock.
 *
 *     MemoryNetwork ─ addresses ─► MemoryTransport per life of a node ─► MemoryLink ⇄ MemoryLink
 *
 * What is on its way when a link ends is lost; what arrives afterwards does not exist.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import {
  type Address,
  type HeldMessage,
  type IncomingMessage,
  type Link,
  type LinkHandlers,
  MESSAGE_BYTES_MAX,
  MESSAGE_PARTS_MAX,
  type PeerTarget,
  type Purpose,
  type Transport,
} from "./transport.ts";

export interface MemoryNetworkOptions {
  readonly clock: Clock;
  /** Of the next message from one node to another. */
  latencyMs(from: string, to: string): number;
  /** Between attempts to connect. */
  readonly retryMs: number;
  readonly silenceMs: number;
  /** Sent and not done with at the other end, above which send() refuses. */
  readonly queueBytes: number;
}

const nameOf = (address: Address) => `${address.host}:${address.port}`;
const wayOf = (from: string, to: string) => `${from} → ${to}`;
const keyOf = (peer: string, purpose: Purpose) => `${purpose} ${peer}`;

export class MemoryNetwork {
  readonly options: MemoryNetworkOptions;
  readonly #nodes = new Map<string, MemoryTransport>();
  readonly #cut = new Set<string>();
  readonly #silent = new Set<string>();
  readonly #links = new Set<MemoryLink>();

  constructor(options: MemoryNetworkOptions) {
    this.options = options;
  }

  /** A life of a node begins; one at a time per address. */
  start(nodeId: string, incarnation: number, address: Address): MemoryTransport {
    const transport = new MemoryTransport(this, nodeId, incarnation);
    this.#nodes.set(nameOf(address), transport);
    return transport;
  }

  /** Links between the two end, and none is made until heal(). */
  cut(one: string, other: string): void {
    this.#cut.add(wayOf(one, other)).add(wayOf(other, one));
    for (const link of this.#between(one, other)) link.fail("connection closed");
  }

  heal(one: string, other: string): void {
    this.#cut.delete(wayOf(one, other));
    this.#cut.delete(wayOf(other, one));
  }

  /** Nothing arrives at `to`; its links end when that has lasted. */
  silence(from: string, to: string): void {
    const way = wayOf(from, to);
    if (this.#silent.has(way)) return;
    this.#silent.add(way);
    const silenced = this.#between(from, to);
    this.options.clock.after(this.options.silenceMs, () => {
      if (!this.#silent.has(way)) return;
      for (const link of silenced) link.fail("silent");
    });
  }

  /** What was held back arrives. */
  speak(from: string, to: string): void {
    this.#silent.delete(wayOf(from, to));
    for (const link of this.#between(from, to)) link.deliverHeld();
  }

  isSilent(from: string, to: string): boolean {
    return this.#silent.has(wayOf(from, to));
  }

  /** The node there, if it can be reached in both directions now. */
  find(from: string, peer: string, address: Address): MemoryTransport | undefined {
    const node = this.#nodes.get(nameOf(address));
    if (node === undefined || node.isStopped || node.nodeId !== peer) return undefined;
    const isReachable =
      !this.#cut.has(wayOf(from, peer)) && !this.isSilent(from, peer) && !this.isSilent(peer, from);
    return isReachable ? node : undefined;
  }

  add(link: MemoryLink): void {
    this.#links.add(link);
  }

  remove(link: MemoryLink): void {
    this.#links.delete(link);
  }

  #between(one: string, other: string): MemoryLink[] {
    return [...this.#links].filter(
      ({ node, peer }) =>
        (node.nodeId === one && peer === other) || (node.nodeId === other && peer === one),
    );
  }
}

interface Dialer {
  readonly peer: string;
  readonly purpose: Purpose;
  readonly address: Address;
  link: MemoryLink | undefined;
  isStopped: boolean;
}

export class MemoryTransport implements Transport {
  readonly network: MemoryNetwork;
  readonly nodeId: string;
  readonly incarnation: number;
  isStopped = false;
  readonly #handlers = new Map<Purpose, LinkHandlers>();
  readonly #dialers = new Map<string, Dialer>();
  readonly #links = new Set<MemoryLink>();
  readonly #unflushed = new Set<MemoryLink>();
  #generation = 0;

  constructor(network: MemoryNetwork, nodeId: string, incarnation: number) {
    this.network = network;
    this.nodeId = nodeId;
    this.incarnation = incarnation;
  }

  handle(purpose: Purpose, handlers: LinkHandlers): void {
    this.#handlers.set(purpose, handlers);
  }

  handlersOf(purpose: Purpose): LinkHandlers {
    const handlers = this.#handlers.get(purpose);
    assert(handlers !== undefined, "a link of a purpose that nobody handles");
    return handlers;
  }

  setPeers(peers: ReadonlyMap<string, PeerTarget>): void {
    if (this.isStopped) return;
    const wanted = new Map<string, Dialer>();
    for (const [peer, { host, port, purposes }] of peers) {
      if (peer === this.nodeId) continue;
      for (const purpose of purposes) {
        const dialer = {
          peer,
          purpose,
          address: { host, port },
          link: undefined,
          isStopped: false,
        };
        wanted.set(keyOf(peer, purpose), dialer);
      }
    }
    for (const [key, dialer] of this.#dialers) {
      const next = wanted.get(key);
      if (next !== undefined && nameOf(next.address) === nameOf(dialer.address)) {
        wanted.delete(key);
        continue;
      }
      this.#dialers.delete(key);
      dialer.isStopped = true;
      dialer.link?.close("not a peer there any more");
    }
    for (const [key, dialer] of wanted) {
      this.#dialers.set(key, dialer);
      this.#dial(dialer);
    }
  }

  link(peer: string, purpose: Purpose): Link | undefined {
    const link = this.#dialers.get(keyOf(peer, purpose))?.link;
    return link?.isUp === true ? link : undefined;
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
    const links = [...this.#unflushed];
    this.#unflushed.clear();
    for (const link of links) link.flush();
  }

  flushSoon(link: MemoryLink): void {
    this.#unflushed.add(link);
    if (this.#unflushed.size === 1) this.network.options.clock.immediate(() => this.flush());
  }

  stop(): void {
    if (this.isStopped) return;
    this.flush();
    this.isStopped = true;
    for (const dialer of this.#dialers.values()) dialer.isStopped = true;
    for (const link of [...this.#links]) link.fail("stopped");
    this.#dialers.clear();
  }

  nextGeneration(): number {
    return ++this.#generation;
  }

  onUp(link: MemoryLink): void {
    this.#links.add(link);
    this.network.add(link);
    this.handlersOf(link.purpose).onUp(link);
  }

  /** `wasUp`: else it never became a link. */
  onEnd(link: MemoryLink, reason: string, wasUp: boolean): void {
    this.#links.delete(link);
    this.network.remove(link);
    if (wasUp) this.handlersOf(link.purpose).onDown(link, reason);
    const dialer = this.#dialers.get(keyOf(link.peer, link.purpose));
    if (dialer?.link !== link) return;
    dialer.link = undefined;
    this.#dial(dialer);
  }

  #dial(dialer: Dialer): void {
    const { clock, latencyMs, retryMs } = this.network.options;
    const { peer, purpose, address } = dialer;
    const there = this.network.find(this.nodeId, peer, address);
    clock.after(there === undefined ? retryMs : latencyMs(this.nodeId, peer), () => {
      if (dialer.isStopped || this.isStopped) return;
      // The network or the peer may have changed on the way.
      if (there === undefined || this.network.find(this.nodeId, peer, address) !== there) {
        this.#dial(dialer);
        return;
      }
      there.replace(this.nodeId, purpose);
      const far = new MemoryLink(there, this, purpose, false);
      const near = new MemoryLink(this, there, purpose, true);
      near.other = far;
      far.other = near;
      dialer.link = near;
      far.open();
    });
  }

  /** A newer link from `peer` comes. */
  replace(peer: string, purpose: Purpose): void {
    for (const link of [...this.#links]) {
      if (!link.isOutgoing && link.peer === peer && link.purpose === purpose)
        link.fail("replaced by a newer connection");
    }
  }
}

/** One end. */
class MemoryLink implements Link {
  readonly node: MemoryTransport;
  readonly peer: string;
  readonly incarnation: number;
  readonly purpose: Purpose;
  readonly isOutgoing: boolean;
  readonly generation: number;
  other: MemoryLink | undefined;
  isUp = false;
  queuedBytes = 0;
  sentCount = 0;
  startedCount = 0;
  readonly #network: MemoryNetwork;
  isOver = false;
  #wantsDrain = false;
  #unflushed: (() => void)[] = [];
  /** On their way to the other end, in order; the first #overdue have come of age while the way was silent. */
  readonly #onWay: (() => void)[] = [];
  #overdue = 0;
  #dueMs = 0;

  constructor(node: MemoryTransport, peer: MemoryTransport, purpose: Purpose, isOutgoing: boolean) {
    this.node = node;
    this.peer = peer.nodeId;
    this.incarnation = peer.incarnation;
    this.purpose = purpose;
    this.isOutgoing = isOutgoing;
    this.generation = node.nextGeneration();
    this.#network = node.network;
  }

  get canSend(): boolean {
    return this.isUp && this.queuedBytes < this.#network.options.queueBytes;
  }

  /** The accepting end is up first; the other hears of it. */
  open(): void {
    this.isUp = true;
    this.node.onUp(this);
    if (this.isOutgoing) return;
    this.#carry(() => {
      if (this.other?.isOver === false) this.other.open();
    });
  }

  send(channel: number, parts: readonly Uint8Array[], release?: () => void): boolean {
    if (!this.isUp) return false;
    if (!this.canSend) {
      this.#wantsDrain = true;
      return false;
    }
    const copies = parts.map((part) => new Uint8Array(part));
    const bytes = copies.reduce((sum, part) => sum + part.length, 0);
    assert(parts.length <= MESSAGE_PARTS_MAX, "a message of too many parts");
    assert(bytes <= MESSAGE_BYTES_MAX, "a message of too many bytes");
    this.sentCount++;
    this.queuedBytes += bytes;
    this.#unflushed.push(() => this.other!.receive(channel, copies, () => this.#onDone(bytes)));
    this.node.flushSoon(this);
    release?.();
    return true;
  }

  flush(): void {
    if (!this.isUp) return;
    const messages = this.#unflushed;
    this.#unflushed = [];
    this.startedCount += messages.length;
    for (const message of messages) this.#carry(message);
  }

  receive(channel: number, parts: Uint8Array[], onDone: () => void): void {
    if (!this.isUp) return;
    let isHeld = false;
    const hold = (): HeldMessage => {
      assert(!isHeld, "a message held twice");
      isHeld = true;
      return { parts, release: onDone };
    };
    const message: IncomingMessage = { link: this, channel, parts, hold };
    this.node.handlersOf(this.purpose).onMessage(message);
    if (!isHeld) onDone();
  }

  close(reason: string): void {
    if (this.isOver) return;
    const wasUp = this.#end();
    this.#network.options.clock.immediate(() => {
      this.node.onEnd(this, reason, wasUp);
    });
    this.#tellOther();
  }

  /** Ends it; the handlers have heard of it when this returns. */
  fail(reason: string): void {
    if (this.isOver) return;
    this.node.onEnd(this, reason, this.#end());
    this.#tellOther();
  }

  /** The way speaks again. */
  deliverHeld(): void {
    const count = this.#overdue;
    this.#overdue = 0;
    for (let i = 0; i < count; i++) this.#deliver();
  }

  /** Whether it was up. */
  #end(): boolean {
    const wasUp = this.isUp;
    this.isUp = false;
    this.isOver = true;
    return wasUp;
  }

  #tellOther(): void {
    const { clock, latencyMs } = this.#network.options;
    const delayMs = latencyMs(this.node.nodeId, this.peer);
    clock.after(delayMs, () => this.other?.fail("connection closed"));
  }

  #onDone(bytes: number): void {
    this.queuedBytes -= bytes;
    if (!this.#wantsDrain || !this.canSend) return;
    this.#wantsDrain = false;
    this.#network.options.clock.immediate(() => {
      if (this.isUp) this.node.handlersOf(this.purpose).onDrain(this);
    });
  }

  /** Runs `action` at the other end, after what was sent before. */
  #carry(action: () => void): void {
    const { clock, latencyMs } = this.#network.options;
    const nowMs = clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs, nowMs + latencyMs(this.node.nodeId, this.peer));
    this.#onWay.push(action);
    clock.after(this.#dueMs - nowMs, () => this.#deliver());
  }

  #deliver(): void {
    if (this.isOver) return;
    if (this.#network.isSilent(this.node.nodeId, this.peer)) {
      this.#overdue++;
      return;
    }
    this.#onWay.shift()?.();
  }
}
