/**
 * Writes a sorted stream of records as one or more tables: `000042.table` each.
 *
 * A table is closed when it has reached its target size, and, if there are partitions, where the slot passes
 * into the next one; never between records of one position, so that tables of a level share no position.
 * Nothing counts until finish() has returned: files and their names are synced then.
 */
import type { File, FileSystem } from "../base/file-system.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import type { RecordView } from "./order-key.ts";
import type { OutputOptions } from "./storage-job.ts";
import { TableBuilder } from "./table-builder.ts";
import type { TableProperties } from "./table-format.ts";
import type { TableMeta } from "./version-edit.ts";

const TABLE_PATTERN = /^(\d{6,15})\.table$/;

export function tablePath(directory: string, id: number): string {
  return `${directory}/${String(id).padStart(6, "0")}.table`;
}

/** The id in a table's file name; undefined for other files. */
export function tableIdOf(name: string): number | undefined {
  const match = TABLE_PATTERN.exec(name);
  return match === null ? undefined : Number(match[1]);
}

export class TableWriter {
  readonly #fileSystem: FileSystem;
  readonly #options: OutputOptions;
  readonly #cleanSequence: number;
  readonly #slotsPerPartition: number;
  readonly #tables: TableMeta[] = [];
  #nextId: number;
  readonly #endId: number;
  #builder: TableBuilder | undefined = undefined;
  #file: File | undefined = undefined;
  #slot = -1;
  #hash = -1;
  #partition = -1;

  /** `cleanSequence`: see TableMeta. */
  constructor(fileSystem: FileSystem, options: OutputOptions, cleanSequence: number) {
    this.#fileSystem = fileSystem;
    this.#options = options;
    this.#cleanSequence = cleanSequence;
    this.#slotsPerPartition = SLOT_COUNT / options.partitions;
    this.#nextId = options.firstTableId;
    this.#endId = options.firstTableId + options.tableIdCount;
  }

  /** Copies the record. REQUIRES: in order. */
  add(record: RecordView): void {
    if (record.hash !== this.#hash || record.slot !== this.#slot) this.#passPosition(record);
    this.#builder!.add(record);
  }

  /** Closes and syncs the last table. */
  finish(): TableMeta[] {
    this.#finishTable();
    if (this.#tables.length > 0) this.#fileSystem.syncDirectory(this.#options.directory);
    return this.#tables;
  }

  /** Removes all that was written. */
  abandon(): void {
    this.#builder?.abandon();
    this.#file?.close();
    for (let id = this.#options.firstTableId; id < this.#nextId; id++) {
      const path = tablePath(this.#options.directory, id);
      if (this.#fileSystem.exists(path)) this.#fileSystem.remove(path);
    }
  }

  #passPosition(record: RecordView): void {
    this.#slot = record.slot;
    this.#hash = record.hash;
    const partition = Math.floor(record.slot / this.#slotsPerPartition);
    const isDue =
      partition !== this.#partition ||
      (this.#builder?.estimatedBytes ?? 0) >= this.#options.targetTableBytes;
    this.#partition = partition;
    // When the ids run out the last table grows beyond its target instead.
    if (this.#builder === undefined || (isDue && this.#nextId < this.#endId)) this.#startTable();
  }

  #startTable(): void {
    this.#finishTable();
    const { directory, blockBytes, filterBitsPerKey, compression, level, clockMs } = this.#options;
    this.#file = this.#fileSystem.open(tablePath(directory, this.#nextId++), "create");
    const options = { blockBytes, filterBitsPerKey, compression, level, createdMs: clockMs };
    this.#builder = new TableBuilder(this.#file, options);
  }

  #finishTable(): void {
    if (this.#builder === undefined) return;
    const properties = this.#builder.finish();
    this.#builder = undefined;
    this.#file!.close();
    this.#file = undefined;
    this.#tables.push(metaOf(this.#nextId - 1, properties, this.#cleanSequence));
  }
}

export function metaOf(id: number, properties: TableProperties, cleanSequence: number): TableMeta {
  return {
    id,
    bytes: properties.fileBytes,
    recordCount: properties.recordCount,
    tombstoneCount: properties.tombstoneCount,
    minPosition: properties.minPosition,
    maxPosition: properties.maxPosition,
    minSequence: properties.minSequence,
    maxSequence: properties.maxSequence,
    cleanSequence,
    expiringCount: properties.expiringCount,
    expiryQuantiles: [...properties.expiryQuantilesMs],
  };
}
