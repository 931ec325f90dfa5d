/**
 * Where the writers are, by the coordinator's documents: as old as the last refresh, and as stale as the coordinator
 * answers.
 */
import type { Coordinator } from "../../../src/cluster/coordination/coordinator.ts";
import {
  type NodeDocument,
  nodeDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../../../src/cluster/coordination/documents.ts";
import { idsOf, nodePath, SETS_PATH, setPath } from "../../../src/cluster/coordination/paths.ts";
import { Topology, topologyOf } from "../../../src/cluster/topology.ts";

const NOBODY: ReadonlySet<string> = new Set();

export class TopologyReader {
  readonly #coordinator: Coordinator;
  #topology = new Topology(0, []);
  #isReading = false;

  constructor(coordinator: Coordinator) {
    this.#coordinator = coordinator;
  }

  /** Host of the writer of a slot, if one is known. */
  writerOf(slot: number): string | undefined {
    return this.#topology.ownerOf(slot)?.writer?.host;
  }

  /** Reads all documents, unless they are being read. */
  refresh(): void {
    if (!this.#isReading) void this.#refresh();
  }

  async #refresh(): Promise<void> {
    this.#isReading = true;
    const sets = await this.#readSets();
    const nodes: NodeDocument[] = [];
    for (const id of new Set(sets.flatMap(({ members }) => members.map((each) => each.nodeId)))) {
      const path = nodePath(id);
      const read = await this.#coordinator.read(path);
      if (read.kind === "ok") nodes.push(nodeDocument.parse(path, read.data));
    }
    const version = this.#topology.version + 1;
    if (sets.length > 0) this.#topology = topologyOf({ version, sets, nodes, present: NOBODY });
    this.#isReading = false;
  }

  async #readSets(): Promise<ReplicaSetDocument[]> {
    const sets: ReplicaSetDocument[] = [];
    const listed = await this.#coordinator.list(SETS_PATH);
    if (listed.kind !== "ok") return sets;
    for (const id of idsOf(listed.names)) {
      const path = setPath(id);
      const read = await this.#coordinator.read(path);
      if (read.kind === "ok") sets.push(replicaSetDocument.parse(path, read.data));
    }
    return sets;
  }
}
