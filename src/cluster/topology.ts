/**
 * Who owns which slot, and where everybody is: a picture of the documents of coordination at one time. It never
 * changes; what has changed makes a new one, with a higher version.
 *
 *     slot      0 ……… 341   342 ……… 682   683 ……… 1023
 *     run      [ set A     ][ set B      ][ set A     ]        runs: maximal stretches of slots with one owner
 *     A        writer, replicas (members and learners), epoch
 *
 * A picture says where to ask, never who may answer: that is decided by epochs and leases, at the node that is asked.
 * It may be older than what it shows, and the documents that it was made from may be of different times. A slot that two
 * sets claim, or none of those that had it, only such a mixture shows: until they are read again, it is the one's that did
 * not have it before, or still the one's that had it. What a node's own set has, it knows from its own document alone.
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
  /** It gives its slots away, and goes then. */
  readonly isDraining: boolean;
}

/** Slots start … end, both included, of one owner. */
export interface SlotRun {
  readonly start: number;
  readonly end: number;
  readonly set: TopologySet;
}

/** The picture before, and the set whose document is known to be newer than it. */
export interface TopologyPast {
  readonly topology: Topology;
  readonly ownSetId: string | undefined;
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

  constructor(version: number, sets: readonly TopologySet[], past?: TopologyPast) {
    this.version = version;
    this.sets = sets;
    const before = past === undefined ? undefined : this.#ownersBefore(past);
    for (const [index, set] of sets.entries()) {
      for (const range of set.slots) this.#claim(range, index, before);
      for (const node of nodesOf(set)) {
        assert(!this.#setOfNode.has(node.id), "a node in two replica sets");
        this.#setOfNode.set(node.id, set);
      }
    }
    if (before !== undefined) this.#keep(before);
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

  #claim(range: SlotRange, index: number, before: Int32Array | undefined): void {
    for (let slot = range.start; slot <= range.end; slot++) {
      const other = this.#owners[slot]!;
      const had = before?.[slot] ?? UNOWNED;
      if (other === UNOWNED || other === had) this.#owners[slot] = index;
      else if (had !== index) this.#owners[slot] = CONTESTED;
    }
  }

  /** Who had each slot, as indexes into the sets that there are now. */
  #ownersBefore({ topology, ownSetId }: TopologyPast): Int32Array {
    const indexes = new Map(this.sets.map((set, index) => [set.id, index]));
    return Int32Array.from({ length: SLOT_COUNT }, (_, slot) => {
      const id = topology.ownerOf(slot)?.id;
      return id === undefined || id === ownSetId ? UNOWNED : (indexes.get(id) ?? UNOWNED);
    });
  }

  /** Slots that nobody claims stay with who had them. */
  #keep(before: Int32Array): void {
    for (let slot = 0; slot < SLOT_COUNT; slot++)
      if (this.#owners[slot] === UNOWNED) this.#owners[slot] = before[slot]!;
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
  readonly past?: TopologyPast;
}

/** The picture that the documents show. Nodes without a document have no address and are left out. */
export function topologyOf(source: TopologySource): Topology {
  const documents = new Map(source.nodes.map((node) => [node.id, node]));
  const placed = new Set<string>();
  const sets = [...source.sets].sort((a, b) => (a.id < b.id ? -1 : 1));
  return new Topology(
    source.version,
    sets.map((set) => setOfDocument(set, documents, source.present, placed)),
    source.past,
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
  const { id, epoch, slots, isDraining } = set;
  return { id, epoch, writer, replicas, slots, isDraining };
}
