/**
 * Lsm killed at every change of a file: what was flushed is there after reopening, the flush in progress is there as a
 * whole or not at all, no file is left over, and the directory works on.
 */
import { expect, test } from "bun:test";
import { RecordType } from "../../src/base/record.ts";
import { SLOT_COUNT } from "../../src/base/slot.ts";
import { Lsm } from "../../src/lsm/lsm.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import { ArenaBuilder, keyOf, SEED, valueTextOf } from "../support/arena.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const ROUNDS = 8;
const KEYS = 60;
const DROP_ROUND = 5;
const DIRECTORY = "/lsm";

function open(fileSystem: MemoryFileSystem, onError: (error: Error) => void): Lsm {
  return Lsm.open({
    fileSystem,
    directory: DIRECTORY,
    executor: new InlineExecutor(fileSystem),
    nowMicros: () => 0,
    clockMs: () => 1,
    hashSeed: SEED,
    tuning: {
      blockBytes: 256,
      targetTableBytes: 1024,
      levelBaseBytes: 2048,
      levelMultiplier: 3,
      level0Trigger: 2,
      level0DepthMax: 3,
      manifestBytes: 20_000,
    },
    onError,
    onExpired: () => undefined,
  });
}

interface Round {
  /** Contents after the round. */
  readonly contents: Map<string, string>;
  readonly end: number;
}

/** Plays rounds until the end or the death of the file system; the rounds that were acknowledged. */
async function play(fileSystem: MemoryFileSystem, rounds: Round[]): Promise<number> {
  let acknowledged = 0;
  try {
    const lsm = open(fileSystem, () => undefined);
    let sequence = 0;
    const contents = new Map<string, string>();
    for (let round = 0; round < ROUNDS; round++) {
      const arena = new ArenaBuilder(sequence, 64 * 1024);
      const known = new Float64Array(SLOT_COUNT);
      if (round === DROP_ROUND) {
        const dropped = arena.addRangeDeletion(0, SLOT_COUNT);
        contents.clear();
        for (let slot = 0; slot < SLOT_COUNT; slot++) known[slot] = -lsm.baseCounts[slot]!;
        lsm.addRangeDeletion(dropped, 0, SLOT_COUNT);
        lsm.commitRangeDeletions([dropped]);
      }
      for (let i = round; i < KEYS; i++) {
        const key = `key-${(i * 7) % KEYS}`;
        const removes = i % 5 === round % 5;
        if (removes) contents.delete(key);
        else contents.set(key, `${round}-${i}`);
        const type = removes ? RecordType.TOMBSTONE : RecordType.VALUE;
        arena.add({ type, key, value: removes ? "" : `${round}-${i}`, mark: true });
      }
      sequence = arena.nextSequence;
      rounds[round] = { contents: new Map(contents), end: sequence };
      await lsm.flush([arena.source()], known);
      acknowledged = round + 1;
      if (round % 3 === 2) await lsm.waitIdle();
    }
    await lsm.compactAll();
    await lsm.close();
  } catch {
    // The file system died.
  }
  return acknowledged;
}

function contentsOf(lsm: Lsm): Map<string, string> {
  const contents = new Map<string, string>();
  const iterator = lsm.iterator();
  for (iterator.seek(0); iterator.isValid(); iterator.next()) {
    const record = iterator.current;
    if (record.type === RecordType.VALUE) contents.set(keyOf(record), valueTextOf(record));
  }
  return contents;
}

async function checkAfter(
  fileSystem: MemoryFileSystem,
  rounds: Round[],
  done: number,
): Promise<void> {
  const errors: Error[] = [];
  const lsm = open(fileSystem, (error) => errors.push(error));
  const ends = [0, ...rounds.map((round) => round.end)];
  const reached = ends.indexOf(lsm.flushedSequence);
  expect(reached).toBeGreaterThanOrEqual(done);
  expect(reached).toBeLessThanOrEqual(done + 1);
  const expected = reached === 0 ? new Map<string, string>() : rounds[reached - 1]!.contents;
  const actual = contentsOf(lsm);
  // The drop may be durable before the flush that holds its record.
  if (!(reached === DROP_ROUND && actual.size === 0)) expect(actual).toEqual(expected);
  expect(lsm.baseCounts.reduce((sum, count) => sum + count, 0)).toBe(expected.size);
  await lsm.compactAll();
  const tables = lsm.info.levels.reduce((sum, level) => sum + level.tables, 0);
  expect(fileSystem.list(DIRECTORY).length).toBe(tables + 2);
  await lsm.close();
  expect(errors).toEqual([]);
}

test("Lsm survives being killed at any change of a file", async () => {
  const all = new MemoryFileSystem();
  all.changesLeft = 1_000_000;
  const complete: Round[] = [];
  expect(await play(all, complete)).toBe(ROUNDS);
  const changes = 1_000_000 - all.changesLeft;
  expect(changes).toBeGreaterThan(200);
  for (let killAt = 1; killAt <= changes; killAt++) {
    const fileSystem = new MemoryFileSystem();
    fileSystem.changesLeft = killAt;
    const rounds: Round[] = [];
    const acknowledged = await play(fileSystem, rounds);
    fileSystem.changesLeft = Number.POSITIVE_INFINITY;
    try {
      await checkAfter(fileSystem, rounds, acknowledged);
    } catch (error) {
      throw new Error(`killed at change ${killAt} of ${changes}`, { cause: error });
    }
  }
}, 60_000);
