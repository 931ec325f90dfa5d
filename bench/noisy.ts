/**
 * Noisy neighbours: ten hostile clients (bench/noisy/hostile.ts) against one that reads and writes small keys.
 *
 *   load keys → hostile clients with a prober beside them → what must exist is read back → kill -9 → read back again
 *
 * Budgets: the prober's p99, resident memory against maxmemory, and nothing lost, stale or corrupted: each value is
 * compared byte for byte, and a read that finds nothing is right only if a FLUSHALL could have deleted the key.
 */

import { join } from "node:path";
import { command, encodeCommand, pipeline } from "./client.ts";
import { Progress, type ServerProcess, targetKind, Workspace } from "./harness.ts";
import { sizeBytes } from "./large.ts";
import { LargeValues } from "./noisy/large-values.ts";
import type {
  Deletion,
  HostileReport,
  HostileSpec,
  Miss,
  ProberReport,
  ProberSpec,
  Ready,
} from "./noisy/protocol.ts";
import { Skimmer } from "./noisy/replies.ts";
import { memorySample, waitedSeconds } from "./process-stats.ts";
import { type BudgetCheck, mebibytes, printBudgets, printTable, saveResults } from "./report.ts";

const P99_MS_MAX = 50;
const MEMORY_INTERVAL_MS = 50;
const PROBE_INTERVAL_MS = 3;
const PROBE_KEYS = 500;
/** Above this the server's latencies are those of a machine that others use. */
const WAITED_SHARE_MAX = 0.25;
/** Clocks of two processes are compared by the millisecond. */
const CLOCK_SLACK_MS = 2;
const LOAD_VALUE = Buffer.alloc(64, "v");

export interface NoisySizes {
  keys: number;
  largeBytes: number;
  seconds: number;
  flushIntervalMs: number;
}

export interface NoisyOptions extends NoisySizes {
  maxmemory: string;
  target: string | undefined;
  portBase: number;
  parent: string | undefined;
  keep: boolean;
  out: string | undefined;
  isLocal: boolean;
}

/** What was found of the keys that must exist. */
interface Remains {
  missingKeys: number;
  wrongLargeValues: number;
  /** DBSIZE less the number of different keys that SCAN returned. */
  countError: number;
}

export interface NoisyResult {
  probe: ProberReport;
  hostile: HostileReport;
  /** Resident bytes: before the hostile clients came, at most, and median. */
  rss: { before: number; peak: number; median: number };
  /** Share of the time in which the server's main thread was ready to run and had no processor. */
  waitedShare: number;
  cpuCores: number;
  unexplainedMisses: string[];
  afterRun: Remains;
  afterCrash: Remains;
}

/** Runs everything, prints, saves; returns how many budgets were missed. */
export async function noisy(options: NoisyOptions): Promise<number> {
  const workspace = await Workspace.open(options);
  const settings = { fsync: "everysec", maxmemory: options.maxmemory } as const;
  const server = await workspace.start(targetKind(options.target), settings);
  const result = await measureNoisy(options, server);
  await server.stop();
  workspace.close();
  print(options, result);
  const budgets = noisyBudgets(result, sizeBytes(options.maxmemory));
  const missed = printBudgets(budgets);
  const { busyCoresBefore } = workspace;
  const run = { benchmark: "noisy", busyCoresBefore, settings: { ...options }, budgets, result };
  const path = await saveResults(run, { path: options.out, isLocal: options.isLocal });
  console.log(`\nsaved ${path}`);
  return missed;
}

/** Loads, disturbs and checks one server, which it kills and starts again. */
export async function measureNoisy(
  options: NoisySizes,
  server: ServerProcess,
): Promise<NoisyResult> {
  const progress = new Progress();
  const { port } = server;
  progress.show(`loading ${options.keys} keys`, true);
  await pipeline(port, options.keys, (key) => encodeCommand(["SET", keyName(key), LOAD_VALUE]));
  await server.settle(5000);
  const memory = new MemoryWatch(server);
  const before = memory.last;
  const waitedBefore = waitedSeconds(server.pid);
  const cpuBefore = server.cpuSeconds();
  progress.show("ten hostile clients and a prober", true);
  const { probe, hostile } = await runClients(options, port);
  const { seconds } = hostile;
  const waitedShare = (waitedSeconds(server.pid) - waitedBefore) / seconds;
  const cpuCores = (server.cpuSeconds() - cpuBefore) / seconds;
  progress.show("reading back", true);
  const values = new LargeValues(options.largeBytes);
  const afterRun = await readBack(port, hostile, values);
  const rss = { before, peak: memory.peak, median: memory.median };
  memory.stop();
  await server.crash();
  await server.launch();
  const afterCrash = await readBack(port, hostile, values);
  progress.done();
  const misses = [...probe.misses, ...hostile.misses];
  const unexplainedMisses = misses
    .filter((miss) => !isExplained(miss, hostile.deletions))
    .map((miss) => `${miss.key} written ${miss.answeredAt - miss.writtenAt} ms before`);
  return {
    ...{ probe, hostile, rss, waitedShare, cpuCores },
    ...{ unexplainedMisses, afterRun, afterCrash },
  };
}

async function runClients(
  { keys, largeBytes, seconds, flushIntervalMs }: NoisySizes,
  port: number,
): Promise<{ probe: ProberReport; hostile: HostileReport }> {
  const probing: ProberSpec = { port, intervalMs: PROBE_INTERVAL_MS, keys: PROBE_KEYS };
  const prober = new Client<ProberReport>("prober.ts", probing);
  await prober.ready;
  const spec: HostileSpec = { port, keys, largeBytes, seconds, flushIntervalMs };
  const hostile = await new Client<HostileReport>("hostile.ts", spec).report;
  prober.stop();
  return { probe: await prober.report, hostile };
}

/** A process of bench/noisy/ that talks by IPC. */
class Client<Report extends { type: "report" }> {
  readonly #process: Bun.Subprocess;
  readonly #ready = Promise.withResolvers<void>();
  readonly #report = Promise.withResolvers<Report>();

  constructor(script: string, spec: ProberSpec | HostileSpec) {
    // Whoever awaits these sees the rejection; it must not end the benchmark before that.
    this.#ready.promise.catch(() => {});
    this.#report.promise.catch(() => {});
    const path = join(import.meta.dir, "noisy", script);
    this.#process = Bun.spawn([process.execPath, path, JSON.stringify(spec)], {
      stdout: "inherit",
      stderr: "inherit",
      ipc: (message: Ready | Report) => {
        if (message.type === "ready") this.#ready.resolve();
        else this.#report.resolve(message);
      },
      onExit: () => {
        const error = new Error(`${script} ended early`);
        this.#ready.reject(error);
        this.#report.reject(error);
      },
    });
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get report(): Promise<Report> {
    return this.#report.promise;
  }

  stop(): void {
    this.#process.send("stop");
  }
}

/** Samples resident memory until it is stopped. */
class MemoryWatch {
  readonly #server: ServerProcess;
  readonly #samples: number[] = [];
  readonly #timer: Timer;

  constructor(server: ServerProcess) {
    this.#server = server;
    this.#timer = setInterval(() => this.#sample(), MEMORY_INTERVAL_MS);
    this.#sample();
  }

  get last(): number {
    return this.#samples.at(-1) ?? 0;
  }

  get peak(): number {
    return Math.max(...this.#samples);
  }

  get median(): number {
    return this.#samples.toSorted((a, b) => a - b)[this.#samples.length >> 1] ?? 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    const sample = memorySample(this.#server.pid);
    if (sample !== undefined) this.#samples.push(sample.rssBytes);
  }
}

function keyName(key: number): string {
  return `key:${String(key).padStart(12, "0")}`;
}

/** Whether a deletion may have come between the write and the answer. */
function isExplained(miss: Miss, deletions: readonly Deletion[]): boolean {
  return deletions.some(
    ({ sentAt, answeredAt }) =>
      sentAt <= miss.answeredAt + CLOCK_SLACK_MS && answeredAt + CLOCK_SLACK_MS >= miss.writtenAt,
  );
}

/** Reads every large value, and all keys by SCAN and by KEYS. */
async function readBack(
  port: number,
  hostile: HostileReport,
  values: LargeValues,
): Promise<Remains> {
  const connection = await Skimmer.open(port);
  let wrongLargeValues = 0;
  for (const { key, version } of hostile.large) {
    const expected = values.of(version);
    const read = await connection.ask([encodeCommand(["GET", key])], { expected });
    if (read.bytes !== expected.length || read.wrongBytes > 0) wrongLargeValues++;
  }
  const scanned = new Set<string>();
  let cursor = "0";
  do {
    let isCursor = true;
    const onBulk = (text: string): void => {
      if (!isCursor) scanned.add(text);
      isCursor = false;
    };
    const request = encodeCommand(["SCAN", cursor, "COUNT", "1000"]);
    cursor = (await connection.ask([request], { onBulk })).first;
  } while (cursor !== "0");
  const listed = await connection.ask([encodeCommand(["KEYS", "key:*"])]);
  connection.close();
  let found = 0;
  for (const key of scanned) if (key.startsWith("key:")) found++;
  const missingKeys = hostile.smallKeys * 2 - found - listed.bulks;
  const countError = Number(await command(port, "DBSIZE")) - scanned.size;
  return { missingKeys, wrongLargeValues, countError };
}

export function noisyBudgets(result: NoisyResult, memoryBytes: number): BudgetCheck[] {
  const { probe, hostile, rss, afterRun, afterCrash, unexplainedMisses } = result;
  const wrong = probe.wrong.length + hostile.wrong.length;
  const lost = (remains: Remains): number =>
    Math.abs(remains.missingKeys) + remains.wrongLargeValues + Math.abs(remains.countError);
  const atMost = (what: string, measured: number, budget: number): BudgetCheck => ({
    ...{ what, measured, relation: "<=", budget, unit: "" },
  });
  return [
    {
      ...atMost("p99 of the other client, ms", probe.p99Ms, P99_MS_MAX),
      isDisturbed: result.waitedShare > WAITED_SHARE_MAX,
    },
    atMost("RSS peak, MiB", rss.peak / 2 ** 20, memoryBytes / 2 ** 20),
    atMost("wrong replies", wrong, 0),
    atMost("keys gone without a FLUSHALL", unexplainedMisses.length, 0),
    atMost("keys lost, wrong or miscounted afterwards", lost(afterRun), 0),
    atMost("keys lost, wrong or miscounted after kill -9", lost(afterCrash), 0),
  ];
}

function print(options: NoisyOptions, result: NoisyResult): void {
  const { probe, hostile, rss } = result;
  const ms = (value: number): string => value.toFixed(2);
  printTable(
    `${options.keys} keys, values of ${mebibytes(options.largeBytes)}, ${hostile.seconds.toFixed(0)} s`,
    ["what", "value"],
    [
      ["other client, p50 ms", ms(probe.p50Ms)],
      ["other client, p99 ms", ms(probe.p99Ms)],
      ["other client, p99.9 ms", ms(probe.p999Ms)],
      ["other client, longest ms", ms(probe.maxMs)],
      ["its own lag, p99/longest ms", `${ms(probe.lagP99Ms)}/${ms(probe.lagMaxMs)}`],
      ["its commands", String(probe.count)],
      ["server without a processor, %", (result.waitedShare * 100).toFixed(1)],
      ["server, cores", result.cpuCores.toFixed(2)],
      ["RSS before/median/peak", [rss.before, rss.median, rss.peak].map(mebibytes).join("  ")],
      ...Object.entries(hostile.counts).map(([name, count]) => [name, String(count)]),
    ],
  );
  const wrong = [...probe.wrong, ...hostile.wrong, ...result.unexplainedMisses];
  for (const line of wrong.slice(0, 10)) console.log(`WRONG: ${line}`);
  for (const [when, remains] of [
    ["afterwards", result.afterRun],
    ["after kill -9", result.afterCrash],
  ] as const) {
    const { missingKeys, wrongLargeValues, countError } = remains;
    if (missingKeys === 0 && wrongLargeValues === 0 && countError === 0) continue;
    console.log(
      `${when}: ${missingKeys} keys missing, ${wrongLargeValues} large values wrong, DBSIZE off by ${countError}`,
    );
  }
}
