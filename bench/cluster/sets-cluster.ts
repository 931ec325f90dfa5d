/**
 * Replica sets of three processes each on loopback with a real ZooKeeper, at default settings but for
 * cluster-auto-rebalance: as soon as three more nodes are there, they are one more set and get their share of the slots.
 */

import { SLOT_COUNT } from "../../src/base/slot.ts";
import { Zookeeper } from "../../test/support/zookeeper.ts";
import { command, info } from "../client.ts";
import type { ServerProcess, Workspace } from "../harness.ts";
import { COPIES, clusterNodeKind, type GroupSettings, hasAllCopies, until } from "./groups.ts";

/** Client slots for each slot. */
const CLIENT_SLOTS = 16;

export interface TrafficCounts {
  redirects: number;
  forwards: number;
  /** Sent to a node that had the slot no longer, and sent again. */
  refusedForwards: number;
}

export class SetsCluster {
  readonly processes: ServerProcess[] = [];
  readonly #zookeeper: Zookeeper;
  readonly #workspace: Workspace;
  readonly #settings: GroupSettings;
  readonly #sets: number;
  readonly #onExit = (): void => this.#zookeeper.killNow();

  private constructor(
    zookeeper: Zookeeper,
    workspace: Workspace,
    settings: GroupSettings,
    sets: number,
  ) {
    this.#zookeeper = zookeeper;
    this.#workspace = workspace;
    this.#settings = settings;
    this.#sets = sets;
    process.on("exit", this.#onExit);
  }

  static async start(
    workspace: Workspace,
    settings: GroupSettings,
    sets: number,
  ): Promise<SetsCluster> {
    const cluster = new SetsCluster(await Zookeeper.start(1), workspace, settings, sets);
    for (let set = 0; set < sets; set++) await cluster.addNodes();
    await until("all slots are served, by complete sets", () => cluster.#isComplete());
    return cluster;
  }

  /** Three more; what they become is the cluster's to decide. */
  async addNodes(): Promise<readonly ServerProcess[]> {
    const address = `127.0.0.1:${this.#zookeeper.servers[0]!.clientPort}/dkv`;
    const flags = ["--cluster-initial-sets", String(this.#sets), "--cluster-auto-rebalance", "yes"];
    const added: ServerProcess[] = [];
    for (let at = 0; at < COPIES; at++) {
      const kind = clusterNodeKind(address, flags);
      added.push(await this.#workspace.start(kind, this.#settings));
    }
    this.processes.push(...added);
    return added;
  }

  /** The port of each slot's writer, as the first node shows it; undefined: nobody's. */
  async writers(): Promise<(number | undefined)[]> {
    const writers: (number | undefined)[] = new Array(SLOT_COUNT).fill(undefined);
    const text = await command(this.processes[0]!.port, "CLUSTER", "NODES");
    for (const line of text.split("\n")) {
      const [, address, , , , , , , ...ranges] = line.split(" ");
      const port = Number(/:(\d+)/.exec(address ?? "")?.[1]);
      for (const range of ranges) {
        const [first, last = first] = range.split("-").map(Number);
        for (let slot = first! / CLIENT_SLOTS; slot <= last! / CLIENT_SLOTS; slot++)
          writers[slot] = port;
      }
    }
    return writers;
  }

  /** Moves that have begun or wait. */
  async movesLeft(): Promise<number> {
    return Number(await command(this.processes[0]!.port, "CLUSTER", "MOVES"));
  }

  async traffic(): Promise<TrafficCounts> {
    const fields = await Promise.all(this.processes.map(({ port }) => info(port, "dkv")));
    const sum = (name: string): number =>
      fields.reduce((total, each) => total + Number(each.get(name) ?? 0), 0);
    return {
      redirects: sum("cluster_redirects"),
      forwards: sum("cluster_forwards"),
      refusedForwards: sum("cluster_forwards_refused"),
    };
  }

  async stop(): Promise<void> {
    // The coordinator stays until the nodes have handed over and left.
    await Promise.all(this.processes.map((server) => server.stop()));
    await this.#zookeeper.stop();
    process.off("exit", this.#onExit);
  }

  async #isComplete(): Promise<boolean> {
    const writers = new Set(await this.writers());
    if (writers.has(undefined) || writers.size !== this.#sets) return false;
    for (const port of writers) if (!hasAllCopies(await info(port!, "dkv"))) return false;
    return true;
  }
}
