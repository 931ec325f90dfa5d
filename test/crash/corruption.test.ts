/**
 * Bytes that change on disk: what was synced is never silently dropped or served wrong. The store refuses with the
 * file and the offset and leaves the files alone; a torn end of the log is cut off.
 */
import { expect, test } from "bun:test";
import { CorruptionError } from "../../src/base/errors.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import { openStore } from "../../src/store/open-store.ts";
import { frameLengthAt, SEGMENT_HEADER_BYTES } from "../../src/wal/frame.ts";
import { seededRandom } from "../support/crash-states.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { type DiskImage, TracedFileSystem } from "../support/traced-file-system.ts";
import { differences, digestOf, type Entry } from "./history.ts";
import { DIRECTORY, StoreSession } from "./store-session.ts";

const SEGMENT_BYTES = 64 * 1024;
const KEYS = 24;
const VALUE_BYTES = 4000;
const FLIPS = 200;
const WALL_MS = 1_700_000_000_000;
const NOTHING: DiskImage = new Map();

function open(
  image: DiskImage,
  marksFrom = 0,
): {
  fileSystem: TracedFileSystem<undefined>;
  opened: Promise<StoreSession>;
} {
  const fileSystem = new TracedFileSystem(image, () => undefined);
  const opened = StoreSession.open(
    {
      fileSystem,
      clock: new SimulatedClock(WALL_MS, true),
      executor: new InlineExecutor(fileSystem),
      policy: "always",
      segmentBytes: SEGMENT_BYTES,
      // Nothing is flushed by itself.
      segmentCount: 16,
      open: async (options) => (await openStore({ ...options, marksFrom })).store,
    },
    [],
  );
  return { fileSystem, opened };
}

/** A disk with a log of two segments, one frame a key; or the same keys in tables. */
async function build(
  inTables: boolean,
): Promise<{ image: DiskImage; contents: Map<string, Entry> }> {
  const { fileSystem, opened } = open(NOTHING);
  const session = await opened;
  for (let i = 0; i < KEYS; i++) {
    await session.run(() => [session.put(`key-${i}`, Buffer.alloc(VALUE_BYTES, `${i} `), 0)]);
    // Each frame is synced before the next is closed.
    while (session.acknowledged <= i) await new Promise((resolve) => setImmediate(resolve));
  }
  if (inTables) await session.flush();
  await session.store.close();
  return { image: fileSystem.image(), contents: session.contents };
}

function flipped(image: DiskImage, path: string, bit: number): DiskImage {
  const bytes = new Uint8Array(image.get(path)!);
  bytes[bit >>> 3]! ^= 1 << (bit & 7);
  return new Map(image).set(path, bytes);
}

/** Offsets at which the frames of a log file start, and its end. */
function framesOf(bytes: Uint8Array): number[] {
  const copy = Buffer.from(new Uint8Array(bytes).buffer);
  const words = new Int32Array(copy.buffer);
  const arena = { bytes: copy, words, words64: new BigUint64Array(copy.buffer) };
  const starts = [SEGMENT_HEADER_BYTES];
  for (;;) {
    const start = starts.at(-1)!;
    const length = frameLengthAt(arena, start, bytes.length);
    if (length === 0) return starts;
    starts.push(start + length);
  }
}

/** Files whose names end so, with their contents as text that can be compared. */
function filesOf(image: DiskImage, ending: RegExp): string[] {
  return [...image]
    .filter(([path]) => ending.test(path))
    .map(([path, bytes]) => `${path} ${digestOf(bytes)}`)
    .sort();
}

async function refusal(image: DiskImage): Promise<CorruptionError> {
  const { fileSystem, opened } = open(image);
  const error = await opened.then(
    () => undefined,
    (cause: Error) => cause,
  );
  expect(error).toBeInstanceOf(CorruptionError);
  const kept = /\.(log|table)$|IDENTITY$/;
  expect(filesOf(fileSystem.image(), kept)).toEqual(filesOf(image, kept));
  return error as CorruptionError;
}

const LOGS = [1, 2].map((number) => `${DIRECTORY}/wal/${String(number).padStart(12, "0")}.log`);

test("what frames from before a node was a member call durable may be lost here: the log ends there", async () => {
  const { image } = await build(false);
  const [path] = LOGS;
  const starts = framesOf(image.get(path!)!);
  const lost = 5;
  const damaged = flipped(image, path!, (starts[lost - 1]! + 40) * 8);
  const { opened } = open(damaged, KEYS + 1);
  const session = await opened;
  expect([
    ...(await session.readAll(Array.from({ length: KEYS }, (_, i) => `key-${i}`))).keys(),
  ]).toEqual(Array.from({ length: lost - 1 }, (_, i) => `key-${i}`));
  await session.store.close();
  await expect(open(damaged, KEYS - 2).opened).rejects.toThrow("is damaged");
});

test("a damaged frame that a later one calls durable is refused by file and offset", async () => {
  const { image } = await build(false);
  const random = seededRandom(1);
  for (let i = 0; i < FLIPS; i++) {
    const path = LOGS[i % LOGS.length]!;
    const bytes = image.get(path)!;
    const starts = framesOf(bytes);
    expect(starts.at(-1)).toBe(bytes.length);
    // The last frame of all has nobody to vouch for it.
    const end = path === LOGS[1] ? starts.at(-2)! : bytes.length;
    const bit = Math.floor(random() * end * 8);
    const error = await refusal(flipped(image, path, bit));
    expect(error.path).toBe(path);
    const at = starts.findLast((start) => start <= bit >>> 3) ?? 0;
    expect(error.offset).toBe(at);
  }
});

test("a log file that is missing from the middle or the start is refused", async () => {
  const { image } = await build(false);
  const without = new Map(image);
  without.delete(LOGS[0]!);
  expect((await refusal(without)).path).toBe(LOGS[1]!);
});

test("a log whose first file is lost is refused, whatever is left of the others", async () => {
  const { image } = await build(false);
  const whole = image.get(LOGS[1]!)!;
  const firstFrame = framesOf(whole)[1]!;
  for (const end of [0, 17, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + 100, firstFrame]) {
    const left = new Map(image).set(LOGS[1]!, whole.slice(0, end));
    left.delete(LOGS[0]!);
    const error = await refusal(left);
    expect(error.path).toBe(LOGS[1]!);
    expect(error.message).toContain("000000000001.log is missing");
  }
});

test("a first file with nothing but a header is the start of a log", async () => {
  const { image } = await build(false);
  const left = new Map(image).set(LOGS[0]!, image.get(LOGS[0]!)!.slice(0, SEGMENT_HEADER_BYTES));
  left.delete(LOGS[1]!);
  const session = await open(left).opened;
  expect(await session.size()).toBe(0);
  await session.store.close();
});

test("the first file of a log has its name on disk before anything is written", async () => {
  const { fileSystem, opened } = open(NOTHING);
  const session = await opened;
  const changes = fileSystem.trace.map(({ change }) => change);
  const created = changes.findIndex(
    (change) => change.kind === "create" && change.path === LOGS[0],
  );
  const synced = changes.findLastIndex(
    (change) => change.kind === "sync-directory" && change.path === `${DIRECTORY}/wal`,
  );
  expect(created).toBeGreaterThanOrEqual(0);
  expect(synced).toBeGreaterThan(created);
  await session.store.close();
});

test("a torn last frame is cut off, and all before it is there", async () => {
  const { image, contents } = await build(false);
  const path = LOGS[1]!;
  const bytes = image.get(path)!;
  const start = framesOf(bytes).at(-2)!;
  const before = new Map(contents);
  before.delete(`key-${KEYS - 1}`);
  for (let end = start; end < bytes.length; end += 97) {
    for (const tail of [0, 4096]) {
      const torn = new Uint8Array(end + tail);
      torn.set(bytes.subarray(0, end));
      const { fileSystem, opened } = open(new Map(image).set(path, torn));
      const session = await opened;
      expect(fileSystem.image().get(path)!.length).toBe(start);
      const actual = await session.readAll(contents.keys());
      expect(differences(before, actual, { nowMs: WALL_MS, latestMs: WALL_MS })).toEqual([]);
      await session.store.close();
    }
  }
});

test("a damaged table is refused by name when it is opened or read, never served", async () => {
  const { image, contents } = await build(true);
  const path = [...image.keys()].find((name) => name.endsWith(".table"))!;
  const bits = image.get(path)!.length * 8;
  const random = seededRandom(2);
  let refusedAtOpen = 0;
  let refusedAtRead = 0;
  for (let i = 0; i < FLIPS; i++) {
    const { opened } = open(flipped(image, path, Math.floor(random() * bits)));
    let session: StoreSession | undefined;
    try {
      session = await opened;
      const actual = await session.readAll(contents.keys());
      // A part that readers do not need, such as padding or statistics.
      expect(differences(contents, actual, { nowMs: WALL_MS, latestMs: WALL_MS })).toEqual([]);
    } catch (error) {
      expect(error).toBeInstanceOf(CorruptionError);
      expect((error as CorruptionError).path).toBe(path);
      if (session === undefined) refusedAtOpen++;
      else refusedAtRead++;
    }
  }
  expect(refusedAtOpen).toBeGreaterThan(0);
  expect(refusedAtRead).toBeGreaterThan(FLIPS / 2);
});

test("a damaged manifest, CURRENT or IDENTITY is refused by name", async () => {
  const { image } = await build(true);
  const manifest = [...image.keys()].find((name) => name.includes("MANIFEST-"))!;
  // Its last record may be a write that never finished; the first is the snapshot.
  const cases: [string, number][] = [
    [manifest, 100],
    [`${DIRECTORY}/tables/CURRENT`, 3],
    [`${DIRECTORY}/IDENTITY`, 5],
  ];
  for (const [path, byte] of cases) {
    const error = await refusal(flipped(image, path, byte * 8));
    expect(error.path).toBe(path);
  }
});

test("a segment that was begun behind frames that are lost is not gone on in", async () => {
  const { image } = await build(false);
  const [first, second] = LOGS as [string, string];
  const starts = framesOf(image.get(first)!);
  const torn = new Map(image)
    .set(first, image.get(first)!.slice(0, starts.at(-2)!))
    .set(second, image.get(second)!.slice(0, SEGMENT_HEADER_BYTES));
  const { fileSystem, opened } = open(torn);
  const session = await opened;
  for (let i = 0; i < KEYS; i++)
    await session.run(() => [session.put(`more-${i}`, Buffer.alloc(VALUE_BYTES, "m"), 0)]);
  await session.store.close();
  let segments = 0;
  for (const [path, bytes] of fileSystem.image()) {
    if (!path.endsWith(".log")) continue;
    const view = new DataView(new Uint8Array(bytes).buffer);
    const firstIndex = view.getBigUint64(24, true);
    expect(view.getBigUint64(SEGMENT_HEADER_BYTES + 32, true)).toBe(firstIndex);
    segments++;
  }
  expect(segments).toBeGreaterThan(1);
});
