/**
 * What a seed of the scenario "cluster" is made of: how many replica sets, of how many nodes, with how many spares;
 * which faults; how its clients find their way; how wrong its clocks are.
 *
 *   mix      most seeds: each kind of fault with some probability and weight, all at random
 *   theme    the others: one kind alone, again and again, each time for seconds. What needs one fault undisturbed (a
 *            writer that is cut off with its clients) is rare in a mix
 *
 * Clocks: within the bound that leases cover everything is promised. Beyond it ("wild") reads may be stale; no
 * acknowledged write may be lost even then.
 */
import {
  DEFAULT_REPLICATION_OPTIONS,
  type ReplicationOptions,
} from "../../../src/cluster/replication/options.ts";
import { FAULT_KINDS, type FaultKind } from "../faults.ts";
import type { SimRandom } from "../random.ts";
import { chooseSwarm, type Swarm, type SwarmLimits } from "../swarm.ts";
import { CLUSTER_FAULT_KINDS, type ClusterFaultKind, isAllowed } from "./cluster-faults.ts";

export type AnyFaultKind = FaultKind | ClusterFaultKind;

export interface ClientMix {
  readonly count: number;
  readonly thinkMicros: number;
  readonly timeoutMs: number;
  /** How long a key is used. */
  readonly keyMs: number;
  readonly valueBytes: number;
  /** Keys of each kind: more sets need more keys. */
  readonly keysPerKind: number;
  /** Of the reads, those that any replica may answer. */
  readonly replicaShare: number;
  /** Time to live of what expires. */
  readonly expiryMs: number;
  /** Of the clients, those that read the coordinator's documents; others learn by being refused. */
  readonly documentShare: number;
}

export interface ClusterSwarm extends Swarm {
  readonly initialSets: number;
  readonly spares: number;
  readonly clusterWeights: Partial<Record<ClusterFaultKind, number>>;
  readonly replication: ReplicationOptions;
  /** Little, and much is written: who was away needs a checkpoint. */
  readonly retainBytesMax: number;
  readonly clients: ClientMix;
  readonly lengthMicros: number;
  /** After the last operation, before the last look. */
  readonly restMicros: number;
  /** Between an operator's moves of slots, on average; undefined: there are none. */
  readonly moveMs: number | undefined;
  /** Between an operator's drains of sets, on average; undefined: there are none. */
  readonly drainMs: number | undefined;
  /** Enough spares form one more set, which gets its share of the slots. */
  readonly rebalances: boolean;
  /** Where sets come and go, many slots move as one: a move each would take too long. */
  readonly slotsPerMove: number;
  readonly areClocksWild: boolean;
  /** No clock is wrong at any time. */
  readonly areClocksRight: boolean;
}

const SECOND = 1_000_000;
const RETAINED_BYTES_MAX = 128 * 1024;
const LIMITS: SwarmLimits = { nodesMax: 5, policies: ["always", "always", "everysec", "no"] };
const NODES_MAX = 9;
const FAULT_WEIGHT_MAX = 10;
const CLUSTER_KIND_SHARE = 0.35;
const THEME_SHARE = 0.25;
/** Themes that need a frequent look. */
const FAVOURITE_THEMES: readonly AnyFaultKind[] = ["cut off", "cut off", "pause", "isolation"];
/** Of the seeds with several sets. */
const MOVES_SHARE = 0.8;
const GROWTH_SHARE = 0.2;
/** Of the seeds with several sets, or that may get one more. */
const DRAIN_SHARE = 0.3;
const WILD_SHARE = 0.05;
const WILD_RATE_ERROR = 0.4;

/** `theme`: a seed of that theme, whatever it would have been. */
export function chooseClusterSwarm(random: SimRandom, theme?: AnyFaultKind): ClusterSwarm {
  const base = chooseSwarm(random.fork("base"), LIMITS);
  const isThemed = random.chance(THEME_SHARE);
  const themes = [...FAULT_KINDS, ...CLUSTER_FAULT_KINDS, ...FAVOURITE_THEMES];
  const chosen = random.pick(themes);
  const initialSets = chooseSets(random, base.replicationFactor);
  const room = NODES_MAX - initialSets * base.replicationFactor;
  const areClocksWild = random.chance(WILD_SHARE);
  const swarm: ClusterSwarm = {
    ...base,
    ...(areClocksWild ? { clockRateError: 0, rateErrorMax: WILD_RATE_ERROR } : {}),
    initialSets,
    spares: Math.min(room, random.pick([0, 0, 1, 2])),
    clusterWeights: chooseWeights(random, base),
    replication: chooseReplication(random),
    retainBytesMax: Number.MAX_SAFE_INTEGER,
    clients: chooseClients(random, initialSets),
    lengthMicros: random.magnitude(4 * SECOND, 30 * SECOND),
    restMicros: random.magnitude(1 * SECOND, 60 * SECOND),
    moveMs: initialSets > 1 && random.chance(MOVES_SHARE) ? random.magnitude(50, 3000) : undefined,
    ...{ drainMs: undefined, rebalances: false, slotsPerMove: 1 },
    areClocksWild,
    areClocksRight: false,
  };
  const themed = theme ?? (isThemed ? chosen : undefined);
  const whole = themed === undefined ? swarm : withTheme(swarm, themed, random);
  const changing = withGrowth(whole, random.fork("growth"));
  const retained = random.chance(0.5) ? changing : withLittleLog(changing, random);
  return { ...retained, areClocksRight: areRight(retained) };
}

/** Sets come, and go. */
function withGrowth(swarm: ClusterSwarm, random: SimRandom): ClusterSwarm {
  const { initialSets, replicationFactor } = swarm;
  const room = NODES_MAX - initialSets * replicationFactor;
  const rebalances = room >= replicationFactor && random.chance(GROWTH_SHARE);
  const drains = (initialSets > 1 || rebalances) && random.chance(DRAIN_SHARE);
  const spares = Math.min(room, replicationFactor + random.pick([0, 0, 1]));
  const drainMs = random.magnitude(1000, 10_000);
  const slotsPerMove = rebalances || drains ? random.magnitude(16, 256) : 1;
  return {
    ...{ ...swarm, slotsPerMove },
    ...(rebalances ? { rebalances, spares } : {}),
    ...(drains ? { drainMs } : {}),
  };
}

function withLittleLog(swarm: ClusterSwarm, random: SimRandom): ClusterSwarm {
  const thinkMicros = random.magnitude(2000, 10_000);
  const valueBytes = random.magnitude(4000, 24_000);
  const retainBytesMax = random.below(RETAINED_BYTES_MAX);
  return { ...swarm, retainBytesMax, clients: { ...swarm.clients, thinkMicros, valueBytes } };
}

function chooseSets(random: SimRandom, replicationFactor: number): number {
  const wanted = random.pick([1, 1, 2, 2, 3]);
  return Math.max(1, Math.min(wanted, Math.floor(NODES_MAX / replicationFactor)));
}

function chooseWeights(random: SimRandom, swarm: Swarm): ClusterSwarm["clusterWeights"] {
  const weights: Partial<Record<ClusterFaultKind, number>> = {};
  const isCalm = Object.keys(swarm.weights).length === 0;
  for (const kind of CLUSTER_FAULT_KINDS) {
    const isOn = random.chance(CLUSTER_KIND_SHARE);
    const weight = random.magnitude(1, FAULT_WEIGHT_MAX);
    if (isOn && !isCalm && isAllowed(kind, swarm)) weights[kind] = weight;
  }
  return weights;
}

function chooseReplication(random: SimRandom): ReplicationOptions {
  const batchFramesMax = random.magnitude(2, 64);
  return {
    ...DEFAULT_REPLICATION_OPTIONS,
    lossMs: random.magnitude(400, 8000),
    learnerLagMax: random.magnitude(1, 64),
    batchFramesMax,
    windowFramesMax: batchFramesMax * random.between(1, 16),
  };
}

function chooseClients(random: SimRandom, sets: number): ClientMix {
  return {
    count: random.between(1, 5),
    thinkMicros: random.magnitude(2000, 50_000),
    timeoutMs: random.magnitude(200, 5000),
    keyMs: random.magnitude(1000, 4000),
    valueBytes: random.magnitude(16, 8000),
    keysPerKind: sets + 1,
    replicaShare: random.pick([0, 0.3, 0.8]),
    expiryMs: random.magnitude(20, 10_000),
    documentShare: random.pick([0, 0.5, 1]),
  };
}

/** Three copies of which two acknowledge, and one kind of fault that has its time. */
function withTheme(swarm: ClusterSwarm, theme: AnyFaultKind, random: SimRandom): ClusterSwarm {
  const times = {
    gapMicros: random.magnitude(0.3 * SECOND, 2 * SECOND),
    durationMicros: random.magnitude(0.5 * SECOND, 6 * SECOND),
  };
  const themed = { ...swarm, replicationFactor: 3, writeQuorum: 2, initialSets: 1, times };
  const isClusterKind = (CLUSTER_FAULT_KINDS as readonly string[]).includes(theme);
  const isFit = !isClusterKind || isAllowed(theme as ClusterFaultKind, themed);
  const syncPolicy = isFit ? swarm.syncPolicy : "everysec";
  const needsSync = theme === "power" || theme === "crash at a change" || theme === "failed sync";
  return {
    ...themed,
    syncPolicy: needsSync ? "always" : syncPolicy,
    spares: Math.min(swarm.spares, NODES_MAX - 3),
    weights: isClusterKind ? {} : { [theme]: 1 },
    clusterWeights: isClusterKind ? { [theme]: 1 } : {},
  };
}

function areRight({ clockRateError, wallOffsetMs, weights }: ClusterSwarm): boolean {
  const isWrong = clockRateError > 0 || wallOffsetMs > 0;
  return !isWrong && weights["clock rate"] === undefined && weights["clock jump"] === undefined;
}

/** For messages. */
export function describeSwarm(swarm: ClusterSwarm): string {
  const { initialSets, replicationFactor, writeQuorum, spares, syncPolicy, rebalances } = swarm;
  const faults = Object.keys({ ...swarm.weights, ...swarm.clusterWeights }).join(", ");
  const clocks = swarm.areClocksWild ? ", wild clocks" : "";
  const sets = `${initialSets} sets of N ${replicationFactor}, Q ${writeQuorum}, ${spares} spares`;
  const growth = rebalances ? ", growing" : "";
  const drains = swarm.drainMs === undefined ? "" : ", drained";
  return `${sets}${growth}${drains}, appendfsync ${syncPolicy}${clocks}; faults: ${faults || "none"}`;
}
