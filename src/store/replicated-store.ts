/**
 * The store of a node that is one of several. It opens as a replica, and each of these leads to the next:
 *
 *   replica ── appendEpochStart, committed, lead() ──► writer ── stepDown(commit) ──► replica, of a store opened anew
 *
 * What a writer has indexed and nobody has committed cannot be taken out of memtable and counts again. So, unless all is
 * committed, as after a handover, stepDown() opens the directory once more, in this process: tables, then the log, of which only what is committed is indexed. The
 * log itself stays as it is; whoever leads next says what of it goes (ReplicaLog.truncateAfter). The Worker stays too.
 *
 * install() opens it anew with a checkpoint in the place of log and tables.
 */
import { assert } from "../base/assert.ts";
import type { StorageExecutor } from "../lsm/storage-executor.ts";
import type { EpochRun } from "../wal/epoch-runs.ts";
import { type Checkpoint, captureCheckpoint } from "./checkpoint.ts";
import { type CheckpointStaging, discardStaged, finishInstallation } from "./checkpoint-staging.ts";
import { openStore, type ReplicationStart, type StoreOptions } from "./open-store.ts";
import type { ReplicaLog } from "./replica-log.ts";
import type { Replicator } from "./replicator.ts";
import type { Store } from "./store.ts";

export interface ReplicatedStoreOptions extends StoreOptions {
  readonly replication: ReplicationStart;
  /** Gets what stores of this directory report, one after the other. */
  readonly replicator: Replicator;
}

/** What the directory tells when it is opened. */
export interface LogFacts {
  readonly runs: readonly EpochRun[];
  readonly last: number;
  readonly commit: number;
  readonly firstRetained: number;
}

export class ReplicatedStore {
  readonly #options: ReplicatedStoreOptions;
  #store: Store;

  private constructor(options: ReplicatedStoreOptions, store: Store) {
    this.#options = options;
    this.#store = store;
  }

  static async open(options: ReplicatedStoreOptions): Promise<ReplicatedStore> {
    const { fileSystem, directory } = options;
    finishInstallation(fileSystem, directory);
    fileSystem.makeDirectory(directory);
    discardStaged(fileSystem, directory);
    const replicated = await openReplica(options, options.replication.commitIndex);
    return new ReplicatedStore(options, replicated);
  }

  /** Another one after stepDown() and install(). */
  get store(): Store {
    return this.#store;
  }

  /** REQUIRES: not the writer. */
  get replica(): ReplicaLog {
    const { replica } = this.#store;
    assert(replica !== undefined, "the writer takes no frames of others");
    return replica;
  }

  get facts(): LogFacts {
    const { log } = this.#store.internals;
    return {
      runs: log.epochRuns,
      last: log.openIndex - 1,
      commit: this.#store.committed,
      firstRetained: log.firstIndex,
    };
  }

  /** This node makes the frames from now on. REQUIRES: its log holds all that is committed, and an epoch of its own. */
  lead(): void {
    this.#store.lead();
  }

  /**
   * Forgets what is not committed: frames behind `commitIndex` stay in the log, but nobody sees them. The open frame is
   * dropped. REQUIRES: no unit runs on the store, and none will until it is done.
   */
  async stepDown(commitIndex: number): Promise<Store> {
    if (this.#store.follow()) return this.#store;
    const { arenas } = this.#store.internals.segments;
    await abandon(this.#store);
    arenas.reclaim();
    this.#store = await openReplica({ ...this.#options, arenas }, commitIndex);
    return this.#store;
  }

  /** The checkpoint takes the place of all that was here. REQUIRES: as for stepDown(); the checkpoint is complete. */
  async install(checkpoint: Pick<CheckpointStaging, "install">): Promise<Store> {
    const { arenas } = this.#store.internals.segments;
    await abandon(this.#store);
    checkpoint.install();
    arenas.reclaim();
    this.#store = await openReplica({ ...this.#options, arenas }, 0);
    return this.#store;
  }

  /** Undefined: not now. REQUIRES: release() before this store is another one. */
  checkpoint(): Promise<Checkpoint | undefined> {
    const { fileSystem, directory } = this.#options;
    return captureCheckpoint(this.#store, fileSystem, directory);
  }

  async close(): Promise<void> {
    await this.#store.close();
    await this.#options.executor.close();
  }
}

/** Lets go of the files, and closes no frame: another store goes on with the directory. */
export async function abandon(store: Store): Promise<void> {
  await store.housekeeping.close();
  await store.pipeline.abandon();
  await store.close();
}

/** Outlives the store that it is given to. */
function borrowed(executor: StorageExecutor): StorageExecutor {
  return { run: (job) => executor.run(job), close: () => Promise.resolve() };
}

async function openReplica(options: ReplicatedStoreOptions, commitIndex: number): Promise<Store> {
  const { store } = await openStore({
    ...options,
    executor: borrowed(options.executor),
    replication: { ...options.replication, commitIndex },
  });
  store.pipeline.replicator = options.replicator;
  return store;
}
