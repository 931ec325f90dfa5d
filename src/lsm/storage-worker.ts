/**
 * The storage thread: a Worker that runs storage jobs against the real disk. Says "ready" once, then answers
 * jobs; between two steps of a long job it looks at its messages, so a flush never waits for a merge.
 */
import { SystemClock, type Timer } from "../base/clock.ts";
import { DiskFileSystem } from "../base/file-system.ts";
import { MemoryGuard } from "../base/memory-guard.ts";
import { SystemProcessMemory } from "../base/process-memory.ts";
import { JobRunner } from "./job-runner.ts";
import { plainError, type WorkerRequest, type WorkerResponse } from "./storage-message.ts";

declare const self: Worker;

const clock = new SystemClock();
const memory = new SystemProcessMemory();
const runner = new JobRunner(new DiskFileSystem(), () => clock.monotonicMicros());
let guard: MemoryGuard | undefined;
let pumping = false;
let resting: Timer | undefined;
let closing = false;

function send(response: WorkerResponse): void {
  self.postMessage(response);
}

function pump(): void {
  resting = undefined;
  if (runner.step()) {
    guard?.look();
    if (runner.restMs >= 1) resting = clock.after(runner.restMs, pump);
    else clock.immediate(pump);
    return;
  }
  pumping = false;
  // A job's arrays are garbage now, and this thread may rest for long.
  memory.collect();
  if (!closing) return;
  runner.close();
  send({ kind: "closed" });
}

function wake(): void {
  if (pumping && resting === undefined) return;
  resting?.cancel();
  pumping = true;
  clock.immediate(pump);
  resting = undefined;
}

self.onmessage = (event: MessageEvent<WorkerRequest>) => {
  const request = event.data;
  if (request.kind === "budget") {
    guard = new MemoryGuard(memory, request.memoryBytes);
    return;
  }
  if (request.kind === "close") {
    closing = true;
  } else {
    const { id } = request;
    runner.add(request.job, {
      resolve: (result) => send({ kind: "done", id, result }),
      reject: (error) => send({ kind: "failed", id, error: plainError(error) }),
    });
  }
  wake();
};

send({ kind: "ready" });
