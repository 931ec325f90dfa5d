/**
 * How far slots on the move are: what is left of each source → destination pair, and what the sources have sent. Meters
 * are shown pictures one after the other, and compare each with those before.
 *
 *     who has which slots (CLUSTER SHARDS) ──► PlanMeter    how much of a plan is where it goes
 *     moves that are open (CLUSTER MOVES)  ──► OpenMeter    how much of whatever moves is left
 *     INFO dkv of the sources' writers     ──► SourceMeter  bytes, rate, time left
 */

import { Format } from "cli-progress";
import { slotCount, slotsOf } from "../base/slot-ranges.ts";
import { shortId, writerOf } from "./cluster-names.ts";
import type { ClusterPicture } from "./cluster-picture.ts";
import { bytesText, durationText } from "./figures.ts";
import { isUndecided, type OpenMove, type Pair, type Plan, runningMovesOf } from "./move-plan.ts";

export interface PairProgress extends Pair {
  readonly total: number;
  readonly done: number;
}

/** What a set has sent since it was first looked at. */
export interface SourceProgress {
  readonly sentBytes: number;
  readonly bytesPerSecond: number;
  /** Moves that its writer carries out, or that wait for it. */
  readonly open: number;
  /** Undefined: not known yet. */
  readonly etaSeconds: number | undefined;
}

const NOTHING: SourceProgress = { sentBytes: 0, bytesPerSecond: 0, open: 0, etaSeconds: undefined };
/** Rates are over so long. */
const RATE_MS = 10_000;

interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

interface Sent {
  nodeId: string;
  /** As that node counts. */
  counted: number;
  bytes: number;
  readonly samples: Sample[];
}

export class SourceMeter {
  readonly #sent = new Map<string, Sent>();
  readonly #progress = new Map<string, SourceProgress>();

  /** By set, those that have gone included. A writer that is new counts from 0. */
  look({ sets }: ClusterPicture, nowMs: number): ReadonlyMap<string, SourceProgress> {
    for (const [id, { sentBytes }] of this.#progress)
      this.#progress.set(id, { ...NOTHING, sentBytes });
    for (const set of sets) {
      const writer = writerOf(set);
      const info = writer?.info;
      if (writer === undefined || info?.has("cluster_moves_sent_bytes") !== true) continue;
      const field = (name: string) => Number(info.get(`cluster_moves_${name}`));
      const running = runningMovesOf(info).reduce((sum, { sentBytes }) => sum + sentBytes, 0);
      const sent = this.#add(set.id, writer.id, field("sent_bytes") + running);
      const eta = field("eta_seconds");
      this.#progress.set(set.id, {
        ...{ sentBytes: sent.bytes, bytesPerSecond: rateOf(sent, nowMs) },
        open: field("away") + field("waiting"),
        etaSeconds: eta < 0 ? undefined : eta,
      });
    }
    return new Map(this.#progress);
  }

  #add(setId: string, nodeId: string, counted: number): Sent {
    const sent = this.#sent.get(setId) ?? { nodeId, counted, bytes: 0, samples: [] };
    const before = sent.nodeId === nodeId ? Math.min(sent.counted, counted) : 0;
    sent.bytes += counted - before;
    sent.nodeId = nodeId;
    sent.counted = counted;
    this.#sent.set(setId, sent);
    return sent;
  }
}

function rateOf({ samples, bytes }: Sent, nowMs: number): number {
  samples.push({ atMs: nowMs, bytes });
  while (samples.length > 2 && samples[0]!.atMs < nowMs - RATE_MS) samples.shift();
  const [first] = samples;
  return nowMs === first!.atMs ? 0 : (1000 * (bytes - first!.bytes)) / (nowMs - first!.atMs);
}

/** All sources together; the slowest says when it is over. */
export function sumOf(sources: Iterable<SourceProgress>): SourceProgress {
  const all = [...sources];
  const etas = all.filter(({ open }) => open > 0).map(({ etaSeconds }) => etaSeconds);
  return {
    sentBytes: all.reduce((sum, each) => sum + each.sentBytes, 0),
    bytesPerSecond: all.reduce((sum, each) => sum + each.bytesPerSecond, 0),
    open: all.reduce((sum, { open }) => sum + open, 0),
    etaSeconds: etas.includes(undefined) ? undefined : Math.max(0, ...(etas as number[])),
  };
}

/** Slots of the plan that are not where they are to go. */
export function slotsLeft(plan: Plan, { sets }: ClusterPicture): number[] {
  return plan.flatMap(({ destination, slots }) => {
    const owner = sets.find(({ id }) => id === destination);
    const owned = new Set(slotsOf(owner?.slots ?? []));
    return slotsOf(slots).filter((slot) => !owned.has(slot));
  });
}

export function planProgress(plan: Plan, picture: ClusterPicture): PairProgress[] {
  return plan.map((move) => {
    const total = slotCount(move.slots);
    const done = total - slotsLeft([move], picture).length;
    return { source: move.source, destination: move.destination, total, done };
  });
}

/** Whatever moves, since it was first seen. */
export class OpenMeter {
  #pairs: readonly PairProgress[] = [];

  look(moves: readonly OpenMove[]): readonly PairProgress[] {
    const left = new Map<string, Pair & { count: number }>();
    for (const { source, destination, slots } of moves.filter(isUndecided)) {
      const key = `${source} ${destination}`;
      const pair = left.get(key) ?? { source, destination, count: 0 };
      left.set(key, { ...pair, count: pair.count + slotCount(slots) });
    }
    this.#pairs = [...left.values()].map(({ source, destination, count }) => {
      const before = this.#pairs.find(
        (each) => each.source === source && each.destination === destination,
      );
      const gone = before === undefined ? 0 : before.total - before.done - count;
      const done = (before?.done ?? 0) + Math.max(0, gone);
      return { source, destination, done, total: done + count };
    });
    return this.#pairs;
  }
}

const BAR_WIDTH = 24;
const BAR = {
  ...{ barsize: BAR_WIDTH, barGlue: "" },
  ...{ barCompleteString: "█".repeat(BAR_WIDTH), barIncompleteString: "░".repeat(BAR_WIDTH) },
};

/** `12.3 MiB sent, 1.1 MiB/s, 8s left`. */
export function trafficText({ sentBytes, bytesPerSecond, etaSeconds }: SourceProgress): string {
  const left =
    etaSeconds === undefined ? "time left not known yet" : `${durationText(etaSeconds)} left`;
  return `${bytesText(sentBytes)} sent, ${bytesText(Math.round(bytesPerSecond))}/s, ${left}`;
}

/** A line with a bar for each pair; what a source has sent, to whomever, is on the first that it has. */
export function barLines(
  pairs: readonly PairProgress[],
  sources: ReadonlyMap<string, SourceProgress>,
): string[] {
  const digits = Math.max(...pairs.map(({ total }) => `${total}`.length));
  return pairs.map((pair, at) => {
    const { source, destination, done, total } = pair;
    const bar = Format.BarFormat(total === 0 ? 1 : done / total, BAR);
    const ofSource = pairs.filter((each) => each.source === source);
    const isOver = ofSource.every((each) => each.done === each.total);
    const progress = sources.get(source) ?? NOTHING;
    const traffic = isOver ? `${bytesText(progress.sentBytes)} sent` : trafficText(progress);
    const left = `${total - done}`.padStart(digits);
    const line = `${shortId(source)} → ${shortId(destination)} ${bar} ${left} of ${total} slots left`;
    return pairs.indexOf(ofSource[0]!) === at ? `${line}, ${traffic}` : line;
  });
}
