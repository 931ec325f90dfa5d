/**
 * What is measured: three processes that hold the same data, the writer first.
 *
 *     dkv     N = 3, Q = 2, one replica set that owns all slots, a real ZooKeeper; everything else at its defaults
 *     redis   a primary and two replicas, with the log on; two copies of a write are what WAIT 1 asks for
 *
 * The writer's role moves between dkv's processes: `writer` asks them. All are on loopback of this machine.
 */

import { freePort, whyNoZookeeper, Zookeeper } from "../../test/support/zookeeper.ts";
import { info } from "../client.ts";
import {
  type LaunchOptions,
  peerKind,
  type ServerKind,
  type ServerProcess,
  SetupError,
  targetKind,
  type Workspace,
} from "../harness.ts";

export const COPIES = 3;
export const WRITE_QUORUM = 2;
const WAIT_MS_MAX = 60_000;
const POLL_MS = 10;
const SECRET = "of the benchmark's nodes";

export type GroupSettings = Pick<LaunchOptions, "fsync" | "maxmemory">;

export interface Group {
  readonly name: string;
  readonly processes: readonly ServerProcess[];
  /** For each batch: what makes Redis answer only for what a second process has. */
  readonly waitReplicas: number;
  writer(): Promise<ServerProcess>;
  /** Waits until all three processes take part in replication, none behind. */
  untilComplete(): Promise<void>;
  stop(): Promise<void>;
}

/** Throws a SetupError when ZooKeeper cannot be started here. */
export function requireZookeeper(): void {
  const missing = whyNoZookeeper();
  if (missing !== "") throw new SetupError(`a cluster needs ZooKeeper: ${missing}`);
}

export class DkvGroup implements Group {
  readonly name = "dkv";
  readonly waitReplicas = 0;
  readonly processes: readonly ServerProcess[];
  readonly #zookeeper: Zookeeper;
  readonly #onExit = (): void => this.#zookeeper.killNow();

  private constructor(processes: readonly ServerProcess[], zookeeper: Zookeeper) {
    this.processes = processes;
    this.#zookeeper = zookeeper;
    process.on("exit", this.#onExit);
  }

  static async start(workspace: Workspace, settings: GroupSettings): Promise<DkvGroup> {
    const zookeeper = await Zookeeper.start(1);
    const processes: ServerProcess[] = [];
    const group = new DkvGroup(processes, zookeeper);
    const address = `127.0.0.1:${zookeeper.servers[0]!.clientPort}/dkv`;
    for (let at = 0; at < COPIES; at++)
      processes.push(await workspace.start(clusterNodeKind(address), settings));
    await group.untilComplete();
    return group;
  }

  async writer(): Promise<ServerProcess> {
    const found = await this.#findWriter();
    if (found === undefined) throw new Error("the replica set has no writer");
    return found;
  }

  async untilComplete(): Promise<void> {
    await until("the replica set is complete", async () => {
      const writer = await this.#findWriter();
      if (writer === undefined) return false;
      return hasAllCopies(await info(writer.port, "dkv"));
    });
  }

  async stop(): Promise<void> {
    // The coordinator stays until the nodes have handed over and left.
    for (const server of this.processes) await server.stop();
    await this.#zookeeper.stop();
    process.off("exit", this.#onExit);
  }

  /** Undefined while there is none. A node that was paused or cut off may call itself one: not here. */
  async #findWriter(): Promise<ServerProcess | undefined> {
    for (const server of this.processes) {
      const fields = server.isRunning ? await info(server.port, "replication") : new Map();
      if (fields.get("role") === "master") return server;
    }
    return undefined;
  }
}

/** Whether INFO dkv of a writer shows all copies, each reached and with all that is acknowledged, or on its way. */
export function hasAllCopies(fields: ReadonlyMap<string, string>): boolean {
  const replicas = [...fields].filter(([name]) => /^cluster_replica\d+$/.test(name));
  return (
    fields.get("cluster_members") === String(COPIES) &&
    replicas.length === COPIES - 1 &&
    replicas.every(([, text]) => isUpToDate(text))
  );
}

function isUpToDate(text: string): boolean {
  const lag = /lag_frames=(-?\d+)/.exec(text)?.[1];
  return text.includes("kind=member,state=online") && Number(lag) <= 64;
}

export function clusterNodeKind(zookeeper: string, flags: readonly string[] = []): ServerKind {
  const single = targetKind(undefined);
  const peerPort = String(freePort());
  return {
    ...single,
    commandLine: (options) => [
      ...[...single.commandLine(options), "--bind", "127.0.0.1", "--cluster-enabled", "yes"],
      ...["--zookeeper", zookeeper, "--peer-port", peerPort, "--cluster-secret", SECRET],
      ...["--replication-factor", String(COPIES), "--write-quorum", String(WRITE_QUORUM)],
      ...flags,
    ],
  };
}

export class RedisGroup implements Group {
  readonly name: string;
  readonly waitReplicas = WRITE_QUORUM - 1;
  readonly processes: readonly ServerProcess[];

  private constructor(processes: readonly ServerProcess[]) {
    this.name = processes[0]!.name;
    this.processes = processes;
  }

  /** Undefined for "none". */
  static async start(
    workspace: Workspace,
    program: string,
    settings: GroupSettings,
  ): Promise<RedisGroup | undefined> {
    const kind = peerKind(program);
    if (kind === undefined) return undefined;
    const primary = await workspace.start(kind, settings);
    const replicaKind: ServerKind = {
      ...kind,
      commandLine: (options) => [
        ...[...kind.commandLine(options), "--replicaof", "127.0.0.1", String(primary.port)],
      ],
    };
    const processes = [primary];
    for (let at = 1; at < COPIES; at++)
      processes.push(await workspace.start(replicaKind, settings));
    const group = new RedisGroup(processes);
    await group.untilComplete();
    return group;
  }

  writer(): Promise<ServerProcess> {
    return Promise.resolve(this.processes[0]!);
  }

  async untilComplete(): Promise<void> {
    await until("the primary has its replicas", async () => {
      const fields = await info(this.processes[0]!.port, "replication");
      const replicas = [...fields].filter(([name]) => /^slave\d+$/.test(name));
      const online = replicas.filter(([, text]) => text.includes("state=online"));
      return online.length === COPIES - 1;
    });
  }

  async stop(): Promise<void> {
    for (const server of this.processes.toReversed()) await server.stop();
  }
}

/** Waits for `isDone`; throws with `what` when it takes too long. */
export async function until(what: string, isDone: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await isDone())) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
    await Bun.sleep(POLL_MS);
  }
}
