/**
 * Version edits: what changes from one version of the tables to the next, and what the manifest stores.
 *
 * A VersionState is all that the manifest knows; applying an edit to a state makes the next one. The first
 * record of every manifest is the edit that makes its state out of nothing.
 *
 * Invariants of a state:
 * - level 0: newest first by maxSequence; tables of one flush do not overlap, tables of two flushes may;
 * - level ≥ 1: ordered by position, and no two tables share a position (all records of one key in one table);
 * - a record in level n is newer than every record of the same key in level n + 1;
 * - range deletions are committed ones only, ascending by sequence.
 */
import { z } from "zod";
import { SLOT_COUNT } from "../base/slot.ts";

export const LEVEL_COUNT = 7;
/** Quantiles of the expiry times of a table: entry i is the time at which (i + 1) / 16 of them have passed. */
export const EXPIRY_QUANTILES = 16;

const sequence = z.int().min(0);
const position = z
  .int()
  .min(0)
  .max(SLOT_COUNT * 2 ** 32);

const tableMeta = z.strictObject({
  id: z.int().min(1),
  bytes: z.int().min(0),
  recordCount: z.int().min(1),
  tombstoneCount: z.int().min(0),
  minPosition: position,
  maxPosition: position,
  minSequence: sequence,
  maxSequence: sequence,
  /** No record in the table is hidden by a range deletion with a sequence up to this one. */
  cleanSequence: sequence,
  expiringCount: z.int().min(0),
  /** EXPIRY_QUANTILES times in ms, ascending; empty when nothing expires. */
  expiryQuantiles: z.array(z.int().min(0)).max(EXPIRY_QUANTILES),
});

const rangeDeletion = z.strictObject({
  sequence,
  startSlot: z
    .int()
    .min(0)
    .max(SLOT_COUNT - 1),
  endSlot: z.int().min(1).max(SLOT_COUNT),
});

const versionEdit = z.strictObject({
  /** Tables that appear in a level; a table that moves is in `removed` as well. */
  added: z.array(
    z.strictObject({
      level: z
        .int()
        .min(0)
        .max(LEVEL_COUNT - 1),
      table: tableMeta,
    }),
  ),
  removed: z.array(z.int().min(1)),
  flushedSequence: sequence.optional(),
  /** Live keys of each slot as of flushedSequence. */
  counts: z.array(z.int()).length(SLOT_COUNT).optional(),
  rangeDeletions: z.array(rangeDeletion).optional(),
  /** Sequences of range deletions that hide nothing any more. */
  retired: z.array(sequence).optional(),
  nextTableId: z.int().min(1).optional(),
});

export type TableMeta = Readonly<z.infer<typeof tableMeta>>;
export type RangeDeletion = Readonly<z.infer<typeof rangeDeletion>>;
export type VersionEdit = Readonly<z.infer<typeof versionEdit>>;

export interface VersionState {
  /** LEVEL_COUNT lists of tables. */
  readonly levels: readonly (readonly TableMeta[])[];
  readonly flushedSequence: number;
  readonly counts: readonly number[];
  readonly rangeDeletions: readonly RangeDeletion[];
  readonly nextTableId: number;
}

export const EMPTY_STATE: VersionState = {
  levels: Array.from({ length: LEVEL_COUNT }, () => []),
  flushedSequence: 0,
  counts: new Array<number>(SLOT_COUNT).fill(0),
  rangeDeletions: [],
  nextTableId: 1,
};

export function encodeEdit(edit: VersionEdit): string {
  return JSON.stringify(edit);
}

/** The edit, or what is wrong with the text. */
export function decodeEdit(text: string): VersionEdit | string {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    return `not JSON: ${(cause as Error).message}`;
  }
  const result = versionEdit.safeParse(json);
  return result.success ? result.data : z.prettifyError(result.error);
}

/** The edit that makes `state` out of EMPTY_STATE. */
export function snapshotEdit(state: VersionState): VersionEdit {
  return {
    added: state.levels.flatMap((tables, level) => tables.map((table) => ({ level, table }))),
    removed: [],
    flushedSequence: state.flushedSequence,
    counts: [...state.counts],
    rangeDeletions: [...state.rangeDeletions],
    nextTableId: state.nextTableId,
  };
}

/** The state after `edit`, or why the edit does not fit the state. */
export function applyEdit(state: VersionState, edit: VersionEdit): VersionState | string {
  const removed = new Set(edit.removed);
  const levels: TableMeta[][] = [];
  for (const tables of state.levels) {
    levels.push(tables.filter((table) => !removed.delete(table.id)));
  }
  if (removed.size !== 0) return `removes table ${[...removed][0]}, which is not there`;
  const ids = new Set(levels.flat().map((table) => table.id));
  for (const { level, table } of edit.added) {
    if (ids.has(table.id)) return `adds table ${table.id} twice`;
    ids.add(table.id);
    levels[level]!.push(table);
  }
  for (let level = 0; level < LEVEL_COUNT; level++) {
    const problem = level === 0 ? orderLevel0(levels[0]!) : orderLevel(levels[level]!);
    if (problem !== undefined) return `level ${level}: ${problem}`;
  }
  const flushedSequence = edit.flushedSequence ?? state.flushedSequence;
  if (flushedSequence < state.flushedSequence) return "moves the flushed sequence back";
  const nextTableId = Math.max(edit.nextTableId ?? 1, state.nextTableId);
  for (const id of ids) if (id >= nextTableId) return `table ${id} is above the next table id`;
  const deletions = applyRangeDeletions(state.rangeDeletions, edit);
  if (typeof deletions === "string") return deletions;
  const counts = edit.counts ?? state.counts;
  return { levels, flushedSequence, counts, rangeDeletions: deletions, nextTableId };
}

function applyRangeDeletions(
  before: readonly RangeDeletion[],
  edit: VersionEdit,
): RangeDeletion[] | string {
  const bySequence = new Map(before.map((deletion) => [deletion.sequence, deletion]));
  for (const deletion of edit.rangeDeletions ?? []) {
    if (deletion.startSlot >= deletion.endSlot) return "range deletion of no slot";
    if (bySequence.has(deletion.sequence)) return `adds range deletion ${deletion.sequence} twice`;
    bySequence.set(deletion.sequence, deletion);
  }
  for (const retired of edit.retired ?? []) {
    if (!bySequence.delete(retired)) return `retires range deletion ${retired}, not there`;
  }
  return [...bySequence.values()].sort((a, b) => a.sequence - b.sequence);
}

function orderLevel0(tables: TableMeta[]): string | undefined {
  tables.sort((a, b) => b.maxSequence - a.maxSequence || b.id - a.id);
  return tables.map(describeProblem).find((problem) => problem !== undefined);
}

function orderLevel(tables: TableMeta[]): string | undefined {
  tables.sort((a, b) => a.minPosition - b.minPosition);
  for (let i = 0; i < tables.length; i++) {
    const problem = describeProblem(tables[i]!);
    if (problem !== undefined) return problem;
    if (i > 0 && tables[i - 1]!.maxPosition >= tables[i]!.minPosition) {
      return `tables ${tables[i - 1]!.id} and ${tables[i]!.id} overlap`;
    }
  }
  return undefined;
}

function describeProblem(table: TableMeta): string | undefined {
  if (table.minPosition > table.maxPosition) return `table ${table.id} ends before it begins`;
  if (table.minSequence > table.maxSequence) return `table ${table.id} has no sequences`;
  if (table.tombstoneCount > table.recordCount) return `table ${table.id} counts wrongly`;
  return undefined;
}

/** Whether the positions of two tables overlap. */
export function overlaps(a: TableMeta, b: TableMeta): boolean {
  return a.minPosition <= b.maxPosition && b.minPosition <= a.maxPosition;
}

/** Whether table records may lie in slots [startSlot, endSlot). */
export function overlapsSlots(table: TableMeta, startSlot: number, endSlot: number): boolean {
  return table.minPosition < endSlot * 2 ** 32 && table.maxPosition >= startSlot * 2 ** 32;
}

/**
 * Tables of level 0, newest first, as runs: each a list of tables in position order that do not overlap. A flush is
 * one run; what does not overlap has no order in time.
 */
export function level0Runs(tables: readonly TableMeta[]): TableMeta[][] {
  const runs: TableMeta[][] = [];
  for (const table of tables) {
    const run = runs.at(-1);
    if (run === undefined || run.some((other) => overlaps(other, table))) runs.push([table]);
    else run.push(table);
  }
  for (const run of runs) run.sort((a, b) => a.minPosition - b.minPosition);
  return runs;
}
