/**
 * Data larger than memory: load, read, overwrite, crash and restart, against the memory, stall, space and recovery budgets.
 *
 * A record is a 16-byte key (`key:` + 12 digits) and an 84-byte value: the key's number in 4 bytes, then 80 random
 * bytes, which do not compress; 100 bytes of user data. Phases, each with a prober on its own connection:
 *
 *     load        every key once, in random order        reads      uniform, then zipfian 0.99 GETs
 *     overwrite   every key once, in another order       crash      a burst of overwrites, kill -9, restart
 *
 * Generators verify every value that they read.
 */

import { command, info } from "./client.ts";
import { Progress, type ServerProcess, SetupError, targetKind, Workspace } from "./harness.ts";
import {
  type LargeResult,
  largeBudgets,
  type Phase,
  printLarge,
  RECORD_BYTES,
  total,
} from "./large-report.ts";
import { Prober, runLoad } from "./load/load-process.ts";
import type { WorkloadSpec } from "./load/workloads.ts";
import {
  diskUsage,
  type MemorySample,
  matchingFileBytes,
  memorySample,
  writtenBytes,
} from "./process-stats.ts";
import { mebibytes, printBudgets, saveResults } from "./report.ts";

const KEY_PREFIX = "key:";
const VALUE_BYTES = 84;
const PIPELINE = 16;
const PROBE_INTERVAL_MS = 5;
const MEMORY_INTERVAL_MS = 100;
const QUIET_POLL_MS = 500;
const QUIET_DEADLINE_MS = 300_000;
/** Overwrites before the crash: what is not yet flushed of them is the log that a restart replays. */
const BURST_BYTES = 150e6;
const VERIFY_SECONDS_MAX = 2;

export interface LargeOptions {
  keys: number;
  readSeconds: number;
  /** How long the directory must keep its size to count as quiet. */
  quietSeconds: number;
  connections: number;
  maxmemory: string;
  logPattern: string;
  target: string | undefined;
  portBase: number;
  parent: string | undefined;
  keep: boolean;
  out: string | undefined;
  isLocal: boolean;
}

/** Runs everything, prints, saves; returns how many budgets were missed. */
export async function large(options: LargeOptions): Promise<number> {
  const workspace = await Workspace.open(options);
  const settings = { fsync: "everysec", maxmemory: options.maxmemory } as const;
  const server = await workspace.start(targetKind(options.target), settings);
  const run = new LargeRun(options, server);
  const result = await run.all();
  await server.stop();
  workspace.close();
  printLarge(result);
  const budgets = largeBudgets(result, sizeBytes(options.maxmemory));
  const missed = printBudgets(budgets);
  const path = await saveResults(
    {
      benchmark: "large",
      busyCoresBefore: workspace.busyCoresBefore,
      settings: { ...options },
      budgets,
      result,
    },
    { path: options.out, isLocal: options.isLocal },
  );
  console.log(`\nsaved ${path}`);
  return missed;
}

class LargeRun {
  readonly #options: LargeOptions;
  readonly #server: ServerProcess;
  readonly #progress = new Progress();
  readonly #phases: Phase[] = [];
  readonly #infoDkv: Record<string, Record<string, string>> = {};
  readonly #memory: MemorySample = { rssBytes: 0, anonymousBytes: 0, sharedBytes: 0 };

  constructor(options: LargeOptions, server: ServerProcess) {
    this.#options = options;
    this.#server = server;
  }

  async all(): Promise<LargeResult> {
    const { keys, readSeconds } = this.#options;
    const timer = setInterval(() => this.#sampleMemory(), MEMORY_INTERVAL_MS);
    await this.#write("load", { kind: "fill", keys, seed: 11 });
    const spaceAfterLoad = Object.fromEntries(diskUsage(this.#server.options.directory));
    const afterLoad = await this.#keyCount();
    await this.#read("uniform GET", { kind: "uniform", keys, seed: 12 }, readSeconds);
    await this.#read("zipfian GET", { kind: "zipfian", keys, seed: 13 }, readSeconds);
    await this.#write("overwrite", { kind: "fill", keys, seed: 14 });
    const spaceAfterOverwrite = Object.fromEntries(diskUsage(this.#server.options.directory));
    const afterOverwrite = await this.#keyCount();
    const restart = await this.#crashAndRestart();
    const afterRestart = await this.#keyCount();
    clearInterval(timer);
    this.#progress.done();
    return {
      keys,
      phases: this.#phases,
      memory: this.#memory,
      spaceAfterLoad,
      spaceAfterOverwrite,
      sizes: { afterLoad, afterOverwrite, afterRestart },
      restart,
      infoDkv: this.#infoDkv,
    };
  }

  async #write(name: string, workload: WorkloadSpec): Promise<void> {
    const before = writtenBytes(this.#server.pid);
    const cpuBefore = this.#server.cpuSeconds();
    const phase = await this.#load(name, workload, undefined);
    await this.#quiesce(name);
    phase.writtenBytes = writtenBytes(this.#server.pid) - before;
    phase.cpuMicros = this.#cpuMicros(cpuBefore, phase);
    this.#infoDkv[name] = Object.fromEntries(await info(this.#server.port, "dkv"));
  }

  async #read(name: string, workload: WorkloadSpec, seconds: number): Promise<void> {
    const cpuBefore = this.#server.cpuSeconds();
    const phase = await this.#load(name, workload, seconds);
    phase.cpuMicros = this.#cpuMicros(cpuBefore, phase);
    if (phase.load.misses > 0) {
      throw new SetupError(`${name}: ${phase.load.misses} reads of existing keys found nothing`);
    }
  }

  #cpuMicros(before: number, phase: Phase): number {
    return ((this.#server.cpuSeconds() - before) * 1e6) / phase.load.operations;
  }

  async #load(name: string, workload: WorkloadSpec, seconds: number | undefined): Promise<Phase> {
    const { keys } = this.#options;
    const port = this.#server.port;
    const prober = await Prober.start({
      port,
      ...{ keyPrefix: KEY_PREFIX, keys, intervalMs: PROBE_INTERVAL_MS },
    });
    const samples: { operations: number; seconds: number }[] = [];
    const load = await runLoad(this.#loadSpec(workload, seconds), (sample) => {
      samples.push(sample);
      this.#progress.show(progressLine(name, sample, seconds === undefined ? keys : undefined));
    });
    const probe = await prober.stop();
    const rates = ratesBySecond(samples);
    const phase: Phase = { name, load, probe, cpuMicros: 0, writtenBytes: undefined, rates };
    this.#phases.push(phase);
    return phase;
  }

  #loadSpec(workload: WorkloadSpec, seconds: number | undefined) {
    return {
      port: this.#server.port,
      connections: this.#options.connections,
      ...{ pipeline: PIPELINE, keyPrefix: KEY_PREFIX, valueBytes: VALUE_BYTES },
      ...{ workload, seconds, checksStamps: true, waitReplicas: 0 },
    };
  }

  /** Waits until the directory keeps its size and the server its peace. */
  async #quiesce(name: string): Promise<void> {
    const deadline = performance.now() + QUIET_DEADLINE_MS;
    const polls = Math.ceil((this.#options.quietSeconds * 1000) / QUIET_POLL_MS);
    let previous = -1;
    let stable = 0;
    while (stable < polls && performance.now() < deadline) {
      await Bun.sleep(QUIET_POLL_MS);
      const bytes = total(diskUsage(this.#server.options.directory).values());
      stable = bytes === previous ? stable + 1 : 0;
      previous = bytes;
      this.#progress.show(`after ${name}: waiting for quiet, ${mebibytes(bytes)} on disk`);
    }
    await this.#server.settle(5000);
  }

  /**
   * Overwrites for a moment, kills the server at the end of it, and starts it again on what the disk has. What a start
   * takes without that much log is found out first.
   */
  async #crashAndRestart(): Promise<LargeResult["restart"]> {
    const { keys } = this.#options;
    this.#progress.show("restarting with little log");
    await this.#server.stop();
    const quiet = { logBytes: this.#logBytes(), readyMs: 0 };
    await this.#server.launch();
    quiet.readyMs = this.#server.readyMs;
    const burst = Math.min(keys, Math.ceil(BURST_BYTES / RECORD_BYTES));
    this.#progress.show("crash: overwriting, then kill -9");
    await runLoad(this.#loadSpec({ kind: "fill", keys: burst, seed: 15 }, undefined));
    await this.#server.crash();
    const logBytes = this.#logBytes();
    this.#progress.show(`restarting with ${mebibytes(logBytes)} of log`);
    await this.#server.launch();
    const readyMs = this.#server.readyMs;
    this.#infoDkv["restart"] = Object.fromEntries(await info(this.#server.port, "dkv"));
    const workload: WorkloadSpec = { kind: "uniform", keys, seed: 16 };
    const seconds = Math.min(VERIFY_SECONDS_MAX, this.#options.readSeconds);
    const { misses } = await runLoad(this.#loadSpec(workload, seconds));
    return { quiet, readyMs, logBytes, missing: misses };
  }

  #logBytes(): number {
    const pattern = new RegExp(this.#options.logPattern);
    return matchingFileBytes(this.#server.options.directory, pattern);
  }

  async #keyCount(): Promise<number> {
    return Number(await command(this.#server.port, "DBSIZE"));
  }

  #sampleMemory(): void {
    const sample = memorySample(this.#server.pid);
    if (sample === undefined) return;
    const peak = this.#memory;
    peak.rssBytes = Math.max(peak.rssBytes, sample.rssBytes);
    peak.anonymousBytes = Math.max(peak.anonymousBytes, sample.anonymousBytes);
    peak.sharedBytes = Math.max(peak.sharedBytes, sample.sharedBytes);
  }
}

function progressLine(
  name: string,
  sample: { operations: number; seconds: number },
  goal: number | undefined,
): string {
  const rate = `${(sample.operations / sample.seconds / 1000).toFixed(0)} k/s`;
  if (goal === undefined) return `${name}: ${rate}`;
  const share = sample.operations / goal;
  const bar = "#".repeat(Math.round(share * 30)).padEnd(30, ".");
  return `${name} [${bar}] ${(share * 100).toFixed(0)} % ${rate}`;
}

/** Rates over each whole second, from running totals. */
export function ratesBySecond(
  samples: readonly { operations: number; seconds: number }[],
): number[] {
  const rates: number[] = [];
  let from = { operations: 0, seconds: 0 };
  for (const sample of samples) {
    if (sample.seconds - from.seconds < 1) continue;
    const rate = (sample.operations - from.operations) / (sample.seconds - from.seconds);
    rates.push(Math.round(rate));
    from = sample;
  }
  return rates;
}

/** Bytes of a size as Redis writes them: 100, 64k, 512mb, 1gb (powers of 1024 with a b, of 1000 without). */
export function sizeBytes(text: string): number {
  const match = /^(\d+)([kmg]?)(b?)$/i.exec(text);
  if (match === null) throw new SetupError(`not a size: ${text}`);
  const power = ["", "k", "m", "g"].indexOf(match[2]!.toLowerCase());
  return Number(match[1]) * (match[3] === "" ? 1000 : 1024) ** power;
}
