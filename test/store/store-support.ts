/**
 * A real Store on a temporary directory, with segments of a MiB so that a few thousand writes make flushes, and what
 * tests of it need: a clock whose wall time can be moved, a kill, and a model of what the store must hold.
 */

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { SystemClock, type Timer } from "../../src/base/clock.ts";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { InlineExecutor, type StorageExecutor } from "../../src/lsm/storage-executor.ts";
import type { StorageJob, StorageResult } from "../../src/lsm/storage-job.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { Store } from "../../src/store/store.ts";

/** The system's clock; its wall time can be moved, and its timers die with the store they were made for. */
export class MovableClock extends SystemClock {
  readonly #timers: Timer[] = [];
  shiftMs = 0;

  override wallMs(): number {
    return super.wallMs() + this.shiftMs;
  }

  override every(intervalMs: number, action: () => void): Timer {
    const timer = super.every(intervalMs, action);
    this.#timers.push(timer);
    return timer;
  }

  cancelTimers(): void {
    for (const timer of this.#timers.splice(0)) timer.cancel();
  }
}

/** Does a job some turns after it was given and answers some turns later, so that others see it in progress. */
class SlowExecutor implements StorageExecutor {
  readonly #inner: InlineExecutor;
  #last: Promise<unknown> = Promise.resolve();

  constructor(fileSystem: DiskFileSystem) {
    this.#inner = new InlineExecutor(fileSystem);
  }

  run(job: StorageJob): Promise<StorageResult> {
    const result = this.#run(job);
    this.#last = Promise.allSettled([this.#last, result]);
    return result;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#inner.close();
  }

  async #run(job: StorageJob): Promise<StorageResult> {
    for (let turn = 0; turn < TURNS; turn++) await Bun.sleep(0);
    const result = await this.#inner.run(job);
    for (let turn = 0; turn < TURNS; turn++) await Bun.sleep(0);
    return result;
  }
}

const TURNS = 3;

export class StoreFixture {
  store: Store;
  readonly clock = new MovableClock();
  readonly #directories: string[];
  readonly #errors: Error[];

  private constructor(store: Store, directories: string[], clock: MovableClock, errors: Error[]) {
    this.store = store;
    this.#directories = directories;
    this.clock = clock;
    this.#errors = errors;
  }

  static async open(): Promise<StoreFixture> {
    const directory = mkdtempSync(`${tmpdir()}/dkv-store-`);
    const clock = new MovableClock();
    const errors: Error[] = [];
    return new StoreFixture(await openAt(directory, clock, errors), [directory], clock, errors);
  }

  /** Runs `action` as one unit and waits until it is committed. */
  async run(action: (store: Store) => void): Promise<void> {
    const { store } = this;
    await store.runUnit(() => action(store));
    while (store.internals.log.hasOpenRecords) await Bun.sleep(0);
    if (this.#errors.length > 0) throw this.#errors[0];
  }

  /** Puts all segments but the active one into tables. */
  async flush(): Promise<void> {
    await this.store.internals.segments.flush();
  }

  /** Ends the process as far as the disk can tell, and starts another one on what is there. */
  async kill(): Promise<void> {
    const from = this.#directories.at(-1)!;
    const to = mkdtempSync(`${tmpdir()}/dkv-store-`);
    cpSync(from, to, { recursive: true });
    await this.#close();
    this.#directories.push(to);
    this.store = await openAt(to, this.clock, this.#errors);
  }

  /** Stops and starts. */
  async reopen(): Promise<void> {
    await this.#close();
    this.store = await openAt(this.#directories.at(-1)!, this.clock, this.#errors);
  }

  async close(): Promise<void> {
    await this.#close();
    for (const directory of this.#directories) rmSync(directory, { recursive: true });
    if (this.#errors.length > 0) throw this.#errors[0];
  }

  async #close(): Promise<void> {
    await this.store.close();
    this.clock.cancelTimers();
  }
}

async function openAt(directory: string, clock: MovableClock, errors: Error[]): Promise<Store> {
  const fileSystem = new DiskFileSystem();
  const { store } = await openStore({
    fileSystem,
    directory,
    clock,
    executor: new SlowExecutor(fileSystem),
    random: new Uint8Array(24).map((_, index) => index * 7 + 1),
    syncPolicy: "no",
    segmentBytes: 1 << 20,
    segmentPoolBytes: 6 << 20,
    tuning: { targetTableBytes: 256 * 1024, levelBaseBytes: 1 << 20, level0Trigger: 2 },
    minFreeDiskBytes: () => 0,
    largeBytes: new ByteBudget(64 << 20),
    valueBytesMax: 64 << 20,
    onFatal: (error) => errors.push(error),
    onCommitted: () => undefined,
    onRecovering: () => undefined,
  });
  return store;
}
