/**
 * Checkpoints of a writer's store: what they are made of, and that a directory which installs one shows exactly what the
 * writer had committed, goes on by log, and is the old or the new one whenever power fails. DKV_CHECKPOINT_SEEDS sets how
 * many worlds are played, DKV_CHECKPOINT_SEED where they begin.
 */
import { describe, expect, test } from "bun:test";
import { EpochTable } from "../../src/cluster/replication/epoch-table.ts";
import type { Checkpoint } from "../../src/store/checkpoint.ts";
import { CheckpointStaging } from "../../src/store/checkpoint-staging.ts";
import { contentsAfter, differences, keysOf } from "../crash/history.ts";
import { CrashStates, seededRandom } from "../support/crash-states.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { type DiskImage, TracedFileSystem } from "../support/traced-file-system.ts";
import { Node, settle, World, type WorldOptions } from "./replicated-nodes.ts";
import { step } from "./replicated-steps.ts";

const SEEDS = Number(process.env["DKV_CHECKPOINT_SEEDS"] ?? 2);
const FIRST_SEED = Number(process.env["DKV_CHECKPOINT_SEED"] ?? 1);
const STEPS = 120;
const STATES = 120;
const KIB = 1024;
const PIECE_BYTES = 5000;
const DIRECTORY = "/data";
const START_MS = 1_700_000_000_000;

function optionsOf(seed: number): WorldOptions {
  return {
    random: seededRandom(seed),
    policy: "always",
    segmentBytes: 128 * KIB,
    segmentCounts: [3, 3, 3],
  };
}

/** A world in which something is in tables. */
async function worldWithTables(seed: number): Promise<World> {
  const world = new World(optionsOf(seed));
  await world.open();
  for (let i = 0; i < STEPS; i++) await step(world);
  await world.converge();
  await world.writer.session.flush();
  return world;
}

/** A version may hold a deletion that is ahead of it: then it is flushed first. */
async function capture(world: World): Promise<Checkpoint> {
  for (let tries = 0; tries < 20; tries++) {
    const checkpoint = await world.writer.replicated.checkpoint();
    if (checkpoint !== undefined) return checkpoint;
    await settle();
  }
  throw new Error("there is never a checkpoint");
}

async function stage(checkpoint: Checkpoint, to: CheckpointStaging): Promise<void> {
  for (const [number, { name, bytes }] of checkpoint.files.entries()) {
    for (let offset = 0; offset < bytes; offset += PIECE_BYTES) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, bytes - offset));
      await checkpoint.read(number, offset, piece);
      to.write(name, piece, offset);
    }
    await to.finish(name);
  }
}

function complete(staging: CheckpointStaging, checkpoint: Checkpoint): void {
  for (const _ of staging.complete(checkpoint));
}

/** What a node shows, against the units up to the frame that it has applied. */
async function check(world: World, node: Node): Promise<number> {
  const applied = node.replicated.replica.appliedIndex;
  const units = world.units.filter(({ tag }) => tag <= applied);
  const actual = await node.session.readAll(keysOf(world.units));
  const { nowMs } = node.session.store;
  const lines = differences(contentsAfter(units, units.length), actual, { nowMs, latestMs: nowMs });
  if (lines.length > 0) throw new Error(`at ${applied}: ${lines.slice(0, 3).join("; ")}`);
  return applied;
}

test("A directory that installs a checkpoint shows what was committed and goes on by log", async () => {
  let withTables = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const world = await worldWithTables(seed);
    const [node] = world.replicas;
    const checkpoint = await capture(world);
    if (checkpoint.files.length > 2) withTables++;
    // The writer goes on, and merges away what the checkpoint consists of.
    for (let i = 0; i < 30; i++) await world.write((session) => [put(session, i)]);
    await commitOnTwo(world, node!);
    await world.writer.session.flush();
    await world.writer.session.store.internals.lsm.compactAll();
    await beginAnew(node!);
    const staging = new CheckpointStaging(node!.fileSystem, DIRECTORY);
    await stage(checkpoint, staging);
    complete(staging, checkpoint);
    node!.session.store = await node!.replicated.install(staging);
    node!.durable = node!.last;
    const { facts } = node!.replicated;
    expect(facts).toMatchObject({ last: checkpoint.last, commit: checkpoint.last });
    expect(facts.runs).toEqual([...checkpoint.runs]);
    expect(await check(world, node!)).toBe(checkpoint.last);
    checkpoint.release();
    await world.converge();
    // All of it is in the directory.
    await node!.kill();
    await world.converge();
    await world.elect(world.successor());
    await world.converge();
    await world.close();
  }
  expect(withTables).toBeGreaterThan(SEEDS / 2);
}, 120_000);

test("A version that lacks what a later deletion has taken is flushed before it is a checkpoint", async () => {
  const world = await worldWithTables(2);
  await world.write((session) => {
    session.store.removeAll();
    return "all";
  });
  await world.converge();
  const { writer } = world;
  await writer.session.store.internals.lsm.waitIdle();
  expect(await writer.replicated.checkpoint()).toBeUndefined();
  await world.converge();
  const checkpoint = await capture(world);
  const [node] = world.replicas;
  await beginAnew(node!);
  const staging = new CheckpointStaging(node!.fileSystem, DIRECTORY);
  await stage(checkpoint, staging);
  complete(staging, checkpoint);
  node!.session.store = await node!.replicated.install(staging);
  expect(await node!.session.size()).toBe(0);
  checkpoint.release();
  await world.converge();
  await world.close();
});

/** Another disk has been put in; nodes of a cluster have one order hash. */
async function beginAnew(node: Node): Promise<void> {
  await node.replicated.close();
  const image = identityOf(node.fileSystem.image());
  node.fileSystem = new TracedFileSystem(
    image,
    () => undefined,
    () => undefined,
  );
  await node.open();
}
function identityOf(image: DiskImage): DiskImage {
  const path = `${DIRECTORY}/IDENTITY`;
  return new Map([[path, image.get(path)!]]);
}

describe("A checkpoint is refused, and the directory stays as it is,", () => {
  const damages: [string, (image: Map<string, Uint8Array>) => void][] = [
    ["when a table is cut short", (image) => shorten(image, ".table")],
    ["when a byte of a table is another one", (image) => flip(image, ".table")],
    ["when a byte of the manifest is another one", (image) => flip(image, "MANIFEST-000001")],
    ["when a byte of the frame is another one", (image) => flip(image, ".log")],
    ["when the frame is cut short", (image) => shorten(image, ".log")],
  ];
  for (const [name, damage] of damages) {
    test(name, async () => {
      const world = await worldWithTables(1);
      const checkpoint = await capture(world);
      const fileSystem = stagingDisk();
      const staging = new CheckpointStaging(fileSystem, DIRECTORY);
      await stage(checkpoint, staging);
      const image = new Map(fileSystem.image());
      damage(image);
      for (const [path, bytes] of image) {
        const file = fileSystem.open(path, "create");
        file.write(bytes, 0);
        file.close();
      }
      expect(() => complete(staging, checkpoint)).toThrow(/checkpoint\//);
      staging.discard();
      expect([...fileSystem.image().keys()]).toEqual([]);
      checkpoint.release();
      await world.close();
    });
  }

  test("when it is of another directory, or ends elsewhere than announced", async () => {
    const world = await worldWithTables(1);
    const checkpoint = await capture(world);
    const staging = new CheckpointStaging(stagingDisk(), DIRECTORY);
    await stage(checkpoint, staging);
    const { seed, last } = checkpoint;
    const others = [{ seed: { ...seed, low: seed.low ^ 1 } }, { last: last + 1 }, { runs: [] }];
    for (const change of others)
      expect(() => complete(staging, { ...checkpoint, ...change })).toThrow(/checkpoint\//);
    complete(staging, checkpoint);
    checkpoint.release();
    await world.close();
  });
});

function stagingDisk(): TracedFileSystem<unknown> {
  return new TracedFileSystem<unknown>(
    new Map(),
    () => undefined,
    () => undefined,
  );
}

function pathOf(image: Map<string, Uint8Array>, end: string): string {
  return [...image.keys()].find((path) => path.endsWith(end))!;
}

function shorten(image: Map<string, Uint8Array>, end: string): void {
  const path = pathOf(image, end);
  image.set(path, image.get(path)!.slice(0, -1));
}

function flip(image: Map<string, Uint8Array>, end: string): void {
  const path = pathOf(image, end);
  const bytes = image.get(path)!.slice();
  bytes[bytes.length >> 1]! ^= 1;
  image.set(path, bytes);
}

test("Power fails while a checkpoint is installed: the node is the old or the new one", async () => {
  const kinds = { old: 0, new: 0 };
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const world = await worldWithTables(seed);
    const node = world.replicas[0]!;
    for (let i = 0; i < 30; i++) await world.write((session) => [put(session, i)]);
    await commitOnTwo(world, node);
    await world.writer.session.flush();
    // Only what happens from here on is looked at.
    await node.replicated.close();
    const fileSystem = new TracedFileSystem<undefined>(node.fileSystem.image(), () => undefined);
    node.fileSystem = fileSystem;
    await node.open();
    const old = node.table;
    const checkpoint = await capture(world);
    expect(checkpoint.last).toBeGreaterThan(old.lastIndex);
    const staging = new CheckpointStaging(fileSystem, DIRECTORY);
    await stage(checkpoint, staging);
    complete(staging, checkpoint);
    node.session.store = await node.replicated.install(staging);
    const goal = new EpochTable(checkpoint.runs, checkpoint.last);
    await checkStates({ seed, fileSystem, world, old, goal, kinds });
    checkpoint.release();
    node.durable = node.last;
    await world.converge();
    await world.close();
  }
  expect(kinds.old).toBeGreaterThan(SEEDS * 10);
  expect(kinds.new).toBeGreaterThan(SEEDS * 5);
}, 300_000);

function put(session: Node["session"], at: number): [string, { digest: string; expiry: number }] {
  return session.put(`late-${at}`, Buffer.alloc(20 * KIB, `${at}`), 0) as [
    string,
    { digest: string; expiry: number },
  ];
}

/** The writer and the third node hold and commit all; `late` gets none of it. */
async function commitOnTwo(world: World, late: Node): Promise<void> {
  const other = world.replicas.find((node) => node !== late)!;
  for (let tries = 0; world.committed < world.writer.last; tries++) {
    if (tries > 1000) throw new Error("two nodes do not commit");
    await world.ship(other, 64 * KIB);
    await settle();
    world.commit(true);
  }
}

interface StateChecks {
  readonly seed: number;
  readonly fileSystem: TracedFileSystem<undefined>;
  readonly world: World;
  readonly old: EpochTable;
  readonly goal: EpochTable;
  readonly kinds: { old: number; new: number };
}

async function checkStates(checks: StateChecks): Promise<void> {
  const { seed, fileSystem, world, old, goal, kinds } = checks;
  const { trace } = fileSystem;
  const states = new CrashStates(fileSystem);
  const random = seededRandom(seed);
  const first = trace.findIndex(
    ({ change }) => "path" in change && change.path.includes("INSTALL"),
  );
  for (let at = 0; at < trace.length; at++) {
    // Around the switch every moment, before it some.
    const share = at >= first ? 0.3 : STATES / 6 / trace.length;
    if (at > 0 && random() < share) {
      for (const state of states.states(random)) {
        try {
          const isOld = await checkState(seed, state.image, world, { old, goal });
          kinds[isOld ? "old" : "new"]++;
        } catch (cause) {
          const where = `seed ${seed}, change ${at} of ${trace.length}, ${state.name}`;
          throw new Error(`${where}: ${(cause as Error).message}`, { cause });
        }
      }
    }
    states.add(trace[at]!.change);
  }
}

/** True: the directory is what it was. */
async function checkState(
  seed: number,
  image: DiskImage,
  world: World,
  tables: { old: EpochTable; goal: EpochTable },
): Promise<boolean> {
  const node = new Node("X", optionsOf(seed), new SimulatedClock(START_MS, true), 3);
  node.fileSystem = new TracedFileSystem<unknown>(
    image,
    () => undefined,
    () => undefined,
  );
  await node.open();
  const { facts } = node.replicated;
  const isOld = facts.last === tables.old.lastIndex;
  const expected = isOld ? tables.old : tables.goal;
  expect({ last: facts.last, runs: facts.runs }).toEqual({
    last: expected.lastIndex,
    runs: [...expected.runs],
  });
  if (!isOld) expect(facts.commit).toBe(facts.last);
  await check(world, node);
  const names = node.fileSystem.list(`${DIRECTORY}/checkpoint`);
  expect(names).toEqual([]);
  expect(node.fileSystem.exists(`${DIRECTORY}/INSTALL`)).toBe(false);
  await node.replicated.close();
  if (node.session.failure !== undefined) throw node.session.failure;
  return isOld;
}
