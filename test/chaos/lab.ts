/** One campaign's cluster, and what faults need of it: who the writer is now, and ways to harm and to heal. */
import { mkdirSync, rmSync } from "node:fs";
import type { SimRandom } from "../sim/random.ts";
import {
  command,
  type NodeRole,
  type ReplicaSet,
  roleOf,
  rolesOf,
  setsSeenBy,
} from "./cluster-view.ts";
import type { Cut, LabNetwork } from "./lab-network.ts";
import type { SlotMoves } from "./slot-moves.ts";
import type { LabNode, Target } from "./target.ts";

const SERVING_MS_MAX = 90_000;
const WRITER_MS_MAX = 20_000;
const POLL_MS = 100;
const EXIT_MS_MAX = 20_000;

export interface LabOptions {
  readonly sets: number;
  readonly nodesPerSet: number;
}

/** There is nobody that this could be done to now: no wonder while another fault is at work. */
export class FaultImpossible extends Error {
  override readonly name = "FaultImpossible";
}

export class Lab {
  readonly target: Target;
  readonly network: LabNetwork;
  readonly random: SimRandom;
  readonly #options: LabOptions;
  /** Slots that move all the time, if they do. */
  moves: SlotMoves | undefined = undefined;
  #sets: readonly ReplicaSet[] = [];
  #cutCount = 0;

  constructor(target: Target, network: LabNetwork, random: SimRandom, options: LabOptions) {
    this.target = target;
    this.network = network;
    this.random = random;
    this.#options = options;
  }

  /** As of the last untilWhole() or look(). */
  get sets(): readonly ReplicaSet[] {
    return this.#sets;
  }

  anySet(): ReplicaSet {
    return this.random.pick(this.#sets);
  }

  /** The set's writer and its replicas now. Throws FaultImpossible when there is no writer for long. */
  async membersOf(set: ReplicaSet): Promise<{ writer: LabNode; replicas: LabNode[] }> {
    const deadline = performance.now() + WRITER_MS_MAX;
    for (;;) {
      const roles = await Promise.all(set.nodes.map(roleOf));
      const writer = roles.find(({ role }) => role === "writer")?.node;
      if (writer !== undefined)
        return { writer, replicas: set.nodes.filter((node) => node !== writer) };
      if (performance.now() > deadline)
        throw new FaultImpossible(`no writer of ${textOf([set], true)}`);
      await Bun.sleep(POLL_MS);
    }
  }

  hold(minMs: number, maxMs: number): Promise<void> {
    return Bun.sleep(this.random.between(minMs, maxMs));
  }

  /** Loses packets while `during` runs. */
  async whileCut(cuts: readonly Cut[], during: () => Promise<void>): Promise<void> {
    const name = `cut ${this.#cutCount++}`;
    this.network.cut(name, cuts);
    await during();
    this.network.heal(name);
  }

  /** Every host but these. */
  othersThan(hosts: readonly string[]): string[] {
    return this.network.hosts.filter((host) => !hosts.includes(host));
  }

  /** Asks a replica to take over in good order. Throws FaultImpossible when it cannot. */
  async handOver(replica: LabNode): Promise<void> {
    const reply = await command(replica, "CLUSTER", "FAILOVER").catch(String);
    if (reply !== "OK") throw new FaultImpossible(`CLUSTER FAILOVER: ${JSON.stringify(reply)}`);
  }

  async terminate(node: LabNode): Promise<boolean> {
    return await node.process.terminate(EXIT_MS_MAX);
  }

  /** REQUIRES: it does not run. */
  wipe(node: LabNode): void {
    rmSync(node.directory, { recursive: true, force: true });
    mkdirSync(node.directory, { recursive: true });
  }

  async killAll(): Promise<void> {
    await Promise.all(this.target.nodes.map(({ process }) => process.kill()));
  }

  /** Nodes that ended though no fault made them, with their last words. */
  crashes(): string[] {
    return this.target.nodes
      .filter(({ process }) => process.hasCrashed)
      .map(({ host, process }) => `${host} ended by itself:\n${process.lastWords}`);
  }

  /** Ends every fault: cuts, pauses, missing processes. */
  async heal(): Promise<void> {
    this.network.healAll();
    await this.target.coordination?.restart();
    for (const node of this.target.nodes) {
      if (node.process.isPaused) node.process.resume();
      if (!node.process.isRunning) this.target.startNode(node);
    }
  }

  /** Which slots each set has now, as somebody sees it who sees all sets. */
  async look(): Promise<void> {
    for (const node of this.target.nodes) {
      const sets = await setsSeenBy(node, this.target).catch(() => []);
      if (sets.length !== this.#options.sets) continue;
      this.#sets = sets;
      return;
    }
  }

  /** Resolves once every set has its writer and all its replicas follow; throws with who is what when that takes too long. */
  async untilWhole(): Promise<void> {
    const deadline = performance.now() + SERVING_MS_MAX;
    for (;;) {
      const roles = await rolesOf(this.target);
      const sets = await this.#agreedSets();
      if (sets?.every((set) => this.#isWhole(set, roles))) {
        this.#sets = sets;
        return;
      }
      if (performance.now() > deadline)
        throw new Error(`not whole again:\n${describe(roles, sets)}`);
      await Bun.sleep(POLL_MS);
    }
  }

  #isWhole(set: ReplicaSet, roles: readonly NodeRole[]): boolean {
    const { nodesPerSet } = this.#options;
    const own = roles.filter(({ node }) => set.nodes.includes(node));
    const writers = own.filter(({ role }) => role === "writer");
    const replicas = own.filter(({ role, links }) => role === "replica" && links === 1);
    return (
      own.length === nodesPerSet &&
      writers.length === 1 &&
      writers[0]!.links === nodesPerSet - 1 &&
      replicas.length === nodesPerSet - 1
    );
  }

  /** The sets if all nodes see the same; undefined when they do not, or do not answer. While slots move, not their slots. */
  async #agreedSets(): Promise<ReplicaSet[] | undefined> {
    const views = await Promise.all(
      this.target.nodes.map((node) => setsSeenBy(node, this.target).catch(() => undefined)),
    );
    const [first, ...others] = views;
    if (first === undefined || first.length !== this.#options.sets) return undefined;
    const isResting = this.moves?.isMoving !== true;
    const text = textOf(first, isResting);
    const isSame = (view: ReplicaSet[] | undefined): boolean =>
      view !== undefined && textOf(view, isResting) === text;
    return others.every(isSame) ? first : undefined;
  }
}

function textOf(sets: readonly ReplicaSet[], hasSlots: boolean): string {
  return sets
    .map(({ ranges, nodes }) => {
      const [writer, ...replicas] = nodes.map(({ host }) => host);
      const slots = hasSlots ? `${ranges.map((range) => range.join("-")).join()}: ` : "";
      return `${slots}${writer} ${replicas.sort().join(" ")}`;
    })
    .join("; ");
}

function describe(roles: readonly NodeRole[], sets: readonly ReplicaSet[] | undefined): string {
  const lines = roles.map(({ node, role, links }) => `${node.host} ${role} links ${links}`);
  return [...lines, sets === undefined ? "the nodes' maps differ" : textOf(sets, true)].join("\n");
}
