/**
 * The log of a member as its store keeps it.
 *
 *   following   frames of others go into the log, and into memtable and tables when they are committed
 *   leading     the store makes frames; replies wait for commit()
 *
 * A store that has led is opened anew to follow again: `store` is another one then.
 */
import type { Clock } from "../../base/clock.ts";
import { ReplicatedStore, type ReplicatedStoreOptions } from "../../store/replicated-store.ts";
import type { Store } from "../../store/store.ts";
import type { FrameBytes, LogEvents, LogStanding, ReplicatedLog } from "./replicated-log.ts";

export type StoreLogOptions = Omit<ReplicatedStoreOptions, "replicator">;

interface Listener {
  events: LogEvents | undefined;
}

export class StoreLog implements ReplicatedLog {
  readonly #replicated: ReplicatedStore;
  readonly #clock: Clock;
  readonly #retainBytesMax: number;
  readonly #listener: Listener;
  #retainFrom = 0;

  private constructor(replicated: ReplicatedStore, listener: Listener, options: StoreLogOptions) {
    this.#replicated = replicated;
    this.#listener = listener;
    this.#clock = options.clock;
    this.#retainBytesMax = options.replication.retainBytesMax;
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
    const { log } = this.store.internals;
    log.durableEverywhere = first - 1;
    log.retain({ from: first, bytesMax: this.#retainBytesMax });
  }

  /** Syncs what is written. Nothing may run on the store. */
  close(): Promise<void> {
    return this.#replicated.close();
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
    log.durableEverywhere = 0;
    log.onDeleted = (first) => this.#listener.events?.onDeleted(first);
  }
}
