/**
 * Workloads by seed, their crash states, and the check of each: shared by the test and the campaign.
 *
 *   seed → workload → trace → for points of the trace: states → check
 *                                                        └ now and then: a second workload on that state, whose
 *                                                          own crash states (during recovery too) are checked
 */
import type { SyncPolicy } from "../../src/store/commit-pipeline.ts";
import {
  type CrashState,
  CrashStates,
  type Random,
  seededRandom,
} from "../support/crash-states.ts";
import type { DiskImage } from "../support/traced-file-system.ts";
import { checkCrashState, type Expectation } from "./crash-check.ts";
import type { Unit } from "./history.ts";
import { type Recording, type Stamp, Workload, type WorkloadOptions } from "./workload.ts";

const POLICIES: readonly SyncPolicy[] = ["always", "everysec", "no"];
const KIB = 1024;
const SEGMENT_SIZES = [64 * KIB, 128 * KIB, 256 * KIB];
const UNITS = 120;
const SECOND_UNITS = 12;
/** States of a second workload that are checked. */
const SECOND_STATES = 12;
const SECOND_SHARE = 0.015;
const WORKS_ON_SHARE = 0.25;
const EMPTY: DiskImage = new Map();

export interface CrashRunOptions {
  readonly seed: number;
  readonly statesMax: number;
  /** Share of the trace's points that are looked at. */
  readonly pointShare: number;
  onState?(): void;
}

/** What a second workload stands on. */
interface Base {
  readonly units: readonly Unit[];
  readonly atLeast: number;
}

/** Checks up to `statesMax` distinct states of the workload of `seed`; their number. */
export async function runCrashStates(options: CrashRunOptions): Promise<number> {
  const { seed, statesMax } = options;
  const random = seededRandom(seed);
  const workload: WorkloadOptions = {
    random,
    policy: POLICIES[seed % POLICIES.length]!,
    segmentBytes: SEGMENT_SIZES[Math.floor(seed / 3) % SEGMENT_SIZES.length]!,
    stepwise: random() < 0.7,
    unitCount: UNITS,
    hasHugeValues: seed % 5 === 4,
  };
  const run = new CrashRun(workload, options);
  try {
    const recording = await new Workload(workload, EMPTY).play([]);
    await run.check(recording, { units: [], atLeast: 0 }, statesMax, options.pointShare);
  } catch (cause) {
    throw new Error(`crash state of seed ${seed}: ${(cause as Error).message}`, { cause });
  }
  return run.count;
}

class CrashRun {
  readonly #workload: WorkloadOptions;
  readonly #random: Random;
  readonly #options: CrashRunOptions;
  readonly #seen = new Set<string>();
  count = 0;

  constructor(workload: WorkloadOptions, options: CrashRunOptions) {
    this.#workload = workload;
    this.#random = workload.random;
    this.#options = options;
  }

  async check(
    recording: Recording,
    base: Base,
    statesMax: number,
    pointShare: number,
  ): Promise<void> {
    const isFirst = base.units.length === 0;
    const { trace } = recording.fileSystem;
    const states = new CrashStates(recording.fileSystem);
    const end = this.count + statesMax;
    for (let at = 0; at <= trace.length; at++) {
      if (this.count >= end) return;
      if (at > 0) states.add(trace[at - 1]!.change);
      if (this.#random() >= pointShare) continue;
      const stamp = trace[at]?.stamp ?? recording.endStamp;
      for (const state of states.states(this.#random)) {
        const wanted = this.#expectation(state, stamp, recording, base);
        if (!this.#isNew(state.image, wanted.atLeast)) continue;
        const held = await this.#checkOne(state, wanted, at);
        if (isFirst && this.#random() < SECOND_SHARE) await this.#second(state, wanted, held);
      }
    }
  }

  async #checkOne(state: CrashState, wanted: Expectation, at: number): Promise<number> {
    this.count++;
    this.#options.onState?.();
    try {
      return await checkCrashState(state.image, wanted);
    } catch (cause) {
      throw new Error(`change ${at}, ${state.name}: ${(cause as Error).message}`, { cause });
    }
  }

  #expectation(state: CrashState, stamp: Stamp, recording: Recording, base: Base): Expectation {
    const { policy, segmentBytes } = this.#workload;
    const isSafe = policy === "always" || state.name === "kept";
    return {
      units: stamp.isOpen ? recording.units : base.units,
      atLeast: stamp.isOpen
        ? Math.max(stamp.synced, isSafe ? stamp.acknowledged : 0)
        : base.atLeast,
      wallMs: stamp.wallMs,
      wallJumpMs: this.#random() < 0.1 ? -30_000 : 0,
      policy,
      segmentBytes,
      worksOn: this.#random() < WORKS_ON_SHARE,
    };
  }

  #isNew(image: DiskImage, atLeast: number): boolean {
    const parts = [...image]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([path, bytes]) => `${path} ${bytes.length} ${Bun.hash(bytes)}`);
    const key = `${Bun.hash(parts.join())} ${atLeast}`;
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }

  /** Goes on from a crash state, and crashes again. */
  async #second(state: CrashState, wanted: Expectation, held: number): Promise<void> {
    const options = { ...this.#workload, unitCount: SECOND_UNITS };
    const workload = new Workload(options, state.image, wanted.wallMs);
    try {
      const recording = await workload.play(wanted.units.slice(0, held));
      const share = SECOND_STATES / 8 / recording.fileSystem.trace.length;
      await this.check(recording, wanted, SECOND_STATES, share);
    } catch (cause) {
      throw new Error(`after a crash (${state.name}): ${(cause as Error).message}`, { cause });
    }
  }
}
