/**
 * The cluster's topology as one node sees it: all documents, followed by watches, and what the node knows of itself.
 *
 *     /sets  /nodes  /presence ──► DocumentFolder ─┐
 *     own set's document, from its member ─────────┼──► topologyOf ──► CurrentTopology
 *     whether the own member serves ───────────────┘
 *
 * - There is no picture until every folder has been read once: a part of it would leave slots without an owner.
 * - While the coordinator cannot be reached, the last picture stays.
 * - This node is the writer of its set only while its member serves, in that epoch. If the document names it and it
 *   does not serve (yet, or any more), the set has no writer: nobody is sent here in vain.
 */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import {
  type NodeDocument,
  nodeDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../coordination/documents.ts";
import { NODES_PATH, PRESENCE_PATH, SETS_PATH } from "../coordination/paths.ts";
import type { CurrentTopology } from "../current-topology.ts";
import { topologyOf } from "../topology.ts";
import type { Address } from "../transport/transport.ts";
import { DocumentFolder, type KnownDocument } from "./document-folder.ts";

/** Who comes and goes is told a little later, since many nodes may start at once. */
const NODES_DELAY_MS = 50;

export interface TopologyReaderOptions {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
  readonly logger: Logger;
  /** This node, as it describes itself. */
  readonly node: NodeDocument;
  readonly topology: CurrentTopology;
  /**
   * Where the peer ports of all other nodes are, whenever a picture is made. Who is neither there nor has a place in a
   * set is left out: such a node may be gone for good.
   */
  onAddresses(addresses: ReadonlyMap<string, Address>): void;
}

export class TopologyReader {
  readonly #options: TopologyReaderOptions;
  readonly #setFolder: DocumentFolder<ReplicaSetDocument>;
  readonly #nodeFolder: DocumentFolder<NodeDocument>;
  readonly #presenceFolder: DocumentFolder<never>;
  /** By id: the newest of each, all read at one time. */
  #sets = new Map<string, KnownDocument<ReplicaSetDocument>>();
  #nodes: readonly NodeDocument[] = [];
  #present: ReadonlySet<string> = new Set();
  #ownSetId: string | undefined = undefined;
  #servedEpoch: number | undefined = undefined;
  #isPlanned = false;
  #isStopped = false;

  constructor(options: TopologyReaderOptions) {
    this.#options = options;
    const { coordinator, clock, logger } = options;
    const parts = { coordinator, clock, logger };
    this.#setFolder = new DocumentFolder({
      ...{ ...parts, folder: SETS_PATH, codec: replicaSetDocument, delayMs: 0 },
      onChange: () => this.#onSets(),
    });
    this.#nodeFolder = new DocumentFolder({
      ...{ ...parts, folder: NODES_PATH, codec: nodeDocument, delayMs: NODES_DELAY_MS },
      onChange: () => this.#onNodes(),
    });
    this.#presenceFolder = new DocumentFolder<never>({
      ...{ ...parts, folder: PRESENCE_PATH, codec: undefined, delayMs: NODES_DELAY_MS },
      onChange: () => this.#onPresence(),
    });
  }

  /** The set's document as its own member has read or written it: newer than what a watch brings. */
  noteOwnSet(document: ReplicaSetDocument, version: number): void {
    this.#ownSetId = document.id;
    this.noteSets([{ document, version }]);
  }

  /** The set of this node is no more. In effect when it returns. */
  forgetOwnSet(): void {
    if (this.#ownSetId !== undefined) this.#sets.delete(this.#ownSetId);
    this.#ownSetId = undefined;
    this.#servedEpoch = undefined;
    this.#publish();
  }

  /** Documents as they have just been read or written, all in one picture. In effect when it returns. */
  noteSets(read: readonly KnownDocument<ReplicaSetDocument>[]): void {
    let isNew = false;
    for (const known of read) if (this.#takeNewer(known)) isNew = true;
    if (isNew) this.#publish();
  }

  /** The epoch in which this node serves as its set's writer, undefined: it does not. In effect when it returns. */
  setServing(epoch: number | undefined): void {
    if (epoch === this.#servedEpoch) return;
    this.#servedEpoch = epoch;
    this.#publish();
  }

  stop(): void {
    this.#isStopped = true;
    this.#setFolder.stop();
    this.#nodeFolder.stop();
    this.#presenceFolder.stop();
  }

  #onSets(): void {
    const before = this.#sets;
    this.#sets = new Map();
    for (const read of this.#setFolder.documents) {
      this.#takeNewer(read);
      const known = before.get(read.document.id);
      if (known !== undefined) this.#takeNewer(known);
    }
    const own = this.#ownSetId === undefined ? undefined : before.get(this.#ownSetId);
    if (own !== undefined) this.#takeNewer(own);
    this.#publishSoon();
  }

  #takeNewer(known: KnownDocument<ReplicaSetDocument>): boolean {
    const { id } = known.document;
    const other = this.#sets.get(id);
    if (other !== undefined && other.version >= known.version) return false;
    this.#sets.set(id, known);
    return true;
  }

  #onNodes(): void {
    const { node } = this.#options;
    const others = this.#nodeFolder.documents
      .map(({ document }) => document)
      .filter(({ id }) => id !== node.id);
    this.#nodes = [node, ...others];
    this.#publishSoon();
  }

  #onPresence(): void {
    // Without a session this node is there all the same.
    this.#present = new Set([...this.#presenceFolder.ids, this.#options.node.id]);
    this.#publishSoon();
  }

  /** What is told at one time makes one picture. */
  #publishSoon(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    this.#options.clock.immediate(() => {
      if (this.#isPlanned) this.#publish();
    });
  }

  #publish(): void {
    this.#isPlanned = false;
    const isKnown =
      this.#setFolder.isKnown && this.#nodeFolder.isKnown && this.#presenceFolder.isKnown;
    if (!isKnown || this.#isStopped) return;
    const { topology } = this.#options;
    // Whoever does not serve only asks others, and may ask who had a slot before.
    const ownSetId = this.#servedEpoch === undefined ? undefined : this.#ownSetId;
    topology.update(
      topologyOf({
        version: topology.value.version + 1,
        sets: [...this.#sets.values()].map(({ document }) => this.#shown(document)),
        nodes: this.#nodes,
        present: this.#present,
        past: { topology: topology.value, ownSetId },
      }),
    );
    this.#tellAddresses();
  }

  #tellAddresses(): void {
    const { node, topology, onAddresses } = this.#options;
    const addresses = new Map<string, Address>();
    for (const { id, host, peerPort } of this.#nodes) {
      const isKnown = this.#present.has(id) || topology.value.setOf(id) !== undefined;
      if (isKnown && id !== node.id) addresses.set(id, { host, port: peerPort });
    }
    onAddresses(addresses);
  }

  #shown(document: ReplicaSetDocument): ReplicaSetDocument {
    const isOwn = document.writer === this.#options.node.id && document.phase === "ACTIVE";
    if (!isOwn || document.epoch === this.#servedEpoch) return document;
    return { ...document, phase: "RECOVERING" };
  }
}
