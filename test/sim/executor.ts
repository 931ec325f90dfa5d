/**
 * Storage jobs in virtual time: production's job runner, one step after the other while events go on in between, as
 * the Worker would do them. What its reads and syncs take delays its next step, not the event loop.
 */
import type { FileSystem } from "../../src/base/file-system.ts";
import { InlineExecutor, type StorageExecutor } from "../../src/lsm/storage-executor.ts";
import type { StorageJob, StorageResult } from "../../src/lsm/storage-job.ts";
import type { DiskHost } from "./disk.ts";
import type { Life } from "./process.ts";
import type { SimEvent } from "./scheduler.ts";

export class SimExecutor implements StorageExecutor, DiskHost {
  readonly #life: Life;
  readonly #inner: InlineExecutor;
  readonly #stepMicros: number;
  #isStepping = false;
  #spent = 0;

  /** `stepMicros`: what a step of a job computes, on average. */
  constructor(life: Life, stepMicros: number) {
    this.#life = life;
    this.#stepMicros = stepMicros;
    const fileSystem: FileSystem = life.process.disk.mount(this);
    this.#inner = new InlineExecutor(fileSystem, {
      stepwise: true,
      nowMicros: () => life.clock.monotonicMicros(),
    });
  }

  get isAlive(): boolean {
    return this.#life.isAlive;
  }

  spend(micros: number): void {
    this.#spent += micros;
  }

  after(delayMicros: number, what: string, action: () => void): SimEvent {
    return this.#life.after(delayMicros, what, action);
  }

  crash(kind: "kill" | "power"): void {
    this.#life.crash(kind);
  }

  run(job: StorageJob): Promise<StorageResult> {
    const result = this.#inner.run(job);
    this.#plan();
    return result;
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #plan(): void {
    if (this.#isStepping) return;
    this.#isStepping = true;
    const delay = this.#spent + this.#life.random.exponential(this.#stepMicros);
    this.#spent = 0;
    this.#life.after(delay, "storage step", () => {
      this.#isStepping = false;
      if (this.#inner.step()) this.#plan();
    });
  }
}
