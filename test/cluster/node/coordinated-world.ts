/** An ensemble in memory, coordinators of several nodes, and virtual time that runs until something holds. */
import { clusterDocument } from "../../../src/cluster/coordination/documents.ts";
import { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import { MemoryEnsemble } from "../../../src/cluster/coordination/memory-ensemble.ts";
import { CLUSTER_PATH, FOLDER_PATHS } from "../../../src/cluster/coordination/paths.ts";
import { TraceLogger } from "../../sim/cluster/trace-logger.ts";
import { MachineClock, NodeClock } from "../../sim/node-clock.ts";
import { SimRandom } from "../../sim/random.ts";
import { Scheduler } from "../../sim/scheduler.ts";
import { Trace } from "../../sim/trace.ts";

export const SESSION_MS = 4000;
const LIMIT_MICROS = 60_000_000;

export class CoordinatedWorld {
  readonly random: SimRandom;
  readonly scheduler: Scheduler;
  readonly clock: NodeClock;
  readonly ensemble: MemoryEnsemble;
  /** Everything that was logged. */
  readonly lines: string[] = [];
  readonly logger = new TraceLogger((line) => this.lines.push(line));

  constructor(seed: number) {
    this.random = new SimRandom(seed);
    this.scheduler = new Scheduler(new Trace(), this.random.fork("ties"));
    const host = {
      nowMicros: () => this.scheduler.nowMicros,
      after: (delay: number, what: string, action: () => void) =>
        this.scheduler.after(delay, what, action),
    };
    const options = { startMicros: 0, turnMicros: 10 };
    this.clock = new NodeClock(host, new MachineClock(1, 0), options);
    this.ensemble = new MemoryEnsemble(this.clock);
  }

  connect(): MemoryCoordinator {
    return new MemoryCoordinator(this.ensemble, {
      clock: this.clock,
      sessionTimeoutMs: SESSION_MS,
      latencyMs: () => this.random.exponential(3),
      reconnectMs: () => this.random.exponential(50),
    });
  }

  makeFolders(): void {
    const session = this.ensemble.openSession(1e9, () => undefined);
    for (const path of FOLDER_PATHS) {
      const data = new Uint8Array(0);
      this.ensemble.commit([{ kind: "create", path, data, lifetime: "durable" }], session);
    }
  }

  createCluster(id: string): void {
    const data = clusterDocument.encode({
      ...{ format: 1, id, slotCount: 1024, hashSeed: { low: 1, high: 2 }, createdMs: 1 },
      ...{ setsFormed: 0, setsRetired: 0 },
    });
    const session = this.ensemble.openSession(1e9, () => undefined);
    this.ensemble.commit(
      [{ kind: "create", path: CLUSTER_PATH, data, lifetime: "durable" }],
      session,
    );
  }

  nonce(): string {
    return Buffer.from(this.random.bytes(16)).toString("hex");
  }

  until(what: string, isDone: () => boolean): void {
    if (!this.scheduler.runUntilDone(isDone, LIMIT_MICROS)) throw new Error(`never: ${what}`);
  }

  pass(ms: number): void {
    this.scheduler.runUntilDone(() => false, ms * 1000);
  }

  /** What a promise comes to. */
  settled<T>(promise: Promise<T>): T {
    let outcome: { value: T } | { error: Error } | undefined;
    promise.then(
      (value) => {
        outcome = { value };
      },
      (error: Error) => {
        outcome = { error };
      },
    );
    this.until("settled", () => outcome !== undefined);
    if ("error" in outcome!) throw outcome.error;
    return outcome!.value;
  }
}
