/** Which directory may take part in which cluster, and as which node. */
import { describe, expect, test } from "bun:test";
import { StartupError } from "../../../src/base/errors.ts";
import { clusterDocument } from "../../../src/cluster/coordination/documents.ts";
import { CLUSTER_PATH } from "../../../src/cluster/coordination/paths.ts";
import { joinCluster } from "../../../src/cluster/node/join-cluster.ts";
import { openIdentity } from "../../../src/store/identity.ts";
import { MemoryFileSystem } from "../../support/memory-file-system.ts";
import { CoordinatedWorld } from "./coordinated-world.ts";

const SEED = Number(process.env["DKV_TEST_SEED"] ?? 1);
const DIRECTORY = "/data";
const BOOT_ID = "00000000-0000-4000-8000-000000000001";

function join(world: CoordinatedWorld, fileSystem: MemoryFileSystem, replicationFactor = 1) {
  const { clock } = world;
  return joinCluster({
    ...{ coordinator: world.connect(), fileSystem, directory: DIRECTORY, clock },
    isSingle: replicationFactor === 1,
    conditions: { bootId: BOOT_ID, isExposed: false },
    random: (count) => world.random.bytes(count),
  });
}

function standalone(): MemoryFileSystem {
  const fileSystem = new MemoryFileSystem();
  openIdentity(
    fileSystem,
    DIRECTORY,
    Uint8Array.from({ length: 24 }, (_, at) => at + 200),
  );
  return fileSystem;
}

function clusterIn(world: CoordinatedWorld) {
  return clusterDocument.parse(CLUSTER_PATH, world.ensemble.view.get(CLUSTER_PATH)!.data);
}

describe("an empty directory", () => {
  test("makes the cluster that is missing, and is a node of the one that is there", () => {
    const world = new CoordinatedWorld(SEED);
    const joining = Array.from({ length: 4 }, () => join(world, new MemoryFileSystem(), 3));
    const joined = joining.map((each) => world.settled(each));
    const { id, hashSeed } = clusterIn(world);
    expect(joined.map(({ clusterId }) => clusterId)).toEqual([id, id, id, id]);
    expect(new Set(joined.map(({ file }) => file.state.nodeId)).size).toBe(4);
    for (const { storeRandom } of joined) {
      const identity = openIdentity(new MemoryFileSystem(), DIRECTORY, storeRandom);
      expect(identity.hashSeed).toEqual([hashSeed.low | 0, hashSeed.high | 0]);
    }
  });

  test("is the same node after a restart", () => {
    const world = new CoordinatedWorld(SEED);
    const fileSystem = new MemoryFileSystem();
    const first = world.settled(join(world, fileSystem));
    const second = world.settled(join(world, fileSystem));
    expect(second.file.state).toEqual(first.file.state);
  });
});

describe("a directory with data of a node by itself", () => {
  test("makes the cluster, with its own order hash", () => {
    const world = new CoordinatedWorld(SEED);
    const fileSystem = standalone();
    const { storeRandom } = world.settled(join(world, fileSystem));
    const identity = openIdentity(new MemoryFileSystem(), DIRECTORY, storeRandom);
    expect(identity.hashSeed).toEqual(openIdentity(fileSystem, DIRECTORY, storeRandom).hashSeed);
    expect(world.settled(join(world, fileSystem)).clusterId).toBe(clusterIn(world).id);
  });

  test("does not join a cluster that others have made", () => {
    const world = new CoordinatedWorld(SEED);
    world.settled(join(world, new MemoryFileSystem()));
    expect(() => world.settled(join(world, standalone()))).toThrow(StartupError);
    expect(() => world.settled(join(world, standalone()))).toThrow("not of this cluster");
  });

  test("does not begin a set of copies: the empty ones would outvote it", () => {
    const world = new CoordinatedWorld(SEED);
    expect(() => world.settled(join(world, standalone(), 3))).toThrow("replication-factor 1");
    expect(world.ensemble.view.get(CLUSTER_PATH)).toBeUndefined();
  });
});

test("a directory of one cluster does not join another, nor make one", () => {
  const world = new CoordinatedWorld(SEED);
  const other = new CoordinatedWorld(SEED + 1);
  const empty = new CoordinatedWorld(SEED + 2);
  const fileSystem = new MemoryFileSystem();
  world.settled(join(world, fileSystem));
  other.settled(join(other, new MemoryFileSystem()));
  expect(() => other.settled(join(other, fileSystem))).toThrow("belongs to cluster");
  expect(() => empty.settled(join(empty, fileSystem))).toThrow("is it the right one");
});

test("what cannot be reached now is waited for", () => {
  const world = new CoordinatedWorld(SEED);
  const coordinator = world.connect();
  coordinator.suspend();
  const { clock } = world;
  const joining = joinCluster({
    ...{ coordinator, fileSystem: new MemoryFileSystem(), directory: DIRECTORY, clock },
    ...{ isSingle: true, conditions: { bootId: BOOT_ID, isExposed: false } },
    random: (count) => world.random.bytes(count),
  });
  let isJoined = false;
  void joining.then(() => {
    isJoined = true;
  });
  world.pass(10_000);
  expect(isJoined).toBe(false);
  coordinator.resume();
  world.until("joined", () => isJoined);
});
