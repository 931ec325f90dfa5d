/**
 * Each seed's own mix: which faults happen and how often, how slow disk and network are, how the store is cut up, how
 * many copies there are. Seeds so differ in kind, not only in order: a fault that is always on hides what needs its
 * absence.
 */
import type { SyncPolicy } from "../../src/store/commit-pipeline.ts";
import type { DiskOptions } from "./disk.ts";
import {
  FAULT_KINDS,
  type FaultKind,
  type FaultTimes,
  type FaultWeights,
  RATE_ERROR_MAX,
} from "./faults.ts";
import type { LinkOptions } from "./link.ts";
import type { NetworkOptions } from "./network.ts";
import type { SimRandom } from "./random.ts";

export interface Swarm {
  /** Copies, and how many of them a write waits for. */
  readonly replicationFactor: number;
  readonly writeQuorum: number;
  readonly syncPolicy: SyncPolicy;
  readonly weights: FaultWeights;
  readonly times: FaultTimes;
  readonly disk: DiskOptions;
  readonly network: NetworkOptions;
  readonly store: StoreShape;
  /** Events of one microsecond in an order that the seed decides. */
  readonly hasRandomTies: boolean;
  readonly turnMicros: number;
  /** How wrong the clocks' rates are from the start, as a share, and how wrong they become. */
  readonly clockRateError: number;
  readonly rateErrorMax: number;
  readonly wallOffsetMs: number;
}

export interface StoreShape {
  readonly segmentBytes: number;
  readonly segmentCount: number;
  readonly blockBytes: number;
  readonly cacheBytes: number;
  readonly targetTableBytes: number;
  readonly levelBaseBytes: number;
  readonly level0Trigger: number;
  readonly manifestBytes: number;
  /** Reads of blocks that are not cached always wait. */
  readonly forceAsync: boolean;
}

const KIB = 1024;
const SECOND = 1_000_000;
/** Of all kinds, each is on with this probability. */
const KIND_SHARE = 0.4;
/** Losing power may lose what was acknowledged under these policies. */
const POWER_KINDS: ReadonlySet<FaultKind> = new Set(["power", "crash at a change", "failed sync"]);

export interface SwarmLimits {
  readonly nodesMax: number;
  readonly policies: readonly SyncPolicy[];
  /** Faults that the simulated system has no answer to. */
  readonly without?: readonly FaultKind[];
}

export const ALL_LIMITS: SwarmLimits = { nodesMax: 5, policies: ["always", "everysec", "no"] };

export function chooseSwarm(random: SimRandom, limits: SwarmLimits = ALL_LIMITS): Swarm {
  const replicationFactor = random.between(1, limits.nodesMax);
  const syncPolicy = random.pick(limits.policies);
  return {
    replicationFactor,
    writeQuorum: random.between(1, replicationFactor),
    syncPolicy,
    weights: chooseWeights(random, syncPolicy, limits.without ?? []),
    times: {
      gapMicros: random.magnitude(0.05 * SECOND, 3 * SECOND),
      durationMicros: random.magnitude(0.05 * SECOND, 5 * SECOND),
    },
    disk: chooseDisk(random),
    network: chooseNetwork(random),
    store: chooseStore(random),
    hasRandomTies: random.chance(0.5),
    turnMicros: random.magnitude(5, 500),
    clockRateError: random.chance(0.5) ? 0 : random.unit() * RATE_ERROR_MAX,
    rateErrorMax: RATE_ERROR_MAX,
    wallOffsetMs: random.chance(0.5) ? 0 : random.magnitude(1, 60_000),
  };
}

function chooseWeights(
  random: SimRandom,
  policy: SyncPolicy,
  without: readonly FaultKind[],
): FaultWeights {
  const weights: FaultWeights = {};
  // Some seeds have no faults at all: what fails then is not their doing.
  if (random.chance(0.05)) return weights;
  for (const kind of FAULT_KINDS) {
    const isOn = random.chance(KIND_SHARE);
    const weight = random.magnitude(1, 10);
    const isAllowed = !without.includes(kind) && (policy === "always" || !POWER_KINDS.has(kind));
    if (isOn && isAllowed) weights[kind] = weight;
  }
  return weights;
}

function chooseDisk(random: SimRandom): DiskOptions {
  return {
    syncMicros: random.magnitude(20, 20_000),
    readMicros: random.magnitude(50, 5000),
    coldReadShare: random.pick([0, 0.01, 0.2, 1]),
    capacityBytes: 1 << 30,
  };
}

function chooseLink(random: SimRandom): LinkOptions {
  return {
    minMicros: random.magnitude(20, 5000),
    tailMicros: random.magnitude(10, 5000),
    spikeShare: random.pick([0, 0, 0.01, 0.1]),
    spikeMicros: random.magnitude(1000, 300_000),
    lossShare: random.pick([0, 0, 0.001, 0.05]),
    duplicateShare: random.pick([0, 0.01, 0.2]),
    bytesPerMicro: random.pick([Number.POSITIVE_INFINITY, 125, 1]),
  };
}

function chooseNetwork(random: SimRandom): NetworkOptions {
  return {
    link: chooseLink(random),
    queueBytes: random.magnitude(KIB, 1024 * KIB),
    breakMicros: random.magnitude(0.2 * SECOND, 20 * SECOND),
    keepaliveMicros: random.magnitude(0.5 * SECOND, 30 * SECOND),
    connectMicros: random.magnitude(0.2 * SECOND, 5 * SECOND),
  };
}

function chooseStore(random: SimRandom): StoreShape {
  return {
    segmentBytes: KIB * random.pick([64, 64, 128, 256]),
    segmentCount: random.between(3, 6),
    blockBytes: random.pick([256, 1024, 4096]),
    cacheBytes: KIB * random.pick([0, 64, 1024]),
    targetTableBytes: KIB * random.pick([8, 32, 256]),
    levelBaseBytes: KIB * random.pick([16, 64, 1024]),
    level0Trigger: random.between(1, 4),
    manifestBytes: KIB * random.pick([2, 4, 64]),
    forceAsync: random.chance(0.3),
  };
}
