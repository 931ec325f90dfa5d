/**
 * A node of a cluster in the simulator: production's ClusterNode and Store on a simulated disk, clock and network,
 * answering simulated clients as a server has to:
 *
 *   write          while admission is "accept" → run → reply once its frame is committed; at a step-down: unknown
 *   read           run → lease valid, or confirmed → reply once what it saw is committed; so does a write that, as it
 *                  turned out, changed nothing
 *   replica read   run while the store follows; what it sees is committed
 *
 * What is another set's, or the writer's, is refused with what this node knows of the writer.
 */
import { ByteBudget } from "../../../src/base/byte-budget.ts";
import type { Logger } from "../../../src/base/logger.ts";
import { slotOf } from "../../../src/base/slot.ts";
import type { ReplicaSetDocument } from "../../../src/cluster/coordination/documents.ts";
import { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import type { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import {
  ClusterNode,
  type ClusterNodeOptions,
  type NodeIdentity,
} from "../../../src/cluster/node/cluster-node.ts";
import type { SetShape } from "../../../src/cluster/node/formation.ts";
import type { SetMember } from "../../../src/cluster/node/set-member.ts";
import type { ReplicationOptions } from "../../../src/cluster/replication/options.ts";
import type { SyncPolicy } from "../../../src/store/commit-pipeline.ts";
import type { Store } from "../../../src/store/store.ts";
import type { Connection } from "../connection.ts";
import { SimExecutor } from "../executor.ts";
import type { Life } from "../process.ts";
import { execute, runUnit } from "../string-commands.ts";
import { STRING_MODEL, type StringCall, type StringResult } from "../string-model.ts";
import type { StoreShape } from "../swarm.ts";
import {
  CLIENT_PORT,
  type ClusterReply,
  type ClusterRequest,
  replyBytes,
} from "./cluster-protocol.ts";
import { SimPeerPort } from "./sim-peer-port.ts";
import { TopologyReader } from "./topology-reader.ts";

/** Who watches over what nodes do. */
export interface ServerObserver {
  onServe(server: ClusterServer, epoch: number): void;
  onCommitted(server: ClusterServer): void;
  /** A read is about to be answered under a lease. */
  onLeaseRead(server: ClusterServer): void;
  onDocument(document: ReplicaSetDocument): void;
  /** A command has run that may be answered. */
  onAnswer(server: ClusterServer, slot: number): void;
}

export interface ServerOptions {
  readonly ensemble: MemoryEnsemble;
  readonly syncPolicy: SyncPolicy;
  readonly shape: SetShape;
  readonly storeShape: StoreShape;
  readonly replication: ReplicationOptions;
  readonly retainBytesMax: number;
  /** Whether spares form one more set. */
  readonly rebalances: boolean;
  readonly slotsPerMove: number;
  /** Of the kernel: another one after a loss of power. */
  readonly bootId: string;
  readonly observer: ServerObserver;
  readonly logger: Logger;
}

/** What all readers of a node see. */
export interface NodeContents {
  /** Key → value and expiry. */
  readonly entries: ReadonlyMap<string, { readonly value: string; readonly expiry: number }>;
  /** What has expired by then is not among them. */
  readonly nowMs: number;
  /** As DBSIZE answers. */
  readonly size: number;
  /** Its time is the log's, then. */
  readonly isReplica: boolean;
}

const DIRECTORY = "/data";
const KIB = 1024;
const CHUNK_BYTES = 8 * KIB;
const STEP_MICROS = 200;
const MAINTAIN_MS = 1000;
const FREE_BYTES_MIN = 64 * KIB;
const SESSION_MS = 4000;
const RECONNECT_MS = 50;
const ADMISSION_POLL_MS = 5;
const ADMISSION_MS_MAX = 1000;
const PAGE_KEYS = 100;

interface GatedReply {
  readonly tag: number;
  send(outcome: "done" | "unknown"): void;
}

interface Ran {
  readonly result: StringResult;
  readonly tag: number;
}

function slotOfKey(key: string): number {
  return slotOf(Buffer.from(key), 0, Buffer.byteLength(key));
}

export class ClusterServer {
  readonly #life: Life;
  readonly #options: ServerOptions;
  #node!: ClusterNode;
  #topology!: TopologyReader;
  coordinator!: MemoryCoordinator;
  #gated: GatedReply[] = [];
  /** Changes with every step-down. */
  #term = 0;
  #running = 0;
  readonly #onQuiet: (() => void)[] = [];

  private constructor(life: Life, options: ServerOptions) {
    this.#life = life;
    this.#options = options;
  }

  static async boot(life: Life, options: ServerOptions): Promise<ClusterServer> {
    const server = new ClusterServer(life, options);
    await server.#start();
    return server;
  }

  async #start(): Promise<void> {
    const life = this.#life;
    const { clock, random, fileSystem, name } = life;
    const { ensemble, logger, shape, replication, retainBytesMax, bootId } = this.#options;
    const { observer, rebalances, slotsPerMove } = this.#options;
    const coordinator = new MemoryCoordinator(ensemble, {
      clock,
      sessionTimeoutMs: SESSION_MS,
      latencyMs: () => random.exponential(1),
      reconnectMs: () => random.exponential(RECONNECT_MS),
    });
    this.coordinator = coordinator;
    this.#topology = new TopologyReader(coordinator);
    this.#node = await ClusterNode.start({
      ...{ coordinator, fileSystem, clock, logger, shape, replication, retainBytesMax },
      ...{ directory: DIRECTORY, bootId, store: this.#storeOptions() },
      address: { host: name, port: 1, peerPort: 1, hostname: "", version: "1" },
      random: (count) => random.bytes(count),
      checkpoints: { bytesPerSecond: () => 0, chunkBytes: CHUNK_BYTES },
      moves: { bytesPerSecond: () => 0, rebalances: () => rebalances, slotsPerMove },
      openPeerPort: ({ nodeId }) => new SimPeerPort(life, nodeId),
      events: {
        onServe: (epoch) => observer.onServe(this, epoch),
        onPause: () => undefined,
        onResume: () => undefined,
        onStepDown: () => this.#onStepDown(),
        onFollow: () => undefined,
        onDocument: (document) => observer.onDocument(document),
        onFatal: (error) => life.exit(error),
      },
    });
    life.network.listen(life, CLIENT_PORT, (connection) => this.#accept(connection));
    clock.every(MAINTAIN_MS, () => this.#node.store.housekeeping.maintain());
  }

  get name(): string {
    return this.#life.name;
  }

  get life(): Life {
    return this.#life;
  }

  get identity(): NodeIdentity {
    return this.#node.identity;
  }

  /** Undefined until the node has found its set. */
  get member(): SetMember | undefined {
    return this.#node.member;
  }

  get setId(): string | undefined {
    return this.#node.document?.id;
  }

  /** Whose data it has, whether or not it has a part in that set; empty: none's. */
  get formerSetId(): string {
    return this.#node.formerSetId;
  }

  get store(): Store {
    return this.#node.store;
  }

  describeMoves(): string {
    const away = [...(this.#node.mover?.sources ?? [])].map(
      ({ id, phase, slots }) => `${id.slice(0, 6)} ${slots[0]!.start} ${phase}`,
    );
    const held = this.store.slots.moves.all.map(
      ({ kind, id, slots }) =>
        `${kind} ${id.slice(0, 6)} ${slots.map(({ start }) => start).join()}`,
    );
    return [...away, ...held].map((text) => `; ${text}`).join("");
  }

  handOver(): void {
    void this.#node.handOver();
  }

  /** What this node's readers see, whatever its role. */
  async contents(): Promise<NodeContents> {
    const size = await this.#look((store) => store.size());
    const entries = new Map<string, { value: string; expiry: number }>();
    let cursor = 0;
    do {
      const page = await this.#look((store) => store.scan(cursor, PAGE_KEYS));
      for (const { key } of page.keys) {
        const found = await this.#look((store) => {
          store.select(key, 0, key.length);
          if (!store.find()) return undefined;
          return { value: store.copyValue().toString(), expiry: store.found.expiry };
        });
        if (found !== undefined) entries.set(key.toString(), found);
      }
      cursor = page.next;
    } while (cursor !== 0);
    const { nowMs, replica } = this.store;
    return { entries, size, nowMs, isReplica: replica !== undefined };
  }

  async #look<T>(action: (store: Store) => T): Promise<T> {
    const { store } = this;
    const ran = await runUnit(store, () => action(store));
    if (ran === "refused") throw new Error("a read that cannot be done");
    return ran.result;
  }

  #storeOptions(): ClusterNodeOptions["store"] {
    const life = this.#life;
    const { storeShape, syncPolicy } = this.#options;
    const { segmentBytes, segmentCount, ...tuning } = storeShape;
    return {
      executor: new SimExecutor(life, STEP_MICROS),
      ...{ syncPolicy, segmentBytes, segmentPoolBytes: segmentBytes * segmentCount },
      tuning: { ...tuning, levelMultiplier: 3 },
      minFreeDiskBytes: () => FREE_BYTES_MIN,
      valueBytesMax: 1024 * KIB,
      largeBytes: new ByteBudget(1024 * KIB),
      onFatal: (error) => life.exit(error),
      onCommitted: () => {
        this.#release();
        this.#options.observer.onCommitted(this);
      },
      onRecovering: () => undefined,
    };
  }

  #onStepDown(): Promise<void> {
    this.#term++;
    const gated = this.#gated;
    this.#gated = [];
    for (const reply of gated) reply.send("unknown");
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onQuiet.push(resolve));
  }

  #accept(connection: Connection): void {
    const requests: ClusterRequest[] = [];
    let isRunning = false;
    const run = async (): Promise<void> => {
      isRunning = true;
      for (let next = requests.shift(); next !== undefined; next = requests.shift()) {
        await this.#answer(connection, next);
      }
      isRunning = false;
    };
    connection.handlers = {
      onMessage: (message) => {
        requests.push(message as ClusterRequest);
        if (!isRunning) run().catch((error: Error) => this.#life.exit(error));
      },
    };
  }

  async #answer(connection: Connection, request: ClusterRequest): Promise<void> {
    const { id, key, call, isReplicaRead } = request;
    const slot = slotOfKey(key);
    const send = (outcome: ClusterReply["outcome"], result?: StringResult, replica?: string) => {
      if (outcome === "refused") this.#topology.refresh();
      const to = outcome === "refused" ? this.#topology.writerOf(slot) : undefined;
      const reply = { id, outcome, result: outcome === "done" ? result : undefined, to, replica };
      connection.send(reply, replyBytes(reply));
    };
    if (!(await this.#isOpenInTime(slot))) send("refused");
    else if (isReplicaRead && this.store.replica !== undefined) await this.#answerOld(key, send);
    else await this.#answerNow(key, call, send);
  }

  #owns(slot: number): boolean {
    const owner = this.#node.topology.value.ownerOf(slot);
    return owner !== undefined && owner.id === this.setId;
  }

  /** Whether the slot's keys may be read and written here, whoever is the writer. */
  isOpen(slot: number): boolean {
    return this.#owns(slot) && this.#node.mover?.isHeld(slot) === false;
  }

  /** Whether a slot is on its way, or was given away; what waits for it waits no longer than for admission. */
  async #isOpenInTime(slot: number): Promise<boolean> {
    const { clock } = this.#life;
    const endMs = clock.monotonicMs() + ADMISSION_MS_MAX;
    while (this.#owns(slot) && !this.isOpen(slot)) {
      if (clock.monotonicMs() >= endMs) return false;
      await new Promise<void>((resolve) => clock.after(ADMISSION_POLL_MS, resolve));
    }
    return this.#owns(slot);
  }

  /** As a replica: what is committed as far as it knows. */
  async #answerOld(
    key: string,
    send: (outcome: "done" | "refused", result?: StringResult, replica?: string) => void,
  ): Promise<void> {
    const { store } = this;
    // What waits for a block may wait until this node is the writer, and sees more.
    const isReplica = () =>
      this.store === store && store.replica !== undefined && this.isOpen(slotOfKey(key));
    const ran = await this.#run(key, { kind: "get" }, isReplica);
    if (ran === "refused") send("refused");
    else send("done", ran.result, `${this.name}.${this.#life.process.bootCount}`);
  }

  async #answerNow(
    key: string,
    call: StringCall,
    send: (outcome: ClusterReply["outcome"], result?: StringResult) => void,
  ): Promise<void> {
    const isRead = call.kind === "get";
    const isAdmitted = isRead ? (this.member?.isServing ?? false) : await this.#isAdmitted();
    const term = this.#term;
    const goesOn = () => term === this.#term && this.isOpen(slotOfKey(key));
    const ran = isAdmitted ? await this.#run(key, call, goesOn) : "refused";
    if (ran === "refused") {
      send("refused");
      return;
    }
    this.#options.observer.onAnswer(this, slotOfKey(key));
    const changesNothing = STRING_MODEL.isPure(call, ran.result);
    if (changesNothing && !(await this.#mayBeRead())) {
      send("refused");
      return;
    }
    if (term !== this.#term) {
      send(changesNothing ? "refused" : "unknown");
      return;
    }
    this.#gate({
      tag: ran.tag,
      send: (outcome) =>
        send(changesNothing && outcome === "unknown" ? "refused" : outcome, ran.result),
    });
  }

  async #mayBeRead(): Promise<boolean> {
    const member = this.member!;
    if (!member.isLeaseValid) return await member.confirm();
    this.#options.observer.onLeaseRead(this);
    return true;
  }

  async #isAdmitted(): Promise<boolean> {
    const { clock } = this.#life;
    const endMs = clock.monotonicMs() + ADMISSION_MS_MAX;
    for (;;) {
      const admission = this.member?.admission ?? "not-writer";
      if (admission === "not-writer") return false;
      const { throttled, refusal } = this.store.housekeeping;
      if (refusal !== undefined) return false;
      if (admission === "accept" && throttled === undefined) return true;
      if (clock.monotonicMs() >= endMs) return false;
      await new Promise<void>((resolve) => clock.after(ADMISSION_POLL_MS, resolve));
    }
  }

  async #run(key: string, call: StringCall, goesOn: () => boolean): Promise<Ran | "refused"> {
    this.#running++;
    const { store } = this;
    try {
      return await runUnit(store, () => execute(store, Buffer.from(key), call), goesOn);
    } finally {
      this.#running--;
      if (this.#running === 0) for (const resolve of this.#onQuiet.splice(0)) resolve();
    }
  }

  #gate(reply: GatedReply): void {
    if (reply.tag <= this.store.committed) reply.send("done");
    else this.#gated.push(reply);
  }

  #release(): void {
    if (this.#gated.length === 0) return;
    const { committed } = this.store;
    const free = this.#gated.filter(({ tag }) => tag <= committed);
    this.#gated = this.#gated.filter(({ tag }) => tag > committed);
    for (const reply of free) reply.send("done");
  }
}
