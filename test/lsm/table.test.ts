import { describe, expect, test } from "bun:test";
import { xxh64 } from "../../src/base/checksum.ts";
import { CorruptionError } from "../../src/base/errors.ts";
import { RecordType } from "../../src/base/record.ts";
import { BlockCache } from "../../src/lsm/block-cache.ts";
import { KeyState } from "../../src/lsm/fingerprint-column.ts";
import { fingerprintOf, isLiveType, RecordView } from "../../src/lsm/order-key.ts";
import { TableBuilder } from "../../src/lsm/table-builder.ts";
import { DEFAULT_TABLE_OPTIONS } from "../../src/lsm/table-format.ts";
import { ColdReadError } from "../../src/lsm/table-iterator.ts";
import { FindStatus } from "../../src/lsm/table-reader.ts";
import { checkTable } from "../support/checked-table.ts";
import {
  buildTable,
  collect,
  MemoryFile,
  openTable,
  type PlainRecord,
  plain,
  plainOf,
  positionOfPlain,
  queryOf,
  randomRecords,
  seededRandom,
  sortRecords,
  viewOf,
} from "./table-support.ts";

const SEQUENTIAL = { readAheadBytes: 10_000, useCache: false };
const CACHED = { readAheadBytes: 0, useCache: true };

/** Seven keys at one position, then 50 parts of 900 bytes of the last one: the position fills many blocks. */
function crowdedRecords(): PlainRecord[] {
  const records = [plain({ slot: 4, hash: 9, key: "before" })];
  for (const key of ["a", "aa", "ab", "b", "bb", "c", "d"]) {
    records.push(plain({ slot: 5, hash: 77, key, value: "x".repeat(100) }));
  }
  for (let part = 0; part < 50; part++) {
    const subKey = `part${String(part).padStart(3, "0")}`;
    records.push(
      plain({
        slot: 5,
        hash: 77,
        key: "d",
        subKey,
        type: RecordType.CHUNK,
        value: `${part}`.repeat(450),
      }),
    );
  }
  // The same prefix, another hash: the prefix leaves out the low 10 bits.
  records.push(plain({ slot: 5, hash: 78, key: "a" }));
  records.push(plain({ slot: 6, hash: 1, key: "behind" }));
  return records;
}

describe("table", () => {
  test("TableReader.find and iterators return what TableBuilder was given", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const records = randomRecords(seed, 400);
      const compression = seed % 2 === 0 ? "zstd" : "none";
      const { file, properties } = buildTable(records, {
        compression,
        blockBytes: seed % 3 === 0 ? 256 : 4096,
      });
      const reader = openTable(file);
      const found = new RecordView();
      for (const record of records) {
        expect(reader.mayContain(record.slot, record.hash)).toBe(true);
        expect(reader.find(queryOf(record), found), `seed ${seed}`).toBe(FindStatus.FOUND);
        expect(plainOf(found), `seed ${seed}`).toEqual(record);
      }
      expect(collect(reader.iterator(SEQUENTIAL)), `seed ${seed}`).toEqual(records);
      expect(collect(reader.iterator(CACHED)), `seed ${seed}`).toEqual(records);
      expect(reader.properties).toEqual(properties);
      reader.close();
      expect(file.closed).toBe(true);
      expect(checkTable(file, properties)).toEqual({ damage: [], recordCount: records.length });
    }
  });

  test("TableReader.find answers ABSENT for keys beside those that exist", () => {
    for (let seed = 20; seed < 26; seed++) {
      const records = randomRecords(seed, 300);
      const { file } = buildTable(records, { blockBytes: 512 });
      const reader = openTable(file);
      const found = new RecordView();
      for (const record of records) {
        for (const absent of [
          { ...record, key: `${record.key}x` },
          { ...record, key: record.key.slice(0, -1) },
          { ...record, subKey: `${record.subKey}x` },
          { ...record, hash: (record.hash + 1) >>> 0 },
          { ...record, hash: (record.hash - 1) >>> 0 },
          { ...record, slot: (record.slot + 1) % 1024 },
        ]) {
          expect(reader.find(queryOf(absent), found), `seed ${seed}`).toBe(FindStatus.ABSENT);
        }
      }
      reader.close();
    }
  });

  test("TableReader.find reads one block where one position fills many", () => {
    const records = crowdedRecords();
    const { file, properties } = buildTable(records, { blockBytes: 1024 });
    expect(properties.blockCount).toBeGreaterThan(40);
    const reader = openTable(file);
    expect(checkTable(file, properties).recordCount).toBe(records.length);
    const found = new RecordView();
    for (const record of records) {
      const fresh = openTable(file);
      const before = file.reads;
      expect(fresh.find(queryOf(record), found)).toBe(FindStatus.FOUND);
      expect(plainOf(found)).toEqual(record);
      expect(file.reads - before).toBe(1);
    }
    for (const absent of [
      { slot: 5, hash: 77, key: "A", subKey: "" },
      { slot: 5, hash: 77, key: "d", subKey: "part0005" },
      { slot: 5, hash: 77, key: "d", subKey: "part" },
      { slot: 5, hash: 77, key: "e", subKey: "" },
      { slot: 5, hash: 76, key: "d", subKey: "part001" },
      { slot: 5, hash: 78, key: "d", subKey: "part001" },
    ]) {
      expect(reader.find(queryOf(absent), found)).toBe(FindStatus.ABSENT);
    }
  });

  test("iterator.seek finds the first record at or behind any position", () => {
    for (const records of [crowdedRecords(), randomRecords(31, 300)]) {
      const { file } = buildTable(records, { blockBytes: 512 });
      const reader = openTable(file);
      const sequential = reader.iterator(SEQUENTIAL);
      const cached = reader.iterator(CACHED);
      const targets = [0, 2 ** 42 - 1];
      for (const record of records) {
        const position = positionOfPlain(record);
        targets.push(position, position + 1, Math.max(0, position - 1));
      }
      for (const target of targets) {
        const expected = records.find((record) => positionOfPlain(record) >= target);
        for (const iterator of [sequential, cached]) {
          iterator.seek(target);
          expect(iterator.isValid() ? plainOf(iterator.current) : undefined).toEqual(expected);
        }
      }
    }
  });

  test("a sparse table spreads over all slots", () => {
    const records = Array.from({ length: 1024 }, (_, slot) =>
      plain({ slot, hash: (slot * 2_654_435_761) % 0x1_0000_0000, key: `k${slot}` }),
    );
    const { file, properties } = buildTable(records);
    const reader = openTable(file);
    expect(collect(reader.iterator(SEQUENTIAL))).toEqual(records);
    expect(properties.slotRecordCounts).toEqual(new Array(1024).fill(1));
    const found = new RecordView();
    for (const record of records) {
      expect(reader.find(queryOf(record), found)).toBe(FindStatus.FOUND);
    }
    expect(checkTable(file, properties).damage).toEqual([]);
  });

  test("the largest key, sub-key and value make a block of their own", () => {
    const records = [
      plain({ hash: 1, key: "small" }),
      plain({
        hash: 2,
        type: RecordType.CHUNK,
        key: "k".repeat(65_535),
        subKey: "s".repeat(65_535),
        value: "v".repeat(32_768),
        sequence: 2 ** 48 - 1,
      }),
      plain({ hash: 3, key: "", value: "" }),
    ];
    const { file, properties } = buildTable(records);
    expect(properties.blockCount).toBe(3);
    const reader = openTable(file);
    expect(collect(reader.iterator(SEQUENTIAL))).toEqual(records);
    expect(collect(reader.iterator(CACHED))).toEqual(records);
    const found = new RecordView();
    expect(reader.find(queryOf(records[1]!), found)).toBe(FindStatus.FOUND);
    expect(plainOf(found)).toEqual(records[1]!);
  });

  test("properties count kinds, bytes, sequences and expiries", () => {
    const records = sortRecords([
      plain({ slot: 3, hash: 1, key: "a", value: "xyz", sequence: 10, expiry: 5000 }),
      plain({ slot: 3, hash: 2, key: "bb", type: RecordType.TOMBSTONE, sequence: 12 }),
      plain({ slot: 5, hash: 3, key: "c", type: RecordType.CHUNKED, value: "12", sequence: 0 }),
      plain({ slot: 5, hash: 3, key: "c", subKey: "s", type: RecordType.CHUNK, sequence: 11 }),
    ]);
    const { properties, file } = buildTable(records, { level: 2, createdMs: 99 });
    expect(file.syncs).toBe(1);
    expect(properties).toMatchObject({
      recordCount: 4,
      keyCount: 3,
      liveKeyCount: 2,
      tombstoneCount: 1,
      chunkCount: 1,
      minSequence: 10,
      maxSequence: 12,
      minPosition: 3 * 2 ** 32 + 1,
      maxPosition: 5 * 2 ** 32 + 3,
      slotRecordCounts: [2, 0, 2],
      keyBytes: 6,
      valueBytes: 5,
      expiringCount: 1,
      level: 2,
      createdMs: 99,
      fileBytes: file.bytes.length,
    });
    expect(properties.expiryQuantilesMs).toEqual(new Array(16).fill(5000));
  });

  test("expiry quantiles follow the expiries of a large table", () => {
    const records = Array.from({ length: 20_000 }, (_, i) =>
      plain({ hash: i * 1000, key: `${i}`, expiry: 1_000_000 + ((i * 7919) % 20_000) }),
    );
    const { properties } = buildTable(records);
    expect(properties.expiringCount).toBe(20_000);
    expect(properties.expiryQuantilesMs).toHaveLength(16);
    for (let i = 0; i < 16; i++) {
      const exact = 1_000_000 + ((i + 1) / 16) * 20_000;
      expect(Math.abs(properties.expiryQuantilesMs[i]! - exact)).toBeLessThan(600);
    }
    expect(properties.expiryQuantilesMs[15]).toBe(1_019_999);
  });

  test("fingerprints tell live, dead and unknown keys without data blocks", () => {
    const records = randomRecords(41, 2000);
    const { file } = buildTable(records);
    const reader = openTable(file);
    const column = reader.fingerprints();
    const keys = records.filter((record) => record.subKey === "");
    expect(column.count).toBe(keys.length);
    const before = file.reads;
    for (const record of keys) {
      const query = queryOf(record);
      const fingerprint = fingerprintOf(query.bytes, query.keyStart, query.keyEnd);
      const expected = isLiveType(record.type) ? KeyState.LIVE : KeyState.DEAD;
      expect(column.find(query, fingerprint)).toBe(expected);
      const absent = queryOf({ ...record, key: `${record.key}?` });
      const other = fingerprintOf(absent.bytes, absent.keyStart, absent.keyEnd);
      expect(column.find(absent, other)).toBe(KeyState.UNKNOWN);
    }
    expect(file.reads).toBe(before);
  });

  test("TableBuilder refuses records that do not ascend strictly", () => {
    const cases: [PlainRecord, PlainRecord][] = [
      [plain({ slot: 2 }), plain({ slot: 1 })],
      [plain({ hash: 2 }), plain({ hash: 1 })],
      [plain({ key: "b" }), plain({ key: "a" })],
      [plain({ key: "a", subKey: "b" }), plain({ key: "a", subKey: "a" })],
      [plain({ key: "a", sequence: 2 }), plain({ key: "a", sequence: 1 })],
    ];
    for (const [first, second] of cases) {
      const builder = new TableBuilder(new MemoryFile(), DEFAULT_TABLE_OPTIONS);
      builder.add(viewOf(first));
      expect(() => builder.add(viewOf(second))).toThrow("ascend");
    }
  });

  test("TableBuilder.estimatedBytes is close to the file", () => {
    const records = Array.from({ length: 20_000 }, (_, i) =>
      plain({ hash: i * 200_000, key: `key-${i}`, value: "v".repeat(100) }),
    );
    const file = new MemoryFile();
    const builder = new TableBuilder(file, DEFAULT_TABLE_OPTIONS);
    for (const record of records) builder.add(viewOf(record));
    const estimate = builder.estimatedBytes;
    const { fileBytes } = builder.finish();
    expect(Math.abs(estimate / fileBytes - 1)).toBeLessThan(0.01);
  });

  test("the format is what released versions wrote", () => {
    const { file } = buildTable(crowdedRecords(), { createdMs: 1 });
    expect(xxh64(file.bytes).toString(16)).toBe("d9afc78814468442");
  });

  test("zstd is kept where it saves space and not where it does not", () => {
    const random = seededRandom(5);
    const noise = (): string =>
      Array.from({ length: 100 }, () => String.fromCharCode(33 + random(90))).join("");
    const repeated = Array.from({ length: 2000 }, (_, i) =>
      plain({ hash: i * 1000, key: `${i}`, value: "abc".repeat(30) }),
    );
    const random64 = repeated.map((record) => ({ ...record, value: noise() }));
    const small = buildTable(repeated, { compression: "zstd" });
    expect(small.properties.dataBytes).toBeLessThan(buildTable(repeated).properties.dataBytes / 2);
    const large = buildTable(random64, { compression: "zstd" });
    expect(collect(openTable(small.file).iterator(SEQUENTIAL))).toEqual(repeated);
    expect(collect(openTable(large.file).iterator(CACHED))).toEqual(random64);
  });
});

describe("cold reads", () => {
  const records = randomRecords(51, 500);
  const { file } = buildTable(records, { blockBytes: 512 });

  test("find is COLD until prefetch has loaded the block", async () => {
    const reader = openTable(file, { forceAsync: true });
    const found = new RecordView();
    const query = queryOf(records[100]!);
    expect(reader.find(query, found)).toBe(FindStatus.COLD);
    await Promise.all([reader.prefetch(query), reader.prefetch(query)]);
    expect(reader.find(query, found)).toBe(FindStatus.FOUND);
    expect(plainOf(found)).toEqual(records[100]!);
  });

  test("a slow synchronous read makes the table asynchronous for a while", () => {
    let now = 0;
    const slowFile = new MemoryFile();
    slowFile.bytes = file.bytes;
    const reader = openTable(slowFile, { nowMicros: () => now, slowReadMicros: 500 });
    const found = new RecordView();
    slowFile.onRead = () => {
      now += 600;
    };
    expect(reader.find(queryOf(records[0]!), found)).toBe(FindStatus.FOUND);
    expect(reader.find(queryOf(records[400]!), found)).toBe(FindStatus.COLD);
    expect(reader.find(queryOf(records[0]!), found)).toBe(FindStatus.FOUND);
    now += 100_000;
    expect(reader.find(queryOf(records[400]!), found)).toBe(FindStatus.FOUND);
  });

  test("a cached iterator throws ColdReadError and goes on after its load", async () => {
    const reader = openTable(file, { forceAsync: true });
    const seen: PlainRecord[] = [];
    let position = 0;
    let waits = 0;
    const iterator = reader.iterator(CACHED);
    for (let done = false; !done; ) {
      try {
        iterator.seek(position);
        const batch: PlainRecord[] = [];
        while (iterator.isValid() && positionOfPlain(plainOf(iterator.current)) === position) {
          batch.push(plainOf(iterator.current));
          iterator.next();
        }
        seen.push(...batch);
        done = !iterator.isValid();
        if (!done) position = positionOfPlain(plainOf(iterator.current));
      } catch (error) {
        expect(error).toBeInstanceOf(ColdReadError);
        await (error as ColdReadError).load();
        waits++;
      }
    }
    expect(seen).toEqual(records);
    expect(waits).toBe(reader.properties.blockCount);
  });

  test("prefetch fails with CorruptionError for a damaged block", async () => {
    const damaged = new MemoryFile();
    damaged.bytes = file.bytes.slice();
    damaged.bytes[20]! ^= 1;
    const reader = openTable(damaged, { forceAsync: true });
    await expect(reader.prefetch(queryOf(records[0]!))).rejects.toThrow(CorruptionError);
    await expect(reader.prefetch(queryOf(records[0]!))).rejects.toThrow("offset 0");
  });

  test("a table that is closed while a block loads does not touch the cache", async () => {
    const cache = new BlockCache(0);
    const reader = openTable(file, { forceAsync: true, cache });
    const loading = reader.prefetch(queryOf(records[0]!));
    reader.close();
    await expect(loading).rejects.toThrow("closed");
    expect(cache.counters.locationBytes).toBe(0);
  });
});
