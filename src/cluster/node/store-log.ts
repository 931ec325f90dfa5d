/**
 * The log of a member as its store keeps it.
 *
 *   following   frames of others go into the log, and into memtable and tables when they are committed
 *   leading     the store makes frames; replies wait for commit()
 *
 * A store that has led is opened anew to follow again, and so is one whose place a checkpoint takes: `store` is another
 * one then.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import type { Checkpoint } from "../../store/checkpoint.ts";
import { ReplicatedStore, type ReplicatedStoreOptions } from "../../store/replicated-store.ts";
import type { Store } from "../../store/store.ts";
import type {
  FrameBytes,
  InstallableCheckpoint,
  LogEvents,
  LogStanding,
  ReplicatedLog,
} from "./replicated-log.ts";

export type StoreLogOptions = Omit<ReplicatedStoreOptions, "replicator">;

interface Listener {
  events: LogEvents | undefined;
}

export class StoreLog implements ReplicatedLog {
  readonly #replicated: ReplicatedStore;
  readonly #clock: Clock;
  readonly #retainBytesMax: number;
  readonly #onFatal: (error: Error) => void;
  /** Members sync before they acknowledge. */
  readonly #isSynced: boolean;
  readonly #listener: Listener;
  #retainFrom = 0;
  /** For one other node. */
  #kept = { first: Number.POSITIVE_INFINITY, bytes: 0 };
  /** For another replica set. */
  #heldFrom = Number.POSITIVE_INFINITY;

  private constructor(replicated: ReplicatedStore, listener: Listener, options: StoreLogOptions) {
    this.#replicated = replicated;
    this.#listener = listener;
    this.#clock = options.clock;
    this.#retainBytesMax = options.replication.retainBytesMax;
    this.#isSynced = options.syncPolicy === "always";
    this.#onFatal = (error) => options.onFatal(error);
  }

  static async open(options: StoreLogOptions): Promise<StoreLog> {
    const listener: Listener = { events: undefined };
    const replicator = {
      onWritten: (index: number) => listener.events?.onWritten(index),
      onDurable: (index: number) => listener.events?.onDurable(index),
    };
    const replicated = await ReplicatedStore.open({ ...options, replicator });
    const log = new StoreLog(replicated, listener, options);
    log.#adoptStore();
    return log;
  }

  get store(): Store {
    return this.#replicated.store;
  }

  get standing(): LogStanding {
    return this.#replicated.facts;
  }

  bind(events: LogEvents): void {
    this.#listener.events = events;
  }

  appendFrames(frames: Uint8Array): void | Promise<void> {
    const bytes = Buffer.from(frames.buffer, frames.byteOffset, frames.length);
    const taken = this.#replicated.replica.appendFrames(bytes);
    // The rest outlasts the event, what it was borrowed from does not.
    if (taken < bytes.length) return this.#appendRest(Buffer.from(bytes.subarray(taken)));
  }

  appendEpochStart(epoch: number): void | Promise<void> {
    const { replica } = this.#replicated;
    if (replica.appendEpochStart(epoch, this.#clock.wallMs())) return;
    return replica.arenaFreed().then(() => this.appendEpochStart(epoch));
  }

  async truncateAfter(last: number): Promise<void> {
    await this.#replicated.replica.truncateAfter(last);
  }

  commit(index: number): void {
    const { store } = this;
    if (store.replica !== undefined) {
      store.replica.commit(index);
      return;
    }
    store.internals.log.commitIndex = index;
    store.pipeline.commit(index);
  }

  lead(): void {
    this.#replicated.lead();
  }

  async follow(commit: number, last: number): Promise<void> {
    // A claimant has made nothing that anybody could have read.
    if (this.store.replica === undefined) {
      await this.#replicated.stepDown(commit);
      this.#adoptStore();
    }
    if (last < this.standing.last) await this.truncateAfter(last);
    this.#listener.events?.onDurable(last);
  }

  async install(checkpoint: InstallableCheckpoint): Promise<LogStanding> {
    await this.#replicated.install(checkpoint);
    this.#adoptStore();
    const { standing } = this;
    assert(standing.commit === standing.last, "a checkpoint whose log is not committed");
    return standing;
  }

  /** What other nodes can begin from, and keeps the log behind it for one of them. Undefined: there is none now. */
  async checkpoint(): Promise<Checkpoint | undefined> {
    this.keepFor(this.store.internals.log.firstIndex, 0);
    const checkpoint = await this.#replicated.checkpoint();
    if (checkpoint === undefined) this.keepFor(undefined);
    else this.keepFor(checkpoint.last, checkpoint.bytes);
    return checkpoint;
  }

  /**
   * Keeps frames from `first` on for a node that has got a checkpoint, for as many bytes more as that had: with more log
   * than data behind it the next checkpoint costs less than what is kept. Undefined: for nobody.
   */
  keepFor(first: number | undefined, bytes = this.#kept.bytes): void {
    this.#kept = {
      first: first ?? Number.POSITIVE_INFINITY,
      bytes: first === undefined ? 0 : bytes,
    };
    this.#retain();
  }

  closeFrame(): void {
    this.store.pipeline.endTurn();
  }

  sync(): void {
    this.store.pipeline.requestSync();
  }

  readFrames(
    first: number,
    last: number,
    bytesMax: number,
  ): FrameBytes | undefined | Promise<FrameBytes | undefined> {
    return this.store.internals.log.readFrames(first, last, bytesMax);
  }

  retain(first: number): void {
    if (first === this.#retainFrom) return;
    this.#retainFrom = first;
    // Elsewhere it is not on stable storage, or nobody knows: what a frame calls durable must be.
    if (this.#isSynced) this.store.internals.log.durableEverywhere = first - 1;
    this.#retain();
  }

  /** Keeps frames from `first` on, within the budget, since slots are on their way to another set; infinite: none. */
  holdFor(first: number): void {
    if (first === this.#heldFrom) return;
    this.#heldFrom = first;
    this.#retain();
  }

  /** Syncs what is written. Nothing may run on the store. */
  close(): Promise<void> {
    return this.#replicated.close();
  }

  #retain(): void {
    const from = Math.min(this.#retainFrom, this.#kept.first, this.#heldFrom);
    const bytesMax = this.#retainBytesMax + this.#kept.bytes;
    try {
      this.store.internals.log.retain({ from, bytesMax });
    } catch (error) {
      this.#onFatal(error as Error);
    }
  }

  async #appendRest(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      await this.#replicated.replica.arenaFreed();
      at += this.#replicated.replica.appendFrames(bytes.subarray(at));
    }
  }

  /** What a new store does not know. */
  #adoptStore(): void {
    const { log } = this.store.internals;
    this.#retainFrom = 0;
    this.#kept = { first: Number.POSITIVE_INFINITY, bytes: 0 };
    this.#heldFrom = Number.POSITIVE_INFINITY;
    log.durableEverywhere = 0;
    log.onDeleted = (first) => this.#listener.events?.onDeleted(first);
  }
}
