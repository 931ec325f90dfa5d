/**
 * The parts of a table behind its blocks, each read and verified on its own: damage in one hides nothing of another.
 */
import { CorruptionError } from "../../base/errors.ts";
import type { File, FileSystem } from "../../base/file-system.ts";
import type { HashSeed } from "../../base/order-hash.ts";
import { Filter } from "../../lsm/filter.ts";
import { FingerprintColumn } from "../../lsm/fingerprint-column.ts";
import {
  checkSection,
  decodeFooter,
  decodeProperties,
  FOOTER_BYTES,
  type Footer,
  type Section,
  type TableProperties,
} from "../../lsm/table-format.ts";
import { TableIndex } from "../../lsm/table-index.ts";
import { metaOf, tablePath } from "../../lsm/table-writer.ts";
import type { TableMeta } from "../../lsm/version-edit.ts";
import type { Findings } from "./findings.ts";

export interface TableContext {
  readonly fileSystem: FileSystem;
  /** Of the tables. */
  readonly directory: string;
  /** Of the data directory; undefined when its identity cannot be read. */
  readonly seed: HashSeed | undefined;
  readonly findings: Findings;
  onRead(bytes: number): void;
}

/** Undefined parts are damaged. */
export interface TableParts {
  readonly file: File;
  readonly index: TableIndex | undefined;
  readonly filter: Filter | undefined;
  readonly properties: TableProperties | undefined;
  readonly fingerprints: FingerprintColumn | undefined;
  /** False: this is another table than the manifest names. */
  readonly isNamed: boolean;
  readonly isDamaged: boolean;
}

const FILTER_LINE_BYTES = 64;

/** Reads what is behind the blocks; undefined when not even the footer is there. The caller closes the file. */
export function readTableParts(context: TableContext, meta: TableMeta): TableParts | undefined {
  const { fileSystem, findings } = context;
  const path = tablePath(context.directory, meta.id);
  if (!fileSystem.exists(path)) {
    findings.addLoss("a table that the manifest names is missing", path);
    return undefined;
  }
  const file = fileSystem.open(path, "read");
  const parts = findings.attempt(() => readParts(context, meta, file), true);
  if (parts === undefined) file.close();
  return parts;
}

function readParts(context: TableContext, meta: TableMeta, file: File): TableParts {
  const { findings } = context;
  const damageCount = findings.damageCount;
  const { path } = file;
  const fileBytes = file.size();
  if (fileBytes !== meta.bytes) {
    const message = `the table is ${fileBytes} bytes long, the manifest says ${meta.bytes}`;
    findings.addLoss(message, path, Math.min(fileBytes, meta.bytes));
  }
  if (fileBytes < FOOTER_BYTES)
    throw new CorruptionError("too short for a table", { path, offset: 0 });
  const footerBytes = readSection(file, { offset: fileBytes - FOOTER_BYTES, bytes: FOOTER_BYTES });
  const footer = decodeFooter(footerBytes, path, fileBytes);
  context.onRead(fileBytes - footer.fingerprints.offset);
  const load = <T>(
    name: "filter" | "index" | "properties" | "fingerprints",
    decode: (bytes: Uint8Array, place: { path: string; offset: number }) => T,
  ): T | undefined =>
    findings.attempt(() => {
      const place = { path, offset: footer[name].offset };
      const bytes = readSection(file, footer[name]);
      checkSection(name, bytes, footerBytes, place);
      return decode(bytes, place);
    }, name === "index");
  const properties = load("properties", (bytes, place) =>
    decodeProperties(bytes, fileBytes, place),
  );
  const index = load("index", (bytes, place) => {
    return new TableIndex(bytes, footer.blockCount, footer.fingerprints.offset, place);
  });
  const filter = load("filter", (bytes, place) => decodeFilter(bytes, footer, place));
  const fingerprints =
    index && load("fingerprints", (bytes, place) => new FingerprintColumn(bytes, index, place));
  const isNamed =
    properties === undefined ||
    Bun.deepEquals(metaOf(meta.id, properties, meta.cleanSequence), meta);
  if (!isNamed) findings.addLoss("the table is not the one that the manifest names", path);
  const isDamaged = findings.damageCount > damageCount;
  return { file, index, filter, properties, fingerprints, isNamed, isDamaged };
}

function decodeFilter(
  bytes: Uint8Array,
  footer: Footer,
  place: { path: string; offset: number },
): Filter {
  if (bytes.length % FILTER_LINE_BYTES !== 0) {
    throw new CorruptionError("table filter is not whole lines", place);
  }
  return new Filter(new Uint32Array(bytes.buffer), footer.filterProbes);
}

function readSection(file: File, section: Section): Uint8Array {
  const bytes = new Uint8Array(section.bytes);
  const read = file.read(bytes, section.offset);
  if (read !== bytes.length) {
    const place = { path: file.path, offset: section.offset + read };
    throw new CorruptionError("table is cut short", place);
  }
  return bytes;
}
