/**
 * What to compact next: a pure function of the tables and the tuning.
 *
 * Levels are leveled with a dynamic base: the last level that holds data is the measure, each level above it is
 * aimed at a multiplier-th of the one below, and level 0 goes straight to the base level, the first whose aim
 * reaches levelBaseBytes / multiplier. So the last level holds about 90 % of the data whatever its size.
 *
 * In this order:
 *   1. level 0, one group of overlapping tables (flushes cut at fixed slots, so a group is a part of the key
 *      space), when it is as deep as the trigger and no less than 1 / LEVEL0_RATIO of what it must rewrite, or
 *      when it is as deep as the limit;
 *   2. the level furthest above its aim: the table that rewrites the least below it per byte of its own;
 *   3. tables in which a range deletion hides records; a last level's tables that still hold tombstones;
 *   4. a sweep of a table that holds many records that expired since the last one.
 *
 * A tombstone weighs as much as the record that it will remove, so deletions return space early.
 */
import { EXPIRY_QUANTILES, LEVEL_COUNT, type TableMeta } from "./version-edit.ts";

export interface PickerTuning {
  /** Overlapping flushes in level 0 that are worth merging. */
  readonly level0Trigger: number;
  /** Overlapping flushes in level 0 that are merged at any price. */
  readonly level0DepthMax: number;
  readonly levelBaseBytes: number;
  readonly levelMultiplier: number;
}

export interface PickerInput {
  readonly levels: readonly (readonly TableMeta[])[];
  readonly tuning: PickerTuning;
  readonly clockMs: number;
  /** Records in the table that committed range deletions hide. */
  hiddenRecords(table: TableMeta): number;
  /** The clock of the last complete expiry sweep of the table; 0 if none. */
  sweptMs(table: TableMeta): number;
}

export type PickReason =
  | "level0"
  | "size"
  | "range deletion"
  | "tombstones"
  | "whole"
  | "expired records";

export interface CompactionPick {
  readonly kind: "compact" | "move";
  readonly reason: PickReason;
  readonly level: number;
  readonly outputLevel: number;
  /** Tables of `level`. */
  readonly upper: readonly TableMeta[];
  /** Tables of `outputLevel` that overlap them; empty when both levels are one. */
  readonly lower: readonly TableMeta[];
}

export interface SweepPick {
  readonly kind: "sweep";
  readonly reason: PickReason;
  readonly level: number;
  readonly table: TableMeta;
}

export type Pick = CompactionPick | SweepPick;

/** A merge is worth its price when it rewrites at most this many times what it brings down. */
const LEVEL0_RATIO = 4;
/** Share of tombstones from which a merge does not wait for the trigger. */
const TOMBSTONE_SHARE = 0.25;
/** Share of a table's records that must have expired since the last sweep to read it again. */
const SWEEP_SHARE = 0.1;

export function pick(input: PickerInput): Pick | undefined {
  const base = baseLevel(input.levels, input.tuning);
  return (
    pickLevel0(input, base) ??
    pickBySize(input, base) ??
    pickGarbage(input, base) ??
    pickSweep(input)
  );
}

export function totalBytes(tables: readonly TableMeta[]): number {
  let sum = 0;
  for (const table of tables) sum += table.bytes;
  return sum;
}

/** The lowest level that holds tables; 0 when none below level 0 does. */
export function lastLevel(levels: readonly (readonly TableMeta[])[]): number {
  for (let level = LEVEL_COUNT - 1; level > 0; level--) if (levels[level]!.length > 0) return level;
  return 0;
}

/** Bytes that each level is aimed at; 0 above the base level, Infinity in the last one. */
export function levelTargets(
  levels: readonly (readonly TableMeta[])[],
  tuning: PickerTuning,
): number[] {
  const targets = new Array<number>(LEVEL_COUNT).fill(0);
  let largest = 0;
  for (let level = 1; level < LEVEL_COUNT; level++) {
    largest = Math.max(largest, totalBytes(levels[level]!));
  }
  let target = largest;
  targets[LEVEL_COUNT - 1] = Number.POSITIVE_INFINITY;
  for (let level = LEVEL_COUNT - 2; level > 0 && target > tuning.levelBaseBytes; level--) {
    target /= tuning.levelMultiplier;
    targets[level] = target;
  }
  return targets;
}

/** The level that level 0 is merged into: never below a level that holds tables. */
export function baseLevel(levels: readonly (readonly TableMeta[])[], tuning: PickerTuning): number {
  const targets = levelTargets(levels, tuning);
  for (let level = 1; level < LEVEL_COUNT; level++) {
    if (targets[level]! > 0 || levels[level]!.length > 0) return level;
  }
  return LEVEL_COUNT - 1;
}

/** The largest number of tables of level 0 that share a position. */
export function level0Depth(tables: readonly TableMeta[]): number {
  let depth = 0;
  for (const table of tables) {
    // The deepest point of a set of intervals is the start of one of them.
    let here = 0;
    for (const other of tables) {
      if (other.minPosition <= table.minPosition && table.minPosition <= other.maxPosition) here++;
    }
    depth = Math.max(depth, here);
  }
  return depth;
}

/** The bytes of tables, their tombstones counted at the size of what they will remove. */
function weight(tables: readonly TableMeta[], recordBytes: number): number {
  let sum = 0;
  for (const table of tables) sum += table.bytes + table.tombstoneCount * recordBytes;
  return sum;
}

function meanRecordBytes(levels: readonly (readonly TableMeta[])[]): number {
  const tables = levels[lastLevel(levels)]!;
  let records = 0;
  for (const table of tables) records += table.recordCount;
  return records === 0 ? 0 : totalBytes(tables) / records;
}

function tombstoneShare(tables: readonly TableMeta[]): number {
  let tombstones = 0;
  let records = 0;
  for (const table of tables) {
    tombstones += table.tombstoneCount;
    records += table.recordCount;
  }
  return records === 0 ? 0 : tombstones / records;
}

/** Level 0 as groups of tables that overlap directly or through others, in position order. */
function level0Groups(tables: readonly TableMeta[]): TableMeta[][] {
  const sorted = [...tables].sort((a, b) => a.minPosition - b.minPosition);
  const groups: TableMeta[][] = [];
  let end = -1;
  for (const table of sorted) {
    if (table.minPosition > end) groups.push([]);
    groups.at(-1)!.push(table);
    end = Math.max(end, table.maxPosition);
  }
  return groups;
}

/** The tables of a level that lie between the first and the last position of `upper`: outputs bridge its gaps. */
function spanned(tables: readonly TableMeta[], upper: readonly TableMeta[]): TableMeta[] {
  const start = Math.min(...upper.map((table) => table.minPosition));
  const end = Math.max(...upper.map((table) => table.maxPosition));
  return tables.filter((table) => table.minPosition <= end && start <= table.maxPosition);
}

function pickLevel0(input: PickerInput, base: number): Pick | undefined {
  const { levels, tuning } = input;
  const recordBytes = meanRecordBytes(levels);
  let best: { group: TableMeta[]; lower: TableMeta[]; depth: number } | undefined;
  for (const group of level0Groups(levels[0]!)) {
    const depth = level0Depth(group);
    if (best !== undefined && depth <= best.depth) continue;
    const lower = spanned(levels[base]!, group);
    const isDue =
      (depth >= tuning.level0Trigger || tombstoneShare(group) >= TOMBSTONE_SHARE) &&
      weight(group, recordBytes) * LEVEL0_RATIO >= totalBytes(lower);
    if (isDue || depth >= tuning.level0DepthMax) best = { group, lower, depth };
  }
  if (best === undefined) return undefined;
  const newestFirst = [...best.group].sort((a, b) => b.maxSequence - a.maxSequence);
  return compaction(input, {
    reason: "level0",
    level: 0,
    outputLevel: base,
    upper: newestFirst,
    lower: best.lower,
  });
}

function pickBySize(input: PickerInput, base: number): Pick | undefined {
  const { levels, tuning } = input;
  const targets = levelTargets(levels, tuning);
  const recordBytes = meanRecordBytes(levels);
  let level = 0;
  let score = 1;
  for (let candidate = base; candidate < LEVEL_COUNT - 1; candidate++) {
    if (levels[candidate]!.length === 0) continue;
    const ratio = weight(levels[candidate]!, recordBytes) / targets[candidate]!;
    if (ratio > score) {
      level = candidate;
      score = ratio;
    }
  }
  if (level === 0) return undefined;
  return pickCheapest(input, level, "size");
}

/** The table of a level whose merge rewrites the least per byte that it brings down. */
function pickCheapest(input: PickerInput, level: number, reason: PickReason): CompactionPick {
  const below = input.levels[level + 1]!;
  const recordBytes = meanRecordBytes(input.levels);
  let best: { upper: TableMeta; lower: TableMeta[]; price: number } | undefined;
  for (const table of input.levels[level]!) {
    const lower = spanned(below, [table]);
    const price = totalBytes(lower) / Math.max(1, weight([table], recordBytes));
    if (best === undefined || price < best.price) best = { upper: table, lower, price };
  }
  return compaction(input, {
    reason,
    level,
    outputLevel: level + 1,
    upper: [best!.upper],
    lower: best!.lower,
  });
}

function pickGarbage(input: PickerInput, base: number): Pick | undefined {
  const { levels } = input;
  const last = lastLevel(levels);
  for (let level = 0; level < LEVEL_COUNT; level++) {
    for (const table of levels[level]!) {
      const isHidden = input.hiddenRecords(table) > 0;
      const isStale = level > 0 && level === last && table.tombstoneCount > 0;
      if (!isHidden && !isStale) continue;
      return level === 0 ? pickGroup(input, table, base) : rewrite(level, table, isHidden);
    }
  }
  return undefined;
}

/** The group of level 0 that a table belongs to. */
function pickGroup(input: PickerInput, table: TableMeta, base: number): Pick {
  const group = level0Groups(input.levels[0]!).find((tables) => tables.includes(table))!;
  return {
    kind: "compact",
    reason: "range deletion",
    level: 0,
    outputLevel: base,
    upper: group.sort((a, b) => b.maxSequence - a.maxSequence),
    lower: spanned(input.levels[base]!, group),
  };
}

/** A table written anew in its own level. */
function rewrite(level: number, table: TableMeta, isHidden: boolean): CompactionPick {
  const reason = isHidden ? "range deletion" : "tombstones";
  return { kind: "compact", reason, level, outputLevel: level, upper: [table], lower: [] };
}

function compaction(input: PickerInput, plan: Omit<CompactionPick, "kind">): CompactionPick {
  // Tombstones with nothing below them would stay for ever if they only moved.
  const isLast = plan.outputLevel >= lastLevel(input.levels);
  const movable =
    plan.lower.length === 0 &&
    level0Depth(plan.upper) === 1 &&
    plan.upper.every(
      (table) => !(isLast && table.tombstoneCount > 0) && input.hiddenRecords(table) === 0,
    );
  return { kind: movable ? "move" : "compact", ...plan };
}

/** All levels above the last one with tables merged into it, level by level; undefined when all is in one. */
export function pickWhole(input: PickerInput): CompactionPick | undefined {
  const { levels } = input;
  const last = Math.max(lastLevel(levels), baseLevel(levels, input.tuning));
  for (let level = 0; level < last; level++) {
    const upper = levels[level]!;
    if (upper.length === 0) continue;
    const outputLevel = level === 0 ? baseLevel(levels, input.tuning) : level + 1;
    const lower = spanned(levels[outputLevel]!, upper);
    // Level 0 is ordered newest first already, and so is every other level: its tables do not overlap.
    return compaction(input, { reason: "whole", level, outputLevel, upper, lower });
  }
  return undefined;
}

/** Bytes that must be rewritten until every level meets its aim; for back-pressure. */
export function pendingBytes(
  levels: readonly (readonly TableMeta[])[],
  tuning: PickerTuning,
): number {
  const targets = levelTargets(levels, tuning);
  const base = baseLevel(levels, tuning);
  let pending = 0;
  if (level0Depth(levels[0]!) >= tuning.level0Trigger) {
    pending += totalBytes(levels[0]!) + totalBytes(spanned(levels[base]!, levels[0]!));
  }
  for (let level = base; level < LEVEL_COUNT - 1; level++) {
    const excess = totalBytes(levels[level]!) - targets[level]!;
    if (excess > 0) pending += excess * (1 + tuning.levelMultiplier);
  }
  return pending;
}

/** Expiring records of a table whose time has come by `clockMs`, as its quantiles tell. */
function expiredBy(table: TableMeta, clockMs: number): number {
  let passed = 0;
  while (passed < table.expiryQuantiles.length && table.expiryQuantiles[passed]! <= clockMs)
    passed++;
  return (table.expiringCount * passed) / EXPIRY_QUANTILES;
}

function pickSweep(input: PickerInput): Pick | undefined {
  let best: SweepPick | undefined;
  let bestShare = 0;
  input.levels.forEach((tables, level) => {
    for (const table of tables) {
      if (table.expiringCount === 0) continue;
      const sweptMs = input.sweptMs(table);
      const fresh = expiredBy(table, input.clockMs) - expiredBy(table, sweptMs);
      const share = fresh / table.recordCount;
      // After the last expiry of all, one sweep reports the remainder however small.
      const latest = table.expiryQuantiles.at(-1)!;
      const isOver = latest <= input.clockMs && latest > sweptMs;
      if (share < SWEEP_SHARE && !isOver) continue;
      if (best !== undefined && share <= bestShare) continue;
      best = { kind: "sweep", reason: "expired records", level, table };
      bestShare = share;
    }
  });
  return best;
}
