/**
 * Storage jobs on the event loop, a step between turns: for several nodes in one process, where a Worker for each
 * would take more memory than their data. A step takes about a millisecond; rates of compaction are not kept.
 */
import type { Clock } from "../base/clock.ts";
import type { FileSystem } from "../base/file-system.ts";
import { InlineExecutor, type StorageExecutor } from "./storage-executor.ts";
import type { StorageJob, StorageResult } from "./storage-job.ts";

export class TurnExecutor implements StorageExecutor {
  readonly #inner: InlineExecutor;
  readonly #clock: Clock;
  #isStepping = false;

  constructor(fileSystem: FileSystem, clock: Clock) {
    const nowMicros = () => clock.monotonicMicros();
    this.#inner = new InlineExecutor(fileSystem, { stepwise: true, nowMicros });
    this.#clock = clock;
  }

  run(job: StorageJob): Promise<StorageResult> {
    const result = this.#inner.run(job);
    if (!this.#isStepping) {
      this.#isStepping = true;
      this.#clock.immediate(this.#step);
    }
    return result;
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  readonly #step = (): void => {
    this.#isStepping = this.#inner.step();
    if (this.#isStepping) this.#clock.immediate(this.#step);
  };
}
