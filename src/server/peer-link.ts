/**
 * The receiving end of forwarding: units of another node's clients, executed by sessions that have no socket.
 *
 *     execute(units) ──► bytes of all units for one client ──► Session ──► replies ──► splitter ──► unit.settle()
 *
 * So a forwarded command is parsed, parked, gated and answered exactly as one that came here directly. Each client
 * that has units here has a session of its own, so one that waits for the disk holds up no other; a client that
 * watches keys keeps its session until its transaction has ended, the others give theirs back.
 *
 * The link's owner closes it when the connection to the node ends: what is not settled is unknown then, and watches
 * are gone.
 */
import type { Socket } from "bun";
import { ReplySplitter } from "../resp/reply-splitter.ts";
import { type ForwardUnit, REFUSED, UNKNOWN, UNWATCHED } from "./forwarder.ts";
import type { ServerContext } from "./handler.ts";
import { Session } from "./session.ts";
import type { SessionHost } from "./session-host.ts";
import { SessionRouting } from "./session-routing.ts";

/** Sessions that wait for work. */
const IDLE_MAX = 64;
const MOVED = Buffer.from("-MOVED ");
const MINUS = 0x2d;
const OK = Buffer.from("+OK\r\n");

interface PendingUnit {
  readonly unit: ForwardUnit;
  /** Replies that are still to come. */
  replies: number;
  isRefused: boolean;
}

/** What a session takes for its client's socket. */
class PeerSocket {
  readonly remoteAddress = "peer";
  readonly remotePort = 0;
  readonly localAddress = "peer";
  readonly localPort = 0;
  readonly #splitter: ReplySplitter;
  readonly #onEnd: () => void;

  constructor(onReply: (reply: Buffer) => void, onEnd: () => void) {
    this.#splitter = new ReplySplitter(onReply);
    this.#onEnd = onEnd;
  }

  write(bytes: Buffer, start: number, count: number): number {
    // The session uses its buffer again.
    this.#splitter.push(Buffer.from(bytes.subarray(start, start + count)));
    return count;
  }

  end(): void {
    this.#onEnd();
  }

  terminate(): void {
    this.#onEnd();
  }

  /** Nothing to hold back: the sender bounds what is on its way. */
  pause(): void {}

  resume(): void {}
}

class PeerSession {
  readonly session: Session;
  readonly #pending: PendingUnit[] = [];
  readonly #onIdle: (peer: PeerSession) => void;
  #input: Buffer[] = [];
  isWatching = false;
  isEnded = false;
  /** What it is busy with: PeerLink's key. */
  key = "";

  constructor(id: number, host: SessionHost, onIdle: (peer: PeerSession) => void) {
    this.#onIdle = onIdle;
    const socket = new PeerSocket(
      (reply) => this.#onReply(reply),
      () => this.close(),
    );
    this.session = new Session(id, socket as unknown as Socket<Session>, host);
    this.session.routing = new SessionRouting("peer");
  }

  get isIdle(): boolean {
    return this.#pending.length === 0 && this.#input.length === 0;
  }

  add(unit: ForwardUnit): void {
    // The sender has no other frame with this client and slot on its way: what was refused is settled.
    const { refusedSlots } = this.session.routing!;
    const isRefused = refusedSlots.has(unit.slot);
    if (isRefused && !this.#pending.some((each) => each.unit.slot === unit.slot))
      refusedSlots.delete(unit.slot);
    if (this.isIdle) this.session.reply.protocol = unit.protocol;
    this.#pending.push({ unit, replies: unit.requests, isRefused: false });
    this.#input.push(...unit.bytes);
  }

  /** Runs what has been added. */
  run(): void {
    const input = Buffer.concat(this.#input);
    this.#input = [];
    this.session.onData(input);
  }

  close(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.session.onClose();
    this.session.context.server.watchedKeys.removeAll(this.session);
    for (const { unit } of this.#pending.splice(0)) unit.settle(UNKNOWN);
    this.#onIdle(this);
  }

  #onReply(bytes: Buffer): void {
    const first = this.#pending[0];
    if (first === undefined) {
      // More requests than the sender said.
      this.close();
      return;
    }
    if (bytes[0] === MINUS && bytes.subarray(0, MOVED.length).equals(MOVED)) first.isRefused = true;
    first.replies--;
    if (first.replies > 0) return;
    this.#pending.shift();
    first.unit.settle(first.isRefused ? REFUSED : { kind: "reply", bytes });
    if (this.isIdle) this.#onIdle(this);
  }
}

export interface PeerLinkParts {
  readonly host: SessionHost;
  readonly server: ServerContext;
  nextId(): number;
}

export class PeerLink {
  readonly #parts: PeerLinkParts;
  /** Sessions with units, by client and protocol. */
  readonly #busy = new Map<string, PeerSession>();
  /** Sessions with keys under WATCH, by client. */
  readonly #watching = new Map<
    number,
    { readonly peer: PeerSession; readonly slot: number; readonly epoch: number }
  >();
  readonly #idle: PeerSession[] = [];
  readonly #unsubscribe: () => void;
  #isClosed = false;

  constructor(parts: PeerLinkParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.server.cluster!.topology.onChange(() => this.#endVoidWatches());
  }

  /** Executes units of one frame; each is settled when its reply may leave. */
  execute(units: readonly ForwardUnit[]): void {
    const peers = new Set<PeerSession>();
    for (const unit of units) {
      const peer = this.#isClosed ? undefined : this.#admit(unit);
      if (peer === undefined) continue;
      peer.add(unit);
      peers.add(peer);
    }
    for (const peer of peers) peer.run();
  }

  /** The connection to the node has ended. */
  close(): void {
    this.#isClosed = true;
    this.#unsubscribe();
    const watching = [...this.#watching.values()].map((each) => each.peer);
    for (const peer of [...watching, ...this.#busy.values(), ...this.#idle]) peer.close();
    this.#watching.clear();
    this.#busy.clear();
    this.#idle.length = 0;
  }

  /** The session that executes a unit; undefined when it has been settled without one. */
  #admit(unit: ForwardUnit): PeerSession | undefined {
    const watch = this.#watching.get(unit.client);
    if (unit.kind === "unwatch") {
      if (watch === undefined || watch.peer.isEnded) unit.settle({ kind: "reply", bytes: OK });
      return this.#releaseWatch(unit.client);
    }
    const set = this.#parts.server.cluster!.topology.value.ownerOf(unit.slot);
    // Who knows a newer epoch than this node may know a newer writer, too.
    if (set === undefined || unit.epoch > set.epoch) {
      unit.settle(REFUSED);
      return undefined;
    }
    if (unit.isWatched) {
      // EXEC ends the watch, whatever it answers.
      const peer = this.#releaseWatch(unit.client);
      if (peer !== undefined && watch?.epoch === set.epoch) return peer;
      peer?.close();
      unit.settle(UNWATCHED);
      return undefined;
    }
    // In order with the WATCH before it.
    if (watch?.slot === unit.slot && !watch.peer.isEnded) return watch.peer;
    const peer = this.#take(unit);
    if (unit.kind === "watch") {
      this.#watching.set(unit.client, { peer, slot: unit.slot, epoch: set.epoch });
      this.#busy.delete(keyOf(unit));
      peer.isWatching = true;
    }
    return peer;
  }

  #take(unit: ForwardUnit): PeerSession {
    const key = keyOf(unit);
    let peer = this.#busy.get(key);
    if (peer !== undefined && !peer.isEnded) return peer;
    peer = this.#idle.pop() ?? this.#open();
    peer.key = key;
    this.#busy.set(key, peer);
    return peer;
  }

  #open(): PeerSession {
    const { host, nextId } = this.#parts;
    return new PeerSession(nextId(), host, (peer) => this.#onIdle(peer));
  }

  /** The session that watches for a client; it keeps its watches until EXEC or UNWATCH has run. */
  #releaseWatch(client: number): PeerSession | undefined {
    const peer = this.#watching.get(client)?.peer;
    this.#watching.delete(client);
    if (peer === undefined || peer.isEnded) return undefined;
    peer.isWatching = false;
    return peer;
  }

  /** Watches of slots that are not this node's any more, or in another epoch: their clients may never ask again. */
  #endVoidWatches(): void {
    if (this.#watching.size === 0) return;
    const { cluster } = this.#parts.server;
    for (const [client, { peer, slot, epoch }] of this.#watching) {
      const set = cluster!.topology.value.ownerOf(slot);
      if (set?.epoch === epoch && set.writer?.id === cluster!.id) continue;
      this.#releaseWatch(client);
      if (peer.isIdle) peer.close();
    }
  }

  #onIdle(peer: PeerSession): void {
    if (peer.isWatching || this.#isClosed) return;
    if (this.#busy.get(peer.key) === peer) this.#busy.delete(peer.key);
    const isFree = peer.session.watchedKeys.size === 0;
    if (isFree && this.#idle.length < IDLE_MAX && !peer.isEnded) this.#idle.push(peer);
    else peer.close();
  }
}

function keyOf(unit: ForwardUnit): string {
  return `${unit.client} ${unit.protocol}`;
}
