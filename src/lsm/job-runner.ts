/**
 * Advances storage jobs a step at a time. Short jobs (flush, resolve, forget) run one after the other, each
 * before the next step of a long one (compact, sweep).
 */
import type { FileSystem } from "../base/file-system.ts";
import { runCompaction, runSweep } from "./compaction.ts";
import { runFlush, runResolve } from "./flush-job.ts";
import {
  EMPTY_RESULT,
  type ForgetJob,
  type JobSteps,
  type StorageJob,
  type StorageResult,
} from "./storage-job.ts";
import { TablePool } from "./table-pool.ts";

export interface JobOutcome {
  resolve(result: StorageResult): void;
  reject(error: Error): void;
}

interface Task {
  readonly steps: JobSteps;
  readonly outcome: JobOutcome;
  /** 0: no limit. */
  readonly bytesPerSecond: number;
}

export class JobRunner {
  /** How long the long job should rest after its last step to keep to its rate, in milliseconds. */
  restMs = 0;
  readonly #pool: TablePool;
  readonly #short: Task[] = [];
  readonly #long: Task[] = [];

  constructor(fileSystem: FileSystem, nowMicros: () => number) {
    this.#pool = new TablePool(fileSystem, nowMicros);
  }

  get hasShort(): boolean {
    return this.#short.length > 0;
  }

  add(job: StorageJob, outcome: JobOutcome): void {
    const isLong = job.kind === "compact" || job.kind === "sweep";
    const bytesPerSecond = isLong ? job.bytesPerSecond : 0;
    const task = { steps: start(job, this.#pool), outcome, bytesPerSecond };
    (isLong ? this.#long : this.#short).push(task);
  }

  /** Does the next step; false when there is nothing to do. */
  step(): boolean {
    this.restMs = 0;
    const queue = this.#short.length > 0 ? this.#short : this.#long;
    const task = queue[0];
    if (task === undefined) return false;
    try {
      const step = task.steps.next();
      if (step.done === true) {
        queue.shift();
        task.outcome.resolve(step.value);
      } else if (task.bytesPerSecond > 0) {
        this.restMs = (step.value * 1000) / task.bytesPerSecond;
      }
    } catch (error) {
      queue.shift();
      task.outcome.reject(error as Error);
    }
    return true;
  }

  close(): void {
    this.#pool.close();
  }
}

function start(job: StorageJob, pool: TablePool): JobSteps {
  switch (job.kind) {
    case "flush":
      return runFlush(job, pool);
    case "resolve":
      return runResolve(job, pool);
    case "compact":
      return runCompaction(job, pool);
    case "sweep":
      return runSweep(job, pool);
    case "forget":
      return runForget(job, pool);
  }
}

// biome-ignore lint/correctness/useYield: a job of one step.
function* runForget(job: ForgetJob, pool: TablePool): JobSteps {
  for (const id of job.tableIds) pool.forget(id);
  return EMPTY_RESULT;
}
