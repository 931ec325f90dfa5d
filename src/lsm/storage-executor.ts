/**
 * Runs storage jobs: in a Worker (production), or in this thread (tests, the crash simulator). Both run the
 * same JobRunner: one long job (a merge or a sweep) advances in small steps, and any other job that arrives
 * goes first.
 */
import { assert } from "../base/assert.ts";
import type { FileSystem } from "../base/file-system.ts";
import { JobRunner } from "./job-runner.ts";
import type { StorageJob, StorageResult } from "./storage-job.ts";
import { reviveError, type WorkerRequest, type WorkerResponse } from "./storage-message.ts";

export interface StorageExecutor {
  /** Rejects with DiskError, CorruptionError or AssertionError; the job's files are removed then. */
  run(job: StorageJob): Promise<StorageResult>;
  /** Waits for the jobs in progress. */
  close(): Promise<void>;
}

export interface InlineExecutorOptions {
  /** Jobs advance only when step() is called. */
  readonly stepwise?: boolean;
  readonly nowMicros?: () => number;
}

export class InlineExecutor implements StorageExecutor {
  readonly #runner: JobRunner;
  readonly #stepwise: boolean;

  constructor(fileSystem: FileSystem, options: InlineExecutorOptions = {}) {
    this.#runner = new JobRunner(fileSystem, options.nowMicros ?? (() => 0));
    this.#stepwise = options.stepwise ?? false;
  }

  run(job: StorageJob): Promise<StorageResult> {
    return new Promise((resolve, reject) => {
      this.#runner.add(job, { resolve, reject });
      if (!this.#stepwise) while (this.#runner.step());
    });
  }

  /** Does a bounded piece of the most urgent job; false when there is none. */
  step(): boolean {
    return this.#runner.step();
  }

  close(): Promise<void> {
    while (this.#runner.step());
    this.#runner.close();
    return Promise.resolve();
  }
}

interface Waiter {
  resolve(result: StorageResult): void;
  reject(error: Error): void;
}

export class WorkerExecutor implements StorageExecutor {
  readonly #worker: Worker;
  readonly #waiters = new Map<number, Waiter>();
  readonly #ready = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  #nextId = 1;
  #failure: Error | undefined = undefined;

  private constructor() {
    this.#worker = new Worker(new URL("./storage-worker.ts", import.meta.url).href);
    this.#worker.onmessage = (event: MessageEvent<WorkerResponse>) => this.#receive(event.data);
    this.#worker.onerror = (event) => this.#fail(new Error(`storage worker: ${event.message}`));
    // A storage thread that ends by itself leaves nobody to answer.
    this.#worker.addEventListener("close", () => this.#fail(new Error("storage worker ended")));
  }

  /** Resolves when the Worker is ready for jobs. `memoryBytes`: the budget of the whole process. */
  static async start(memoryBytes: number): Promise<WorkerExecutor> {
    const executor = new WorkerExecutor();
    await executor.#ready.promise;
    executor.#send({ kind: "budget", memoryBytes });
    return executor;
  }

  run(job: StorageJob): Promise<StorageResult> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<StorageResult>();
    this.#waiters.set(id, { resolve, reject });
    this.#send({ kind: "job", id, job });
    return promise;
  }

  async close(): Promise<void> {
    if (this.#failure !== undefined) return;
    this.#send({ kind: "close" });
    await this.#closed.promise;
    this.#worker.terminate();
  }

  #send(request: WorkerRequest): void {
    this.#worker.postMessage(request);
  }

  #receive(response: WorkerResponse): void {
    if (response.kind === "ready") {
      this.#ready.resolve();
      return;
    }
    if (response.kind === "closed") {
      this.#failure = new Error("storage worker is closed");
      this.#closed.resolve();
      return;
    }
    const waiter = this.#waiters.get(response.id);
    assert(waiter !== undefined, "an answer belongs to a job");
    this.#waiters.delete(response.id);
    if (response.kind === "done") waiter.resolve(response.result);
    else waiter.reject(reviveError(response.error));
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    this.#waiters.clear();
    this.#ready.reject(error);
    this.#closed.resolve();
  }
}
