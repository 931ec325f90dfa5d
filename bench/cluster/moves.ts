/**
 * Slots move under load, on 2 × 3 processes:
 *
 *     load all keys ─► at rest ─► three more nodes: their set gets its share ─► at rest ─► that set is drained ─► read all back
 *
 * Two stock clients go on all the time (`move-load.ts`). Nothing may fail, nothing may be lost, no read may be stale: else
 * the benchmark ends with an error.
 */

import { join } from "node:path";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { command, encodeCommand, pipeline } from "../client.ts";
import type { Progress, ServerProcess, Workspace } from "../harness.ts";
import { type EndedMove, endedMoves } from "./move-log.ts";
import {
  keyOf,
  type LoadMark,
  type LoadMessage,
  type LoadOrder,
  type MoveLoadReport,
  type MoveLoadSpec,
  valueFor,
} from "./move-protocol.ts";
import { SetsCluster, type TrafficCounts } from "./sets-cluster.ts";

const SETS = 2;
const POLL_MS = 20;
/** Clients that have just started are slow, and catch up. */
const WARM_UP_MS = 3000;
const MOVES_MS_MAX = 1_800_000;
const NODES_MS_MAX = 120_000;

export interface MovesOptions {
  keys: number;
  valueBytes: number;
  /** Commands a second of each of the two clients. */
  rate: number;
  restSeconds: number;
  maxmemory: string;
}

export interface Phase extends LoadMark, TrafficCounts {
  name: string;
}

/** All moves of one direction. */
export interface MovePhase extends Phase {
  /** From the first move's beginning to the last one's end. */
  totalMs: number;
  slots: number;
  keys: number;
  sentBytes: number;
  /** Keys and values of these slots. */
  neededBytes: number;
  frozenMs: readonly number[];
}

export interface MovesResult {
  phases: Phase[];
  moves: MovePhase[];
  report: MoveLoadReport;
}

/** What must not be, in words. */
export function violationsOf({ report }: MovesResult): string[] {
  const failed = Object.values(report.failures).reduce((sum, count) => sum + count, 0);
  return [
    ...(failed > 0 ? [`${failed} commands failed`] : []),
    ...(report.lost.length > 0 ? [`${report.lost.length} keys or writes are lost`] : []),
    ...(report.stale.length > 0 ? [`${report.stale.length} reads were stale`] : []),
  ];
}

export async function measureMoves(
  options: MovesOptions,
  workspace: Workspace,
  progress: Progress,
): Promise<MovesResult> {
  progress.show("moves: starting", true);
  const settings = { fsync: "always", maxmemory: options.maxmemory } as const;
  const cluster = await SetsCluster.start(workspace, settings, SETS);
  const run = new MovesRun(options, cluster, progress);
  const result = await run.measure();
  await cluster.stop();
  return result;
}

class MovesRun {
  readonly #options: MovesOptions;
  readonly #cluster: SetsCluster;
  readonly #progress: Progress;
  readonly #phases: Phase[] = [];
  readonly #moves: MovePhase[] = [];
  /** Of each slot. */
  readonly #keys = new Int32Array(SLOT_COUNT);
  readonly #bytes = new Float64Array(SLOT_COUNT);
  #traffic: TrafficCounts = { redirects: 0, forwards: 0, refusedForwards: 0 };

  constructor(options: MovesOptions, cluster: SetsCluster, progress: Progress) {
    this.#options = options;
    this.#cluster = cluster;
    this.#progress = progress;
  }

  async measure(): Promise<MovesResult> {
    const { keys, valueBytes, rate, restSeconds } = this.#options;
    await this.#preload();
    const ports = this.#cluster.processes.map(({ port }) => port);
    const load = await LoadProcess.start({ ports, keys, valueBytes, rate });
    await Bun.sleep(WARM_UP_MS);
    await this.#endPhase(load, undefined);
    await Bun.sleep(restSeconds * 1000);
    await this.#endPhase(load, "at rest");
    const added = await this.#cluster.addNodes();
    await this.#untilMoves("the new set gets slots", true, NODES_MS_MAX);
    await this.#endPhase(load, "nodes start");
    const share = Math.floor(SLOT_COUNT / (SETS + 1));
    await this.#moving(load, "a third set joins", async () => (await this.#has(added)) >= share);
    await Bun.sleep(restSeconds * 1000);
    await this.#endPhase(load, "at rest, three sets");
    await command(
      added[0]!.port,
      "CLUSTER",
      "DRAIN",
      await command(added[0]!.port, "CLUSTER", "MYID"),
    );
    await this.#moving(load, "it is drained", async () => (await this.#has(added)) === 0);
    await Bun.sleep(restSeconds * 1000);
    await this.#endPhase(load, "at rest again");
    this.#progress.show(`reading ${keys} keys back`, true);
    const report = await load.stop();
    return { phases: this.#phases, moves: this.#moves, report };
  }

  /** Every key with version 0, each at its writer. */
  async #preload(): Promise<void> {
    const { keys, valueBytes } = this.#options;
    this.#progress.show(`loading ${keys} keys`, true);
    const writers = await this.#cluster.writers();
    const byPort = new Map<number, number[]>();
    for (let index = 0; index < keys; index++) {
      const key = Buffer.from(keyOf(index));
      const slot = slotOf(key, 0, key.length);
      this.#keys[slot]!++;
      this.#bytes[slot]! += key.length + valueBytes;
      const port = writers[slot]!;
      const own = byPort.get(port);
      if (own === undefined) byPort.set(port, [index]);
      else own.push(index);
    }
    const loads = [...byPort].map(([port, own]) =>
      pipeline(port, own.length, (at) => {
        const index = own[at]!;
        return encodeCommand(["SET", keyOf(index), valueFor(index, 0, valueBytes)]);
      }),
    );
    await Promise.all(loads);
    await Promise.all(this.#cluster.processes.map((server) => server.settle(30_000)));
  }

  /** How many slots are these nodes' own. */
  async #has(nodes: readonly ServerProcess[]): Promise<number> {
    const ports = new Set(nodes.map(({ port }) => port));
    const writers = await this.#cluster.writers();
    return writers.filter((port) => port !== undefined && ports.has(port)).length;
  }

  async #untilMoves(what: string, isWanted: boolean, msMax: number): Promise<void> {
    const deadline = performance.now() + msMax;
    while ((await this.#cluster.movesLeft()) > 0 !== isWanted) {
      if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
      await Bun.sleep(POLL_MS);
    }
  }

  /** Until the last move has ended. REQUIRES: they have begun. */
  async #moving(load: LoadProcess, name: string, isDone: () => Promise<boolean>): Promise<void> {
    const startMs = Date.now();
    const startedAt = performance.now();
    let endedAt = startedAt;
    do {
      await this.#untilMoves(name, false, MOVES_MS_MAX);
      endedAt = performance.now();
      this.#progress.show(`${name}: ${((endedAt - startedAt) / 1000).toFixed(1)} s`);
      await Bun.sleep(POLL_MS);
    } while (!(await isDone()));
    const phase = await this.#endPhase(load, name);
    const ended = endedMoves(this.#cluster.processes, startMs, Date.now());
    this.#moves.push({ ...phase!, totalMs: endedAt - startedAt, ...this.#sumOf(ended) });
  }

  #sumOf(
    moves: readonly EndedMove[],
  ): Pick<MovePhase, "slots" | "keys" | "sentBytes" | "neededBytes" | "frozenMs"> {
    const sum = { slots: 0, keys: 0, sentBytes: 0, neededBytes: 0 };
    const frozenMs: number[] = [];
    for (const move of moves) {
      sum.sentBytes += move.bytes;
      if (move.frozenMs !== undefined) frozenMs.push(move.frozenMs);
      for (const { start, end } of move.slots) {
        for (let slot = start; slot <= end; slot++) {
          sum.slots++;
          sum.keys += this.#keys[slot]!;
          sum.neededBytes += this.#bytes[slot]!;
        }
      }
    }
    return { ...sum, frozenMs };
  }

  /** What has happened since the last call; without a name it is not kept. */
  async #endPhase(load: LoadProcess, name: string | undefined): Promise<Phase | undefined> {
    const mark = await load.mark();
    const before = this.#traffic;
    this.#traffic = await this.#cluster.traffic();
    if (name === undefined) return undefined;
    const { redirects, forwards, refusedForwards } = this.#traffic;
    const phase: Phase = {
      ...{ name, ...mark },
      redirects: redirects - before.redirects,
      forwards: forwards - before.forwards,
      refusedForwards: refusedForwards - before.refusedForwards,
    };
    this.#progress.show(name, true);
    this.#phases.push(phase);
    return phase;
  }
}

class LoadProcess {
  readonly #process: Bun.Subprocess;
  #waiting = Promise.withResolvers<LoadMessage>();

  private constructor(spec: MoveLoadSpec) {
    const script = join(import.meta.dir, "move-load.ts");
    this.#process = Bun.spawn([process.execPath, script, JSON.stringify(spec)], {
      stdout: "inherit",
      stderr: "inherit",
      ipc: (message: LoadMessage) => this.#waiting.resolve(message),
      onExit: () => this.#waiting.reject(new Error("the load ended early")),
    });
    // Whoever awaits it sees the rejection.
    this.#waiting.promise.catch(() => undefined);
    process.on("exit", () => this.#process.kill("SIGKILL"));
  }

  static async start(spec: MoveLoadSpec): Promise<LoadProcess> {
    const load = new LoadProcess(spec);
    await load.#next();
    return load;
  }

  async mark(): Promise<LoadMark> {
    const message = await this.#order("mark");
    if (message.type !== "mark") throw new Error(`the load answered ${message.type}`);
    return message.mark;
  }

  /** Reads everything back. */
  async stop(): Promise<MoveLoadReport> {
    const message = await this.#order("stop");
    if (message.type !== "report") throw new Error(`the load answered ${message.type}`);
    return message.report;
  }

  #order(order: LoadOrder): Promise<LoadMessage> {
    this.#process.send(order);
    return this.#next();
  }

  async #next(): Promise<LoadMessage> {
    const message = await this.#waiting.promise;
    this.#waiting = Promise.withResolvers();
    this.#waiting.promise.catch(() => undefined);
    return message;
  }
}
