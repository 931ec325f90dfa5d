/**
 * Power fails at any moment on a node of several, while it takes frames, cuts them off again, leads and steps down: what is
 * left is its log up to what was durable at least, and it shows the committed units of that and no others.
 */
import { expect, test } from "bun:test";
import { EpochTable } from "../../src/cluster/replication/epoch-table.ts";
import { Node, type NodeStamp, World, type WorldOptions } from "../store/replicated-nodes.ts";
import { step } from "../store/replicated-steps.ts";
import { CrashStates, seededRandom } from "../support/crash-states.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { type DiskImage, TracedFileSystem } from "../support/traced-file-system.ts";
import { contentsAfter, differences, keysOf } from "./history.ts";

const SEEDS = Number(process.env["DKV_REPLICA_STATE_SEEDS"] ?? 4);
const FIRST_SEED = Number(process.env["DKV_REPLICA_STATE_SEED"] ?? 1);
const STEPS = 150;
const STATES = 120;
const KIB = 1024;
const START_MS = 1_700_000_000_000;

function optionsOf(seed: number): WorldOptions {
  return {
    random: seededRandom(seed),
    // With the others a node that lost power begins anew as another one.
    policy: "always",
    segmentBytes: 128 * KIB,
    segmentCounts: [3, 3, 3],
  };
}

/** Plays a world whose third node's disk is traced; its trace. */
async function play(seed: number): Promise<TracedFileSystem<NodeStamp>> {
  const world = new World(optionsOf(seed));
  const node = world.nodes[2]!;
  const fileSystem = new TracedFileSystem<NodeStamp>(new Map(), () => world.stampOf(node));
  node.fileSystem = fileSystem;
  await world.open();
  for (let i = 0; i < STEPS; i++) await step(world, 2);
  await world.converge();
  await world.close();
  return fileSystem;
}

async function check(seed: number, image: DiskImage, stamp: NodeStamp): Promise<void> {
  const node = new Node("C", optionsOf(seed), new SimulatedClock(START_MS, true), 3);
  node.fileSystem = new TracedFileSystem<unknown>(image, () => undefined);
  await node.open();
  const { facts, replica } = node.replicated;
  const left = new EpochTable(facts.runs, facts.last);
  if (left.commonPrefix(stamp.table) !== left.lastIndex)
    throw new Error(`the log is ${describe(left)}, not a part of ${describe(stamp.table)}`);
  if (left.lastIndex < stamp.durable)
    throw new Error(`the log ends at ${left.lastIndex}, but ${stamp.durable} was durable`);
  if (facts.commit > stamp.committed)
    throw new Error(`${facts.commit} is shown, but only ${stamp.committed} is committed`);
  const units = stamp.units.filter(({ tag }) => tag <= replica.appliedIndex);
  const actual = await node.session.readAll(keysOf(stamp.units));
  const { nowMs } = node.session.store;
  const moment = { nowMs, latestMs: nowMs };
  const lines = differences(contentsAfter(units, units.length), actual, moment);
  if (lines.length > 0) throw new Error(`at ${facts.commit}: ${lines.slice(0, 3).join("; ")}`);
  await node.replicated.close();
  if (node.session.failure !== undefined) throw node.session.failure;
}

function describe(table: EpochTable): string {
  return `${table.runs.map(({ epoch, first }) => `${epoch}@${first}`).join(" ")} to ${table.lastIndex}`;
}

test("a node of several opens on every disk that a crash may leave", async () => {
  let checked = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const fileSystem = await play(seed);
    const { trace } = fileSystem;
    const states = new CrashStates(fileSystem);
    const random = seededRandom(seed);
    for (let at = 0; at < trace.length; at++) {
      const { stamp, change } = trace[at]!;
      if (at > 0 && random() < STATES / 6 / trace.length) {
        for (const state of states.states(random)) {
          try {
            await check(seed, state.image, stamp);
          } catch (cause) {
            const where = `seed ${seed}, change ${at} of ${trace.length}, ${state.name}`;
            throw new Error(`${where}: ${(cause as Error).message}`, { cause });
          }
          checked++;
        }
      }
      states.add(change);
    }
  }
  expect(checked).toBeGreaterThan(SEEDS * 10);
}, 120_000);
