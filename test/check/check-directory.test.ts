/** checkDirectory on a directory made by a real store: clean, and with damage of each kind. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { writeChecksum } from "../../src/base/checksum.ts";
import { StartupError } from "../../src/base/errors.ts";
import { decodeFooter, FOOTER_BYTES, type Footer } from "../../src/lsm/table-format.ts";
import type { CheckReport } from "../../src/store/check/check-directory.ts";
import {
  readSegmentHeader,
  SEGMENT_HEADER_BYTES,
  writeSegmentHeader,
} from "../../src/wal/frame.ts";
import { Arena, segmentFileName, segmentNumberOf } from "../../src/wal/segment.ts";
import { check, flip, makeSample, type Sample, snapshot } from "./check-support.ts";

let root: string;
let sample: Sample;

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "dkv-check-"));
  sample = await makeSample(path.join(root, "sample"));
});
afterAll(() => fs.rmSync(root, { recursive: true }));

/** A copy of the sample with `damage` done to it, checked. */
function checkDamaged(damage: (directory: string) => void): {
  report: CheckReport;
  directory: string;
} {
  const directory = fs.mkdtempSync(path.join(root, "damaged-"));
  fs.cpSync(sample.directory, directory, { recursive: true });
  damage(directory);
  return { report: check(directory), directory };
}

function footerOf(file: string): Footer {
  const bytes = fs.readFileSync(file);
  return decodeFooter(bytes.subarray(-FOOTER_BYTES), file, bytes.length);
}

function segment(directory: string, index: number): string {
  return path.join(directory, "wal", sample.segments.at(index)!);
}

function table(directory: string, index: number): string {
  return path.join(directory, "tables", sample.tables.at(index)!);
}

const messages = (report: CheckReport): string[] => report.damage.map(({ message }) => message);

describe("a directory that is whole", () => {
  test("checkDirectory finds no damage, reads all of it and counts the store's keys", () => {
    const report = check(sample.directory);
    expect(report.damage).toEqual([]);
    expect(report.notes).toEqual([]);
    expect(report.keys!.total).toBe(sample.keys);
    expect(report.keys!.tables).toBe(report.keys!.manifest);
    expect(report.levels.reduce((sum, level) => sum + level.tables, 0)).toBe(sample.tables.length);
    expect(report.levels.some(({ level }) => level > 0)).toBe(true);
    expect(report.log.unflushedRecords).toBeGreaterThan(0);
    const parts = report.space.filter(({ part }) => part === "tables" || part === "log");
    const bytes = parts.reduce((sum, part) => sum + part.bytes, report.manifest!.bytes);
    expect(report.readBytes).toBe(bytes);
  });

  test("checkDirectory counts what was written after a deletion of all keys", async () => {
    const emptied = await makeSample(path.join(root, "emptied"), true);
    const report = check(emptied.directory);
    expect(report.damage).toEqual([]);
    expect(emptied.keys).toBe(200);
    expect(report.keys!.total).toBe(200);
  });

  test("checkDirectory changes nothing", () => {
    const before = snapshot(sample.directory);
    check(sample.directory);
    expect(snapshot(sample.directory)).toEqual(before);
  });
});

describe("damage in a table", () => {
  for (const part of ["filter", "index", "properties", "fingerprints"] as const) {
    test(`a flipped bit in the ${part} is named`, () => {
      let offset = 0;
      const { report, directory } = checkDamaged((copy) => {
        offset = footerOf(table(copy, 0))[part].offset;
        flip(table(copy, 0), offset + 5);
      });
      expect(report.damage).toEqual([
        { message: `table ${part} checksum mismatch`, path: table(directory, 0), offset },
      ]);
      const damaged = report.levels.reduce((sum, level) => sum + level.damagedTables, 0);
      expect(damaged).toBe(1);
    });
  }

  test("flipped bits in two blocks are both named, and the count is unknown", () => {
    const { report, directory } = checkDamaged((copy) => {
      const { fingerprints } = footerOf(table(copy, 0));
      flip(table(copy, 0), 100);
      flip(table(copy, 0), fingerprints.offset - 200);
    });
    expect(messages(report)).toEqual(["block checksum mismatch", "block checksum mismatch"]);
    expect(report.damage.map((found) => found.path)).toEqual(Array(2).fill(table(directory, 0)));
    expect(report.damage[0]!.offset).toBe(0);
    expect(report.keys).toMatchObject({ tables: undefined, total: undefined });
  });

  test("a flipped bit in the footer is named", () => {
    const { report } = checkDamaged((copy) => {
      flip(table(copy, 0), fs.statSync(table(copy, 0)).size - FOOTER_BYTES + 30);
    });
    expect(messages(report)).toEqual(["table footer checksum mismatch"]);
  });

  test("a filter that denies a key is named although its checksum holds", () => {
    const { report } = checkDamaged((copy) => {
      const file = table(copy, 0);
      const { filter } = footerOf(file);
      const bytes = fs.readFileSync(file);
      bytes.fill(0, filter.offset, filter.offset + filter.bytes);
      const footer = bytes.subarray(-FOOTER_BYTES);
      const cleared = bytes.subarray(filter.offset, filter.offset + filter.bytes);
      writeChecksum(cleared, footer, 16 + 16 + 8);
      writeChecksum(footer.subarray(0, 112), footer, 112);
      fs.writeFileSync(file, bytes);
    });
    expect(messages(report)).toEqual(["the filter denies a key"]);
  });

  test("a table that is cut short is named", () => {
    const { report, directory } = checkDamaged((copy) => fs.truncateSync(table(copy, 0), 5000));
    expect(report.damage[0]).toMatchObject({ path: table(directory, 0), offset: 5000 });
  });

  test("a missing table is named", () => {
    const { report, directory } = checkDamaged((copy) => fs.rmSync(table(copy, 0)));
    expect(report.manifest!.missingTables).toEqual([sample.tables[0]!]);
    expect(report.damage).toEqual([
      {
        message: "a table that the manifest names is missing",
        path: table(directory, 0),
        offset: undefined,
      },
    ]);
  });

  test("swapped tables are named", () => {
    const { report } = checkDamaged((copy) => {
      fs.renameSync(table(copy, 0), `${copy}/swap`);
      fs.renameSync(table(copy, -1), table(copy, 0));
      fs.renameSync(`${copy}/swap`, table(copy, -1));
    });
    const found = messages(report).filter((message) => message.includes("not the one"));
    expect(found).toHaveLength(2);
  });
});

describe("the manifest and what is beside it", () => {
  test("superfluous files are notes", () => {
    const { report } = checkDamaged((copy) => {
      fs.copyFileSync(table(copy, 0), path.join(copy, "tables", "999999.table"));
      fs.writeFileSync(path.join(copy, "tables", "MANIFEST-999999"), "");
      fs.writeFileSync(path.join(copy, "tables", "readme"), "");
    });
    expect(report.damageCount).toBe(0);
    const names = ["999999.table", "MANIFEST-999999", "readme"];
    expect(report.manifest!.superfluousFiles).toEqual(names);
    expect(report.notes.map((note) => path.basename(note.path))).toEqual(names);
  });

  test("a flipped bit in an edit is named", () => {
    const { report, directory } = checkDamaged((copy) => {
      flip(path.join(copy, "tables", check(copy).manifest!.file!), 40);
    });
    expect(messages(report)).toContain("edit does not match its checksum");
    expect(report.damage[0]!.path).toStartWith(path.join(directory, "tables", "MANIFEST-"));
    expect(report.manifest).toBeUndefined();
  });

  test("a torn last edit is a note", () => {
    const { report } = checkDamaged((copy) => {
      fs.appendFileSync(path.join(copy, "tables", check(copy).manifest!.file!), "torn");
    });
    expect(report.manifest!.tornBytes).toBe(4);
    expect(report.notes).toHaveLength(1);
    expect(report.damageCount).toBe(0);
  });
});

describe("damage in the log", () => {
  test("a flipped bit in a frame that was synced is named, and the check goes on behind it", () => {
    const { report, directory } = checkDamaged((copy) => flip(segment(copy, 0), 5000));
    expect(report.damageCount).toBe(1);
    expect(report.damage[0]!.message).toMatch(/^frame \d+ is damaged, though it was synced$/);
    expect(report.damage[0]!.path).toBe(segment(directory, 0));
    expect(report.damage[0]!.offset).toBeLessThanOrEqual(5000);
    expect(report.log.lastIndex).toBe(check(sample.directory).log.lastIndex);
  });

  test("a flipped bit in a segment's header is named", () => {
    const { report, directory } = checkDamaged((copy) => flip(segment(copy, 0), 9));
    expect(report.damage[0]).toEqual({
      message: "the segment's header is damaged, though it was synced",
      path: segment(directory, 0),
      offset: 0,
    });
  });

  test("a torn tail is a note", () => {
    const { report, directory } = checkDamaged((copy) => {
      const size = fs.statSync(segment(copy, -1)).size;
      fs.truncateSync(segment(copy, -1), size - 8);
    });
    expect(report.damageCount).toBe(0);
    expect(report.log.tornBytes).toBeGreaterThan(0);
    expect(report.notes[0]!.path).toBe(segment(directory, -1));
    expect(report.keys!.total).toBeNumber();
  });

  test("files left over from a deletion are notes, also when a segment without frames follows the gap", () => {
    const { report, directory } = checkDamaged((copy) => {
      const first = segment(copy, 0);
      const arena = new Arena(SEGMENT_HEADER_BYTES);
      fs.readFileSync(first).copy(arena.bytes, 0, 0, SEGMENT_HEADER_BYTES);
      const header = readSegmentHeader(arena, SEGMENT_HEADER_BYTES)!;
      const number = segmentNumberOf(path.basename(first))!;
      writeSegmentHeader(arena, { ...header, number: number - 1 });
      fs.writeFileSync(path.join(copy, "wal", segmentFileName(number - 1)), arena.bytes);
      fs.writeFileSync(path.join(copy, "wal", segmentFileName(number - 3)), "anything");
    });
    expect(messages(report)).toEqual([]);
    const first = segmentNumberOf(sample.segments[0]!)!;
    expect(report.notes).toEqual([
      {
        message: "left over from a deletion: all its records are in tables",
        path: path.join(directory, "wal", segmentFileName(first - 3)),
        offset: undefined,
      },
    ]);
  });

  test("a log of which only the header of a later segment is left is named", () => {
    for (const bytes of [0, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + 16]) {
      const { report, directory } = checkDamaged((copy) => {
        for (const name of sample.segments.slice(0, -1)) fs.rmSync(path.join(copy, "wal", name));
        fs.truncateSync(segment(copy, -1), bytes);
      });
      expect(messages(report)).toEqual([
        expect.stringMatching(/^the log has no frame, and segment \d+\.log before it is missing$/),
      ]);
      expect(report.damage[0]!.path).toBe(segment(directory, -1));
    }
  });

  test("a log without its unflushed segments is named", () => {
    const { report } = checkDamaged((copy) => {
      for (const name of sample.segments) fs.rmSync(path.join(copy, "wal", name));
    });
    expect(messages(report)).toEqual(["the log has no segment"]);
  });
});

describe("identity", () => {
  test("another directory's identity is named by every part that contradicts it", () => {
    const { report } = checkDamaged((copy) => {
      const identity = JSON.parse(fs.readFileSync(path.join(copy, "IDENTITY"), "utf8")) as object;
      fs.writeFileSync(
        path.join(copy, "IDENTITY"),
        JSON.stringify({ ...identity, hashSeed: [1, 2] }),
      );
    });
    const found = messages(report);
    expect(found.filter((message) => message.includes("another data directory"))).toHaveLength(
      sample.segments.length,
    );
    expect(found.filter((message) => message.includes("another directory's table"))).toHaveLength(
      sample.tables.length,
    );
  });

  test("a missing identity is named, and the rest is still checked", () => {
    const { report } = checkDamaged((copy) => fs.rmSync(path.join(copy, "IDENTITY")));
    expect(messages(report)).toEqual(["IDENTITY is missing"]);
    expect(report.keys!.total).toBe(sample.keys);
  });

  test("a directory of something else is refused", () => {
    const other = fs.mkdtempSync(path.join(root, "other-"));
    expect(() => check(other)).toThrow(StartupError);
    expect(fs.readdirSync(other)).toEqual([]);
  });

  test("a directory that becomes a copy of another one is refused, one that has staged a copy is not", () => {
    const { report, directory } = checkDamaged((copy) => {
      fs.mkdirSync(path.join(copy, "checkpoint"));
      fs.writeFileSync(path.join(copy, "MEMBER"), "{}");
    });
    expect(report.notes).toEqual([]);
    fs.writeFileSync(path.join(directory, "INSTALL"), "{}");
    expect(() => check(directory)).toThrow(/start the server with it/);
  });
});
