/**
 * Who owns which slot, and where everybody is: a picture of the documents of coordination at one time. It never
 * changes; what has changed makes a new one, with a higher version.
 *
 *     slot      0 ……… 341   342 ……… 682   683 ……… 1023
 *     run      [ set A     ][ set B      ][ set A     ]        runs: maximal stretches of slots with one owner
 *     A        writer, replicas (members and learners), epoch
 *
 * A picture says where to ask, never who may answer: that is decided by epochs and leases, at the node that is asked.
 * It may be older than what it shows, and the documents that it was made from may be of different times. So a slot that
 * two sets claim, which only such a mixture shows, has no owner until they are read again.
 */
import { assert } from "../base/assert.ts";
import { SLOT_COUNT } from "../base/slot.ts";
import type { NodeDocument, ReplicaSetDocument, SlotRange } from "./coordination/documents.ts";

/** As CLUSTER SHARDS words it. */
export type NodeHealth = "online" | "loading" | "fail";

export interface TopologyNode {
  readonly id: string;
  /** An address; what clients are told. */
  readonly host: string;
  readonly port: number;
  readonly peerPort: number;
  /** Empty: none. */
  readonly hostname: string;
  readonly health: NodeHealth;
}

export interface TopologySet {
  readonly id: string;
  readonly epoch: number;
  /** Undefined while none is elected, or its address is not known. */
  readonly writer: TopologyNode | undefined;
  /** All others whose address is known, learners behind members. */
  readonly replicas: readonly TopologyNode[];
  readonly slots: readonly SlotRange[];
}

/** Slots start … end, both included, of one owner. */
export interface SlotRun {
  readonly start: number;
  readonly end: number;
  readonly set: TopologySet;
}

const UNOWNED = -1;
const CONTESTED = -2;

export class Topology {
  readonly version: number;
  readonly sets: readonly TopologySet[];
  /** Ascending; slots without an owner are in none. */
  readonly runs: readonly SlotRun[];
  readonly ownedSlots: number;
  /** Index into sets by slot, negative for none. */
  readonly #owners = new Int32Array(SLOT_COUNT).fill(UNOWNED);
  readonly #setOfNode = new Map<string, TopologySet>();

  constructor(version: number, sets: readonly TopologySet[]) {
    this.version = version;
    this.sets = sets;
    for (const [index, set] of sets.entries()) {
      for (const range of set.slots) this.#claim(range, index);
      for (const node of nodesOf(set)) {
        assert(!this.#setOfNode.has(node.id), "a node in two replica sets");
        this.#setOfNode.set(node.id, set);
      }
    }
    this.runs = this.#findRuns();
    this.ownedSlots = this.runs.reduce((sum, run) => sum + run.end - run.start + 1, 0);
  }

  /** Hot. */
  ownerOf(slot: number): TopologySet | undefined {
    return this.sets[this.#owners[slot]!];
  }

  /** The replica set in which a node is writer, replica or learner. */
  setOf(nodeId: string): TopologySet | undefined {
    return this.#setOfNode.get(nodeId);
  }

  /** All nodes of replica sets, by id. */
  get nodes(): TopologyNode[] {
    return this.sets.flatMap(nodesOf).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Highest epoch of all sets. */
  get epoch(): number {
    return this.sets.reduce((highest, set) => Math.max(highest, set.epoch), 0);
  }

  #claim(range: SlotRange, index: number): void {
    for (let slot = range.start; slot <= range.end; slot++)
      this.#owners[slot] = this.#owners[slot] === UNOWNED ? index : CONTESTED;
  }

  #findRuns(): SlotRun[] {
    const runs: SlotRun[] = [];
    for (let start = 0; start < SLOT_COUNT; ) {
      let end = start;
      while (end + 1 < SLOT_COUNT && this.#owners[end + 1] === this.#owners[start]) end++;
      const set = this.ownerOf(start);
      if (set !== undefined) runs.push({ start, end, set });
      start = end + 1;
    }
    return runs;
  }
}

function nodesOf(set: TopologySet): TopologyNode[] {
  return set.writer === undefined ? [...set.replicas] : [set.writer, ...set.replicas];
}

export interface TopologySource {
  readonly version: number;
  readonly sets: readonly ReplicaSetDocument[];
  readonly nodes: readonly NodeDocument[];
  /** Ids of the nodes that are there, as far as anybody knows. */
  readonly present: ReadonlySet<string>;
}

/** The picture that the documents show. Nodes without a document have no address and are left out. */
export function topologyOf(source: TopologySource): Topology {
  const documents = new Map(source.nodes.map((node) => [node.id, node]));
  const placed = new Set<string>();
  const sets = [...source.sets].sort((a, b) => (a.id < b.id ? -1 : 1));
  return new Topology(
    source.version,
    sets.map((set) => setOfDocument(set, documents, source.present, placed)),
  );
}

function setOfDocument(
  set: ReplicaSetDocument,
  documents: ReadonlyMap<string, NodeDocument>,
  present: ReadonlySet<string>,
  placed: Set<string>,
): TopologySet {
  // While RECOVERING the writer is a claimant, which does not serve: a replica like the others.
  const writerId = set.phase === "ACTIVE" ? set.writer : null;
  let writer: TopologyNode | undefined;
  const replicas: TopologyNode[] = [];
  const add = (id: string, isLearner: boolean) => {
    const document = documents.get(id);
    // A node that moves between sets may be in both documents, when they were read at different times.
    if (document === undefined || placed.has(id)) return;
    placed.add(id);
    const here = isLearner ? "loading" : "online";
    const { host, port, peerPort, hostname } = document;
    const health = present.has(id) ? here : "fail";
    const node = { id, host, port, peerPort, hostname, health } as const;
    if (id === writerId) writer = node;
    else replicas.push(node);
  };
  for (const member of set.members) add(member.nodeId, false);
  for (const learner of set.learners) add(learner.nodeId, true);
  return { id: set.id, epoch: set.epoch, writer, replicas, slots: set.slots };
}
