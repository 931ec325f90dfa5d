import { describe, expect, test } from "bun:test";
import {
  FRAME_HEADER_BYTES,
  frameChecksumAt,
  frameLengthAt,
  framePreviousAt,
  readFrame,
  readSegmentHeader,
  SEGMENT_HEADER_BYTES,
  sealFrame,
  writeSegmentHeader,
} from "../../src/wal/frame.ts";
import { LOG_START, Log } from "../../src/wal/log.ts";
import { Arena, ArenaPool, segmentFileName, segmentNumberOf } from "../../src/wal/segment.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const SEGMENT_BYTES = 4096;
const SEED = { low: -5, high: 7 };
const FIELDS = {
  epoch: 3,
  index: 2 ** 40 + 1,
  durableIndex: 2 ** 40,
  clockMs: 1_700_000_000_000,
  firstSequence: 2 ** 45 + 5,
  recordCount: 2,
};

describe("frame", () => {
  function sealed(): Arena {
    const arena = new Arena(SEGMENT_BYTES);
    arena.bytes.fill(0x5a, 40 + FRAME_HEADER_BYTES, 40 + FRAME_HEADER_BYTES + 64);
    sealFrame(arena, 40, 40 + FRAME_HEADER_BYTES + 64, 123n, FIELDS);
    return arena;
  }

  test("readFrame gives what sealFrame wrote", () => {
    const arena = sealed();
    expect(frameLengthAt(arena, 40, SEGMENT_BYTES)).toBe(FRAME_HEADER_BYTES + 64);
    expect(readFrame(arena, 40)).toEqual(FIELDS);
    expect(framePreviousAt(arena, 40)).toBe(123n);
  });

  test("frameLengthAt finds no frame that is cut, or differs by one bit", () => {
    const length = FRAME_HEADER_BYTES + 64;
    expect(frameLengthAt(sealed(), 40, 40 + length - 1)).toBe(0);
    for (let bit = 0; bit < length * 8; bit++) {
      const arena = sealed();
      arena.bytes[40 + (bit >>> 3)]! ^= 1 << (bit & 7);
      expect({ bit, length: frameLengthAt(arena, 40, SEGMENT_BYTES) }).toEqual({ bit, length: 0 });
    }
  });

  test("readSegmentHeader gives what was written, and nothing when a bit differs", () => {
    const header = { number: 2 ** 33, seed: SEED, firstIndex: 2 ** 41 };
    const arena = new Arena(SEGMENT_BYTES);
    writeSegmentHeader(arena, header);
    expect(readSegmentHeader(arena, SEGMENT_BYTES)).toEqual(header);
    expect(readSegmentHeader(arena, SEGMENT_HEADER_BYTES - 1)).toBeUndefined();
    for (let bit = 0; bit < SEGMENT_HEADER_BYTES * 8; bit++) {
      arena.bytes[bit >>> 3]! ^= 1 << (bit & 7);
      expect(readSegmentHeader(arena, SEGMENT_BYTES)).toBeUndefined();
      arena.bytes[bit >>> 3]! ^= 1 << (bit & 7);
    }
  });
});

describe("Log", () => {
  function open(): { log: Log; fileSystem: MemoryFileSystem } {
    const fileSystem = new MemoryFileSystem();
    const log = new Log(fileSystem, "/wal", { seed: SEED, position: LOG_START, segments: [] });
    log.roll(new Arena(SEGMENT_BYTES));
    return { log, fileSystem };
  }

  function append(log: Log, bytes: number, fill: number): void {
    const offset = log.reserve(bytes);
    log.active.bytes.fill(fill, offset, offset + bytes);
  }

  test("frames chain, count their records and carry the durable index", async () => {
    const { log } = open();
    append(log, 16, 1);
    append(log, 24, 2);
    log.closeFrame(10);
    log.write();
    expect(await log.sync()).toBe(1);
    const second = log.openFrameStart;
    append(log, 8, 3);
    log.closeFrame(10);
    log.write();
    expect([log.writtenIndex, log.durableIndex, log.nextSequence]).toEqual([2, 1, 4]);
    const { arena } = log.active;
    expect(readFrame(arena, second)).toEqual({
      epoch: 0,
      index: 2,
      durableIndex: 1,
      clockMs: 10,
      firstSequence: 3,
      recordCount: 1,
    });
    expect(framePreviousAt(arena, second)).toBe(frameChecksumAt(arena, SEGMENT_HEADER_BYTES));
    log.close();
  });

  test("the file is byte for byte the arena's used prefix", () => {
    const { log, fileSystem } = open();
    for (let i = 0; i < 5; i++) {
      append(log, 40, i);
      log.closeFrame(i);
      if (i % 2 === 0) log.write();
    }
    const file = fileSystem.open(`/wal/${segmentFileName(1)}`, "read");
    const bytes = Buffer.alloc(file.size());
    file.read(bytes, 0);
    expect(bytes.equals(log.active.bytes.subarray(0, log.openFrameStart))).toBe(true);
    file.close();
    log.close();
  });

  test("rollback takes back the records since beginUnit, and reserve refuses what does not fit", () => {
    const { log } = open();
    append(log, 16, 1);
    log.beginUnit();
    const end = log.active.end;
    append(log, 16, 2);
    append(log, 16, 3);
    log.rollback();
    expect([log.active.end, log.nextSequence, log.hasOpenRecords]).toEqual([end, 2, true]);
    expect(log.reserve(SEGMENT_BYTES)).toBe(-1);
    expect(log.nextSequence).toBe(2);
    log.close();
  });

  test("deleteBefore keeps the newest durable frame until a later one is durable", async () => {
    const { log, fileSystem } = open();
    append(log, 16, 1);
    log.closeFrame(1);
    log.write();
    await log.sync();
    const second = log.roll(new Arena(SEGMENT_BYTES));
    log.deleteBefore(second);
    expect(fileSystem.list("/wal")).toContain(segmentFileName(1));
    append(log, 16, 2);
    log.closeFrame(2);
    log.write();
    await log.sync();
    expect(fileSystem.list("/wal")).toEqual([segmentFileName(2)]);
    log.close();
    expect(fileSystem.openFiles).toBe(0);
  });
});

describe("segment", () => {
  test("file names hold the number and nothing else is one", () => {
    expect(segmentNumberOf(segmentFileName(42))).toBe(42);
    expect(segmentFileName(1) < segmentFileName(10)).toBe(true);
    for (const name of [
      "1.log",
      "000000000001.log.tmp",
      "x00000000001.log",
      "000000000001.table",
    ]) {
      expect(segmentNumberOf(name)).toBeUndefined();
    }
  });

  test("ArenaPool makes as many arenas as it may and gives them again", () => {
    const pool = new ArenaPool(SEGMENT_BYTES, 2);
    const one = pool.take()!;
    expect(pool.take()).toBeDefined();
    expect([pool.take(), pool.freeCount]).toEqual([undefined, 0]);
    pool.give(one);
    expect(pool.take()).toBe(one);
  });

  test("ArenaPool takes all arenas back at once, without those beyond its count", () => {
    const pool = new ArenaPool(SEGMENT_BYTES, 3);
    const first = [pool.take()!, pool.take()!];
    pool.extend();
    pool.reclaim();
    expect(pool.freeCount).toBe(3);
    const again = [pool.take()!, pool.take()!, pool.take()!];
    expect(new Set(again).size).toBe(3);
    expect(first.filter((arena) => again.includes(arena)).length).toBeGreaterThan(0);
    expect(pool.take()).toBeUndefined();
  });
});
