/**
 * What the store does by itself, driven by the clock: removing expired keys, slowing writers that tables cannot
 * follow, refusing writes on a disk that is nearly full, tidying when nothing is written. A replica does only what needs
 * no frame of its own: the writer removes what has expired.
 */
import type { Timer } from "../base/clock.ts";
import type { ExpiredBatch } from "../lsm/storage-job.ts";
import { ExpirySweep } from "./expiry-sweep.ts";
import { SUSPENDED } from "./interrupt.ts";
import type { Store } from "./store.ts";
import type { StoreParts } from "./store-parts.ts";

const DISK_FULL =
  "MISCONF Writes are refused: the disk is nearly full (min-free-disk). Free some space; reads go on.";
const DISK_CHECK_MS = 1000;
/** Seconds without a write after which the log is flushed and tables are merged, for space and a quick restart. */
const IDLE_SECONDS = 2;
const THROTTLE_MS_MAX = 20;
/** How much more than small writes large values are slowed, and for how long after each slice at most. */
const LARGE_PRESSURE = 4;
const LARGE_WAIT_MS_MAX = 50;
const SWEEP_INTERVAL_MS = 100;
const SWEEP_RECORDS = 20_000;
const EXPIRED_PER_TURN = 64;

export class Housekeeping {
  readonly #parts: StoreParts;
  readonly #store: Store;
  readonly #sweep: ExpirySweep;
  readonly #diskTimer: Timer;
  readonly #sweepTimer: Timer;
  readonly #removals = new Set<Promise<void>>();
  #isClosing = false;
  #isSweeping = false;
  #sequenceSeen = 0;
  #idleSeconds = 0;
  /** Why writes are refused, as an error reply; undefined while they are not. */
  refusal: string | undefined = undefined;
  /** What writers must wait for while tables cannot keep up; undefined: nothing. */
  throttled: Promise<void> | undefined = undefined;
  /** Milliseconds for which writers have been held back. */
  throttledMs = 0;

  constructor(parts: StoreParts, store: Store) {
    this.#parts = parts;
    this.#store = store;
    this.#sweep = new ExpirySweep(parts.segments);
    const { clock } = parts.options;
    this.#sweepTimer = clock.every(SWEEP_INTERVAL_MS, () => this.#sweepExpired());
    this.#diskTimer = clock.every(DISK_CHECK_MS, () => this.checkDisk());
    this.checkDisk();
  }

  /** Begins nothing more; resolves when what runs now has ended. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#diskTimer.cancel();
    this.#sweepTimer.cancel();
    await Promise.allSettled(this.#removals);
  }

  /** Once a second: work that only the clock makes due. */
  maintain(): void {
    const { lsm, log, segments, pipeline } = this.#parts;
    lsm.maintain();
    segments.retry();
    if (this.#store.replica !== undefined) return;
    const { nextSequence } = log;
    this.#idleSeconds = nextSequence === this.#sequenceSeen ? this.#idleSeconds + 1 : 0;
    this.#sequenceSeen = nextSequence;
    if (this.#idleSeconds >= IDLE_SECONDS) segments.tidy(pipeline);
  }

  /** Slows writers the more, the further tables are behind; at pressure 1 they stop. */
  throttle(): void {
    const { lsm, options } = this.#parts;
    const pressure = this.#store.replica === undefined ? lsm.writePressure : 0;
    if (pressure === 0 || this.throttled !== undefined) return;
    this.throttled = new Promise((resolve) => {
      const check = (): void => {
        const isOver = this.#isClosing || this.#store.isSuspended || this.refusal !== undefined;
        if (lsm.writePressure >= 1 && !isOver) {
          options.clock.after(THROTTLE_MS_MAX, check);
          return;
        }
        this.throttled = undefined;
        resolve();
      };
      this.throttledMs += pressure * THROTTLE_MS_MAX;
      options.clock.after(Math.max(1, pressure * THROTTLE_MS_MAX), check);
    });
  }

  /**
   * Large values leave some arenas to small writes, which would have to wait for a flush otherwise, and slow down
   * before those do when tables are behind.
   */
  async logRoom(): Promise<void> {
    const { segments, lsm, options } = this.#parts;
    while (segments.isShort && !this.#store.isSuspended) await segments.arenaFreed();
    const waitMs = Math.min(1, lsm.writePressure * LARGE_PRESSURE) * LARGE_WAIT_MS_MAX;
    if (waitMs > 0) await new Promise<void>((resolve) => options.clock.after(waitMs, resolve));
  }

  /** Tables saw that these keys have expired: removes those whose newest record has. */
  expireBatch(batch: ExpiredBatch): void {
    if (this.#store.replica !== undefined) return;
    this.#report(this.#removeExpired(batch));
  }

  async #removeExpired(batch: ExpiredBatch): Promise<void> {
    const bytes = Buffer.from(batch.keys.buffer, batch.keys.byteOffset, batch.keys.byteLength);
    for (let i = 0; i < batch.count; i++) {
      const start = batch.keyEnds[i - 1] ?? 0;
      if (i % EXPIRED_PER_TURN === 0) await this.#store.nextTurn();
      if (this.#isClosing || this.refusal !== undefined) return;
      await this.#removeIfExpired(bytes, start, batch.keyEnds[i]!);
    }
  }

  /** Looks for expired keys among the records of unflushed segments, some at a time. */
  #sweepExpired(): void {
    if (this.#isClosing || this.#isSweeping || this.refusal !== undefined) return;
    if (this.#store.replica !== undefined) return;
    const due: Buffer[] = [];
    const nowMs = Math.max(this.#parts.options.clock.wallMs(), this.#parts.log.clockMs);
    this.#sweep.step(SWEEP_RECORDS, nowMs, (bytes, start, end) => {
      due.push(Buffer.from(bytes.subarray(start, end)));
    });
    if (due.length === 0) return;
    this.#isSweeping = true;
    const remove = async () => {
      for (const [index, key] of due.entries()) {
        if (index % EXPIRED_PER_TURN === 0) await this.#store.nextTurn();
        if (this.#isClosing || this.refusal !== undefined) return;
        await this.#removeIfExpired(key, 0, key.length);
      }
    };
    const removal = remove().finally(() => {
      this.#isSweeping = false;
    });
    this.#report(removal);
  }

  /** find() removes what has expired. */
  async #removeIfExpired(bytes: Buffer, start: number, end: number): Promise<void> {
    if (this.#isClosing) return;
    const removal = this.#store.runUnit(() => {
      this.#store.select(bytes, start, end);
      // What is on the move stays as it is; whoever owns it then removes what has expired.
      if (!this.#parts.slotMoves.isHeld(this.#store.selectedSlot)) this.#store.find();
    });
    this.#removals.add(removal);
    await removal.finally(() => this.#removals.delete(removal));
  }

  #report(work: Promise<void>): void {
    work.catch((error: Error) => {
      if (error !== SUSPENDED) this.#parts.options.onFatal(error);
    });
  }

  /** Refuses writes, or takes them again. */
  checkDisk(): void {
    const { lsm, options, segments } = this.#parts;
    // Writers would wait for tables that cannot be merged, or for memory that cannot be flushed.
    const isStuck = segments.isDiskFull || (lsm.lacksRoom && lsm.writePressure >= 1);
    const isFull = options.fileSystem.freeBytes(options.directory) < options.minFreeDiskBytes();
    this.refusal = isStuck || isFull ? DISK_FULL : undefined;
  }
}
