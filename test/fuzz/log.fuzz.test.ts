/**
 * A damaged log: bits flipped, files cut, grown, doubled, swapped, lost or filled with noise. Whatever happens, recovery
 * either gives a prefix of what was written, frame by frame, or throws CorruptionError; never anything else.
 * Runs: DKV_FUZZ_RUNS (default 60); a failure prints its seed.
 */
import { afterAll, expect, test } from "bun:test";
import { CorruptionError } from "../../src/base/errors.ts";
import { recover } from "../../src/store/recovery.ts";
import { FRAME_HEADER_BYTES, type FrameFields } from "../../src/wal/frame.ts";
import { LOG_START, Log } from "../../src/wal/log.ts";
import { Arena, segmentFileName } from "../../src/wal/segment.ts";
import { seededRandom } from "../lsm/table-support.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 60);
const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const TIMEOUT_MS = 3_600_000;
const SEGMENT_BYTES = 4096;
const DAMAGES_PER_LOG = 20;
const DIRECTORY = "/wal";
const KEY_SEED = { low: 11, high: 22 };

type Random = (bound: number) => number;
let executions = 0;
afterAll(() => console.log(`log: ${executions} executions, seed ${SEED}`));

interface Written {
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Bytes of each frame's records, oldest first. */
  readonly frames: readonly string[];
}

function readAll(fileSystem: MemoryFileSystem): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const name of fileSystem.list(DIRECTORY)) {
    const file = fileSystem.open(`${DIRECTORY}/${name}`, "read");
    const bytes = new Uint8Array(file.size());
    file.read(bytes, 0);
    file.close();
    files.set(name, bytes);
  }
  return files;
}

/** A log of some frames over some segments, synced now and then. */
async function writeLog(random: Random): Promise<Written> {
  const fileSystem = new MemoryFileSystem();
  const log = new Log(fileSystem, DIRECTORY, { seed: KEY_SEED, position: LOG_START, segments: [] });
  log.roll(new Arena(SEGMENT_BYTES));
  const frames: string[] = [];
  for (let frame = 1 + random(40); frame > 0; frame--) {
    const sizes = Array.from({ length: random(5) }, () => 8 * (2 + random(40)));
    const total = sizes.reduce((sum, size) => sum + size, FRAME_HEADER_BYTES * 2);
    if (log.active.end + total > SEGMENT_BYTES) log.roll(new Arena(SEGMENT_BYTES));
    const start = log.active.end;
    for (const size of sizes) {
      const offset = log.reserve(size);
      for (let i = 0; i < size; i++) log.active.bytes[offset + i] = random(256);
    }
    frames.push(Buffer.from(log.active.bytes.subarray(start, log.active.end)).toString("latin1"));
    log.closeFrame(1000 + random(3) + log.clockMs);
    log.write();
    if (random(3) === 0) await log.sync();
  }
  const files = readAll(fileSystem);
  log.close();
  return { files, frames };
}

function damage(files: ReadonlyMap<string, Uint8Array>, random: Random): Map<string, Uint8Array> {
  const damaged = new Map([...files].map(([name, bytes]) => [name, bytes.slice()]));
  const names = [...damaged.keys()];
  const name = names[random(names.length)]!;
  const bytes = damaged.get(name)!;
  const at = random(Math.max(1, bytes.length));
  const length = Math.min(bytes.length - at, 1 + random(300));
  switch (random(10)) {
    case 0:
      damaged.set(name, bytes.slice(0, at));
      break;
    case 1:
      damaged.delete(name);
      break;
    case 2: {
      const other = names[random(names.length)]!;
      damaged.set(name, damaged.get(other)!);
      damaged.set(other, bytes);
      break;
    }
    case 3:
      damaged.set(segmentFileName(names.length + 1 + random(2)), bytes.slice());
      break;
    case 4: {
      const grown = new Uint8Array(bytes.length + length);
      grown.set(bytes);
      if (random(2) === 0) grown.set(bytes.subarray(0, length), bytes.length);
      damaged.set(name, grown.subarray(0, SEGMENT_BYTES));
      break;
    }
    case 5:
      bytes.fill(random(2) * 255, at, at + length);
      break;
    case 6:
      bytes.copyWithin(random(bytes.length), at, at + length);
      break;
    case 7:
      for (let i = at; i < at + length; i++) bytes[i] = random(256);
      break;
    default:
      bytes[at]! ^= 1 << random(8);
  }
  return damaged;
}

/** The frames that recovery gives, or that it refuses. */
async function recovered(
  files: ReadonlyMap<string, Uint8Array>,
): Promise<string[] | CorruptionError> {
  executions++;
  const fileSystem = new MemoryFileSystem();
  for (const [name, bytes] of files) {
    const file = fileSystem.open(`${DIRECTORY}/${name}`, "create");
    file.write(bytes, 0);
    file.close();
  }
  const frames: string[] = [];
  try {
    const result = await recover({
      fileSystem,
      directory: DIRECTORY,
      seed: KEY_SEED,
      ...{ flushedSequence: 1, marksFrom: 0 },
      takeArena: () => Promise.resolve(new Arena(SEGMENT_BYTES)),
      giveArena: () => undefined,
      beginSegment: () => undefined,
      replay: (segment, start, end, fields: FrameFields) => {
        expect(fields.index).toBe(frames.length + 1);
        frames.push(Buffer.from(segment.bytes.subarray(start, end)).toString("latin1"));
      },
      onProgress: () => undefined,
    });
    // Without a frame the header of a kept segment says where the log goes on.
    if (frames.length > 0) expect(result.position.nextIndex).toBe(frames.length + 1);
    for (const segment of result.segments) segment.file.close();
  } catch (error) {
    if (error instanceof CorruptionError) return error;
    throw error;
  }
  return frames;
}

test(
  "recover() of a damaged log gives a prefix of it or throws CorruptionError",
  async () => {
    for (let run = 0; run < RUNS; run++) {
      const seed = (SEED + run * 7919) | 0;
      const random = seededRandom(seed);
      try {
        const written = await writeLog(random);
        expect(await recovered(written.files)).toEqual([...written.frames]);
        for (let i = 0; i < DAMAGES_PER_LOG; i++) {
          const result = await recovered(damage(written.files, random));
          if (result instanceof CorruptionError) continue;
          expect(result).toEqual(written.frames.slice(0, result.length));
        }
      } catch (error) {
        throw new Error(`run ${run} of DKV_FUZZ_SEED=${SEED}: ${(error as Error).message}`, {
          cause: error,
        });
      }
    }
  },
  TIMEOUT_MS,
);

test(
  "recover() of a log cut anywhere gives all whole frames before the cut",
  async () => {
    for (let run = 0; run < Math.ceil(RUNS / 10); run++) {
      const written = await writeLog(seededRandom((SEED + 31 * run) | 0));
      const last = [...written.files.keys()].at(-1)!;
      const bytes = written.files.get(last)!;
      const before = (await recovered(new Map([...written.files].slice(0, -1)))) as string[];
      let seen = before.length;
      for (let end = 40; end <= bytes.length; end++) {
        const result = await recovered(new Map([...written.files, [last, bytes.subarray(0, end)]]));
        if (result instanceof CorruptionError) throw result;
        expect(result).toEqual(written.frames.slice(0, result.length));
        expect(result.length).toBeGreaterThanOrEqual(seen);
        seen = result.length;
      }
      expect(seen).toBe(written.frames.length);
    }
  },
  TIMEOUT_MS,
);
