import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  comparePositions,
  EpochTable,
  isEpochTable,
  readRuns,
  runsBytes,
  writeRuns,
} from "../../../src/cluster/replication/epoch-table.ts";
import { FieldReader } from "../../../src/cluster/replication/field-reader.ts";

/** A log as the epoch of each frame, ascending. */
const epochs = fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 24 }).map((log) => log.sort());

function tableOf(log: readonly number[]): EpochTable {
  const table = new EpochTable();
  for (const [at, epoch] of log.entries()) table.append(epoch, at + 1);
  return table;
}

test("EpochTable.epochAt and slice say what each frame's epoch is", () => {
  void fc.assert(
    fc.property(epochs, fc.nat(24), (log, cut) => {
      const table = tableOf(log);
      for (const [at, epoch] of log.entries()) expect(table.epochAt(at + 1)).toBe(epoch);
      const first = Math.min(cut + 1, log.length + 1);
      const copy = new EpochTable(table.runs, table.lastIndex);
      copy.truncate(first - 1);
      for (const [at, run] of table.slice(first, log.length).entries()) {
        const next = table.slice(first, log.length)[at + 1];
        copy.append(run.epoch, (next?.first ?? log.length + 1) - 1);
      }
      expect(copy.runs).toEqual(table.runs);
    }),
  );
});

test("EpochTable.commonPrefix is the greatest index whose epoch is the same in both", () => {
  void fc.assert(
    fc.property(epochs, epochs, (a, b) => {
      let expected = Math.min(a.length, b.length);
      while (expected > 0 && a[expected - 1] !== b[expected - 1]) expected--;
      expect(tableOf(a).commonPrefix(tableOf(b))).toBe(expected);
    }),
  );
});

test("comparePositions puts a higher epoch before a higher index", () => {
  expect(comparePositions({ epoch: 2, index: 5 }, { epoch: 1, index: 9 })).toBeGreaterThan(0);
  expect(comparePositions({ epoch: 2, index: 5 }, { epoch: 2, index: 9 })).toBeLessThan(0);
});

test("an epoch table survives encoding", () => {
  void fc.assert(
    fc.property(epochs, (log) => {
      const { runs, lastIndex } = tableOf(log);
      const bytes = new Uint8Array(runsBytes(runs, lastIndex));
      expect(writeRuns(bytes, 0, runs, lastIndex)).toBe(bytes.length);
      const reader = new FieldReader(bytes, 0, bytes.length);
      expect(readRuns(reader)).toEqual({ runs: [...runs], last: lastIndex });
      expect(reader.isDone).toBe(true);
    }),
  );
});

test("readRuns of any bytes gives runs that ascend, or fails", () => {
  void fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const reader = new FieldReader(bytes, 0, bytes.length);
      const { runs, last } = readRuns(reader);
      if (reader.hasFailed || runs[0]?.first !== 1) return;
      expect(isEpochTable(runs, last)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});
