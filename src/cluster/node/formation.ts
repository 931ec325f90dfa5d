/**
 * How replica sets come to be, and how a node finds its own.
 *
 *     listed in a set ────────────────────────────────────► that is it
 *     no set yet ──► S × N nodes present ──► all sets in one multi: whoever is first has decided
 *     a set lacks nodes that are present ──► this one becomes its learner
 *     N spares, where that is allowed ────────────────────► one more set, without slots: it gets its share by moves
 *     else idle: a spare, which looks again whenever something changes
 *
 * The ids of sets follow from the cluster's and from how many there have been. The cluster's document counts them in the
 * same multi: two nodes that form sets at once cannot both succeed, and no id is given again when a set is gone. So no sets
 * are formed a second time when their documents are lost, either.
 *
 * A node whose directory holds data of a set goes to that one only. Its presence says so, and nobody puts it elsewhere.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { SLOT_COUNT } from "../../base/slot.ts";
import type { Coordinator, Operation } from "../coordination/coordinator.ts";
import {
  type ClusterDocument,
  clusterDocument,
  DocumentError,
  nodeDocument,
  presenceDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../coordination/documents.ts";
import {
  CLUSTER_PATH,
  idsOf,
  nodePath,
  PRESENCE_PATH,
  presencePath,
  SETS_PATH,
  setPath,
} from "../coordination/paths.ts";
import type { Member } from "../replication/quorum.ts";
import type { KnownDocument } from "./document-folder.ts";
import { countSets, fateOfSet, readCluster, setIdOf } from "./retired-set.ts";

export interface SetShape {
  /** How many sets there are at first. */
  readonly initialSets: number;
  readonly replicationFactor: number;
  readonly writeQuorum: number;
}

/** A node that is there. */
export interface PresentNode extends Member {
  /** Whose data it has; empty: none's. */
  readonly setId: string;
}

type FormedCluster = Pick<ClusterDocument, "id" | "setsFormed">;

/**
 * One more set of spares, nodes that are present, in no set and without data, with no slots yet; undefined while there
 * are too few.
 */
export function nextSet(
  { id, setsFormed }: FormedCluster,
  sets: readonly ReplicaSetDocument[],
  present: readonly PresentNode[],
  shape: SetShape,
): ReplicaSetDocument | undefined {
  const { replicationFactor, writeQuorum } = shape;
  const spares = sparesOf(sets, present);
  if (spares.length < replicationFactor) return undefined;
  return {
    ...{ format: 1, id: setIdOf(id, setsFormed), epoch: 0, phase: "RECOVERING" },
    ...{ writer: null, claim: null, writeQuorum, replicationFactor, learners: [], slots: [] },
    ...{ members: spares.slice(0, replicationFactor), isDraining: false },
  };
}

/** The first sets of a cluster, or undefined while there are too few nodes for them. */
export function firstSets(
  clusterId: string,
  present: readonly PresentNode[],
  shape: SetShape,
): ReplicaSetDocument[] | undefined {
  const { initialSets, replicationFactor, writeQuorum } = shape;
  const nodes = emptyNodes(present);
  if (nodes.length < initialSets * replicationFactor) return undefined;
  const firstSlotOf = (set: number) => Math.floor((SLOT_COUNT * set) / initialSets);
  return Array.from({ length: initialSets }, (_, at) => ({
    ...{ format: 1, id: setIdOf(clusterId, at), epoch: 0, phase: "RECOVERING" },
    ...{ writer: null, claim: null, writeQuorum, replicationFactor, learners: [] },
    isDraining: false,
    members: nodes.slice(at * replicationFactor, (at + 1) * replicationFactor),
    slots: [{ start: firstSlotOf(at), end: firstSlotOf(at + 1) - 1 }],
  }));
}

function sparesOf(sets: readonly ReplicaSetDocument[], present: readonly PresentNode[]): Member[] {
  return emptyNodes(present.filter(({ nodeId }) => setOf(sets, nodeId) === undefined));
}

function emptyNodes(present: readonly PresentNode[]): Member[] {
  return present
    .filter(({ setId }) => setId === "")
    .map(({ nodeId, incarnation }) => ({ nodeId, incarnation }))
    .toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
}

/** The set that `node` is in. */
export function setOf(
  sets: readonly ReplicaSetDocument[],
  nodeId: string,
): ReplicaSetDocument | undefined {
  return sets.find(({ members, learners }) =>
    [...members, ...learners].some((each) => each.nodeId === nodeId),
  );
}

/**
 * Sets that lack nodes: fewer of its own are present than it should have copies. Those that drain last; one that drains and
 * has no slots needs nobody.
 */
export function setsInNeed(
  sets: readonly ReplicaSetDocument[],
  present: ReadonlySet<string>,
): ReplicaSetDocument[] {
  const needy = sets.filter(({ members, learners, replicationFactor, isDraining, slots }) => {
    const own = [...members, ...learners].filter(({ nodeId }) => present.has(nodeId));
    return own.length < replicationFactor && !(isDraining && slots.length === 0);
  });
  return needy.toSorted((a, b) => Number(a.isDraining) - Number(b.isDraining));
}

export interface FormationOptions {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly clusterId: string;
  readonly node: Member;
  readonly shape: SetShape;
  /** The set whose data the node has, empty: none. It belongs to no other one, whoever lacks a node. */
  readonly formerSet: string;
  /** Whether spares form one more set. */
  formsMoreSets(): boolean;
  /** Once. */
  onSet(setId: string): void;
}

type KnownSet = KnownDocument<ReplicaSetDocument>;

const FOREIGN_DATA =
  "the directory holds data of a replica set that this node has no place in: it stays a spare that is put into no set; to use it again, stop it, empty its directory and start it";
const LOST_SETS =
  "documents of replica sets are missing that were not retired: is this the right coordinator, with all of its data? No set is formed";

/** Watches miss nothing, but a write may fail without any change. */
const RETRY_MS = 1000;
/** Nodes that are not there for so long are missing: all of them are for a moment when the ensemble comes back. */
const LACK_MS = 5000;

export class Formation {
  readonly #options: FormationOptions;
  readonly #ticker: Timer;
  #isLooking = false;
  #isChanged = false;
  #isOver = false;
  #hasComplained = false;
  #hasMissedSets = false;
  /** Sets that lack nodes, and since when. */
  #lacking: ReadonlyMap<string, number> = new Map();

  constructor(options: FormationOptions) {
    this.#options = options;
    this.#ticker = options.clock.every(RETRY_MS, () => this.#look());
    this.#look();
  }

  stop(): void {
    this.#isOver = true;
    this.#ticker.cancel();
  }

  readonly #look = (): void => {
    if (this.#isLooking) this.#isChanged = true;
    else if (!this.#isOver) void this.#lookAll();
  };

  async #lookAll(): Promise<void> {
    this.#isLooking = true;
    do {
      this.#isChanged = false;
      const setId = await this.#find();
      if (this.#isOver) return;
      if (setId !== undefined) {
        this.stop();
        this.#options.onSet(setId);
        return;
      }
    } while (this.#isChanged);
    this.#isLooking = false;
  }

  async #find(): Promise<string | undefined> {
    const { node } = this.#options;
    const sets = await this.#readSets();
    if (sets === undefined) return this.#seeNothing();
    const own = setOf(
      sets.map(({ document }) => document),
      node.nodeId,
    );
    if (own !== undefined) return this.#isOpenTo(own.id) ? own.id : undefined;
    const present = await this.#readPresent();
    if (present === undefined) return this.#seeNothing();
    const mayForm = sets.length === 0 && this.#options.formerSet === "";
    return mayForm ? await this.#form(present) : await this.#join(sets, present);
  }

  /** Nor how long nodes have been missing. */
  #seeNothing(): undefined {
    this.#lacking = new Map();
  }

  /** "wait": there may be one soon. */
  async #setToJoin(
    sets: readonly ReplicaSetDocument[],
    present: ReadonlySet<string>,
  ): Promise<ReplicaSetDocument | "wait" | undefined> {
    const { formerSet, clock } = this.#options;
    if (formerSet === "") {
      const needy = setsInNeed(sets, present);
      const nowMs = clock.monotonicMs();
      const since = (id: string) => this.#lacking.get(id) ?? nowMs;
      this.#lacking = new Map(needy.map(({ id }) => [id, since(id)]));
      const found = needy.find(({ id }) => nowMs - since(id) >= LACK_MS);
      return found ?? (needy.length > 0 ? "wait" : undefined);
    }
    const former = sets.find(({ id }) => id === formerSet);
    if (former === undefined) await this.#askFate(formerSet);
    return former;
  }

  /** The data of a set that was lost may be the only copy: nobody is told to empty that directory. */
  async #askFate(formerSet: string): Promise<void> {
    if (this.#hasComplained || this.#hasMissedSets) return;
    const { coordinator, clusterId } = this.#options;
    const fate = await fateOfSet(coordinator, clusterId, formerSet);
    if (fate === "retired") this.#complain();
    if (fate === "lost") this.#missSets({ set: formerSet });
  }

  #isOpenTo(setId: string): boolean {
    const { formerSet } = this.#options;
    if (formerSet === "" || formerSet === setId) return true;
    this.#complain();
    return false;
  }

  #complain(): void {
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    const { logger, formerSet } = this.#options;
    logger.error({ set: formerSet }, FOREIGN_DATA);
  }

  #missSets(context: Readonly<Record<string, unknown>>): void {
    if (this.#hasMissedSets) return;
    this.#hasMissedSets = true;
    this.#options.logger.error(context, LOST_SETS);
  }

  /** Undefined: not all of them can be read now. */
  async #readSets(): Promise<KnownSet[] | undefined> {
    const { coordinator, logger } = this.#options;
    const listed = await coordinator.list(SETS_PATH, { onChange: this.#look });
    if (listed.kind !== "ok") return undefined;
    const sets: KnownSet[] = [];
    for (const id of idsOf(listed.names)) {
      const path = setPath(id);
      const read = await coordinator.read(path, { onChange: this.#look });
      if (read.kind !== "ok") return undefined;
      try {
        const document = replicaSetDocument.parse(path, read.data);
        sets.push({ document, version: read.version });
      } catch (error) {
        if (!(error instanceof DocumentError)) throw error;
        logger.error({ error }, "document not understood");
        return undefined;
      }
    }
    return sets;
  }

  /** Nodes that are there. Their incarnations are in their documents, and whose data they have is in their presence. */
  async #readPresent(): Promise<PresentNode[] | undefined> {
    const { coordinator } = this.#options;
    const listed = await coordinator.list(PRESENCE_PATH, { onChange: this.#look });
    if (listed.kind !== "ok") return undefined;
    const present: PresentNode[] = [];
    for (const nodeId of idsOf(listed.names)) {
      const paths = { node: nodePath(nodeId), presence: presencePath(nodeId) };
      const [node, presence] = await Promise.all([
        coordinator.read(paths.node),
        coordinator.read(paths.presence),
      ]);
      if (presence.kind === "missing") continue;
      if (node.kind !== "ok" || presence.kind !== "ok") return undefined;
      try {
        const { incarnation } = nodeDocument.parse(paths.node, node.data);
        const { setId } = presenceDocument.parse(paths.presence, presence.data);
        present.push({ nodeId, incarnation, setId });
      } catch (error) {
        if (!(error instanceof DocumentError)) throw error;
      }
    }
    return present;
  }

  async #form(present: readonly PresentNode[]): Promise<string | undefined> {
    const { clusterId, shape, logger, node } = this.#options;
    const sets = firstSets(clusterId, present, shape);
    if (sets === undefined) return undefined;
    const cluster = await this.#readCluster([]);
    if (cluster?.document.setsFormed !== 0) return undefined;
    if (!(await this.#create(cluster, sets))) return undefined;
    logger.info({ sets: sets.length, nodes: present.length }, "formed the cluster's replica sets");
    return setOf(sets, node.nodeId)?.id;
  }

  /** As far as it accounts for these sets: more cannot come from it otherwise. */
  async #readCluster(
    sets: readonly KnownSet[],
  ): Promise<KnownDocument<ClusterDocument> | undefined> {
    const { coordinator } = this.#options;
    const cluster = await readCluster(coordinator);
    if (cluster === undefined || cluster === null) return undefined;
    const count = countSets(cluster.document);
    if (count === sets.length) return cluster;
    // A set may have been formed or retired since they were listed.
    const listed = await coordinator.list(SETS_PATH, { fresh: true });
    const isNew = listed.kind === "ok" && idsOf(listed.names).length !== sets.length;
    this.#isChanged = isNew;
    if (listed.kind === "ok" && !isNew) this.#missSets({ sets: sets.length, expected: count });
    return undefined;
  }

  /** Whether the sets have been formed; `also`: what has to be as it is until then. */
  async #create(
    { document, version }: KnownDocument<ClusterDocument>,
    sets: readonly ReplicaSetDocument[],
    also: readonly Operation[] = [],
  ): Promise<boolean> {
    const setsFormed = document.setsFormed + sets.length;
    const data = clusterDocument.encode({ ...document, setsFormed });
    const outcome = await this.#options.coordinator.multi([
      { kind: "write", path: CLUSTER_PATH, version, data },
      ...sets.map((set) => ({
        ...({ kind: "create", path: setPath(set.id), lifetime: "durable" } as const),
        data: replicaSetDocument.encode(set),
      })),
      ...also,
    ]);
    // Whoever was first has made other ones, and an outcome that is unknown is read.
    if (outcome.kind !== "ok") this.#isChanged = outcome.kind === "conflict";
    return outcome.kind === "ok";
  }

  async #join(
    sets: readonly KnownSet[],
    present: readonly PresentNode[],
  ): Promise<string | undefined> {
    const { coordinator, node, logger } = this.#options;
    const documents = sets.map(({ document }) => document);
    const needy = await this.#setToJoin(documents, new Set(present.map(({ nodeId }) => nodeId)));
    if (needy === "wait") return undefined;
    const known = sets.find(({ document }) => document === needy);
    if (known === undefined) return await this.#formNext(sets, present);
    const learners = [...known.document.learners, node];
    const data = replicaSetDocument.encode({ ...known.document, learners });
    const path = setPath(known.document.id);
    const outcome = await coordinator.write(path, data, known.version);
    if (outcome.kind !== "ok") {
      this.#isChanged = outcome.kind === "conflict";
      return undefined;
    }
    logger.info({ set: known.document.id }, "a learner of a set that lacks nodes");
    return known.document.id;
  }

  /** All other sets' documents are written as well: whoever is about to put one of these nodes there has to look again. */
  async #formNext(
    sets: readonly KnownSet[],
    present: readonly PresentNode[],
  ): Promise<string | undefined> {
    const { shape, logger, node, formerSet, formsMoreSets } = this.#options;
    if (!formsMoreSets() || formerSet !== "") return undefined;
    const documents = sets.map(({ document }) => document);
    if (sparesOf(documents, present).length < shape.replicationFactor) return undefined;
    const cluster = await this.#readCluster(sets);
    if (cluster === undefined) return undefined;
    const set = nextSet(cluster.document, documents, present, shape);
    if (set === undefined) return undefined;
    const unchanged = sets.map(({ document, version }) => ({
      ...({ kind: "write", path: setPath(document.id), version } as const),
      data: replicaSetDocument.encode(document),
    }));
    if (!(await this.#create(cluster, [set], unchanged))) return undefined;
    logger.info({ set: set.id, nodes: set.members.length }, "formed one more replica set");
    return setOf([set], node.nodeId)?.id;
  }
}
