/**
 * A simulated client of a cluster: one operation after the other, at the node that it takes for the writer of the key,
 * or, for some reads, at any node; everything noted in the history. What is refused is tried elsewhere; an operation
 * without an answer in time has an unknown outcome.
 *
 *   by documents   a coordinator of its own says who the writer is
 *   by refusal     whoever is asked says whom to ask instead
 *
 * Every value is written once. A key serves one purpose and is left after a while: register, claim, counter, list, or
 * something that expires.
 */
import { slotOf } from "../../../src/base/slot.ts";
import { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import type { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import type { Connection } from "../connection.ts";
import type { Asked, History } from "../history.ts";
import type { Life } from "../process.ts";
import type { SimRandom } from "../random.ts";
import type { StringCall } from "../string-model.ts";
import {
  CLIENT_PORT,
  type ClusterReply,
  type ClusterRequest,
  requestBytes,
} from "./cluster-protocol.ts";
import type { ClientMix } from "./cluster-swarm.ts";
import { TopologyReader } from "./topology-reader.ts";

export interface ClientOptions {
  readonly id: number;
  readonly servers: readonly string[];
  readonly history: History;
  readonly mix: ClientMix;
  /** Given: it reads documents. */
  readonly ensemble: MemoryEnsemble | undefined;
  /** False: the client has done enough. */
  goesOn(): boolean;
  /** A writer has done what it was asked. */
  onAnswer(): void;
}

const KINDS = ["register", "claim", "counter", "list", "expiring"] as const;
const RETRY_MS = 50;
const READ_SHARE = 0.35;
const SESSION_MS = 4000;

export class ClusterClient {
  readonly #life: Life;
  readonly #options: ClientOptions;
  readonly #random: SimRandom;
  readonly #topology: TopologyReader | undefined = undefined;
  readonly #connections = new Map<string, Connection>();
  /** Who was named as the writer of a slot. */
  readonly #named = new Map<number, string>();
  #nextId = 1;
  #lastValue = 0;
  /** The connection that a request was sent on, and who waits for its reply. */
  #asking: Connection | undefined = undefined;
  #waiting: ((reply: ClusterReply | undefined) => void) | undefined = undefined;

  constructor(life: Life, options: ClientOptions) {
    this.#life = life;
    this.#options = options;
    this.#random = life.random;
    if (options.ensemble === undefined) return;
    const coordinator = new MemoryCoordinator(options.ensemble, {
      clock: life.clock,
      sessionTimeoutMs: SESSION_MS,
      latencyMs: () => this.#random.exponential(1),
    });
    this.#topology = new TopologyReader(coordinator);
    this.#topology.refresh();
  }

  async run(): Promise<void> {
    const { mix } = this.#options;
    while (this.#options.goesOn()) {
      await this.#pause(this.#random.exponential(mix.thinkMicros) / 1000);
      const key = this.#chooseKey();
      const isRead = this.#random.chance(READ_SHARE);
      if (isRead && this.#random.chance(mix.replicaShare)) await this.#readAnywhere(key);
      else await this.operate(key, isRead ? { kind: "get" } : this.#chooseWrite(key));
    }
  }

  /** One operation; whether it was done. */
  async operate(key: string, call: StringCall): Promise<boolean> {
    const slot = slotOf(Buffer.from(key), 0, Buffer.byteLength(key));
    const server = this.#writerOf(slot);
    const connection = await this.#connect(server);
    if (connection === undefined) {
      this.#named.delete(slot);
      await this.#retryLater();
      return false;
    }
    const asked = this.#options.history.begin(this.#options.id, key, call);
    const reply = await this.#ask(connection, { key, call, isReplicaRead: false });
    if (this.#isDone(asked, reply)) return true;
    if (reply?.outcome === "refused") asked.refused();
    else this.#drop(server);
    this.#named.delete(slot);
    if (reply?.to !== undefined && reply.to !== server) this.#named.set(slot, reply.to);
    await this.#retryLater();
    return false;
  }

  /** A replica's answer, or the writer's if it is the one that is asked. */
  async #readAnywhere(key: string): Promise<void> {
    const { history, id, servers } = this.#options;
    const server = this.#random.pick(servers);
    const connection = await this.#connect(server);
    if (connection === undefined) return;
    const call = { kind: "get" } as const;
    const asked = history.begin(id, key, call);
    const reply = await this.#ask(connection, { key, call, isReplicaRead: true });
    if (reply?.replica !== undefined && reply.result !== undefined)
      asked.seenAt(reply.replica, reply.result);
    else if (!this.#isDone(asked, reply)) asked.refused();
    if (reply === undefined) this.#drop(server);
  }

  #isDone(asked: Asked, reply: ClusterReply | undefined): boolean {
    if (reply?.outcome !== "done" || reply.result === undefined) return false;
    asked.answered(reply.result);
    this.#options.onAnswer();
    return true;
  }

  #writerOf(slot: number): string {
    const known = this.#named.get(slot) ?? this.#topology?.writerOf(slot);
    return known ?? this.#random.pick(this.#options.servers);
  }

  #retryLater(): Promise<void> {
    this.#topology?.refresh();
    return this.#pause(this.#random.exponential(RETRY_MS));
  }

  #drop(server: string): void {
    this.#connections.get(server)?.abort();
    this.#connections.delete(server);
  }

  #ask(
    connection: Connection,
    asked: Omit<ClusterRequest, "id">,
  ): Promise<ClusterReply | undefined> {
    const request: ClusterRequest = { ...asked, id: this.#nextId++ };
    return new Promise((resolve) => {
      const { timeoutMs } = this.#options.mix;
      const timer = this.#life.clock.after(timeoutMs, () => end(undefined));
      const end = (reply: ClusterReply | undefined): void => {
        timer.cancel();
        this.#waiting = undefined;
        resolve(reply);
      };
      this.#waiting = (reply) => {
        if (reply === undefined || reply.id === request.id) end(reply);
      };
      this.#asking = connection;
      connection.send(request, requestBytes(request));
    });
  }

  #connect(server: string): Promise<Connection | undefined> {
    const open = this.#connections.get(server);
    if (open?.isOpen === true && !open.isClosed) return Promise.resolve(open);
    const connection = this.#life.network.connect(this.#life, server, CLIENT_PORT);
    this.#connections.set(server, connection);
    const { timeoutMs } = this.#options.mix;
    return new Promise((resolve) => {
      const timer = this.#life.clock.after(timeoutMs, () => {
        connection.abort();
        resolve(undefined);
      });
      connection.handlers = {
        onOpen: () => {
          timer.cancel();
          resolve(connection);
        },
        onMessage: (message) => this.#waiting?.(message as ClusterReply),
        onClose: () => {
          timer.cancel();
          resolve(undefined);
          if (this.#asking === connection) this.#waiting?.(undefined);
        },
      };
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#life.clock.after(ms, resolve));
  }

  #chooseKey(): string {
    const { keyMs, keysPerKind } = this.#options.mix;
    const round = Math.floor(this.#life.nowMicros() / 1000 / keyMs);
    return `${this.#random.pick(KINDS)}-${this.#random.below(keysPerKind)}-${round}`;
  }

  #chooseWrite(key: string): StringCall {
    const { id, mix } = this.#options;
    const unique = `[${id}.${++this.#lastValue}]`;
    switch (key.slice(0, key.indexOf("-"))) {
      case "register":
        return { kind: "set", value: unique.padEnd(this.#random.below(mix.valueBytes), "x") };
      case "claim":
        return this.#random.chance(0.5) ? { kind: "del" } : { kind: "setnx", value: unique };
      case "counter":
        return { kind: "incr", by: this.#random.between(1, 3) };
      case "expiring": {
        const ms = 1 + Math.floor(this.#random.exponential(mix.expiryMs));
        return { kind: "setpx", value: unique, ms };
      }
      default:
        return { kind: "append", value: unique };
    }
  }
}
