/**
 * A node of a replica set in the simulator: production's ClusterNode and Store on a simulated disk, clock
 * and network, answering simulated clients as a server has to:
 *
 *   write   while admission is "accept" → run → reply once its frame is committed; at a step-down: unknown
 *   read    run → lease valid, or confirmed → reply once what it saw is committed
 */
import { ByteBudget } from "../../../src/base/byte-budget.ts";
import type { Logger } from "../../../src/base/logger.ts";
import { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import type { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import { ClusterNode, type ClusterNodeOptions } from "../../../src/cluster/node/cluster-node.ts";
import type { SetShape } from "../../../src/cluster/node/formation.ts";
import type { SetMember } from "../../../src/cluster/node/set-member.ts";
import type { ReplicationOptions } from "../../../src/cluster/replication/options.ts";
import type { SyncPolicy } from "../../../src/store/commit-pipeline.ts";
import { Refusal, UnitWork } from "../../../src/store/interrupt.ts";
import type { Store } from "../../../src/store/store.ts";
import type { Connection } from "../connection.ts";
import { SimExecutor } from "../executor.ts";
import type { Life } from "../process.ts";
import type { StringCall, StringResult } from "../string-model.ts";
import type { StoreShape } from "../swarm.ts";
import {
  CLIENT_PORT,
  type ClusterReply,
  type ClusterRequest,
  replyBytes,
} from "./cluster-protocol.ts";
import { SimPeerPort } from "./sim-peer-port.ts";

export type ServerBug = "read without a lease" | "gated replies leave at step-down";

export interface ServerOptions {
  readonly ensemble: MemoryEnsemble;
  readonly syncPolicy: SyncPolicy;
  readonly shape: SetShape;
  readonly storeShape: StoreShape;
  readonly replication: ReplicationOptions;
  readonly retainBytesMax: number;
  readonly bug: ServerBug | undefined;
  readonly onServe: () => void;
  readonly logger: Logger;
}

const DIRECTORY = "/data";
const BOOT_ID = "00000000-0000-4000-8000-000000000000";
const KIB = 1024;
const CHUNK_BYTES = 8 * KIB;
const STEP_MICROS = 200;
const MAINTAIN_MS = 1000;
const FREE_BYTES_MIN = 64 * KIB;
const SESSION_MS = 4000;
const RECONNECT_MS = 50;
const ADMISSION_POLL_MS = 5;
const ADMISSION_MS_MAX = 1000;

interface GatedReply {
  readonly tag: number;
  send(outcome: "done" | "unknown"): void;
}

type Ran = { readonly result: StringResult; readonly tag: number } | "refused" | "unknown";

export class ClusterServer {
  readonly #life: Life;
  readonly #options: ServerOptions;
  #node!: ClusterNode;
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
    const { ensemble, logger, shape, replication, retainBytesMax } = this.#options;
    const coordinator = new MemoryCoordinator(ensemble, {
      clock,
      sessionTimeoutMs: SESSION_MS,
      latencyMs: () => random.exponential(1),
      reconnectMs: () => random.exponential(RECONNECT_MS),
    });
    this.coordinator = coordinator;
    this.#node = await ClusterNode.start({
      ...{ coordinator, fileSystem, clock, logger, shape, replication, retainBytesMax },
      ...{ directory: DIRECTORY, bootId: BOOT_ID, store: this.#storeOptions() },
      address: { host: name, port: 1, peerPort: 1, hostname: "", version: "1" },
      random: (count) => random.bytes(count),
      checkpoints: { bytesPerSecond: () => 0, chunkBytes: CHUNK_BYTES },
      openPeerPort: ({ nodeId }) => new SimPeerPort(life, nodeId),
      events: {
        onServe: () => this.#options.onServe(),
        onPause: () => undefined,
        onResume: () => undefined,
        onStepDown: () => this.#onStepDown(),
        onFollow: () => undefined,
        onDocument: () => undefined,
        onFatal: (error) => life.exit(error),
      },
    });
    life.network.listen(life, CLIENT_PORT, (connection) => this.#accept(connection));
    clock.every(MAINTAIN_MS, () => this.#node.store.housekeeping.maintain());
  }

  get nodeId(): string {
    return this.#node.identity.nodeId;
  }

  /** Undefined until the node has found its set. */
  get member(): SetMember | undefined {
    return this.#node.member;
  }

  handOver(): void {
    void this.#node.handOver();
  }

  /** What this node's readers see, whatever its role. */
  async peek(key: string): Promise<StringResult> {
    const ran = await this.#run(key, { kind: "get" });
    if (typeof ran === "string") throw new Error("a read that cannot be done");
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
      onCommitted: () => this.#release(),
      onRecovering: () => undefined,
    };
  }

  #onStepDown(): Promise<void> {
    this.#term++;
    const gated = this.#gated;
    this.#gated = [];
    const isHasty = this.#options.bug === "gated replies leave at step-down";
    for (const reply of gated) reply.send(isHasty ? "done" : "unknown");
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

  async #answer(connection: Connection, { id, key, call }: ClusterRequest): Promise<void> {
    const isRead = call.kind === "get";
    const send = (outcome: ClusterReply["outcome"], result?: StringResult): void => {
      const reply = { id, outcome, result: outcome === "done" ? result : undefined };
      connection.send(reply, replyBytes(reply));
    };
    const isAdmitted = isRead ? (this.member?.isServing ?? false) : await this.#isAdmitted();
    const term = this.#term;
    const ran = isAdmitted ? await this.#run(key, call) : "refused";
    if (typeof ran === "string") {
      send(ran);
      return;
    }
    if (isRead && !(await this.#mayBeRead())) {
      send("refused");
      return;
    }
    if (term !== this.#term) {
      send("unknown");
      return;
    }
    this.#gate({
      tag: ran.tag,
      send: (outcome) => send(isRead && outcome === "unknown" ? "refused" : outcome, ran.result),
    });
  }

  async #mayBeRead(): Promise<boolean> {
    if (this.#options.bug === "read without a lease") return true;
    const member = this.member!;
    return member.isLeaseValid || (await member.confirm());
  }

  async #isAdmitted(): Promise<boolean> {
    const { clock } = this.#life;
    const endMs = clock.monotonicMs() + ADMISSION_MS_MAX;
    for (;;) {
      const admission = this.member?.admission ?? "not-writer";
      if (admission === "not-writer") return false;
      const { throttled, refusal } = this.#node.store.housekeeping;
      if (refusal !== undefined) return false;
      if (admission === "accept" && throttled === undefined) return true;
      if (clock.monotonicMs() >= endMs) return false;
      await new Promise<void>((resolve) => clock.after(ADMISSION_POLL_MS, resolve));
    }
  }

  async #run(key: string, call: StringCall): Promise<Ran> {
    this.#running++;
    try {
      return await this.#runUnit(this.#node.store, key, call);
    } finally {
      this.#running--;
      if (this.#running === 0) for (const resolve of this.#onQuiet.splice(0)) resolve();
    }
  }

  /** As often as interrupts demand. */
  async #runUnit(store: Store, key: string, call: StringCall): Promise<Ran> {
    const work = new UnitWork();
    const term = this.#term;
    for (;;) {
      if (term !== this.#term) return "refused";
      store.beginBatch();
      store.beginUnit(work);
      try {
        const result = execute(store, Buffer.from(key), call);
        store.endUnit();
        return { result, tag: store.tag };
      } catch (error) {
        store.abortUnit();
        if (error instanceof Refusal) return "refused";
        if (!store.isInterrupt(error)) throw error;
        if (work.pending === undefined) {
          await store.resolve(error);
        } else {
          work.results.push(await work.pending);
          work.pending = undefined;
        }
      }
    }
  }

  #gate(reply: GatedReply): void {
    if (reply.tag <= this.#node.store.committed) reply.send("done");
    else this.#gated.push(reply);
  }

  #release(): void {
    if (this.#gated.length === 0) return;
    const { committed } = this.#node.store;
    const free = this.#gated.filter(({ tag }) => tag <= committed);
    this.#gated = this.#gated.filter(({ tag }) => tag > committed);
    for (const reply of free) reply.send("done");
  }
}

function execute(store: Store, key: Buffer, call: StringCall): StringResult {
  store.select(key, 0, key.length);
  const put = (text: string): void => {
    const value = Buffer.from(text);
    store.put(value, 0, value.length, 0);
  };
  switch (call.kind) {
    case "get":
      return store.find() ? store.copyValue().toString() : null;
    case "set":
      put(call.value);
      return true;
    case "setnx": {
      const exists = store.find();
      if (!exists) put(call.value);
      return !exists;
    }
    case "del":
      return store.remove();
    case "incr": {
      const sum = (store.find() ? Number(store.copyValue().toString()) : 0) + call.by;
      put(`${sum}`);
      return sum;
    }
    case "append": {
      const exists = store.find();
      const value = Buffer.from(call.value);
      return store.patch(exists, exists ? store.valueLength : 0, value, 0, value.length);
    }
  }
}
