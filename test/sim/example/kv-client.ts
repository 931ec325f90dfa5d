/**
 * A simulated client: one operation after the other on keys that change with time, everything noted in the history. An
 * operation without an answer in time has an unknown outcome, and the client goes on with a new connection.
 *
 * Every value is written once. A key serves one purpose and is left after a while, so that unknown outcomes stay few
 * per key: register, claim, counter or list.
 *
 * `bug`: sends an operation again after its outcome became unknown, and notes it as one.
 */
import type { Connection } from "../connection.ts";
import type { History } from "../history.ts";
import type { Life } from "../process.ts";
import type { SimRandom } from "../random.ts";
import type { StringCall } from "../string-model.ts";
import { CLIENT_PORT, type KvReply, type KvRequest, requestBytes } from "./kv-protocol.ts";

export type ClientBug = "retry after an unknown outcome";

export interface ClientOptions {
  readonly id: number;
  readonly server: string;
  readonly history: History;
  readonly bug: ClientBug | undefined;
  /** Between two operations, on average. */
  readonly thinkMicros: number;
  readonly timeoutMs: number;
  /** How long a key is used. */
  readonly keyMs: number;
  readonly valueBytes: number;
  /** False: the client has done enough. */
  goesOn(): boolean;
  /** The server has said something. */
  onAnswer(): void;
}

const KINDS = ["register", "claim", "counter", "list"] as const;
const KEYS_PER_KIND = 2;
const RETRY_MS = 50;

export class KvClient {
  readonly #life: Life;
  readonly #options: ClientOptions;
  readonly #random: SimRandom;
  #connection: Connection | undefined = undefined;
  #nextId = 1;
  #waiting: ((reply: KvReply | undefined) => void) | undefined = undefined;

  constructor(life: Life, options: ClientOptions) {
    this.#life = life;
    this.#options = options;
    this.#random = life.random;
  }

  async run(): Promise<void> {
    while (this.#options.goesOn()) {
      await this.#pause(this.#random.exponential(this.#options.thinkMicros) / 1000);
      await this.operate(this.#chooseKey(), undefined);
    }
  }

  /** One operation, `call` or one that suits the key; whether it was answered. */
  async operate(key: string, wanted: StringCall | undefined): Promise<boolean> {
    const { history, id: client, bug } = this.#options;
    const connection = await this.#connect();
    if (connection === undefined) {
      await this.#pause(RETRY_MS);
      return false;
    }
    const call = wanted ?? this.#chooseCall(key);
    const asked = history.begin(client, key, call);
    let reply = await this.#ask(connection, key, call);
    if (reply === undefined && bug !== undefined) {
      const again = await this.#connect();
      if (again !== undefined) reply = await this.#ask(again, key, call);
    }
    if (reply === undefined) return false;
    this.#options.onAnswer();
    if (reply.result === undefined) asked.refused();
    else asked.answered(reply.result);
    return true;
  }

  #ask(connection: Connection, key: string, call: StringCall): Promise<KvReply | undefined> {
    const request: KvRequest = { id: this.#nextId++, key, call };
    return new Promise((resolve) => {
      const timer = this.#life.clock.after(this.#options.timeoutMs, () => {
        connection.abort();
        this.#connection = undefined;
        end(undefined);
      });
      const end = (reply: KvReply | undefined): void => {
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
    const connection = this.#life.network.connect(this.#life, this.#options.server, CLIENT_PORT);
    this.#connection = connection;
    return new Promise((resolve) => {
      connection.handlers = {
        onOpen: () => resolve(connection),
        onMessage: (message) => this.#waiting?.(message as KvReply),
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
