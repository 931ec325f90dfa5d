/**
 * A node of a cluster, from its directory to its part in a replica set:
 *
 *     joinCluster ─► StoreLog ─► Registration ─► Formation ─► SetMember ⇄ PeerPort
 *     whose data?    the store   I am here       my set       the core        ▲
 *                       ├─ Checkpoints ─┘      TopologyReader ────────────────┘ where all nodes are
 *                       └─ SlotMover           while it is the writer: slots on the move
 *
 * Until it has found its set a node serves nothing; a spare may wait for ever. When its set is retired it is in none
 * again, and stays so: its directory keeps the set's data.
 *
 * It ends in the reverse order: hand over, if it is the writer; then the server's sessions; then stop().
 */
import type { Clock } from "../../base/clock.ts";
import type { FileSystem } from "../../base/file-system.ts";
import type { Logger } from "../../base/logger.ts";
import type { Store } from "../../store/store.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import type { NodeDocument, ReplicaSetDocument } from "../coordination/documents.ts";
import { CurrentTopology } from "../current-topology.ts";
import type { ReplicationOptions } from "../replication/options.ts";
import { isListed } from "../replication/quorum.ts";
import type { CheckpointStatus } from "../replication-status.ts";
import { Topology } from "../topology.ts";
import type { Address } from "../transport/transport.ts";
import { type BulkPort, type CheckpointPace, Checkpoints } from "./checkpoints.ts";
import { Formation, type SetShape, setOf } from "./formation.ts";
import type { Peers } from "./frame-shipper.ts";
import { type JoinedCluster, joinCluster } from "./join-cluster.ts";
import { MoveRequests } from "./move-requests.ts";
import { Registration } from "./registration.ts";
import { fateOfSet } from "./retired-set.ts";
import { SetDrain } from "./set-drain.ts";
import { SetMember, type SetMemberEvents } from "./set-member.ts";
import { type MoveLinks, type MovePace, SlotMover } from "./slot-mover.ts";
import { StoreLog, type StoreLogOptions } from "./store-log.ts";
import { TopologyReader } from "./topology-reader.ts";

const NONCE_BYTES = 16;
const MOVE_ID_BYTES = 20;
/** From a handover to the successor's service, many times over: nobody may come, when all nodes are told to stop. */
const SUCCESSION_MS_MAX = 2000;

const RETIRED =
  "its replica set has been retired: this node has no part in the cluster's data any more, and passes commands on; to use it again, stop it, empty its directory and start it";
const LOST =
  "the document of this node's replica set is missing, though the set was not retired: is this the right coordinator, with all of its data? Nothing is changed here";

export interface PeerReceiver extends Pick<SetMember, "receive" | "onLink"> {
  /** Parts of a message for checkpoints; borrowed until it returns. */
  receiveBulk(from: string, parts: readonly Uint8Array[]): void;
  /** A message about slots on the move; borrowed as well. */
  receiveMove(from: string, head: Uint8Array, records: Uint8Array | undefined): void;
}

export interface PeerAddress extends Address {
  /** A member or learner of this node's own set. */
  readonly isOfSet: boolean;
}

/** Connections to the other nodes. */
export interface PeerPort extends Peers, BulkPort, MoveLinks {
  /** Once; before it messages are lost. */
  start(receiver: PeerReceiver): void;
  /** All nodes of the cluster whose address is known, without this one. */
  setPeers(peers: ReadonlyMap<string, PeerAddress>): void;
}

export interface NodeIdentity {
  readonly clusterId: string;
  readonly nodeId: string;
  readonly incarnation: number;
}

export interface ClusterNodeOptions {
  readonly coordinator: Coordinator;
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of the store, whatever the cluster does not decide. */
  readonly store: Omit<
    StoreLogOptions,
    "fileSystem" | "directory" | "clock" | "random" | "replication"
  >;
  /** Most bytes of log that are kept for other nodes. */
  readonly retainBytesMax: number;
  readonly shape: SetShape;
  readonly replication: ReplicationOptions;
  /** What others are told of this node. */
  readonly address: Pick<NodeDocument, "host" | "port" | "peerPort" | "hostname" | "version">;
  /** Of the kernel: another one after the machine was started anew. */
  readonly bootId: string;
  readonly events: Omit<SetMemberEvents, "onCheckpointNeeded" | "onDocumentMissing">;
  readonly checkpoints: CheckpointPace;
  readonly moves: MovePace;
  random(bytes: number): Uint8Array;
  openPeerPort(node: NodeIdentity): PeerPort;
}

export class ClusterNode {
  readonly #options: ClusterNodeOptions;
  readonly #joined: JoinedCluster;
  readonly #log: StoreLog;
  readonly #peers: PeerPort;
  readonly #reader: TopologyReader;
  readonly #registration: Registration;
  #formation: Formation;
  #isSeeking = true;
  /** Who owns which slot, as far as this node knows; version 0 until all documents have been read. */
  readonly topology = new CurrentTopology(new Topology(0, []));
  #addresses: ReadonlyMap<string, Address> = new Map();
  readonly #checkpoints: Checkpoints;
  #mover: SlotMover | undefined = undefined;
  #member: SetMember | undefined = undefined;
  #drain: SetDrain | undefined = undefined;
  /** Its set has been retired: what is left of the member does nothing but end. */
  #isRetired = false;
  #isAskingFate = false;
  #hasComplained = false;
  #document: ReplicaSetDocument | undefined = undefined;
  /** Told when a handover has ended: whether the role was given away. */
  #onHandedOver: ((isDone: boolean) => void) | undefined = undefined;
  #isHandingOver = false;
  #isStopped = false;
  /** Told of each document while this node, no writer any more, waits for the next one. */
  #onSuccessor: ((document: ReplicaSetDocument) => void) | undefined = undefined;

  private constructor(options: ClusterNodeOptions, joined: JoinedCluster, log: StoreLog) {
    this.#options = options;
    this.#joined = joined;
    this.#log = log;
    const { coordinator, clock, logger, address, bootId } = options;
    const { nodeId, incarnation } = this.identity;
    this.#peers = options.openPeerPort(this.identity);
    this.#checkpoints = new Checkpoints({
      ...{ clock, logger, log, peers: this.#peers, member: () => this.#member },
      ...{ fileSystem: options.fileSystem, directory: options.directory },
      pace: options.checkpoints,
      spareDiskBytes: () => options.store.minFreeDiskBytes(),
      random: (bytes) => options.random(bytes),
      onFatal: (error) => options.events.onFatal(error),
    });
    const node: NodeDocument = { format: 1, id: nodeId, incarnation, bootId, ...address };
    this.#reader = new TopologyReader({
      ...{ coordinator, clock, logger, node, topology: this.topology },
      onAddresses: (addresses) => {
        this.#addresses = addresses;
        this.#showPeers();
      },
    });
    this.#registration = new Registration({
      ...{ coordinator, clock, logger, node, setId: joined.file.state.setId },
      newNonce: () => this.#newNonce(),
    });
    this.#formation = this.#seekSet();
  }

  /** Throws StartupError when the directory must not take part. */
  static async start(options: ClusterNodeOptions): Promise<ClusterNode> {
    const { coordinator, fileSystem, directory, clock, bootId, random } = options;
    const isExposed = options.store.syncPolicy !== "always";
    const joined = await joinCluster({
      ...{ coordinator, fileSystem, directory, clock, random },
      conditions: { bootId, isExposed },
      isSingle: options.shape.replicationFactor === 1 && options.shape.initialSets === 1,
    });
    let node: ClusterNode | undefined;
    const onCommitted = (): void => {
      options.store.onCommitted();
      node?.mover?.onCommitted();
    };
    const log = await StoreLog.open({
      ...{ ...options.store, onCommitted },
      ...{ fileSystem, directory, clock, random: joined.storeRandom },
      marksFrom: joined.file.state.marksFrom ?? Number.POSITIVE_INFINITY,
      replication: { commitIndex: 0, retainBytesMax: options.retainBytesMax },
    });
    // Recovery has synced what the last process had not.
    if (joined.file.state.isExposed !== isExposed) await joined.file.setExposed(isExposed);
    node = new ClusterNode(options, joined, log);
    return node;
  }

  get identity(): NodeIdentity {
    const { nodeId, incarnation } = this.#joined.file.state;
    return { clusterId: this.#joined.clusterId, nodeId, incarnation };
  }

  /** Another one after each step-down, and when a checkpoint has taken its place. */
  get store(): Store {
    return this.#log.store;
  }

  /** Whose data is in the directory, whether or not the node has a part in that set; empty: none's. */
  get formerSetId(): string {
    return this.#joined.file.state.setId;
  }

  /** Undefined until the node has found its set, and when that has been retired. */
  get member(): SetMember | undefined {
    return this.#isRetired ? undefined : this.#member;
  }

  /** As the member. */
  get mover(): SlotMover | undefined {
    return this.#isRetired ? undefined : this.#mover;
  }

  /** Moves of slots, for any set. */
  get moveRequests(): MoveRequests {
    const newId = () => Buffer.from(this.#options.random(MOVE_ID_BYTES)).toString("hex");
    const { coordinator, moves } = this.#options;
    return new MoveRequests({ coordinator, newId, slotsPerMove: moves.slotsPerMove });
  }

  /** Of its set, as last read. */
  get document(): ReplicaSetDocument | undefined {
    return this.#document;
  }

  get isRegistered(): boolean {
    return this.#registration.isRegistered;
  }

  get checkpoints(): CheckpointStatus {
    return this.#checkpoints.status;
  }

  /**
   * Gives the writer role away, to `successor` or to whoever is furthest; false: there is nobody who can take it.
   * Resolves when the other one serves, or should: until then it may need this node's seal, and its copy.
   */
  async handOver(successor?: string): Promise<boolean> {
    const member = this.#member;
    if (member?.isServing !== true) return false;
    const epoch = this.#document?.epoch ?? 0;
    const isDone = await new Promise<boolean>((resolve) => {
      this.#onHandedOver = resolve;
      member.handOver(successor);
      if (!this.#isHandingOver) this.#endHandover(false);
    });
    if (isDone) await this.#untilSucceeded(epoch);
    return isDone;
  }

  /** Leaves everything synced. Nothing may run on the store. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#registration.stop();
    this.#formation.stop();
    this.#mover?.stop();
    this.#drain?.stop();
    this.#reader.setServing(undefined);
    this.#reader.stop();
    await this.#checkpoints.closeSender();
    await this.#member?.stop();
    await this.#checkpoints.close();
    await this.#options.coordinator.close();
    await this.#log.close();
    await this.#joined.file.setExposed(false);
  }

  #untilSucceeded(epoch: number): Promise<void> {
    return new Promise((resolve) => {
      const deadline = this.#options.clock.after(SUCCESSION_MS_MAX, resolve);
      this.#onSuccessor = (document) => {
        if (document.epoch <= epoch || document.phase !== "ACTIVE") return;
        deadline.cancel();
        resolve();
      };
      if (this.#document !== undefined) this.#onSuccessor(this.#document);
    });
  }

  #newNonce(): string {
    return Buffer.from(this.#options.random(NONCE_BYTES)).toString("hex");
  }

  #seekSet(): Formation {
    const { coordinator, clock, logger, shape, moves, events } = this.#options;
    const { clusterId, nodeId, incarnation } = this.identity;
    this.#isSeeking = true;
    return new Formation({
      ...{ coordinator, clock, logger, shape, clusterId, node: { nodeId, incarnation } },
      formerSet: this.formerSetId,
      formsMoreSets: () => moves.rebalances(),
      onSet: (setId) => {
        this.#isSeeking = false;
        if (this.#member === undefined) this.#enter(setId).catch(events.onFatal);
      },
    });
  }

  /** Others know first whose data will be here, and then the directory, before a frame of the set can be in the log. */
  async #enter(setId: string): Promise<void> {
    await this.#registration.enter(setId);
    await this.#joined.file.enter(setId);
    this.#join(setId);
  }

  #join(setId: string): void {
    if (this.#isStopped) return;
    const { coordinator, clock, logger, replication, events } = this.#options;
    const { file } = this.#joined;
    const { nodeId, incarnation, promise } = file.state;
    const mover = this.#newMover(setId);
    const drain = this.#newDrain(setId, mover);
    const member = new SetMember({
      ...{ nodeId, incarnation, setId, promise, replication },
      ...{ log: this.#log, coordinator, peers: this.#peers, clock, logger },
      newClaimId: () => this.#newNonce(),
      persist: (next) => file.persist(next),
      events: {
        ...events,
        onServe: (epoch) => {
          this.#reader.setServing(epoch);
          mover.serve();
          drain.serve();
          events.onServe(epoch);
        },
        onPause: () => {
          this.#isHandingOver = true;
          events.onPause();
        },
        onResume: () => {
          this.#endHandover(false);
          events.onResume();
        },
        onStepDown: () => {
          this.#endHandover(true);
          mover.stop();
          drain.stop();
          this.#reader.setServing(undefined);
          return this.#leaveStore();
        },
        onDocument: (document, version) => this.#onDocument(document, version),
        onDocumentMissing: () => {
          this.#onDocumentMissing(setId).catch(events.onFatal);
        },
        onCheckpointNeeded: (nodeId) => this.#checkpoints.offer(nodeId),
      },
    });
    this.#member = member;
    this.#peers.start({
      receive: (from, message, frames) => member.receive(from, message, frames),
      onLink: (node, isUp) => member.onLink(node, isUp),
      receiveBulk: (from, parts) => this.#checkpoints.receive(from, parts),
      receiveMove: (from, head, records) => mover.receive(from, head, records),
    });
  }

  #newMover(setId: string): SlotMover {
    const { coordinator, clock, logger, moves, events } = this.#options;
    this.#mover = new SlotMover({
      ...{ coordinator, clock, logger, setId, topology: this.topology, pace: moves },
      ...{ nodeId: this.identity.nodeId, links: this.#peers },
      store: () => this.store,
      requests: this.moveRequests,
      noteSets: (sets) => this.#reader.noteSets(sets),
      holdLog: (from) => this.#log.holdFor(from),
      onFatal: (error) => events.onFatal(error),
    });
    return this.#mover;
  }

  #newDrain(setId: string, mover: SlotMover): SetDrain {
    const { coordinator, clock, logger, events } = this.#options;
    this.#drain = new SetDrain({
      ...{ coordinator, clock, logger, setId },
      requests: this.moveRequests,
      document: () => this.#document,
      isResting: () => mover.isResting,
      onFatal: (error) => events.onFatal(error),
    });
    return this.#drain;
  }

  /** Asked again whenever the member has looked for its document in vain. */
  async #onDocumentMissing(setId: string): Promise<void> {
    if (this.#isAskingFate || this.#isRetired) return;
    const { coordinator, logger } = this.#options;
    this.#isAskingFate = true;
    const fate = await fateOfSet(coordinator, this.#joined.clusterId, setId);
    this.#isAskingFate = false;
    if (this.#isStopped) return;
    if (fate === "retired") this.#retire(setId);
    if (fate !== "lost" || this.#hasComplained) return;
    this.#hasComplained = true;
    logger.error({ set: setId }, LOST);
  }

  /** A node without a set, as a spare; what is on its disk stays. */
  #retire(setId: string): void {
    this.#options.logger.warn({ set: setId }, RETIRED);
    this.#isRetired = true;
    this.#formation.stop();
    this.#mover?.stop();
    this.#drain?.stop();
    this.#document = undefined;
    this.#reader.forgetOwnSet();
    this.#member?.retire();
    this.#showPeers();
  }

  /** Done when nothing uses the store any more. */
  async #leaveStore(): Promise<void> {
    await Promise.all([this.#options.events.onStepDown(), this.#checkpoints.leaveStore()]);
  }

  #onDocument(document: ReplicaSetDocument, version: number): void {
    this.#document = document;
    this.#noteMembership(document);
    const isInSet = setOf([document], this.identity.nodeId) !== undefined;
    // It was forgotten while nobody could see it.
    if (!isInSet && !this.#isSeeking) this.#formation = this.#seekSet();
    this.#reader.noteOwnSet(document, version);
    this.#showPeers();
    this.#onSuccessor?.(document);
    this.#options.events.onDocument(document, version);
  }

  #noteMembership({ members }: ReplicaSetDocument): void {
    const next = this.store.internals.log.writtenIndex + 1;
    const marksFrom = isListed(members, this.identity) ? next : null;
    this.#joined.file.setMarksFrom(marksFrom).catch(this.#options.events.onFatal);
  }

  #showPeers(): void {
    const { members = [], learners = [] } = this.#document ?? {};
    const ofSet = new Set([...members, ...learners].map(({ nodeId }) => nodeId));
    const peers = new Map<string, PeerAddress>();
    for (const [nodeId, { host, port }] of this.#addresses)
      peers.set(nodeId, { host, port, isOfSet: ofSet.has(nodeId) });
    this.#peers.setPeers(peers);
  }

  #endHandover(isDone: boolean): void {
    this.#isHandingOver = false;
    this.#onHandedOver?.(isDone);
    this.#onHandedOver = undefined;
  }
}
