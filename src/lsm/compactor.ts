/**
 * Keeps the levels in shape: one merge, move or sweep at a time, chosen by the picker after every change.
 */
import { assert } from "../base/assert.ts";
import {
  type CompactionPick,
  level0Depth,
  type Pick,
  type PickerInput,
  pendingBytes,
  pick,
  pickWhole,
  type SweepPick,
  totalBytes,
} from "./compaction-picker.ts";
import { DiskRoom, type DiskRoomOptions, runIfRoom } from "./disk-room.ts";
import type { LsmTuning } from "./lsm-options.ts";
import type { RangeDeletionSet } from "./range-deletion-set.ts";
import { cleanAfterMerge, mayHide } from "./range-deletions.ts";
import type { ExpiredBatch, OutputOptions, StorageResult } from "./storage-job.ts";
import type { TableStore } from "./table-store.ts";
import {
  LEVEL_COUNT,
  level0Runs,
  overlaps,
  type RangeDeletion,
  type TableMeta,
  type VersionEdit,
  type VersionState,
} from "./version-edit.ts";

export interface CompactorOptions extends DiskRoomOptions {
  readonly tables: TableStore;
  readonly deletions: RangeDeletionSet;
  readonly tuning: LsmTuning;
  outputOptions(level: number, inputBytes: number): OutputOptions;
  clockMs(): number;
  onError(error: Error): void;
  onExpired(batch: ExpiredBatch): void;
}

export interface CompactorCounters {
  readonly isCompacting: boolean;
  readonly pendingCompactionBytes: number;
  readonly compactionBytesRead: number;
  readonly compactionBytesWritten: number;
  readonly compactionCount: number;
  readonly level0Depth: number;
}

export class Compactor {
  readonly #options: CompactorOptions;
  /** Table id → clock up to which its expired records have been reported, and where the report stopped. */
  readonly #swept = new Map<number, { ms: number; resumePosition: number }>();
  readonly #room: DiskRoom;
  #running: Promise<void> | undefined = undefined;
  #isWhole = false;
  #closing = false;
  #failure: Error | undefined = undefined;
  #bytesRead = 0;
  #bytesWritten = 0;
  #count = 0;
  #depth = 0;
  #pendingBytes = 0;

  constructor(options: CompactorOptions) {
    this.#options = options;
    this.#room = new DiskRoom(options);
  }

  get counters(): CompactorCounters {
    return {
      isCompacting: this.#running !== undefined,
      pendingCompactionBytes: this.#pendingBytes,
      compactionBytesRead: this.#bytesRead,
      compactionBytesWritten: this.#bytesWritten,
      compactionCount: this.#count,
      level0Depth: this.#depth,
    };
  }

  get writePressure(): number {
    const { tuning } = this.#options;
    const depth =
      (this.#depth - tuning.level0SlowDepth) / (tuning.level0StopDepth - tuning.level0SlowDepth);
    const pending =
      (this.#pendingBytes - tuning.pendingSlowBytes) /
      (tuning.pendingStopBytes - tuning.pendingSlowBytes);
    return Math.max(0, Math.min(1, Math.max(depth, pending)));
  }

  /** Whether a merge is due that the disk has no room for. */
  get lacksRoom(): boolean {
    return this.#room.isLacking;
  }

  /** The clock, or the room on the disk, has changed. */
  maintain(): void {
    this.#room.maintain();
    this.schedule();
  }

  /** The tables, or the clock, have changed: starts what is due unless something runs. */
  schedule(): void {
    const { levels } = this.#options.tables.state;
    this.#depth = level0Depth(levels[0]!);
    this.#pendingBytes = pendingBytes(levels, this.#options.tuning);
    if (this.#running !== undefined || this.#closing || this.#failure !== undefined) return;
    if (this.#next() === undefined && this.#retirable(this.#options.tables.state).length === 0)
      return;
    this.#running = this.#loop().finally(() => {
      this.#running = undefined;
      // What became due after the loop's last look.
      this.#again();
    });
  }

  /** Resolves when nothing is due; rejects when a job has failed. */
  async idle(): Promise<void> {
    this.schedule();
    while (this.#running !== undefined) await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async compactAll(): Promise<void> {
    this.#isWhole = true;
    await this.idle();
    await this.#options.tables.settled();
  }

  /** Waits for what runs; starts nothing more. */
  async close(): Promise<void> {
    this.#closing = true;
    while (this.#running !== undefined) await this.#running;
  }

  /** The executor closes tables that are about to be deleted. */
  forget(tableIds: readonly number[]): void {
    this.#options.executor
      .run({ kind: "forget", tableIds })
      .catch((error: Error) => this.#options.onError(error));
  }

  /** A job that reported what had expired by `ms` wrote these tables. */
  noteSwept(tables: readonly TableMeta[], result: StorageResult, ms: number): void {
    for (const table of tables) {
      const isComplete = result.resumePosition === -1;
      // Tables are in position order, so those before the stop are complete as well.
      if (isComplete || table.maxPosition < result.resumePosition) {
        this.#swept.set(table.id, { ms, resumePosition: 0 });
      } else {
        this.#swept.set(table.id, {
          ms: 0,
          resumePosition: Math.max(0, Math.min(result.resumePosition, table.maxPosition)),
        });
      }
    }
  }

  #again(): void {
    if (!this.#closing && this.#failure === undefined && this.#next() !== undefined)
      this.schedule();
  }

  /** What is due and has room. */
  #next(): Pick | undefined {
    const due = this.#due();
    if (due?.kind !== "compact") {
      this.#room.noteNone();
      return due;
    }
    return this.#room.hasRoom(totalBytes(due.upper) + totalBytes(due.lower)) ? due : undefined;
  }

  #due(): Pick | undefined {
    const input = this.#pickerInput();
    const due = pick(input);
    if (due !== undefined || !this.#isWhole) return due;
    const whole = pickWhole(input);
    if (whole === undefined) this.#isWhole = false;
    return whole;
  }

  async #loop(): Promise<void> {
    try {
      // Lets whoever made the change finish its turn.
      await Promise.resolve();
      while (!this.#closing) {
        await this.#retire();
        const next = this.#next();
        if (next === undefined) return;
        if (next.kind === "sweep") await this.#sweep(next);
        else if (next.kind === "move") await this.#move(next);
        else await this.#compact(next);
      }
    } catch (error) {
      this.#failure = error as Error;
      this.#options.onError(error as Error);
    }
  }

  #pickerInput(): PickerInput {
    const { tables, tuning } = this.#options;
    const { levels, rangeDeletions } = tables.state;
    return {
      levels,
      tuning,
      clockMs: this.#options.clockMs(),
      hiddenRecords: (table) => this.#hiddenRecords(table, rangeDeletions),
      sweptMs: (table) => this.#swept.get(table.id)?.ms ?? 0,
    };
  }

  /** Records in slots of which a range deletion may hide some; what one hides exactly only a merge knows. */
  #hiddenRecords(table: TableMeta, deletions: readonly RangeDeletion[]): number {
    let hidden = 0;
    for (const deletion of deletions) {
      if (!mayHide(deletion, table)) continue;
      const { slotRecordCounts } = this.#options.tables.version.reader(table).properties;
      const firstSlot = Math.floor(table.minPosition / 2 ** 32);
      for (let slot = deletion.startSlot; slot < deletion.endSlot; slot++) {
        hidden += slotRecordCounts[slot - firstSlot] ?? 0;
      }
    }
    return hidden;
  }

  /** Committed range deletions that hide nothing any more and never will. */
  #retirable(state: VersionState): number[] {
    return state.rangeDeletions
      .filter(
        (deletion) =>
          // Older records may still come from memory until then.
          deletion.sequence < state.flushedSequence &&
          state.levels.flat().every((table) => this.#hiddenRecords(table, [deletion]) === 0),
      )
      .map((deletion) => deletion.sequence);
  }

  async #retire(): Promise<void> {
    if (this.#retirable(this.#options.tables.state).length === 0) return;
    await this.#options.tables.apply((state) => {
      const retired = this.#retirable(state);
      return retired.length === 0 ? undefined : { added: [], removed: [], retired };
    });
  }

  async #move(chosen: CompactionPick): Promise<void> {
    const removed = chosen.upper.map((table) => table.id);
    await this.#options.tables.apply((state) =>
      holdsAll(state, chosen.level, chosen.upper)
        ? { added: chosen.upper.map((table) => ({ level: chosen.outputLevel, table })), removed }
        : undefined,
    );
  }

  async #compact(chosen: CompactionPick): Promise<void> {
    const { tables, deletions, tuning } = this.#options;
    const { state } = tables;
    const inputs = [...chosen.upper, ...chosen.lower];
    const output = this.#options.outputOptions(chosen.outputLevel, totalBytes(inputs));
    const release = tables.retain(inputs);
    try {
      const result = await runIfRoom(this.#options, {
        kind: "compact",
        runs: runsOf(chosen),
        below: tablesBelow(state, chosen.outputLevel, inputs),
        rangeDeletions: state.rangeDeletions,
        cleanSequence: cleanAfterMerge(state.rangeDeletions, deletions.pending[0], inputs),
        keepSequences: deletions.coveredSlots(),
        output,
        bytesPerSecond: tuning.compactionBytesPerSecond,
        expiredMax: tuning.expiredPerJob,
      });
      if (result === undefined) {
        this.#room.noteFull();
        return;
      }
      this.#count++;
      this.#bytesRead += result.bytesRead;
      this.#bytesWritten += result.bytesWritten;
      const applied = await tables.apply((current) => compactionEdit(current, chosen, result));
      if (applied) {
        for (const table of inputs) this.#swept.delete(table.id);
        this.noteSwept(result.tables, result, output.clockMs);
      } else {
        // A range deletion took an input away meanwhile.
        tables.discard(result.tables);
      }
      if (result.expired !== undefined) this.#options.onExpired(result.expired);
    } finally {
      release();
    }
  }

  async #sweep(chosen: SweepPick): Promise<void> {
    const { tables, executor, tuning } = this.#options;
    const clockMs = this.#options.clockMs();
    const release = tables.retain([chosen.table]);
    try {
      const result = await executor.run({
        kind: "sweep",
        directory: this.#options.directory,
        table: chosen.table,
        fromPosition: this.#swept.get(chosen.table.id)?.resumePosition ?? 0,
        clockMs,
        expiredMax: tuning.expiredPerJob,
        bytesPerSecond: tuning.compactionBytesPerSecond,
      });
      this.#bytesRead += result.bytesRead;
      const isComplete = result.resumePosition === -1;
      const before = this.#swept.get(chosen.table.id)?.ms ?? 0;
      assert(result.resumePosition <= chosen.table.maxPosition, "a sweep stops within its table");
      this.#swept.set(chosen.table.id, {
        ms: isComplete ? clockMs : before,
        resumePosition: isComplete ? 0 : result.resumePosition,
      });
      if (result.expired !== undefined) this.#options.onExpired(result.expired);
    } finally {
      release();
    }
  }
}

/** Runs of tables for the merge, newest first. */
function runsOf(chosen: CompactionPick): (readonly TableMeta[])[] {
  const upper = chosen.level === 0 ? level0Runs(chosen.upper) : [chosen.upper];
  return chosen.lower.length === 0 ? upper : [...upper, chosen.lower];
}

function tablesBelow(
  state: VersionState,
  outputLevel: number,
  inputs: readonly TableMeta[],
): TableMeta[] {
  const below: TableMeta[] = [];
  for (let level = outputLevel + 1; level < LEVEL_COUNT; level++) {
    for (const table of state.levels[level]!) {
      if (inputs.some((input) => overlaps(input, table))) below.push(table);
    }
  }
  return below;
}

function holdsAll(state: VersionState, level: number, tables: readonly TableMeta[]): boolean {
  const ids = new Set(state.levels[level]!.map((table) => table.id));
  return tables.every((table) => ids.has(table.id));
}

function compactionEdit(
  state: VersionState,
  chosen: CompactionPick,
  result: StorageResult,
): VersionEdit | undefined {
  if (!holdsAll(state, chosen.level, chosen.upper)) return undefined;
  if (!holdsAll(state, chosen.outputLevel, chosen.lower)) return undefined;
  return {
    added: result.tables.map((table) => ({ level: chosen.outputLevel, table })),
    removed: [...chosen.upper, ...chosen.lower].map((table) => table.id),
  };
}
