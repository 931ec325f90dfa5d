/**
 * A single node in the simulator: production's Store on a simulated disk and clock, answering simulated clients. A
 * reply leaves once all that it depends on is committed.
 *
 * `bug` plants a mistake of the kind that the simulator must find.
 */
import { ByteBudget } from "../../../src/base/byte-budget.ts";
import type { SyncPolicy } from "../../../src/store/commit-pipeline.ts";
import { openStore } from "../../../src/store/open-store.ts";
import type { Store } from "../../../src/store/store.ts";
import type { Connection } from "../connection.ts";
import { SimExecutor } from "../executor.ts";
import type { Life } from "../process.ts";
import { execute, runUnit } from "../string-commands.ts";
import type { StringCall, StringResult } from "../string-model.ts";
import type { StoreShape } from "../swarm.ts";
import { CLIENT_PORT, type KvReply, type KvRequest, replyBytes } from "./kv-protocol.ts";

export type ServerBug = "acknowledge before sync";

export interface ServerOptions {
  readonly syncPolicy: SyncPolicy;
  readonly shape: StoreShape;
  readonly bug: ServerBug | undefined;
}

const DIRECTORY = "/data";
const KIB = 1024;
const STEP_MICROS = 200;
const MAINTAIN_MS = 1000;
const FREE_BYTES_MIN = 64 * KIB;

interface GatedReply {
  readonly tag: number;
  send(): void;
}

export class KvServer {
  readonly #life: Life;
  readonly #options: ServerOptions;
  #store!: Store;
  #gated: GatedReply[] = [];

  private constructor(life: Life, options: ServerOptions) {
    this.#life = life;
    this.#options = options;
  }

  static async boot(life: Life, options: ServerOptions): Promise<void> {
    const server = new KvServer(life, options);
    await server.#open();
    life.network.listen(life, CLIENT_PORT, (connection) => server.#accept(connection));
    life.clock.every(MAINTAIN_MS, () => server.#store.housekeeping.maintain());
  }

  async #open(): Promise<void> {
    const life = this.#life;
    const { shape, syncPolicy } = this.#options;
    const { store } = await openStore({
      fileSystem: life.fileSystem,
      directory: DIRECTORY,
      clock: life.clock,
      executor: new SimExecutor(life, STEP_MICROS),
      random: life.random.bytes(24),
      syncPolicy,
      segmentBytes: shape.segmentBytes,
      segmentPoolBytes: shape.segmentBytes * shape.segmentCount,
      tuning: {
        blockBytes: shape.blockBytes,
        cacheBytes: shape.cacheBytes,
        targetTableBytes: shape.targetTableBytes,
        levelBaseBytes: shape.levelBaseBytes,
        level0Trigger: shape.level0Trigger,
        manifestBytes: shape.manifestBytes,
        forceAsync: shape.forceAsync,
        levelMultiplier: 3,
      },
      minFreeDiskBytes: () => FREE_BYTES_MIN,
      valueBytesMax: 1024 * KIB,
      largeBytes: new ByteBudget(1024 * KIB),
      onFatal: (error) => life.exit(error),
      onCommitted: () => this.#release(),
      onRecovering: () => undefined,
    });
    this.#store = store;
  }

  #accept(connection: Connection): void {
    const requests: KvRequest[] = [];
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
        requests.push(message as KvRequest);
        if (!isRunning) run().catch((error: Error) => this.#life.exit(error));
      },
    };
  }

  async #answer(connection: Connection, { id, key, call }: KvRequest): Promise<void> {
    const store = this.#store;
    const isWrite = call.kind !== "get";
    while (isWrite && store.housekeeping.throttled !== undefined) {
      await store.housekeeping.throttled;
    }
    const isRefused = isWrite && store.housekeeping.refusal !== undefined;
    const { result, tag } = isRefused ? { result: undefined, tag: 0 } : await this.#run(key, call);
    const reply: KvReply = { id, result };
    this.#gate({ tag, send: () => connection.send(reply, replyBytes(reply)) });
  }

  async #run(
    key: string,
    call: StringCall,
  ): Promise<{ result: StringResult | undefined; tag: number }> {
    const store = this.#store;
    const ran = await runUnit(store, () => execute(store, Buffer.from(key), call));
    return ran === "refused" ? { result: undefined, tag: 0 } : ran;
  }

  #gate(reply: GatedReply): void {
    const isHasty = this.#options.bug === "acknowledge before sync";
    if (isHasty || reply.tag <= this.#store.committed) reply.send();
    else this.#gated.push(reply);
  }

  #release(): void {
    if (this.#gated.length === 0) return;
    const { committed } = this.#store;
    const free = this.#gated.filter(({ tag }) => tag <= committed);
    this.#gated = this.#gated.filter(({ tag }) => tag > committed);
    for (const reply of free) reply.send();
  }
}
