/**
 * A node of a cluster: its part in a replica set, and a server that answers by it.
 *
 *     Coordinator ─┐
 *     transport ───┴─► ClusterNode ── store, role, topology ──► Server ◄── clients, and other nodes' clients
 *
 * The role changes, and the store with it: at a step-down the server comes to rest, the store is opened anew, and
 * what clients had asked for goes to whoever is the writer then.
 */
import type { Logger } from "./base/logger.ts";
import type { Coordinator } from "./cluster/coordination/coordinator.ts";
import type { CurrentTopology } from "./cluster/current-topology.ts";
import { ClusterNode } from "./cluster/node/cluster-node.ts";
import { forgetNode } from "./cluster/node/forget-node.ts";
import { ReplicationView } from "./cluster/node/replication-view.ts";
import { TransportPeers } from "./cluster/node/transport-peers.ts";
import type { ReplicationOptions } from "./cluster/replication/options.ts";
import { SocketTransport } from "./cluster/transport/socket-transport.ts";
import { WatchedTransport } from "./cluster/transport/watched-transport.ts";
import type { NodeSettings } from "./cluster-settings.ts";
import {
  BudgetKeeper,
  type NodeParts,
  type RunningNode,
  serverOptions,
  storeOptions,
} from "./node-parts.ts";
import type { ClusterNode as ServerNode } from "./server/cluster-context.ts";
import type { Authority } from "./server/node-authority.ts";
import { PeerForwarding } from "./server/peer-forwarding.ts";
import { Server } from "./server/server.ts";
import { DKV_VERSION } from "./server/version.ts";

const NO_SECRET =
  "no cluster-secret: whoever reaches the peer port is taken for a node of the cluster";
/** The incarnation of a node says whether a loss of power may have taken what it acknowledged. */
const FIXED_POLICY = "a node of a cluster has the appendfsync that it was started with";
/** Log that is kept for nodes that are behind, as a multiple of the segments in memory. */
const RETAINED_POOLS = 4;

export class ClusteredNode implements RunningNode {
  readonly #parts: NodeParts;
  readonly #log: Logger;
  #node!: ClusterNode;
  #server!: Server;
  #keeper!: BudgetKeeper;
  #transport!: WatchedTransport;
  #forwarding!: PeerForwarding;

  private constructor(parts: NodeParts) {
    this.#parts = parts;
    this.#log = parts.logger.child("cluster");
  }

  /** Waits for the coordinator. Throws StartupError when the directory must not take part, or a port is taken. */
  static async start(
    parts: NodeParts,
    settings: NodeSettings,
    coordinator: Coordinator,
  ): Promise<ClusteredNode> {
    const node = new ClusteredNode(parts);
    await node.#start(settings, coordinator);
    return node;
  }

  get server(): Server {
    return this.#server;
  }

  get port(): number {
    return this.#server.port;
  }

  /** Undefined until this node has found its set. */
  get member(): ClusterNode["member"] {
    return this.#node.member;
  }

  get topology(): CurrentTopology {
    return this.#node.topology;
  }

  /** Hands over, if this is the writer; clients that are in the middle of something are answered. */
  async stop(): Promise<void> {
    this.#keeper.stop();
    if (await this.#node.handOver()) await this.#server.sendClientsAway();
    await Promise.all([this.#server.stop(), this.#forwarding.drain()]);
    await this.#node.stop();
    this.#forwarding.stop();
    this.#transport.stop();
  }

  async #start(settings: NodeSettings, coordinator: Coordinator): Promise<void> {
    const { clock, config, fileSystem, directory, host, plan, random, onFatal } = this.#parts;
    const { shape, replication, announced } = settings;
    this.#parts.config.freeze("appendfsync", FIXED_POLICY);
    this.#warnOf(settings);
    if (settings.secret.length === 0)
      this.#log.warn({ port: settings.peerAddress.port }, NO_SECRET);
    this.#node = await ClusterNode.start({
      ...{ coordinator, fileSystem, directory, clock, random, shape, replication },
      logger: this.#log,
      store: { ...storeOptions(this.#parts), onCommitted: () => this.#server?.onCommitted() },
      retainBytesMax: plan.segmentPoolBytes * RETAINED_POOLS,
      address: { ...announced, version: DKV_VERSION },
      bootId: host.bootId,
      checkpoints: { bytesPerSecond: () => config.get("cluster-checkpoint-rate") },
      moves: {
        bytesPerSecond: () => config.get("cluster-move-rate"),
        rebalances: () => config.get("cluster-auto-rebalance"),
      },
      openPeerPort: (identity) => this.#openPeerPort(identity, settings),
      events: {
        onServe: (epoch) => this.#log.info({ epoch }, "the writer of its replica set"),
        onPause: () => undefined,
        onResume: () => undefined,
        onStepDown: () => this.#server.suspend(),
        onFollow: () => this.#adoptStore(),
        onDocument: () => undefined,
        onFatal,
      },
    });
    this.#keeper = new BudgetKeeper(this.#parts, this.#node.store);
    this.#server = new Server({
      ...serverOptions(this.#parts),
      store: this.#node.store,
      cluster: this.#serverNode(coordinator, replication),
    });
    this.#forwarding.serve(() => this.#server.peerLink());
    this.#server.listen();
  }

  /** What the configuration does not promise. */
  #warnOf({ shape }: NodeSettings): void {
    const { replicationFactor, writeQuorum } = shape;
    if (replicationFactor === 1) {
      this.#log.warn(
        { replicationFactor },
        "no replicas: what is on a lost disk is lost, and nobody takes over",
      );
    } else if (writeQuorum === 1) {
      this.#log.warn(
        { replicationFactor, writeQuorum },
        "a write that was answered can be lost with its writer, and a writer that dies is not replaced by itself",
      );
    }
  }

  #openPeerPort(
    identity: ClusterNode["identity"],
    { secret, peerAddress }: NodeSettings,
  ): TransportPeers {
    const { clock, random, onFatal } = this.#parts;
    const logger = this.#log;
    const sockets = new SocketTransport({
      ...{ identity, secret, allowsNoSecret: true, address: peerAddress, clock, logger, onFatal },
      random: { bytes: random, fraction: () => this.#fraction() },
    });
    this.#transport = new WatchedTransport(sockets, clock);
    const others = { ofSet: [], ofAll: ["forward"] } as const;
    const peers = new TransportPeers(this.#transport, logger, others);
    this.#forwarding = new PeerForwarding({ transport: this.#transport, clock });
    sockets.listen();
    return peers;
  }

  #fraction(): number {
    return Buffer.from(this.#parts.random(4)).readUInt32LE() / 2 ** 32;
  }

  #adoptStore(): void {
    const { store } = this.#node;
    this.#keeper.adopt(store);
    this.#server.resume(store);
  }

  /** As CLUSTER FAILOVER words what is in its way. */
  #requestHandover(): string | undefined {
    const { member, document, identity } = this.#node;
    const isMember = document?.members.some(({ nodeId }) => nodeId === identity.nodeId) === true;
    if (member === undefined || !isMember)
      return "ERR this node is not a member of its replica set yet";
    const isLed = document?.phase === "ACTIVE" && document.writer !== null;
    if (!isLed) return "ERR Master is down or failed, please wait until it is replaced";
    member.requestHandover();
    return undefined;
  }

  #replication(coordinator: Coordinator, replication: ReplicationOptions): ReplicationView {
    const node = this.#node;
    return new ReplicationView({
      ...{ coordinator, replication, nodeId: node.identity.nodeId },
      ...{ clock: this.#parts.clock, topology: node.topology },
      member: () => node.member,
      document: () => node.document,
      checkpoints: () => node.checkpoints,
    });
  }

  #serverNode(coordinator: Coordinator, replication: ReplicationOptions): ServerNode {
    const node = this.#node;
    return {
      id: node.identity.nodeId,
      topology: node.topology,
      forwarder: this.#forwarding,
      authority: this.#authority(),
      replication: this.#replication(coordinator, replication),
      moves: this.#moveControl(),
      requestHandover: () => this.#requestHandover(),
      forgetNode: (nodeId) => forgetNode(coordinator, nodeId),
      links: () => this.#transport.links(),
      isHeld: (slot) => node.mover?.isHeld(slot) === true,
      heldSlotsChanged: () => node.mover!.heldSlotsChanged(),
    };
  }

  #moveControl(): ServerNode["moves"] {
    const requests = this.#node.moveRequests;
    return {
      move: (slots, setId, isDry) => requests.move(slots, setId, isDry),
      rebalance: (weights, isDry) => requests.rebalance(weights, isDry),
      drain: (setId, isDry) => requests.drain(setId, isDry),
      list: () => requests.list(),
      abort: (id) => requests.abort(id),
      progress: () => this.#node.mover?.progress,
    };
  }

  #authority(): Authority {
    const node = this.#node;
    return {
      get isServing() {
        return node.member?.isServing === true;
      },
      get admission() {
        return node.member?.admission ?? "not-writer";
      },
      get isLeaseValid() {
        return node.member?.isLeaseValid === true;
      },
      confirm: () => node.member?.confirm() ?? Promise.resolve(false),
    };
  }
}
