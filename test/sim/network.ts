/**
 * The simulated network between named machines: connections (connection.ts), single messages that may be lost,
 * doubled or overtake each other, and ways that can be cut in one direction or both.
 *
 *   a life of a process ─ listen, connect, post ─► Network ─ Link per direction ─► run() of the other life
 */
import { Connection, type ConnectionContext, type ConnectionLimits } from "./connection.ts";
import { FAST_LINK, Link, type LinkOptions } from "./link.ts";
import type { SimRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

/** One life of a process, as the network sees it. */
export interface NetworkHost {
  readonly name: string;
  readonly isAlive: boolean;
  nowMicros(): number;
  /** Runs `action` in the process when it can run; drops it when it is dead. */
  run(what: string, action: () => void): void;
}

export interface NetworkOptions extends ConnectionLimits {
  readonly connectMicros: number;
  /** Of every link that setLink() has not been told about. */
  readonly link: LinkOptions;
}

export const NETWORK_DEFAULTS: NetworkOptions = {
  queueBytes: 1 << 20,
  breakMicros: 5_000_000,
  keepaliveMicros: 15_000_000,
  connectMicros: 3_000_000,
  link: FAST_LINK,
};

type Listener = (connection: Connection) => void;
type Receiver = (from: string, message: unknown) => void;

interface Host {
  readonly host: NetworkHost;
  readonly listeners: Map<string, Listener>;
  readonly connections: Set<Connection>;
  receiver: Receiver | undefined;
}

export class Network implements ConnectionContext {
  readonly scheduler: Scheduler;
  readonly limits: NetworkOptions;
  readonly #random: SimRandom;
  readonly #hosts = new Map<string, Host>();
  /** Machines without power. */
  readonly #off = new Set<string>();
  readonly #links = new Map<string, Link>();
  readonly #linkOptions = new Map<string, LinkOptions>();
  readonly #stalled = new Set<Connection>();
  postCount = 0;
  connectionCount = 0;

  constructor(scheduler: Scheduler, random: SimRandom, options: Partial<NetworkOptions> = {}) {
    this.scheduler = scheduler;
    this.#random = random;
    this.limits = { ...NETWORK_DEFAULTS, ...options };
  }

  /** A process has started. */
  addHost(host: NetworkHost): void {
    this.#off.delete(host.name);
    const connections = new Set<Connection>();
    this.#hosts.set(host.name, { host, listeners: new Map(), connections, receiver: undefined });
    this.#resume((end) => end.peerName === host.name);
  }

  /** A process has ended. `isMachineUp`: its system still closes what it had open. */
  removeHost(host: NetworkHost, isMachineUp: boolean): void {
    const entry = this.#hosts.get(host.name);
    if (entry?.host !== host) return;
    this.#hosts.delete(host.name);
    if (!isMachineUp) this.#off.add(host.name);
    for (const end of entry.connections) {
      if (isMachineUp) end.close();
      else end.vanish();
    }
  }

  isUp(name: string): boolean {
    return !this.#off.has(name);
  }

  listen(host: NetworkHost, port: string, listener: Listener): void {
    this.#hosts.get(host.name)?.listeners.set(port, listener);
  }

  /** The end of `host`; its handlers must be set before the current event ends. */
  connect(host: NetworkHost, to: string, port: string): Connection {
    const near = new Connection(this, host, to);
    this.#hosts.get(host.name)?.connections.add(near);
    this.connectionCount++;
    this.#after(this.limits.connectMicros, `${host.name} connects to ${to}: time-out`, () => {
      if (!near.isOpen) near.fail("timed out");
    });
    this.#carry(host.name, to, `${host.name} connects to ${to}`, () => this.#accept(near, port));
    return near;
  }

  /** Who gets single messages for this process. */
  onPost(host: NetworkHost, receiver: Receiver): void {
    const entry = this.#hosts.get(host.name);
    if (entry !== undefined) entry.receiver = receiver;
  }

  /** Sends a message outside any connection: it may get lost, come twice, or overtake another. */
  post(host: NetworkHost, to: string, message: unknown): void {
    if (!host.isAlive) return;
    this.postCount++;
    const link = this.link(host.name, to);
    for (let copies = link.isDuplicated ? 2 : 1; copies > 0; copies--) {
      if (link.isLost) continue;
      this.#carry(host.name, to, `${host.name}⇢${to}`, () => {
        const entry = this.#hosts.get(to);
        entry?.host.run("message", () => entry.receiver?.(host.name, message));
      });
    }
  }

  link(from: string, to: string): Link {
    const name = `${from}→${to}`;
    let link = this.#links.get(name);
    if (link === undefined) {
      const options = this.#linkOptions.get(name) ?? this.limits.link;
      link = new Link(from, to, options, this.#random.fork(name));
      this.#links.set(name, link);
    }
    return link;
  }

  /** Before the first message: this way has properties of its own. */
  setLink(from: string, to: string, options: LinkOptions): void {
    this.#linkOptions.set(`${from}→${to}`, options);
  }

  /** Nothing gets from any of `from` to any of `to` until the returned function is called. */
  cut(from: readonly string[], to: readonly string[]): () => void {
    const links = from.flatMap((a) => to.filter((b) => a !== b).map((b) => this.link(a, b)));
    for (const link of links) link.cuts++;
    return () => {
      for (const link of links) link.cuts--;
      const healed = new Set(links.filter((link) => !link.isCut));
      this.#resume((end) => healed.has(this.link(end.host.name, end.peerName)));
    };
  }

  /** As cut(), in both directions. */
  partition(one: readonly string[], other: readonly string[]): () => void {
    const heals = [this.cut(one, other), this.cut(other, one)];
    return () => {
      for (const heal of heals) heal();
    };
  }

  /** Resets connections between the two, if there are any; how many. */
  reset(one: string, other: string): number {
    let count = 0;
    for (const end of this.#hosts.get(one)?.connections ?? []) {
      if (end.peerName !== other || end.isClosed) continue;
      count++;
      end.peer?.resetLater(this.link(one, other).latencyMicros());
      end.fail("reset");
    }
    return count;
  }

  stall(end: Connection): void {
    this.#stalled.add(end);
  }

  #accept(near: Connection, port: string): void {
    const entry = this.#hosts.get(near.peerName);
    const listener = entry?.listeners.get(port);
    const back = (what: string, action: () => void) =>
      this.#carry(near.peerName, near.host.name, what, action);
    if (entry === undefined || listener === undefined) {
      back(`${near.peerName} refuses`, () => near.fail("refused"));
      return;
    }
    if (near.isClosed) return;
    entry.host.run("accept", () => {
      this.#forgetClosed(entry);
      const far = new Connection(this, entry.host, near.host.name);
      entry.connections.add(far);
      far.peer = near;
      near.peer = far;
      far.isOpen = true;
      listener(far);
      back(`${near.peerName} accepts`, () => near.host.run("open", () => near.open()));
    });
  }

  /** A packet outside the order of a connection; it is gone when the way is cut or the machine is off. */
  #carry(from: string, to: string, what: string, action: () => void): void {
    const link = this.link(from, to);
    this.#after(link.latencyMicros(), what, () => {
      if (!link.isCut && this.isUp(to)) action();
    });
  }

  #after(delayMicros: number, what: string, action: () => void): void {
    this.scheduler.after(delayMicros, what, action);
  }

  #resume(which: (end: Connection) => boolean): void {
    for (const end of [...this.#stalled]) {
      if (!which(end)) continue;
      this.#stalled.delete(end);
      end.resume();
    }
  }

  #forgetClosed(entry: Host): void {
    for (const end of entry.connections) if (end.isClosed) entry.connections.delete(end);
  }
}
