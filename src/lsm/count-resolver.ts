/**
 * Decides for many keys in ascending order whether the tables hold them alive: filter first, then the table's
 * fingerprint column, newest table first; a data block is read only where a range deletion hides some of a
 * table's records and not others.
 *
 * Columns are read when first needed and dropped when the keys have passed their table.
 */
import type { FingerprintColumn } from "./fingerprint-column.ts";
import { KeyState } from "./fingerprint-column.ts";
import {
  emptyQuery,
  fingerprintOf,
  isLiveType,
  positionOf,
  prefixOf,
  RecordView,
} from "./order-key.ts";
import type { TablePool } from "./table-pool.ts";
import { FindStatus, type TableReader } from "./table-reader.ts";
import { level0Runs, type TableMeta } from "./version-edit.ts";

export interface CountTables {
  readonly pool: TablePool;
  readonly directory: string;
  readonly levels: readonly (readonly TableMeta[])[];
  /** Per slot: records of lower sequences are hidden (range-deletions.ts). */
  readonly hidden: Float64Array;
}

export class CountResolver {
  readonly #pool: TablePool;
  readonly #directory: string;
  readonly #hidden: Float64Array;
  /** Runs of ordered tables that do not overlap, newest first. */
  readonly #runs: RunCursor[] = [];
  readonly #query = emptyQuery();
  readonly #found = new RecordView();

  constructor(tables: CountTables) {
    this.#pool = tables.pool;
    this.#directory = tables.directory;
    this.#hidden = tables.hidden;
    for (const run of [...level0Runs(tables.levels[0]!), ...tables.levels.slice(1)]) {
      if (run.length > 0) this.#runs.push(new RunCursor(run));
    }
  }

  /** Whether a range deletion hides the record. */
  hides(record: RecordView): boolean {
    return record.sequence < this.#hidden[record.slot]!;
  }

  /** False: no table holds any record of the key. REQUIRES: ascending positions over all calls. */
  mayHold(record: RecordView): boolean {
    const position = positionOf(record.slot, record.hash);
    for (let i = 0; i < this.#runs.length; i++) {
      const table = this.#runs[i]!.at(position);
      if (
        table !== undefined &&
        this.#reader(this.#runs[i]!, table).mayContain(record.slot, record.hash)
      )
        return true;
    }
    return false;
  }

  /** Whether the tables hold the record's key alive and not hidden. REQUIRES: as mayHold. */
  holdsLive(record: RecordView): boolean {
    const position = positionOf(record.slot, record.hash);
    let fingerprint = 0;
    for (let i = 0; i < this.#runs.length; i++) {
      const run = this.#runs[i]!;
      const table = run.at(position);
      if (table === undefined) continue;
      const reader = this.#reader(run, table);
      if (!reader.mayContain(record.slot, record.hash)) continue;
      if (fingerprint === 0) {
        fingerprint = fingerprintOf(record.bytes, record.keyStart, record.keyEnd);
        this.#ask(record);
      }
      const hidden = this.#hidden[record.slot]!;
      if (hidden > table.cleanSequence && hidden >= table.minSequence) {
        // Tables below may hold newer records of other keys, so this one being hidden ends nothing.
        if (table.maxSequence < hidden) continue;
        if (reader.find(this.#query, this.#found) !== FindStatus.FOUND) continue;
        return isLiveType(this.#found.type) && !this.hides(this.#found);
      }
      run.column ??= this.#pool.fingerprints(this.#directory, table);
      const state = run.column.find(this.#query, fingerprint);
      if (state !== KeyState.UNKNOWN) return state === KeyState.LIVE;
    }
    return false;
  }

  #ask(record: RecordView): void {
    const query = this.#query;
    query.bytes = record.bytes;
    query.keyStart = record.keyStart;
    query.keyEnd = record.keyEnd;
    query.slot = record.slot;
    query.hash = record.hash;
    query.prefix = prefixOf(record.slot, record.hash);
  }

  #reader(run: RunCursor, table: TableMeta): TableReader {
    run.reader ??= this.#pool.reader(this.#directory, table);
    return run.reader;
  }
}

/** The table of a run that spans an ascending position, with what is open of it. */
class RunCursor {
  reader: TableReader | undefined = undefined;
  column: FingerprintColumn | undefined = undefined;
  readonly #tables: readonly TableMeta[];
  #index = 0;

  constructor(tables: readonly TableMeta[]) {
    this.#tables = tables;
  }

  at(position: number): TableMeta | undefined {
    const tables = this.#tables;
    while (this.#index < tables.length && tables[this.#index]!.maxPosition < position) {
      this.#index++;
      this.reader = undefined;
      this.#freeColumn();
    }
    const table = tables[this.#index];
    return table !== undefined && table.minPosition <= position ? table : undefined;
  }

  /** Columns follow each other faster than the collector would find out: a flush may read those of all tables. */
  #freeColumn(): void {
    this.column?.free();
    this.column = undefined;
  }
}
