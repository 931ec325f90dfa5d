/**
 * The tables that the storage thread has open, for lookups that flushes make; merges open their own readers.
 */
import type { FileSystem } from "../base/file-system.ts";
import { BlockCache } from "./block-cache.ts";
import type { FingerprintColumn } from "./fingerprint-column.ts";
import { TableReader } from "./table-reader.ts";
import { tablePath } from "./table-writer.ts";
import type { TableMeta } from "./version-edit.ts";

/** Lookups here want single blocks now and then: the columns of fingerprints answer nearly all. */
const CACHE_BYTES = 2 * 1024 * 1024;

export class TablePool {
  readonly fileSystem: FileSystem;
  readonly #nowMicros: () => number;
  readonly #cache = new BlockCache(CACHE_BYTES);
  readonly #readers = new Map<number, TableReader>();

  constructor(fileSystem: FileSystem, nowMicros: () => number) {
    this.fileSystem = fileSystem;
    this.#nowMicros = nowMicros;
  }

  /** Owned by the pool until forget(). */
  reader(directory: string, table: TableMeta): TableReader {
    let reader = this.#readers.get(table.id);
    if (reader === undefined) {
      reader = this.open(directory, table);
      this.#readers.set(table.id, reader);
    }
    return reader;
  }

  fingerprints(directory: string, table: TableMeta): FingerprintColumn {
    return this.reader(directory, table).fingerprints();
  }

  /** Owned by the caller. */
  open(directory: string, table: TableMeta): TableReader {
    return TableReader.open(this.fileSystem, tablePath(directory, table.id), table.id, {
      cache: this.#cache,
      nowMicros: this.#nowMicros,
      // There is nobody to wait for here: every read is synchronous.
      slowReadMicros: Number.POSITIVE_INFINITY,
    });
  }

  forget(id: number): void {
    this.#readers.get(id)?.close();
    this.#readers.delete(id);
  }

  close(): void {
    for (const id of [...this.#readers.keys()]) this.forget(id);
  }
}
