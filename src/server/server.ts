/**
 * The RESP server: listens, keeps the sessions, releases gated replies, and stops in an orderly way.
 *
 *   listen → Session per connection → Dispatcher → Store;   Store.committed grows → gated sessions send
 */
import type { Socket, TCPSocketListener } from "bun";
import { assert } from "../base/assert.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { StartupError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import type { Logger } from "../base/logger.ts";
import type { ProcessMemory } from "../base/process-memory.ts";
import type { Config } from "../config/config.ts";
import { Request } from "../resp/request.ts";
import type { Store } from "../store/store.ts";
import { ClientLimits } from "./client-limits.ts";
import { ClientRegistry } from "./client-registry.ts";
import type { ClusterContext, ClusterNode } from "./cluster-context.ts";
import { COMMAND_HANDLERS } from "./commands/all.ts";
import { clientsGone } from "./departure.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { ForwardUnit } from "./forwarder.ts";
import type { ServerContext } from "./handler.ts";
import { MemoryGauge } from "./info-memory.ts";
import { LatencyMonitor } from "./latency-monitor.ts";
import { LocalClient } from "./local-client.ts";
import { isLoopback, listenAddresses, PROTECTED_MODE_REPLY } from "./network.ts";
import { NodeAuthority } from "./node-authority.ts";
import { PeerLink } from "./peer-link.ts";
import { ClusterRouter, type Router } from "./routing.ts";
import { BATCH_REQUESTS, Session } from "./session.ts";
import type { SessionHost } from "./session-host.ts";
import { SlowLog } from "./slow-log.ts";
import { Statistics } from "./statistics.ts";
import { WatchedKeys } from "./watched-keys.ts";

export interface ServerOptions {
  readonly largeBytes: ByteBudget;
  readonly config: Config;
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly host: Host;
  readonly processMemory: ProcessMemory;
  readonly runId: string;
  /** Undefined: not a node of a cluster. */
  readonly cluster?: ClusterNode;
  onShutdown(): void;
  onFatal(error: Error): void;
}

const TICK_MS = 1000;
/** Sessions whose replies are sent together. */
const SENT_TOGETHER = 8;
const DRAIN_MS_MAX = 5000;
const DRAIN_POLL_MS = 5;
const MAX_CLIENTS_REPLY = Buffer.from("-ERR max number of clients reached\r\n");

export class Server {
  readonly #options: ServerOptions;
  readonly #context: ServerContext;
  readonly #dispatcher: Dispatcher;
  readonly #host: SessionHost;
  /** Undefined: not a node of a cluster, every command may run and every reply that is committed may leave. */
  readonly #authority: NodeAuthority | undefined;
  /** Those of other nodes' clients too. */
  readonly #sessions = new Set<Session>();
  readonly #listeners: TCPSocketListener<Session | undefined>[] = [];
  readonly #ticker: Timer;
  readonly #keys = {
    bytes: new Array<Uint8Array>(BATCH_REQUESTS),
    starts: new Int32Array(BATCH_REQUESTS),
    ends: new Int32Array(BATCH_REQUESTS),
    count: 0,
  };
  readonly #router: ClusterRouter | undefined;
  /** Executes what routing gives back to this node. */
  #loopback: PeerLink | undefined = undefined;
  #unsent: Session[] = [];
  #gated: Session[] = [];
  #nextId = 1;
  #isStopping = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    const { config, store, clock, logger } = options;
    const statistics = new Statistics(clock.wallMs());
    const { valueBytesMax } = store;
    const node = options.cluster;
    const executeHere = (units: readonly ForwardUnit[]) => {
      this.#loopback ??= this.peerLink();
      this.#loopback.execute(units);
    };
    this.#router = node && new ClusterRouter({ node, config, clock, executeHere });
    this.#context = {
      config,
      store,
      clock,
      logger,
      statistics,
      limits: new ClientLimits({ config, logger, statistics, valueBytesMax }),
      clients: new ClientRegistry(),
      slowLog: new SlowLog(),
      latency: new LatencyMonitor(),
      host: options.host,
      memory: new MemoryGauge(options.processMemory),
      watchedKeys: new WatchedKeys(),
      cluster: node && clusterContext(node, this.#router!),
      runId: options.runId,
      startedMs: clock.monotonicMs(),
      runTransaction: (session) => this.#dispatcher.runTransaction(session),
      shutdown: () => options.onShutdown(),
    };
    this.#authority = node && this.#makeAuthority(node);
    this.#dispatcher = new Dispatcher({
      ...{ server: this.#context, handlers: COMMAND_HANDLERS },
      authority: this.#authority,
    });
    this.#host = this.#makeHost(this.#context);
    this.#followConfig();
    this.#ticker = clock.every(TICK_MS, () => this.#tick());
  }

  #makeHost(server: ServerContext): SessionHost {
    const { config, clock, largeBytes, onFatal } = this.#options;
    const authority = this.#authority;
    const dispatcher = this.#dispatcher;
    let running: Session | undefined;
    /** Whether the batch has read what only a writer may show. */
    let hasRead = false;
    let isWriters = false;
    return {
      server,
      limits: {
        get bulkBytesMax() {
          return Math.min(config.get("proto-max-bulk-len"), server.store.valueBytesMax);
        },
        get requestBytesMax() {
          return config.get("client-query-buffer-limit");
        },
      },
      batch: Array.from({ length: BATCH_REQUESTS }, () => new Request()),
      largeBytes,
      warm: (count) => this.#warm(count),
      get committed() {
        return server.store.committed;
      },
      get confirmed() {
        return authority?.confirmed ?? 0;
      },
      get ticks() {
        return authority?.ticks ?? 0;
      },
      get batchTag() {
        return server.store.tag;
      },
      get batchRound() {
        return hasRead ? authority!.roundOfReads() : 0;
      },
      beginBatch: (session) => {
        assert(running === undefined, "one session runs at a time");
        running = session;
        hasRead = false;
        isWriters = authority?.isServing === true;
        authority?.beginBatch();
        server.store.beginBatch();
        session.lastActiveMs = server.store.nowMs;
      },
      endBatch: () => {
        const { tag } = server.store;
        if (tag > running!.outbox.newestTag) running!.outbox.newestTag = tag;
        running = undefined;
      },
      get isRunning() {
        return running !== undefined;
      },
      continueLater: (session) => clock.immediate(() => session.sendNow()),
      execute:
        authority === undefined
          ? (session) => dispatcher.execute(session)
          : (session) => {
              const wait = dispatcher.execute(session);
              if (wait !== undefined) return wait;
              session.outbox.mark(dispatcher.effect);
              if (isWriters && dispatcher.effect !== "none") hasRead = true;
              return undefined;
            },
      sendSoon: (session) => this.#sendSoon(session),
      gate: (session) => this.#gated.push(session),
      opened: (session) => this.#sessions.add(session),
      closed: (session) => this.#onClosed(session),
      onFatal,
    };
  }

  #makeAuthority(node: ClusterNode): NodeAuthority {
    const { config, clock, onFatal } = this.#options;
    return new NodeAuthority({
      ...{ authority: node.authority, clock, onFatal },
      quorumTimeoutMs: () => config.get("cluster-quorum-timeout"),
      confirmsAllReads: () => config.get("read-mode") === "quorum",
      onConfirmed: () => this.onCommitted(),
      onTick: (since) => {
        for (const session of [...this.#gated])
          if (session.outbox.isGated && session.outbox.waitsSinceTick < since) session.withdraw();
      },
    });
  }

  get context(): ServerContext {
    return this.#context;
  }

  /**
   * This node has lost its role, or its store is to be replaced: replies that wait are withdrawn, and commands wait for
   * resume(). Done when nothing runs on the store any more. REQUIRES: a node of a cluster.
   */
  async suspend(): Promise<void> {
    const { clock } = this.#options;
    // Within a batch: the batch ends first, and its replies wait.
    while (this.#host.isRunning) await new Promise<void>((resolve) => clock.immediate(resolve));
    this.#authority!.suspend();
    const isQuiet = this.#context.store.suspend();
    for (const session of [...this.#sessions]) {
      if (session.outbox.isGated) session.withdraw();
      session.unblockForRole();
    }
    await isQuiet;
  }

  /** `store` is the node's from now on. */
  resume(store: Store): void {
    this.#context.store = store;
    store.resume();
    for (const session of this.#sessions) session.adopt(store);
    this.#dispatcher.adopt(store);
    this.#authority!.resume();
  }

  /** Starts to accept connections. Throws StartupError when an address cannot be used. */
  listen(): void {
    const { config } = this.#options;
    for (const { hostname, isOptional } of listenAddresses(config.get("bind"))) {
      try {
        this.#listeners.push(this.#listenOn(hostname, config.get("port")));
      } catch (cause) {
        if (isOptional) continue;
        const reason = (cause as Error).message;
        throw new StartupError(
          `cannot listen on ${hostname}:${config.get("port")}: ${reason}. Is another server using the port?`,
          { cause },
        );
      }
    }
  }

  /** What executes the units that another node forwards over one link. REQUIRES: a node of a cluster. */
  peerLink(): PeerLink {
    return new PeerLink({
      host: this.#host,
      server: this.#context,
      nextId: () => this.#nextId++,
    });
  }

  /** A client within this process, which has proved already that it may come in; whoever opens it closes it. */
  localClient(remoteAddress: string, remotePort: number, onClose: () => void): LocalClient {
    return new LocalClient({
      ...{ id: this.#nextId++, host: this.#host },
      ...{ remoteAddress, remotePort, onClose },
    });
  }

  get port(): number {
    return this.#listeners[0]!.port;
  }

  /** Replies whose tag is committed now may leave. */
  onCommitted(): void {
    const gated = this.#gated;
    if (gated.length === 0) return;
    this.#gated = [];
    for (const session of gated) session.release();
  }

  /** Before stop() of a node that has given its writer role away: see departure.ts. */
  async sendClientsAway(): Promise<void> {
    this.#router!.isLeaving = true;
    await clientsGone(this.#context.cluster!, this.#options.clock);
  }

  /** Accepts nothing more, answers what is in flight, then closes all connections. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    for (const listener of this.#listeners) listener.stop();
    this.#ticker.cancel();
    this.#authority?.stop();
    const { clock } = this.#options;
    const { clients } = this.#context;
    clients.unpause();
    const deadline = clock.monotonicMs() + DRAIN_MS_MAX;
    for (const session of clients.all()) session.closeAfterReplies();
    while (clients.count > 0 && clock.monotonicMs() < deadline) {
      await new Promise<void>((resolve) => clock.after(DRAIN_POLL_MS, resolve));
    }
    for (const session of [...clients.all()]) session.kill();
    this.#router?.forwarding.stop();
    this.#loopback?.close();
  }

  #listenOn(hostname: string, port: number): TCPSocketListener<Session | undefined> {
    return Bun.listen<Session | undefined>({
      hostname,
      port,
      // A client may close its sending side and still read the replies it is owed.
      allowHalfOpen: true,
      data: undefined,
      socket: {
        open: (socket) => this.#onOpen(socket as Socket<Session>),
        data: (socket, chunk) => socket.data?.onData(chunk),
        drain: (socket) => socket.data?.onDrain(),
        end: (socket) => socket.data?.onEnd(),
        close: (socket) => socket.data?.onClose(),
        error: () => undefined,
      },
    });
  }

  #onOpen(socket: Socket<Session>): void {
    const { config } = this.#options;
    const { statistics, clients } = this.#context;
    statistics.connections++;
    const isProtected =
      config.get("protected-mode") &&
      config.get("requirepass") === "" &&
      !isLoopback(socket.remoteAddress);
    if (isProtected || clients.count >= config.get("maxclients") || this.#isStopping) {
      statistics.rejectedConnections++;
      socket.end(isProtected ? PROTECTED_MODE_REPLY : MAX_CLIENTS_REPLY);
      return;
    }
    socket.setNoDelay(true);
    const keepAliveSeconds = config.get("tcp-keepalive");
    if (keepAliveSeconds > 0) socket.setKeepAlive(true, keepAliveSeconds * 1000);
    const session = new Session(this.#nextId++, socket, this.#host);
    session.isAuthenticated = config.get("requirepass") === "";
    socket.data = session;
    clients.add(session);
  }

  #onClosed(session: Session): void {
    this.#sessions.delete(session);
    const { clients, limits, watchedKeys } = this.#context;
    if (clients.get(session.id) === undefined) return;
    limits.forget(session);
    clients.remove(session);
    this.#router?.forget(session);
    watchedKeys.removeAll(session);
  }

  /**
   * Each send may wake the client's process, which costs the kernel more than the send itself; a client that has been
   * woken by one finds the others' replies without. Sending all of a turn at its end would leave it idle instead.
   */
  #sendSoon(session: Session): void {
    const count = this.#unsent.push(session);
    if (count === SENT_TOGETHER) this.#sendUnsent();
    else if (count === 1) this.#options.clock.immediate(this.#sendUnsent);
  }

  readonly #sendUnsent = (): void => {
    const unsent = this.#unsent;
    if (unsent.length === 0) return;
    this.#unsent = [];
    for (const session of unsent) session.sendNow();
  };

  /** The first arguments of the requests that come next are keys, most of them. */
  #warm(count: number): void {
    const keys = this.#keys;
    const batch = this.#host.batch;
    keys.count = 0;
    for (let i = 0; i < count; i++) {
      const request = batch[i]!;
      if (request.count < 2 || request.starts[1]! < 0) continue;
      keys.bytes[keys.count] = request.bytes;
      keys.starts[keys.count] = request.starts[1]!;
      keys.ends[keys.count] = request.ends[1]!;
      keys.count++;
    }
    this.#context.store.warm(keys);
  }

  #followConfig(): void {
    const { config } = this.#options;
    const apply = () => {
      this.#dispatcher.slowLogMicros = config.get("slowlog-log-slower-than");
      const threshold = this.#dispatcher.slowLogMicros;
      this.#context.statistics.timesAll =
        (threshold >= 0 && threshold < 1000) || config.get("latency-monitor-threshold") > 0;
      this.#context.latency.thresholdMs = config.get("latency-monitor-threshold");
      this.#context.slowLog.trim(config.get("slowlog-max-len"));
      this.#context.statistics.tracksLatency = config.get("latency-tracking");
    };
    apply();
    for (const name of [
      "slowlog-log-slower-than",
      "slowlog-max-len",
      "latency-monitor-threshold",
      "latency-tracking",
    ] as const) {
      config.onChange(name, apply);
    }
    config.onChange("requirepass", (password) => {
      if (password !== "") return;
      for (const session of this.#context.clients.all()) session.isAuthenticated = true;
    });
    config.onChange("appendfsync", (policy) => {
      this.#context.store.pipeline.policy = policy;
    });
  }

  #tick(): void {
    const { clock } = this.#options;
    const { clients, limits, statistics, store } = this.#context;
    statistics.tick();
    this.#context.memory.read();
    store.housekeeping.maintain();
    if (clients.pausedUntilMs !== 0 && clock.monotonicMs() >= clients.pausedUntilMs) {
      clients.unpause();
    }
    limits.check([...clients.all()], store.nowMs);
  }
}

function clusterContext(node: ClusterNode, router: Router): ClusterContext {
  return {
    id: node.id,
    topology: node.topology,
    authority: node.authority,
    forwarder: node.forwarder,
    replication: node.replication,
    moves: node.moves,
    requestHandover: () => node.requestHandover(),
    forgetNode: (nodeId) => node.forgetNode(nodeId),
    links: () => node.links(),
    isHeld: (slot) => node.isHeld(slot),
    heldSlotsChanged: () => node.heldSlotsChanged(),
    router,
  };
}
