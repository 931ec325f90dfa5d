/**
 * Writes one table (table-format.ts) from records that arrive in order.
 *
 * Memory: the write buffer, one block, and per record 4 bytes of filter input and 5 of fingerprint. Data blocks go
 * to the file as the write buffer fills; nothing of the table is valid before finish() has returned.
 */
import { assert } from "../base/assert.ts";
import { copyBytes } from "../base/bytes.ts";
import type { File } from "../base/file-system.ts";
import { freeBuffer } from "../base/slab-pool.ts";
import { Uint32List } from "../base/uint32-list.ts";
import { BlockBuilder, bodyBytes } from "./block.ts";
import { buildFilter, filterMix, probesFor } from "./filter.ts";
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
import {
  BLOCK_BYTES_MAX,
  BLOCK_BYTES_MIN,
  encodeFooter,
  encodeProperties,
  FOOTER_BYTES,
  type Footer,
  TABLE_BYTES_MAX,
  type TableOptions,
  type TableProperties,
} from "./table-format.ts";
import { TableStatistics } from "./table-statistics.ts";

const WRITE_BUFFER_BYTES = 256 * 1024;
const TIE_HEADER_BYTES = 12;

export class TableBuilder {
  readonly #file: File;
  readonly #options: TableOptions;
  readonly #block: BlockBuilder;
  readonly #statistics = new TableStatistics();
  /** Blocks not yet written to the file: output[0, outputEnd) belongs at fileEnd. */
  #output = new Uint8Array(WRITE_BUFFER_BYTES);
  #outputEnd = 0;
  #fileEnd = 0;
  readonly #firstPrefixes = new Uint32List();
  readonly #blockOffsets = new Uint32List();
  readonly #firstFingerprints = new Uint32List();
  readonly #fingerprints = new Uint32List(4096);
  /** The order hashes that go with the fingerprints; the file keeps their low bytes. */
  readonly #fingerprintHashes = new Uint32List(4096);
  readonly #mixes = new Uint32List(4096);
  readonly #ties: Uint8Array[] = [];
  /** The last record; its key and sub-key in memory of this builder, to check the order. */
  readonly #last = new RecordView();
  #lastBytes = new Uint8Array(1024);
  #lastPosition = -1;
  #recordCount = 0;
  #finished = false;

  /** `file` is empty and stays open: the caller closes it. */
  constructor(file: File, options: TableOptions) {
    assert(options.blockBytes >= BLOCK_BYTES_MIN, "block size is too small");
    assert(options.blockBytes <= BLOCK_BYTES_MAX, "block size is too large");
    assert(options.filterBitsPerKey >= 0, "filter bits per key are negative");
    this.#file = file;
    this.#options = options;
    this.#block = new BlockBuilder(options.blockBytes);
  }

  /** Size of the file if it were finished now (before compression of the open block). */
  get estimatedBytes(): number {
    const perRecord = 5 + this.#options.filterBitsPerKey / 8;
    return (
      this.#dataEnd +
      this.#block.storedBytes +
      this.#fingerprints.length * perRecord +
      (this.#firstPrefixes.length + 1) * 12 +
      FOOTER_BYTES
    );
  }

  /**
   * Copies the record; its fingerprint field is not used (the builder computes it from the key).
   * REQUIRES: behind all records before it in (slot, hash, key, sub-key); flags has EXPIRES if and only if it expires.
   */
  add(record: RecordView): void {
    const position = positionOf(record.slot, record.hash);
    const samePosition = position === this.#lastPosition;
    assert(position >= this.#lastPosition, "records of a table must ascend");
    if (samePosition) {
      assert(compareRecords(record, this.#last) > 0, "records of a table must ascend strictly");
    } else {
      this.#mixes.push(filterMix(record.slot, record.hash));
    }
    const bytes = bodyBytes(record);
    if (!this.#block.fits(bytes, position, this.#options.blockBytes)) this.#closeBlock();
    if (this.#block.count === 0) this.#beginBlock(record);
    this.#block.add(record, bytes, position);
    if (record.subKeyStart === record.subKeyEnd) {
      const live = isLiveType(record.type) ? FINGERPRINT_LIVE : 0;
      const fingerprint = fingerprintOf(record.bytes, record.keyStart, record.keyEnd);
      this.#fingerprints.push(fingerprint | live);
      this.#fingerprintHashes.push(record.hash);
    }
    this.#statistics.add(record, position);
    this.#remember(record, position);
    this.#recordCount++;
  }

  /** Writes what is left, the metadata and the footer, and syncs the file. REQUIRES: at least one record. */
  finish(): TableProperties {
    assert(!this.#finished, "a table is finished once");
    assert(this.#recordCount > 0, "a table holds a record");
    this.#finished = true;
    this.#closeBlock();
    this.#writeOutput();
    const dataBytes = this.#fileEnd;
    const filter = buildFilter(
      this.#mixes.view(),
      this.#mixes.length,
      this.#options.filterBitsPerKey,
    );
    const properties = {
      ...this.#statistics.finish(),
      blockCount: this.#firstPrefixes.length,
      dataBytes,
      level: this.#options.level,
      createdMs: this.#options.createdMs,
    };
    const sections = [
      this.#fingerprintSection(),
      new Uint8Array(filter.buffer),
      this.#indexSection(),
      encodeProperties(properties),
    ];
    const fileBytes = this.#writeSections(sections);
    this.#file.sync();
    for (const section of sections) freeBuffer(section);
    this.#free();
    return { ...properties, fileBytes };
  }

  /** Gives the table up. The caller closes and removes the file. */
  abandon(): void {
    this.#finished = true;
    this.#outputEnd = 0;
    this.#free();
  }

  /** Tables follow each other faster than the collector would find out. */
  #free(): void {
    freeBuffer(this.#output);
    for (const list of [this.#fingerprints, this.#fingerprintHashes, this.#mixes]) list.free();
  }

  get #dataEnd(): number {
    return this.#fileEnd + this.#outputEnd;
  }

  #beginBlock(record: RecordView): void {
    const block = this.#firstPrefixes.length;
    const prefix = prefixOf(record.slot, record.hash);
    const tie = block > 0 && prefixOf(this.#last.slot, this.#last.hash) === prefix;
    if (tie) this.#ties.push(encodeTie(block, record));
    this.#firstPrefixes.push(prefix);
    this.#firstFingerprints.push(this.#fingerprints.length);
  }

  #closeBlock(): void {
    const needed = this.#block.storedBytes;
    if (this.#outputEnd + needed > this.#output.length) {
      this.#writeOutput();
      if (needed > this.#output.length) this.#output = new Uint8Array(needed);
    }
    assert(this.#dataEnd + needed < TABLE_BYTES_MAX, "a table stays below 4 GiB");
    this.#blockOffsets.push(this.#dataEnd);
    const target = this.#output.subarray(this.#outputEnd, this.#outputEnd + needed);
    const number = this.#blockOffsets.length - 1;
    this.#outputEnd += this.#block.finish(target, number, this.#options.compression === "zstd");
  }

  #writeOutput(): void {
    if (this.#outputEnd === 0) return;
    this.#file.write(this.#output.subarray(0, this.#outputEnd), this.#fileEnd);
    this.#fileEnd += this.#outputEnd;
    this.#outputEnd = 0;
  }

  #remember(record: RecordView, position: number): void {
    const last = this.#last;
    copyView(record, last);
    const keyBytes = record.keyEnd - record.keyStart;
    const subKeyBytes = record.subKeyEnd - record.subKeyStart;
    if (keyBytes + subKeyBytes > this.#lastBytes.length) {
      this.#lastBytes = new Uint8Array((keyBytes + subKeyBytes) * 2);
    }
    copyBytes(record.bytes, record.keyStart, record.keyEnd, this.#lastBytes, 0);
    if (subKeyBytes !== 0) {
      copyBytes(record.bytes, record.subKeyStart, record.subKeyEnd, this.#lastBytes, keyBytes);
    }
    last.bytes = this.#lastBytes;
    last.keyStart = 0;
    last.keyEnd = keyBytes;
    last.subKeyStart = keyBytes;
    last.subKeyEnd = keyBytes + subKeyBytes;
    this.#lastPosition = position;
  }

  #fingerprintSection(): Uint8Array {
    const blocks = this.#firstFingerprints.length;
    const count = this.#fingerprints.length;
    const words = new Uint32Array(blocks + 1 + count);
    words.set(this.#firstFingerprints.view());
    words[blocks] = count;
    words.set(this.#fingerprints.view(), blocks + 1);
    const section = new Uint8Array(words.byteLength + count);
    section.set(new Uint8Array(words.buffer));
    for (let i = 0; i < count; i++) {
      section[words.byteLength + i] = this.#fingerprintHashes.at(i);
    }
    freeBuffer(words);
    return section;
  }

  #indexSection(): Uint8Array {
    const blocks = this.#firstPrefixes.length;
    let tieBytes = 0;
    for (const tie of this.#ties) tieBytes += tie.length;
    const words = new Uint32Array(2 * blocks + 1);
    words.set(this.#firstPrefixes.view());
    words.set(this.#blockOffsets.view(), blocks);
    words[2 * blocks] = this.#ties.length;
    const section = new Uint8Array(words.byteLength + tieBytes);
    section.set(new Uint8Array(words.buffer));
    let at = words.byteLength;
    for (const tie of this.#ties) {
      section.set(tie, at);
      at += tie.length;
    }
    return section;
  }

  #writeSections(sections: readonly Uint8Array[]): number {
    let at = this.#fileEnd;
    const places = sections.map((section) => {
      const place = { offset: at, bytes: section.length };
      at += section.length;
      return place;
    });
    const fileBytes = at + FOOTER_BYTES;
    assert(fileBytes <= TABLE_BYTES_MAX, "a table stays below 4 GiB");
    const footer: Footer = {
      blockCount: this.#firstPrefixes.length,
      fileBytes,
      filterProbes: probesFor(this.#options.filterBitsPerKey),
      fingerprints: places[0]!,
      filter: places[1]!,
      index: places[2]!,
      properties: places[3]!,
    };
    sections.forEach((section, i) => {
      if (section.length > 0) this.#file.write(section, places[i]!.offset);
    });
    this.#file.write(encodeFooter(footer, sections), at);
    return fileBytes;
  }
}

/** The index entry of a block that begins with the prefix that the one before it ends with. */
function encodeTie(block: number, record: RecordView): Uint8Array {
  const keyBytes = record.keyEnd - record.keyStart;
  const subKeyBytes = record.subKeyEnd - record.subKeyStart;
  const tie = new Uint8Array(TIE_HEADER_BYTES + keyBytes + subKeyBytes);
  const view = new DataView(tie.buffer);
  view.setUint32(0, block, true);
  view.setUint32(4, record.hash, true);
  view.setUint16(8, keyBytes, true);
  view.setUint16(10, subKeyBytes, true);
  copyBytes(record.bytes, record.keyStart, record.keyEnd, tie, TIE_HEADER_BYTES);
  copyBytes(record.bytes, record.subKeyStart, record.subKeyEnd, tie, TIE_HEADER_BYTES + keyBytes);
  return tie;
}
