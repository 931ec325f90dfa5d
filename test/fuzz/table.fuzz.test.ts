/**
 * A damaged table: whatever happens to its bytes, every read gives the right data, says absent for what is absent, or
 * throws CorruptionError. Runs: DKV_FUZZ_RUNS (default 60); a failure prints its seed.
 */
import { expect, test } from "bun:test";
import { CorruptionError } from "../../src/base/errors.ts";
import { KeyState } from "../../src/lsm/fingerprint-column.ts";
import { fingerprintOf, isLiveType, RecordView } from "../../src/lsm/order-key.ts";
import { FindStatus, type TableReader } from "../../src/lsm/table-reader.ts";
import {
  buildTable,
  collect,
  MemoryFile,
  openTable,
  type PlainRecord,
  plainOf,
  queryOf,
  randomRecords,
  seededRandom,
} from "../lsm/table-support.ts";
import { checkTable } from "../support/checked-table.ts";

const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 60);
const DAMAGES_PER_TABLE = 12;

type Random = (bound: number) => number;

function flipBit(bytes: Uint8Array, random: Random): Uint8Array {
  const damaged = bytes.slice();
  damaged[random(bytes.length)]! ^= 1 << random(8);
  return damaged;
}

/** One damage of a kind that disks and operators do. */
function damage(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random(bytes.length);
  const length = Math.min(bytes.length - at, 1 + random(600));
  switch (random(9)) {
    case 0:
      return bytes.slice(0, at);
    case 1: {
      const grown = new Uint8Array(bytes.length + length);
      grown.set(bytes);
      return grown;
    }
    case 2:
      return bytes.slice().fill(random(256), at, at + length);
    case 3:
      return bytes.slice().copyWithin(random(bytes.length), at, at + length);
    case 4: {
      const noise = bytes.slice();
      for (let i = at; i < at + length; i++) noise[i] = random(256);
      return noise;
    }
    case 5: {
      // Cut out of the middle, the footer in place.
      const cut = new Uint8Array(bytes.length - length);
      cut.set(bytes.subarray(0, at));
      cut.set(bytes.subarray(at + length), at);
      return cut;
    }
    case 6: {
      // Metadata and footer: small sections that a uniform choice rarely hits.
      const tail = bytes.slice();
      const end = Math.min(600, bytes.length);
      tail[bytes.length - 1 - random(end)]! ^= 1 << random(8);
      return tail;
    }
    case 7:
      return Uint8Array.from({ length: random(2000) }, () => random(256));
    default:
      return flipBit(bytes, random);
  }
}

/** Runs one read; true when it was answered, false when it reported corruption. */
function survives(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (error instanceof CorruptionError) return false;
    throw error;
  }
}

function checkReads(reader: TableReader, records: readonly PlainRecord[], random: Random): void {
  const found = new RecordView();
  for (let i = 0; i < 60; i++) {
    const record = records[random(records.length)]!;
    const query = queryOf(record);
    survives(() => {
      expect(reader.mayContain(record.slot, record.hash)).toBe(true);
      expect(reader.find(query, found)).toBe(FindStatus.FOUND);
      expect(plainOf(found)).toEqual(record);
    });
    const absent = queryOf({ ...record, key: `${record.key}~` });
    survives(() => expect(reader.find(absent, found)).toBe(FindStatus.ABSENT));
  }
  for (const useCache of [true, false]) {
    survives(() => {
      const all = collect(reader.iterator({ readAheadBytes: 5000, useCache }));
      expect(all).toEqual([...records]);
    });
  }
  survives(() => {
    const column = reader.fingerprints();
    for (const record of records) {
      if (record.subKey !== "") continue;
      const query = queryOf(record);
      const fingerprint = fingerprintOf(query.bytes, query.keyStart, query.keyEnd);
      const expected = isLiveType(record.type) ? KeyState.LIVE : KeyState.DEAD;
      expect(column.find(query, fingerprint)).toBe(expected);
    }
  });
}

test(
  "a damaged table gives right data or CorruptionError",
  () => {
    let detected = 0;
    for (let run = 0; run < RUNS; run++) {
      const seed = 1000 + run;
      const random = seededRandom(seed);
      const records = randomRecords(seed, 20 + random(200));
      const { file, properties } = buildTable(records, {
        compression: random(2) === 0 ? "zstd" : "none",
        blockBytes: 256 << random(5),
      });
      for (let i = 0; i < DAMAGES_PER_TABLE; i++) {
        const damaged = new MemoryFile();
        damaged.bytes = damage(file.bytes, random);
        const isSame = Buffer.compare(damaged.bytes, file.bytes) === 0;
        try {
          survives(() => {
            const reader = openTable(damaged);
            checkReads(reader, records, random);
          });
          const isWhole = checkTable(damaged, properties).damage.length === 0;
          expect(isWhole).toBe(isSame);
          if (!isWhole) detected++;
        } catch (cause) {
          throw new Error(`seed ${seed}, damage ${i}`, { cause });
        }
      }
    }
    expect(detected).toBeGreaterThan(RUNS * 6);
  },
  60_000 + RUNS * 1000,
);

test("every single bit flip in a small table is found by the check", () => {
  const records = randomRecords(3, 25);
  const { file, properties } = buildTable(records, { blockBytes: 256 });
  const step = Math.max(1, Math.floor(file.bytes.length / 1500));
  for (let at = 0; at < file.bytes.length; at += step) {
    const damaged = new MemoryFile();
    damaged.bytes = file.bytes.slice();
    damaged.bytes[at]! ^= 1 << (at & 7);
    expect(checkTable(damaged, properties).damage, `offset ${at}`).not.toEqual([]);
  }
});
