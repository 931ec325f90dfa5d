/**
 * A simulated client of a replica set: one operation after the other, at whichever node takes it, everything noted in
 * the history. What is refused is tried elsewhere; an operation without an answer in time has an unknown outcome.
 *
 * Every value is written once. A key serves one purpose and is left after a while: register, claim, counter or list.
 */
import type { Connection } from "../connection.ts";
import type { History } from "../history.ts";
import type { Life } from "../process.ts";
import type { SimRandom } from "../random.ts";
import type { StringCall } from "../string-model.ts";
import {
  CLIENT_PORT,
  type ClusterReply,
  type ClusterRequest,
  requestBytes,
} from "./cluster-protocol.ts";

export interface ClientOptions {
  readonly id: number;
  readonly servers: readonly string[];
  readonly history: History;
  /** Between two operations, on average. */
  readonly thinkMicros: number;
  readonly timeoutMs: number;
  /** How long a key is used. */
  readonly keyMs: number;
  readonly valueBytes: number;
  /** False: the client has done enough. */
  goesOn(): boolean;
  /** A server has done what it was asked. */
  onAnswer(): void;
}

const KINDS = ["register", "claim", "counter", "list"] as const;
const KEYS_PER_KIND = 2;
const RETRY_MS = 50;

export class ClusterClient {
  readonly #life: Life;
  readonly #options: ClientOptions;
  readonly #random: SimRandom;
  #server: string;
  #connection: Connection | undefined = undefined;
  #nextId = 1;
  #waiting: ((reply: ClusterReply | undefined) => void) | undefined = undefined;

  constructor(life: Life, options: ClientOptions) {
    this.#life = life;
    this.#options = options;
    this.#random = life.random;
    this.#server = life.random.pick(options.servers);
  }

  async run(): Promise<void> {
    while (this.#options.goesOn()) {
      await this.#pause(this.#random.exponential(this.#options.thinkMicros) / 1000);
      await this.operate(this.#chooseKey(), undefined);
    }
  }

  /** One operation, `call` or one that suits the key; whether it was done. */
  async operate(key: string, wanted: StringCall | undefined): Promise<boolean> {
    const { history, id: client } = this.#options;
    const connection = await this.#connect();
    if (connection === undefined) {
      this.#goElsewhere();
      await this.#pause(RETRY_MS);
      return false;
    }
    const call = wanted ?? this.#chooseCall(key);
    const asked = history.begin(client, key, call);
    const reply = await this.#ask(connection, key, call);
    if (reply?.outcome === "done" && reply.result !== undefined) {
      asked.answered(reply.result);
      this.#options.onAnswer();
      return true;
    }
    if (reply?.outcome === "refused") asked.refused();
    this.#goElsewhere();
    await this.#pause(RETRY_MS);
    return false;
  }

  #goElsewhere(): void {
    this.#connection?.abort();
    this.#connection = undefined;
    this.#server = this.#random.pick(this.#options.servers);
  }

  #ask(connection: Connection, key: string, call: StringCall): Promise<ClusterReply | undefined> {
    const request: ClusterRequest = { id: this.#nextId++, key, call };
    return new Promise((resolve) => {
      const timer = this.#life.clock.after(this.#options.timeoutMs, () => end(undefined));
      const end = (reply: ClusterReply | undefined): void => {
        timer.cancel();
        this.#waiting = undefined;
        resolve(reply);
      };
      this.#waiting = (reply) => {
        if (reply === undefined || reply.id === request.id) end(reply);
      };
      connection.send(request, requestBytes(request));
    });
  }

  #connect(): Promise<Connection | undefined> {
    const open = this.#connection;
    if (open?.isOpen === true && !open.isClosed) return Promise.resolve(open);
    const connection = this.#life.network.connect(this.#life, this.#server, CLIENT_PORT);
    this.#connection = connection;
    return new Promise((resolve) => {
      connection.handlers = {
        onOpen: () => resolve(connection),
        onMessage: (message) => this.#waiting?.(message as ClusterReply),
        onClose: () => {
          resolve(undefined);
          if (this.#connection === connection) this.#waiting?.(undefined);
        },
      };
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#life.clock.after(ms, resolve));
  }

  #chooseKey(): string {
    const round = Math.floor(this.#life.nowMicros() / 1000 / this.#options.keyMs);
    return `${this.#random.pick(KINDS)}-${this.#random.below(KEYS_PER_KIND)}-${round}`;
  }

  #chooseCall(key: string): StringCall {
    if (this.#random.chance(0.35)) return { kind: "get" };
    const { id, valueBytes } = this.#options;
    const unique = `[${id}.${this.#nextId}]`;
    switch (key.slice(0, key.indexOf("-"))) {
      case "register":
        return { kind: "set", value: unique.padEnd(this.#random.below(valueBytes), "x") };
      case "claim":
        return this.#random.chance(0.5) ? { kind: "del" } : { kind: "setnx", value: unique };
      case "counter":
        return { kind: "incr", by: this.#random.between(1, 3) };
      default:
        return { kind: "append", value: unique };
    }
  }
}
