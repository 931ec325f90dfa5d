/**
 * The whole check of one table: every block's checksum, and that order, index, filter, fingerprints and
 * properties say the same. Everything below a checksum was written so by the builder: a contradiction found here
 * is a fault of the program or a checksum collision, and is reported like any other corruption.
 */
import { CorruptionError } from "../base/errors.ts";
import type { File } from "../base/file-system.ts";
import type { Filter } from "./filter.ts";
import type { FingerprintColumn } from "./fingerprint-column.ts";
import {
  compareRecords,
  copyView,
  FINGERPRINT_LIVE,
  fingerprintOf,
  isLiveType,
  positionOf,
  prefixOf,
  RecordView,
} from "./order-key.ts";
import type { TableProperties } from "./table-format.ts";
import type { TableIndex } from "./table-index.ts";
import { SequentialBlocks, TableIterator } from "./table-iterator.ts";
import { TableStatistics } from "./table-statistics.ts";

const READ_AHEAD_BYTES = 1024 * 1024;

export interface VerifiedTable {
  readonly path: string;
  readonly file: File;
  readonly properties: TableProperties;
  readonly index: TableIndex;
  readonly filter: Filter;
  readonly fingerprints: FingerprintColumn;
}

export function verifyTable(table: VerifiedTable, onProgress: (bytes: number) => void): void {
  const { index, fingerprints } = table;
  const iterator = new TableIterator(
    new SequentialBlocks(table.file, index, READ_AHEAD_BYTES),
    index,
  );
  const statistics = new TableStatistics();
  const previous = new RecordView();
  let block = -1;
  let fingerprint = 0;
  for (iterator.seek(0); iterator.isValid(); iterator.next()) {
    const record = iterator.current;
    const offset = index.offsetOf(iterator.block);
    const check = (condition: boolean, message: string): void => {
      if (!condition) throw new CorruptionError(message, { path: table.path, offset });
    };
    check(
      statistics.recordCount === 0 || compareRecords(previous, record) < 0,
      "table records do not ascend",
    );
    if (iterator.block !== block) {
      block = iterator.block;
      const prefix = prefixOf(record.slot, record.hash);
      check(index.prefixOfBlock(block) === prefix, "table index differs from its block");
      check(fingerprints.firstOf(block) === fingerprint, "table fingerprints are not aligned");
      onProgress(offset);
    }
    check(table.filter.mayContain(record.slot, record.hash), "table filter denies a key");
    if (record.subKeyStart === record.subKeyEnd) {
      const stored = fingerprint < fingerprints.count ? fingerprints.at(fingerprint) : -1;
      check(stored === fingerprintWithLiveBit(record), "table fingerprint differs from its key");
      const lowHash = fingerprints.lowHashAt(fingerprint);
      check(lowHash === (record.hash & 0xff), "table fingerprint differs from its hash");
      fingerprint++;
    }
    statistics.add(record, positionOf(record.slot, record.hash));
    keep(record, previous);
  }
  onProgress(table.properties.dataBytes);
  checkProperties(table, statistics);
}

function fingerprintWithLiveBit(record: RecordView): number {
  const live = isLiveType(record.type) ? FINGERPRINT_LIVE : 0;
  return (fingerprintOf(record.bytes, record.keyStart, record.keyEnd) | live) >>> 0;
}

/** Copies the record's key and sub-key: its block leaves memory before the next one is compared with it. */
function keep(record: RecordView, into: RecordView): void {
  copyView(record, into);
  into.bytes = record.bytes.slice(record.keyStart, record.subKeyEnd);
  into.keyStart -= record.keyStart;
  into.keyEnd -= record.keyStart;
  into.subKeyStart -= record.keyStart;
  into.subKeyEnd -= record.keyStart;
}

function checkProperties(table: VerifiedTable, statistics: TableStatistics): void {
  const { properties, index } = table;
  const found = statistics.finish();
  const agrees =
    JSON.stringify(found) ===
      JSON.stringify(
        Object.fromEntries(
          Object.keys(found).map((name) => [name, properties[name as keyof TableProperties]]),
        ),
      ) &&
    properties.blockCount === index.blockCount &&
    properties.dataBytes ===
      index.offsetOf(index.blockCount - 1) + index.storedBytesOf(index.blockCount - 1);
  if (!agrees) {
    throw new CorruptionError("table properties differ from its records", { path: table.path });
  }
}
