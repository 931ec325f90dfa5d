import { describe, expect, test } from "bun:test";
import { EPOCHS_FILE, EpochRuns, readEpochs, runsBefore } from "../../src/wal/epoch-runs.ts";
import { FRAME_HEADER_BYTES } from "../../src/wal/frame.ts";
import { type AppendEffects, LOG_START, Log } from "../../src/wal/log.ts";
import { BadFrameError } from "../../src/wal/received-frames.ts";
import { Arena, segmentFileName } from "../../src/wal/segment.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const SEGMENT_BYTES = 4096;
const SEED = { low: 3, high: 4 };

class Fixture {
  readonly fileSystem = new MemoryFileSystem();
  readonly log: Log;
  readonly arrived: number[] = [];
  arenas = 100;
  readonly effects: AppendEffects = {
    nextArena: () => (this.arenas-- > 0 ? new Arena(SEGMENT_BYTES) : undefined),
    onSegment: () => undefined,
    onFrame: (_segment, _start, _end, fields) => this.arrived.push(fields.index),
  };

  constructor() {
    const options = { seed: SEED, position: LOG_START, segments: [], segmentRecordsMax: 40 };
    this.log = new Log(this.fileSystem, "/wal", options);
    this.log.roll(new Arena(SEGMENT_BYTES));
    this.log.commitIndex = 0;
  }

  /** A frame of this log with one record of so many bytes. */
  write(bytes: number, clockMs = 10): void {
    let offset = this.log.reserve(bytes);
    if (offset < 0) {
      this.log.write();
      this.log.roll(new Arena(SEGMENT_BYTES));
      offset = this.log.reserve(bytes);
    }
    this.log.active.bytes.fill(this.log.openIndex, offset, offset + bytes);
    this.log.closeFrame(clockMs);
    this.log.write();
  }

  begin(epoch: number): void {
    expect(this.log.appendEpochStart(epoch, 10, this.effects)).toBe(true);
    this.log.write();
  }

  async frames(from: number, to = Number.POSITIVE_INFINITY, bytesMax = 1 << 20): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let next = from; next <= Math.min(to, this.log.writtenIndex); ) {
      const frames = (await this.log.readFrames(next, to, bytesMax))!;
      expect(frames.first).toBe(next);
      parts.push(Buffer.from(frames.bytes));
      next = frames.last + 1;
    }
    return Buffer.concat(parts);
  }

  append(bytes: Buffer): number {
    const taken = this.log.appendFrames(bytes, this.effects);
    this.log.write();
    return taken;
  }

  get state() {
    const { openIndex, nextSequence, clockMs, epoch, epochRuns } = this.log;
    return { openIndex, nextSequence, clockMs, epoch, epochRuns: [...epochRuns] };
  }
}

/** A writer with three epochs and several segments. */
function writer(): Fixture {
  const fixture = new Fixture();
  for (const epoch of [1, 2, 5]) {
    fixture.begin(epoch);
    for (let i = 0; i < 20; i++) fixture.write(8 * (1 + ((i * 7) % 40)));
  }
  return fixture;
}

describe("Log.appendFrames", () => {
  test("frames arrive verbatim, whatever the batches and wherever segments end", async () => {
    const from = writer();
    const all = await from.frames(1);
    for (const bytesMax of [1, 500, 3000]) {
      const to = new Fixture();
      to.begin(1);
      expect(to.log.truncateAfter(0)).toEqual([]);
      for (let next = 1; next <= from.log.writtenIndex; next = to.log.openIndex) {
        const frames = (await from.log.readFrames(next, 1000, bytesMax))!;
        expect(to.append(frames.bytes)).toBe(frames.bytes.length);
        expect(to.log.openIndex).toBe(frames.last + 1);
      }
      expect(to.state).toEqual(from.state);
      expect((await to.frames(1)).equals(all)).toBe(true);
    }
  });

  test("a batch ends where no arena is free, and goes on from there", async () => {
    const from = writer();
    const all = await from.frames(1);
    const to = new Fixture();
    to.arenas = 1;
    const taken = to.append(all);
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(all.length);
    to.arenas = 10;
    expect(to.append(all.subarray(taken))).toBe(all.length - taken);
    expect(to.state).toEqual(from.state);
    expect(to.arrived).toEqual(Array.from({ length: 63 }, (_, i) => i + 1));
  });

  test("a segment takes no more records than its index holds", async () => {
    const from = new Fixture();
    from.begin(1);
    for (let i = 0; i < 50; i++) from.write(8);
    const to = new Fixture();
    to.append(await from.frames(1));
    expect(to.log.segments.map((segment) => segment.recordCount)).toEqual([40, 10]);
  });

  test("a batch in which one bit differs is refused as a whole, and changes nothing", async () => {
    const from = new Fixture();
    from.begin(3);
    from.write(16);
    from.write(24);
    const to = new Fixture();
    to.append(await from.frames(1, 1));
    const good = await from.frames(2);
    const { state } = to;
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = Buffer.from(good);
      bad[bit >>> 3]! ^= 1 << (bit & 7);
      expect(() => to.append(bad)).toThrow(BadFrameError);
    }
    for (const cut of [1, FRAME_HEADER_BYTES, good.length - 8]) {
      expect(() => to.append(good.subarray(0, cut))).toThrow(BadFrameError);
    }
    expect(to.state).toEqual(state);
    expect(to.arrived).toEqual([1]);
    to.append(good);
    expect(to.state).toEqual(from.state);
  });

  test("frames of another history, of an older epoch or with a gap are refused", async () => {
    const from = writer();
    const other = new Fixture();
    other.begin(1);
    other.write(64);
    const to = new Fixture();
    to.append(await from.frames(1, 2));
    expect(() => to.append(Buffer.concat([]))).not.toThrow();
    const gap = await from.frames(4, 5);
    expect(() => to.append(gap)).toThrow("it is frame 4");
    const again = await from.frames(2, 2);
    expect(() => to.append(again)).toThrow("it is frame 2");
    other.write(8);
    const foreign = await other.frames(3, 3);
    expect(() => to.append(foreign)).toThrow("the frame before it is another one");
  });
});

describe("Log.truncateAfter", () => {
  test("the log goes on as if the frames had never been there", async () => {
    const from = writer();
    const all = await from.frames(1);
    for (let index = 1; index <= from.log.writtenIndex; index += 3) {
      const to = new Fixture();
      to.append(all);
      to.log.truncateAfter(index);
      const fresh = new Fixture();
      fresh.append(await from.frames(1, index));
      expect(to.state).toEqual(fresh.state);
      expect([to.log.writtenIndex, to.log.durableIndex]).toEqual([index, index]);
      const names = to.fileSystem.list("/wal");
      expect(names).toEqual(to.log.segments.map(({ number }) => segmentFileName(number)));
      to.append(await from.frames(index + 1));
      expect((await to.frames(1)).equals(all)).toBe(true);
    }
  });

  test("what is committed is never cut off", () => {
    const { log } = writer();
    log.commitIndex = 30;
    expect(() => log.truncateAfter(29)).toThrow("a truncation of what is committed");
    log.truncateAfter(30);
    expect(log.openIndex).toBe(31);
  });
});

describe("the log's old files", () => {
  async function flushed(): Promise<Fixture> {
    const fixture = writer();
    fixture.log.commitIndex = Number.POSITIVE_INFINITY;
    await fixture.log.sync();
    return fixture;
  }

  test("frames are read from files once their arenas are gone, as they were", async () => {
    const from = await flushed();
    const all = await from.frames(1);
    for (const segment of from.log.segments.slice(0, -1)) {
      segment.isResident = false;
      segment.bytes.fill(0xff);
    }
    for (const bytesMax of [1, 700, 1 << 20])
      expect((await from.frames(1, 1000, bytesMax)).equals(all)).toBe(true);
    expect(await from.log.readFrames(64, 100, 1)).toBeUndefined();
  });

  test("a retained index keeps its file, until that is beyond the budget", async () => {
    const from = await flushed();
    const { log } = from;
    const events: [number, boolean][] = [];
    log.onDeleted = (first, wasToBeKept) => events.push([first, wasToBeKept]);
    const starts = log.segments.map(({ firstIndex }) => firstIndex);
    log.retain({ from: starts[1]! + 1, bytesMax: 1 << 20 });
    log.deleteBefore(log.active);
    expect(log.firstIndex).toBe(starts[1]!);
    const bytesMax = log.segments[1]!.writtenEnd;
    log.retain({ from: starts[1]! + 1, bytesMax });
    expect(log.firstIndex).toBe(starts.at(-2)!);
    expect(events).toEqual([
      [starts[1]!, false],
      [starts.at(-2)!, true],
    ]);
  });

  test("epochs of deleted frames are known, before the frames go", async () => {
    const from = await flushed();
    const { log, fileSystem } = from;
    const runs = [...log.epochRuns];
    log.deleteBefore(log.active);
    const { firstIndex } = log;
    expect(readEpochs(fileSystem, "/wal")).toEqual(runs.filter((run) => run.first < firstIndex));
    expect(log.epochRuns).toEqual(runs);
    const epochs = runsBefore(fileSystem, "/wal", { epoch: 5, index: firstIndex });
    expect(epochs.all).toEqual(runs);
    expect(() => runsBefore(fileSystem, "/wal", { epoch: 1, index: firstIndex })).toThrow("epoch");
    const file = fileSystem.open(`/wal/${EPOCHS_FILE}`, "read-write");
    file.write(Buffer.from("7"), 22);
    file.close();
    expect(() => readEpochs(fileSystem, "/wal")).toThrow("cannot be read");
  });

  test("without room for the epochs the files stay, until there is room", async () => {
    const from = await flushed();
    const { log, fileSystem } = from;
    const { firstIndex } = log;
    fileSystem.capacityBytes = fileSystem.usedBytes;
    const { openFiles } = fileSystem;
    log.deleteBefore(log.active);
    expect(log.firstIndex).toBe(firstIndex);
    expect(fileSystem.openFiles).toBe(openFiles);
    fileSystem.capacityBytes = Number.MAX_SAFE_INTEGER;
    log.deleteBefore(log.active);
    expect(log.firstIndex).toBeGreaterThan(firstIndex);
  });

  test("a log that has never left epoch 0 has no file of epochs", () => {
    const epochs = new EpochRuns();
    epochs.note(4, 10);
    expect(epochs.all).toEqual([
      { epoch: 0, first: 1 },
      { epoch: 4, first: 10 },
    ]);
    const fileSystem = new MemoryFileSystem();
    epochs.keepBefore(fileSystem, "/wal", 10);
    expect(fileSystem.exists(`/wal/${EPOCHS_FILE}`)).toBe(false);
    epochs.keepBefore(fileSystem, "/wal", 11);
    expect(readEpochs(fileSystem, "/wal")).toEqual([...epochs.all]);
  });
});
