/**
 * A version: an immutable set of open tables by level, and the lookups over them.
 *
 * Versions share TableHandles. Work that outlives a turn retains the handles that it needs; a table that has
 * left the current version is closed and its file removed when the last user is done.
 *
 * Hot: find.
 */
import { assert } from "../base/assert.ts";
import { MergingIterator } from "./merging-iterator.ts";
import type { KeyQuery, RecordView } from "./order-key.ts";
import { RunIterator } from "./run-iterator.ts";
import { FindStatus, type TableReader } from "./table-reader.ts";
import { level0Runs, type TableMeta, type VersionState } from "./version-edit.ts";

const TWO_32 = 0x1_0000_0000;
/** SCAN reads through the cache, a block at a time. */
const SCAN_OPTIONS = { readAheadBytes: 0, useCache: true };

/** One open table. Created with one user: the version. */
export class TableHandle {
  readonly reader: TableReader;
  readonly #onUnused: (handle: TableHandle) => void;
  #users = 1;

  constructor(reader: TableReader, onUnused: (handle: TableHandle) => void) {
    this.reader = reader;
    this.#onUnused = onUnused;
  }

  retain(): void {
    assert(this.#users > 0, "a table without users is closed");
    this.#users++;
  }

  release(): void {
    this.#users--;
    assert(this.#users >= 0, "a table is released once per use");
    if (this.#users === 0) this.#onUnused(this);
  }
}

export class Version {
  readonly state: VersionState;
  readonly handles: ReadonlyMap<number, TableHandle>;
  /** Runs of tables in position order that do not overlap, newest first: flushes, then the levels below. */
  readonly #runs: (readonly TableMeta[])[];
  readonly #readers: TableReader[][];
  readonly #minPositions: Float64Array[];
  readonly #maxPositions: Float64Array[];

  /** REQUIRES: a handle for every table of the state. */
  constructor(state: VersionState, handles: ReadonlyMap<number, TableHandle>) {
    this.state = state;
    this.handles = handles;
    this.#runs = [
      ...level0Runs(state.levels[0]!),
      ...state.levels.slice(1).filter((tables) => tables.length > 0),
    ];
    this.#readers = this.#runs.map((run) => run.map((table) => this.reader(table)));
    this.#minPositions = this.#runs.map((run) =>
      Float64Array.from(run, (table) => table.minPosition),
    );
    this.#maxPositions = this.#runs.map((run) =>
      Float64Array.from(run, (table) => table.maxPosition),
    );
  }

  reader(table: TableMeta): TableReader {
    return this.handles.get(table.id)!.reader;
  }

  /**
   * The newest record of the query's (key, sub-key), whether hidden or not. When FOUND, `into` points into the
   * block cache: valid until the next read.
   */
  find(query: KeyQuery, into: RecordView): FindStatus {
    const { slot, hash } = query;
    const position = slot * TWO_32 + hash;
    for (let run = 0; run < this.#runs.length; run++) {
      const reader = this.#tableAt(run, position);
      if (reader === undefined || !reader.mayContain(slot, hash)) continue;
      const status = reader.find(query, into);
      if (status !== FindStatus.ABSENT) return status;
    }
    return FindStatus.ABSENT;
  }

  /** The tables that find() of this query may read. */
  candidates(query: KeyQuery): TableReader[] {
    const position = query.slot * TWO_32 + query.hash;
    const readers: TableReader[] = [];
    for (let run = 0; run < this.#runs.length; run++) {
      const reader = this.#tableAt(run, position);
      if (reader !== undefined) readers.push(reader);
    }
    return readers.filter((reader) => reader.mayContain(query.slot, query.hash));
  }

  /**
   * The newest version of every (key, sub-key) of the tables that are not left out, in order. Valid while this version
   * is the current one.
   */
  iterator(isLeftOut?: (table: TableMeta) => boolean): MergingIterator {
    const runs =
      isLeftOut === undefined
        ? this.#runs
        : this.#runs.map((run) => run.filter((table) => !isLeftOut(table)));
    return new MergingIterator(
      runs.map((run) => new RunIterator(run, (table) => this.reader(table).iterator(SCAN_OPTIONS))),
    );
  }

  /** The table of a run that spans a position. */
  #tableAt(run: number, position: number): TableReader | undefined {
    const max = this.#maxPositions[run]!;
    let low = 0;
    let high = max.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (max[middle]! < position) low = middle + 1;
      else high = middle;
    }
    if (low === max.length || this.#minPositions[run]![low]! > position) return undefined;
    return this.#readers[run]![low];
  }
}
