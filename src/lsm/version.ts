/**
 * A version: an immutable set of open tables by level, and the lookups over them.
 *
 * Versions share TableHandles. Work that outlives a turn retains the handles that it needs; a table that has
 * left the current version is closed and its file removed when the last user is done.
 *
 * Hot: find.
 */
import { assert } from "../base/assert.ts";
import type { RecordIterator } from "./iterator.ts";
import { MergingIterator } from "./merging-iterator.ts";
import type { KeyQuery, RecordView } from "./order-key.ts";
import { RunIterator } from "./run-iterator.ts";
import { FindStatus, type TableReader } from "./table-reader.ts";
import type { TableMeta, VersionState } from "./version-edit.ts";

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
  /** Level 0, newest first. */
  readonly #newest: TableReader[];
  readonly #newestMin: Float64Array;
  readonly #newestMax: Float64Array;
  /** Levels below that hold tables, top down, each in position order. */
  readonly #levels: TableReader[][] = [];
  readonly #levelMin: Float64Array[] = [];
  readonly #levelMax: Float64Array[] = [];
  readonly #levelTables: (readonly TableMeta[])[] = [];

  /** REQUIRES: a handle for every table of the state. */
  constructor(state: VersionState, handles: ReadonlyMap<number, TableHandle>) {
    this.state = state;
    this.handles = handles;
    const newest = state.levels[0]!;
    this.#newest = newest.map((table) => this.reader(table));
    this.#newestMin = Float64Array.from(newest, (table) => table.minPosition);
    this.#newestMax = Float64Array.from(newest, (table) => table.maxPosition);
    for (const tables of state.levels.slice(1)) {
      if (tables.length === 0) continue;
      this.#levels.push(tables.map((table) => this.reader(table)));
      this.#levelMin.push(Float64Array.from(tables, (table) => table.minPosition));
      this.#levelMax.push(Float64Array.from(tables, (table) => table.maxPosition));
      this.#levelTables.push(tables);
    }
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
    const newest = this.#newest;
    for (let i = 0; i < newest.length; i++) {
      if (position < this.#newestMin[i]! || position > this.#newestMax[i]!) continue;
      const reader = newest[i]!;
      if (!reader.mayContain(slot, hash)) continue;
      const status = reader.find(query, into);
      if (status !== FindStatus.ABSENT) return status;
    }
    for (let level = 0; level < this.#levels.length; level++) {
      const reader = this.#tableAt(level, position);
      if (reader === undefined || !reader.mayContain(slot, hash)) continue;
      const status = reader.find(query, into);
      if (status !== FindStatus.ABSENT) return status;
    }
    return FindStatus.ABSENT;
  }

  /** The tables that find() of this query may read. */
  candidates(query: KeyQuery): TableReader[] {
    const position = query.slot * TWO_32 + query.hash;
    const readers = this.#newest.filter(
      (_, i) => position >= this.#newestMin[i]! && position <= this.#newestMax[i]!,
    );
    for (let level = 0; level < this.#levels.length; level++) {
      const reader = this.#tableAt(level, position);
      if (reader !== undefined) readers.push(reader);
    }
    return readers.filter((reader) => reader.mayContain(query.slot, query.hash));
  }

  /** The newest version of every (key, sub-key), in order. Valid while this version is the current one. */
  iterator(): MergingIterator {
    const children: RecordIterator[] = this.#newest.map((reader) => reader.iterator(SCAN_OPTIONS));
    for (const tables of this.#levelTables) {
      children.push(new RunIterator(tables, (table) => this.reader(table).iterator(SCAN_OPTIONS)));
    }
    return new MergingIterator(children);
  }

  /** The table of a level that spans a position. */
  #tableAt(level: number, position: number): TableReader | undefined {
    const max = this.#levelMax[level]!;
    let low = 0;
    let high = max.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (max[middle]! < position) low = middle + 1;
      else high = middle;
    }
    if (low === max.length || this.#levelMin[level]![low]! > position) return undefined;
    return this.#levels[level]![low];
  }
}
