/**
 * What a directory and a cluster are to each other, before its store opens:
 *
 *     cluster document │ MEMBER │ data │
 *     missing          │   –    │  –   │ make the cluster, with an order hash of its own
 *     missing          │   –    │ yes  │ make the cluster, with the directory's order hash
 *     missing          │  yes   │      │ refuse: another coordinator is meant
 *     there            │   –    │  –   │ a new node
 *     there            │   –    │ yes  │ refuse, unless the cluster was made from this directory
 *     there            │  yes   │      │ the node that it was, if it is of this cluster
 *
 * All directories of a cluster have one order hash, so that tables can go from one to the other as they are.
 */
import type { Clock } from "../../base/clock.ts";
import { StartupError } from "../../base/errors.ts";
import type { FileSystem } from "../../base/file-system.ts";
import { readIdentity } from "../../store/identity.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import { type ClusterDocument, clusterDocument } from "../coordination/documents.ts";
import { CLUSTER_PATH, FOLDER_PATHS } from "../coordination/paths.ts";
import { ensurePath } from "../coordination/settle-write.ts";
import { MemberFile, type StartConditions } from "./member-file.ts";

const RETRY_MS = 200;
const ID_BYTES = 20;
const DIRECTORY_ID_BYTES = 16;
const SEED_BYTES = 8;

export interface JoinOptions {
  readonly coordinator: Coordinator;
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly clock: Clock;
  readonly conditions: StartConditions;
  /** The cluster begins with one set of one copy. */
  readonly isSingle: boolean;
  random(bytes: number): Uint8Array;
}

export interface JoinedCluster {
  readonly clusterId: string;
  readonly file: MemberFile;
  /** What a new directory is to be made of: StoreOptions.random. */
  readonly storeRandom: Uint8Array;
}

/** Waits for the coordinator. Throws StartupError when the directory must not take part. */
export async function joinCluster(options: JoinOptions): Promise<JoinedCluster> {
  const { fileSystem, directory, conditions, random } = options;
  const stored = MemberFile.open(fileSystem, directory);
  const seed = seedOf(options);
  if (stored === undefined && seed !== undefined && !options.isSingle)
    throw new StartupError(
      `${directory} holds data of a node by itself: it can only begin a cluster of one set with replication-factor 1`,
    );
  const cluster = await findCluster(options, stored, seed);
  if (stored === undefined && seed !== undefined && !isSameSeed(seed, cluster.hashSeed))
    throw new StartupError(`${directory} holds data that is not of this cluster`);
  if (stored !== undefined && stored.state.clusterId !== cluster.id)
    throw new StartupError(
      `${directory} belongs to cluster ${stored.state.clusterId}, not to ${cluster.id}`,
    );
  const ids = { nodeId: hex(random(ID_BYTES)), clusterId: cluster.id, bootId: conditions.bootId };
  const file = stored ?? MemberFile.create(fileSystem, directory, ids);
  file.begin(conditions);
  const storeRandom = Buffer.alloc(DIRECTORY_ID_BYTES + SEED_BYTES);
  storeRandom.set(random(DIRECTORY_ID_BYTES));
  storeRandom.writeUInt32LE(cluster.hashSeed.low, DIRECTORY_ID_BYTES);
  storeRandom.writeUInt32LE(cluster.hashSeed.high, DIRECTORY_ID_BYTES + 4);
  return { clusterId: cluster.id, file, storeRandom };
}

type Seed = ClusterDocument["hashSeed"];

/** Of a directory that has been opened before. */
function seedOf({ fileSystem, directory }: JoinOptions): Seed | undefined {
  if (!fileSystem.exists(`${directory}/IDENTITY`)) return undefined;
  const [low, high] = readIdentity(fileSystem, directory).hashSeed;
  return { low: low >>> 0, high: high >>> 0 };
}

function isSameSeed(a: Seed, b: Seed): boolean {
  return a.low === b.low && a.high === b.high;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** Reads the cluster's document, or makes it. */
async function findCluster(
  options: JoinOptions,
  stored: MemberFile | undefined,
  seed: Seed | undefined,
): Promise<ClusterDocument> {
  const { coordinator, clock } = options;
  for (;;) {
    const read = await coordinator.read(CLUSTER_PATH, { fresh: true });
    if (read.kind === "ok") return clusterDocument.parse(CLUSTER_PATH, read.data);
    if (read.kind === "unavailable" && read.reason === "denied") {
      throw new StartupError(
        "the coordinator denies access to the cluster's documents: check zookeeper-auth, which all nodes need alike",
      );
    }
    if (read.kind === "missing") {
      if (stored !== undefined)
        throw new StartupError(
          `the coordinator does not know cluster ${stored.state.clusterId}: is it the right one?`,
        );
      if (await makeCluster(options, seed)) continue;
    }
    await new Promise<void>((resolve) => clock.after(RETRY_MS, resolve));
  }
}

/** False: it could not be done now. */
async function makeCluster(options: JoinOptions, seed: Seed | undefined): Promise<boolean> {
  const { coordinator, clock, random } = options;
  for (const path of FOLDER_PATHS) {
    const outcome = await ensurePath(coordinator, path);
    if (outcome.kind !== "ok") return false;
  }
  const words = new DataView(Uint8Array.from(random(SEED_BYTES)).buffer);
  const data = clusterDocument.encode({
    ...{ format: 1, slotCount: 1024 },
    id: hex(random(ID_BYTES)),
    hashSeed: seed ?? { low: words.getUint32(0, true), high: words.getUint32(4, true) },
    createdMs: clock.wallMs(),
    ...{ setsFormed: 0, setsRetired: 0 },
  });
  const outcome = await coordinator.create(CLUSTER_PATH, data, "durable");
  return outcome.kind === "ok" || outcome.kind === "conflict";
}
