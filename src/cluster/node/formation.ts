/**
 * How replica sets come to be, and how a node finds its own.
 *
 *     listed in a set ────────────────────────────────────► that is it
 *     no set yet ──► S × N nodes present ──► all sets in one multi: whoever is first has decided
 *     a set lacks nodes that are present ──► this one becomes its learner
 *     N spares, where that is allowed ────────────────────► one more set, without slots: it gets its share by moves
 *     else idle: a spare, which looks again whenever something changes
 *
 * The ids of the first sets follow from the cluster's, so that two nodes that form them at once cannot both succeed.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { SLOT_COUNT } from "../../base/slot.ts";
import type { Coordinator } from "../coordination/coordinator.ts";
import {
  DocumentError,
  nodeDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../coordination/documents.ts";
import { idsOf, nodePath, PRESENCE_PATH, SETS_PATH, setPath } from "../coordination/paths.ts";
import type { Member } from "../replication/quorum.ts";

export interface SetShape {
  /** How many sets there are at first. */
  readonly initialSets: number;
  readonly replicationFactor: number;
  readonly writeQuorum: number;
}

/**
 * One more set of spares, nodes that are present and in no set, with no slots yet; undefined while there are too few.
 * Its id follows from the cluster's and from how many sets there are, as those of the first ones.
 */
export function nextSet(
  clusterId: string,
  sets: readonly ReplicaSetDocument[],
  present: readonly Member[],
  shape: SetShape,
): ReplicaSetDocument | undefined {
  const { replicationFactor, writeQuorum } = shape;
  const spares = present
    .filter(({ nodeId }) => setOf(sets, nodeId) === undefined)
    .toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  if (spares.length < replicationFactor) return undefined;
  return {
    ...{ format: 1, id: firstSetId(clusterId, sets.length), epoch: 0, phase: "RECOVERING" },
    ...{ writer: null, claim: null, writeQuorum, replicationFactor, learners: [], slots: [] },
    members: spares.slice(0, replicationFactor),
  };
}

/** The first sets of a cluster, or undefined while there are too few nodes for them. */
export function firstSets(
  clusterId: string,
  present: readonly Member[],
  shape: SetShape,
): ReplicaSetDocument[] | undefined {
  const { initialSets, replicationFactor, writeQuorum } = shape;
  if (present.length < initialSets * replicationFactor) return undefined;
  const nodes = present.toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  const firstSlotOf = (set: number) => Math.floor((SLOT_COUNT * set) / initialSets);
  return Array.from({ length: initialSets }, (_, at) => ({
    ...{ format: 1, id: firstSetId(clusterId, at), epoch: 0, phase: "RECOVERING" },
    ...{ writer: null, claim: null, writeQuorum, replicationFactor, learners: [] },
    members: nodes.slice(at * replicationFactor, (at + 1) * replicationFactor),
    slots: [{ start: firstSlotOf(at), end: firstSlotOf(at + 1) - 1 }],
  }));
}

function firstSetId(clusterId: string, at: number): string {
  return new Bun.CryptoHasher("sha1").update(`${clusterId}/${at}`).digest("hex");
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

/** A set that lacks nodes: fewer of its own are present than it should have copies. */
export function setInNeed(
  sets: readonly ReplicaSetDocument[],
  present: ReadonlySet<string>,
): ReplicaSetDocument | undefined {
  return sets.find(({ members, learners, replicationFactor }) => {
    const own = [...members, ...learners].filter(({ nodeId }) => present.has(nodeId));
    return own.length < replicationFactor;
  });
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

interface KnownSet {
  readonly document: ReplicaSetDocument;
  readonly version: number;
}

/** Watches miss nothing, but a write may fail without any change. */
const RETRY_MS = 1000;

export class Formation {
  readonly #options: FormationOptions;
  readonly #ticker: Timer;
  #isLooking = false;
  #isChanged = false;
  #isOver = false;
  #hasComplained = false;

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
    if (sets === undefined) return undefined;
    const own = setOf(
      sets.map(({ document }) => document),
      node.nodeId,
    );
    if (own !== undefined) return this.#isOpenTo(own.id) ? own.id : undefined;
    const present = await this.#readPresent();
    if (present === undefined) return undefined;
    return sets.length === 0 ? await this.#form(present) : await this.#join(sets, present);
  }

  #setToJoin(
    sets: readonly ReplicaSetDocument[],
    present: ReadonlySet<string>,
  ): ReplicaSetDocument | undefined {
    const { formerSet } = this.#options;
    if (formerSet === "") return setInNeed(sets, present);
    const former = sets.find(({ id }) => id === formerSet);
    if (former === undefined) this.#complain();
    return former;
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
    logger.error(
      { set: formerSet },
      "the directory holds data of a replica set that this node has no place in: start it on an empty one",
    );
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

  /** Nodes that are there. Their incarnations are in their documents. */
  async #readPresent(): Promise<Member[] | undefined> {
    const { coordinator } = this.#options;
    const listed = await coordinator.list(PRESENCE_PATH, { onChange: this.#look });
    if (listed.kind !== "ok") return undefined;
    const present: Member[] = [];
    for (const nodeId of idsOf(listed.names)) {
      const path = nodePath(nodeId);
      const read = await coordinator.read(path);
      if (read.kind !== "ok") return undefined;
      try {
        const { incarnation } = nodeDocument.parse(path, read.data);
        present.push({ nodeId, incarnation });
      } catch (error) {
        if (!(error instanceof DocumentError)) throw error;
      }
    }
    return present;
  }

  async #form(present: readonly Member[]): Promise<string | undefined> {
    const { coordinator, clusterId, shape, logger, node } = this.#options;
    const sets = firstSets(clusterId, present, shape);
    if (sets === undefined) return undefined;
    const creations = sets.map((set) => ({
      ...({ kind: "create", path: setPath(set.id), lifetime: "durable" } as const),
      data: replicaSetDocument.encode(set),
    }));
    const outcome = await coordinator.multi(creations);
    // Whoever was first has made other ones, and an outcome that is unknown is read.
    if (outcome.kind !== "ok") {
      this.#isChanged = outcome.kind === "conflict";
      return undefined;
    }
    logger.info({ sets: sets.length, nodes: present.length }, "formed the cluster's replica sets");
    return setOf(sets, node.nodeId)?.id;
  }

  async #join(sets: readonly KnownSet[], present: readonly Member[]): Promise<string | undefined> {
    const { coordinator, node, logger } = this.#options;
    const documents = sets.map(({ document }) => document);
    const needy = this.#setToJoin(documents, new Set(present.map(({ nodeId }) => nodeId)));
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
    present: readonly Member[],
  ): Promise<string | undefined> {
    const { coordinator, clusterId, shape, logger, node, formerSet, formsMoreSets } = this.#options;
    if (!formsMoreSets() || formerSet !== "") return undefined;
    const documents = sets.map(({ document }) => document);
    const set = nextSet(clusterId, documents, present, shape);
    if (set === undefined) return undefined;
    const outcome = await coordinator.multi([
      {
        ...({ kind: "create", path: setPath(set.id), lifetime: "durable" } as const),
        data: replicaSetDocument.encode(set),
      },
      ...sets.map(({ document, version }) => ({
        ...({ kind: "write", path: setPath(document.id), version } as const),
        data: replicaSetDocument.encode(document),
      })),
    ]);
    if (outcome.kind !== "ok") {
      this.#isChanged = outcome.kind === "conflict";
      return undefined;
    }
    logger.info({ set: set.id, nodes: set.members.length }, "formed one more replica set");
    return setOf([set], node.nodeId)?.id;
  }
}
