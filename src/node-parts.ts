/** What every kind of node is put together from: made once by whoever starts it (main.ts, playground.ts). */
import type { ByteBudget } from "./base/byte-budget.ts";
import type { Clock } from "./base/clock.ts";
import type { FileSystem } from "./base/file-system.ts";
import type { Host } from "./base/host.ts";
import type { RootLogger } from "./base/logger.ts";
import { MemoryGuard } from "./base/memory-guard.ts";
import type { ProcessMemory } from "./base/process-memory.ts";
import { CacheSize } from "./cache-size.ts";
import type { StoreLogOptions } from "./cluster/node/store-log.ts";
import type { Config } from "./config/config.ts";
import type { StorageExecutor } from "./lsm/storage-executor.ts";
import type { MemoryPlan } from "./memory-plan.ts";
import type { Server, ServerOptions } from "./server/server.ts";
import type { Store } from "./store/store.ts";

export interface NodeParts {
  readonly config: Config;
  readonly logger: RootLogger;
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  /** Exists, and nobody else uses it. */
  readonly directory: string;
  readonly executor: StorageExecutor;
  readonly plan: MemoryPlan;
  readonly largeBytes: ByteBudget;
  readonly host: Host;
  readonly processMemory: ProcessMemory;
  random(bytes: number): Uint8Array;
  /** A client asks for the end (SHUTDOWN). */
  onShutdown(): void;
  /** The process must end, acknowledging nothing more. */
  onFatal(error: Error): void;
}

export interface RunningNode {
  readonly server: Server;
  /** For clients. */
  readonly port: number;
  /** Answers what is in flight, gives away its role, leaves everything synced. */
  stop(): Promise<void>;
}

const RUN_ID_BYTES = 20;

type CommonStoreOptions = Omit<StoreLogOptions, "random" | "replication" | "onCommitted">;

/** The store, as far as it does not depend on the kind of node. */
export function storeOptions(parts: NodeParts): CommonStoreOptions {
  const { config, logger, clock, fileSystem, directory, executor, plan, largeBytes } = parts;
  const log = logger.child("server");
  return {
    ...{ fileSystem, directory, clock, executor, largeBytes, onFatal: parts.onFatal, ...plan },
    syncPolicy: config.get("appendfsync"),
    minFreeDiskBytes: () => config.get("min-free-disk"),
    onDiskFull: (error) => log.warn({ error }, "no room on the disk: to be tried again"),
    onRecovering: (done, total) => log.info({ done, total }, "replaying the log"),
  };
}

/** The server, as far as it does not depend on the kind of node. */
export function serverOptions(parts: NodeParts): Omit<ServerOptions, "store"> {
  const { largeBytes, config, clock, logger, host, processMemory, onShutdown, onFatal } = parts;
  return {
    ...{ largeBytes, config, clock, logger, host, processMemory, onShutdown, onFatal },
    runId: Buffer.from(parts.random(RUN_ID_BYTES)).toString("hex"),
  };
}

/** Keeps the process inside its memory budget, and uses what is left of it. Begun anew for each store. */
export class BudgetKeeper {
  readonly #parts: NodeParts;
  readonly #guard: MemoryGuard;
  #cacheSize: CacheSize | undefined = undefined;

  constructor(parts: NodeParts, store: Store) {
    this.#parts = parts;
    this.#guard = new MemoryGuard(parts.processMemory, parts.config.memoryBytes);
    this.#guard.watch(parts.clock);
    this.adopt(store);
  }

  adopt(store: Store): void {
    const { config, processMemory, clock } = this.#parts;
    this.#cacheSize?.stop();
    if (config.get("engine-block-cache-percent") !== 0) return;
    const { cache } = store.internals.lsm;
    this.#cacheSize = new CacheSize(cache, processMemory, config.memoryBytes, clock);
  }

  stop(): void {
    this.#guard.stop();
    this.#cacheSize?.stop();
  }
}
