/** What the check of a data directory finds in one table of a test, without the rest of the directory. */
import type { File, FileSystem } from "../../src/base/file-system.ts";
import type { TableProperties } from "../../src/lsm/table-format.ts";
import { metaOf } from "../../src/lsm/table-writer.ts";
import { CheckedTable } from "../../src/store/check/checked-table.ts";
import { type Finding, Findings } from "../../src/store/check/findings.ts";
import { readTableParts, type TableContext } from "../../src/store/check/table-parts.ts";

export interface CheckedTableReport {
  readonly damage: readonly Finding[];
  readonly recordCount: number;
}

/**
 * Checks `file` as the table that `properties` describe. Keys may stand anywhere: tests choose slots and hashes.
 * Closes the file.
 */
export function checkTable(file: File, properties: TableProperties): CheckedTableReport {
  const findings = new Findings();
  const fileSystem = { exists: () => true, open: () => file } as unknown as FileSystem;
  const context: TableContext = {
    fileSystem,
    directory: "/memory",
    seed: undefined,
    findings,
    onRead: () => undefined,
  };
  const parts = readTableParts(context, metaOf(1, properties, 0));
  let recordCount = 0;
  if (parts?.index !== undefined) {
    const table = new CheckedTable(context, parts, parts.index, () => undefined);
    for (table.seek(); table.isValid(); table.next()) recordCount++;
  }
  return { damage: findings.damage, recordCount };
}
