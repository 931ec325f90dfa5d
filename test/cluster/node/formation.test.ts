/** Sets are formed once, by whomever; every node finds its own, and spares help where nodes are missing. */
import { describe, expect, test } from "bun:test";
import {
  clusterDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../../../src/cluster/coordination/documents.ts";
import type { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import { childrenOf } from "../../../src/cluster/coordination/memory-tree.ts";
import {
  CLUSTER_PATH,
  presencePath,
  SETS_PATH,
  setPath,
} from "../../../src/cluster/coordination/paths.ts";
import {
  Formation,
  firstSets,
  type SetShape,
  setsInNeed,
} from "../../../src/cluster/node/formation.ts";
import { MoveRequests } from "../../../src/cluster/node/move-requests.ts";
import { Registration } from "../../../src/cluster/node/registration.ts";
import { CoordinatedWorld, SESSION_MS } from "./coordinated-world.ts";

const SEED = Number(process.env["DKV_TEST_SEED"] ?? 1);
const CLUSTER = "c".repeat(40);

const nodeIdOf = (at: number) => at.toString(16).padStart(40, "0");

interface FormingNode {
  readonly coordinator: MemoryCoordinator;
  readonly registration: Registration;
  readonly formation: Formation;
  setId: string | undefined;
}

class FormingWorld extends CoordinatedWorld {
  readonly nodes: FormingNode[] = [];
  formsMoreSets = false;

  constructor(seed: number) {
    super(seed);
    this.makeFolders();
    this.createCluster(CLUSTER);
  }

  add(shape: SetShape, formerSet = ""): FormingNode {
    const coordinator = this.connect();
    const { clock, logger } = this;
    const nodeId = nodeIdOf(this.nodes.length + 1);
    const bootId = "00000000-0000-4000-8000-000000000001";
    const registration = new Registration({
      ...{ coordinator, clock, logger },
      node: {
        ...{ format: 1, id: nodeId, host: "h", port: 1, peerPort: 1, hostname: "" },
        ...{ incarnation: 1, bootId, version: "1" },
      },
      ...{ setId: formerSet, newNonce: () => this.nonce() },
    });
    const formation = new Formation({
      ...{ coordinator, clock, logger, clusterId: CLUSTER, shape, formerSet },
      node: { nodeId, incarnation: 1 },
      formsMoreSets: () => this.formsMoreSets,
      onSet: (setId) => {
        expect(node.setId).toBeUndefined();
        node.setId = setId;
        void registration.enter(setId);
      },
    });
    const node: FormingNode = { coordinator, registration, formation, setId: undefined };
    this.nodes.push(node);
    return node;
  }

  get sets() {
    const { view } = this.ensemble;
    return childrenOf(view, SETS_PATH).map((id) =>
      replicaSetDocument.parse(setPath(id), view.get(setPath(id))!.data),
    );
  }

  get placed(): number {
    return this.nodes.filter(({ setId }) => setId !== undefined).length;
  }
}

describe("the first sets", () => {
  test("divide all slots evenly, and the nodes, each in one set", () => {
    for (let initialSets = 1; initialSets <= 40; initialSets++) {
      for (const replicationFactor of [1, 2, 3]) {
        const count = initialSets * replicationFactor;
        const node = (at: number) => ({ nodeId: nodeIdOf(at), incarnation: 1, setId: "" });
        const present = Array.from({ length: count + 1 }, (_, at) => node(count + 1 - at));
        const shape = { initialSets, replicationFactor, writeQuorum: 1 };
        expect(firstSets(CLUSTER, present.slice(2), shape)).toBeUndefined();
        const sets = firstSets(CLUSTER, present, shape)!;
        const slots = sets.flatMap((set) => set.slots);
        expect(slots[0]!.start).toBe(0);
        expect(slots.at(-1)!.end).toBe(1023);
        for (const [at, { start, end }] of slots.entries()) {
          if (at > 0) expect(start).toBe(slots[at - 1]!.end + 1);
          expect(Math.abs(end - start + 1 - 1024 / initialSets)).toBeLessThan(1);
        }
        const members = sets.flatMap((set) => set.members.map(({ nodeId }) => nodeId));
        expect(new Set(members).size).toBe(count);
        expect(new Set(sets.map(({ id }) => id)).size).toBe(initialSets);
        for (const set of sets) replicaSetDocument.encode(set);
      }
    }
  });
});

describe("nodes", () => {
  const shape = { initialSets: 1, replicationFactor: 3, writeQuorum: 2 };

  test("wait until there are enough of them", () => {
    const world = new FormingWorld(SEED);
    world.add(shape);
    world.add(shape);
    world.pass(5000);
    expect(world.sets).toEqual([]);
    world.add(shape);
    world.until("placed", () => world.placed === 3);
    expect(world.sets.length).toBe(1);
    expect(world.sets[0]!.members.length).toBe(3);
  });

  test("that are too many stay idle, until a set lacks one", () => {
    const world = new FormingWorld(SEED);
    for (let at = 0; at < 3; at++) world.add(shape);
    world.until("placed", () => world.placed === 3);
    const spare = world.add(shape);
    world.pass(5000);
    expect(spare.setId).toBeUndefined();
    const gone = world.nodes[0]!;
    gone.registration.stop();
    gone.coordinator.stall();
    world.until("placed", () => spare.setId !== undefined);
    expect(world.sets[0]!.learners).toEqual([{ nodeId: nodeIdOf(4), incarnation: 1 }]);
    expect(world.sets[0]!.members.length).toBe(3);
  });

  test("take no place of one that is not there for a moment, as when the ensemble comes back", () => {
    const world = new FormingWorld(SEED);
    for (let at = 0; at < 3; at++) world.add(shape);
    world.until("placed", () => world.placed === 3);
    // Their presence says so.
    world.pass(1000);
    const session = world.ensemble.openSession(1e9, () => undefined);
    const path = presencePath(nodeIdOf(1));
    const { data, version } = world.ensemble.view.get(path)!;
    expect(world.ensemble.commit([{ kind: "remove", path, version }], session)).toBeUndefined();
    const spare = world.add(shape);
    world.pass(4000);
    world.ensemble.commit([{ kind: "create", path, data, lifetime: "ephemeral" }], session);
    world.pass(20_000);
    expect(spare.setId).toBeUndefined();
  });

  test("that are too many form one more set, without slots, once they are enough and may", () => {
    const world = new FormingWorld(SEED);
    world.formsMoreSets = true;
    for (let at = 0; at < 5; at++) world.add(shape);
    world.until("placed", () => world.placed === 3);
    world.pass(5000);
    expect(world.sets.length).toBe(1);
    world.add(shape);
    world.until("placed", () => world.placed === 6);
    const [first, second] = world.sets.toSorted((a, b) => b.slots.length - a.slots.length);
    expect(first!.slots).toEqual([{ start: 0, end: 1023 }]);
    expect(second).toMatchObject({ slots: [], phase: "RECOVERING", replicationFactor: 3 });
    const members = world.sets.flatMap((set) => set.members.map(({ nodeId }) => nodeId));
    expect(new Set(members).size).toBe(6);
  });

  test("with the data of a set that is gone are put into no other one, and ids are not given again", () => {
    const world = new FormingWorld(SEED);
    world.formsMoreSets = true;
    for (let at = 0; at < 6; at++) world.add(shape);
    world.until("placed", () => world.placed === 6);
    const [, second] = world.sets.toSorted((a, b) => b.slots.length - a.slots.length);
    world.pass(1000);
    const requests = new MoveRequests({ coordinator: world.connect(), newId: () => "" });
    world.pass(1000);
    expect(world.settled(requests.drain(second!.id, false))).toEqual({ moves: [] });
    expect(world.sets.length).toBe(1);
    for (let at = 0; at < 2; at++) world.add(shape);
    world.pass(5000);
    expect(world.sets.length).toBe(1);
    world.add(shape);
    world.until("placed", () => world.placed === 9);
    const third = world.sets.find(({ slots }) => slots.length === 0)!;
    expect(third.id).not.toBe(second!.id);
    expect(third.members.map(({ nodeId }) => nodeId)).toEqual([7, 8, 9].map(nodeIdOf));
  });

  test("form nothing when the documents of sets are gone that were not retired", () => {
    const world = new FormingWorld(SEED);
    for (let at = 0; at < 3; at++) world.add(shape);
    world.until("placed", () => world.placed === 3);
    const session = world.ensemble.openSession(1e9, () => undefined);
    const path = setPath(world.sets[0]!.id);
    world.ensemble.commit([{ kind: "remove", path, version: 0 }], session);
    for (let at = 0; at < 3; at++) world.add(shape);
    world.pass(5000);
    expect(world.sets).toEqual([]);
    expect(world.lines.filter((line) => line.includes("that were not retired")).length).toBe(3);
  });

  test("whose set was retired are to be emptied, those whose set is lost are not", () => {
    const isTold = (world: FormingWorld, what: string) =>
      world.lines.filter((line) => line.includes(what)).length;
    for (const sets of [1, 2]) {
      const world = new FormingWorld(SEED);
      const shapes = { ...shape, initialSets: sets };
      for (let at = 0; at < 3 * sets; at++) world.add(shapes);
      world.until("placed", () => world.placed === 3 * sets);
      const [lost] = world.sets;
      const session = world.ensemble.openSession(1e9, () => undefined);
      const path = setPath(lost!.id);
      world.ensemble.commit([{ kind: "remove", path, version: 0 }], session);
      world.add(shapes, lost!.id);
      world.pass(5000);
      expect(isTold(world, "that were not retired")).toBe(1);
      expect(isTold(world, "empty its directory")).toBe(0);
    }
    const world = new FormingWorld(SEED);
    for (let at = 0; at < 6; at++) world.add({ ...shape, initialSets: 2 });
    world.until("placed", () => world.placed === 6);
    const session = world.ensemble.openSession(1e9, () => undefined);
    const [retired] = world.sets;
    const { data, version } = world.ensemble.view.get(CLUSTER_PATH)!;
    const cluster = clusterDocument.parse(CLUSTER_PATH, data);
    const counted = clusterDocument.encode({ ...cluster, setsRetired: 1 });
    world.ensemble.commit(
      [
        { kind: "remove", path: setPath(retired!.id), version: 0 },
        { kind: "write", path: CLUSTER_PATH, version, data: counted },
      ],
      session,
    );
    world.add({ ...shape, initialSets: 2 }, retired!.id);
    world.pass(5000);
    expect(isTold(world, "that were not retired")).toBe(0);
    expect(isTold(world, "empty its directory")).toBe(1);
  });

  test("do not help a set that drains and has nothing, and one that has slots behind all others", () => {
    const set = (id: string, isDraining: boolean, slots: ReplicaSetDocument["slots"]) => ({
      ...{ format: 1 as const, id, epoch: 1, phase: "RECOVERING" as const, writer: null },
      ...{ claim: null, members: [{ nodeId: id, incarnation: 1 }], writeQuorum: 1 },
      ...{ replicationFactor: 2, learners: [], slots, isDraining },
    });
    const nobody = new Set<string>();
    const empty = set("1", true, []);
    const draining = set("2", true, [{ start: 0, end: 1 }]);
    const other = set("3", false, []);
    expect(setsInNeed([empty], nobody)).toEqual([]);
    expect(setsInNeed([empty, draining, other], nobody)).toEqual([other, draining]);
    expect(setsInNeed([other], new Set(["3"]))).toEqual([other]);
  });

  test("with the data of a set go back to that one only, whoever lacks a node", () => {
    const world = new FormingWorld(SEED);
    for (let at = 0; at < 3; at++) world.add(shape);
    world.until("placed", () => world.placed === 3);
    world.nodes[0]!.registration.stop();
    world.nodes[0]!.coordinator.stall();
    const foreign = world.add(shape, "f".repeat(40));
    world.pass(2 * SESSION_MS);
    expect(foreign.setId).toBeUndefined();
    const returned = world.add(shape, world.sets[0]!.id);
    world.until("placed", () => returned.setId === world.sets[0]!.id);
    expect(world.sets[0]!.learners).toEqual([{ nodeId: nodeIdOf(5), incarnation: 1 }]);
  });

  test(`form the sets once, whatever becomes of their requests (DKV_TEST_SEED=${SEED})`, () => {
    for (let seed = SEED; seed < SEED + 40; seed++) {
      const world = new FormingWorld(seed);
      const { random } = world;
      const initialSets = random.between(1, 4);
      const replicationFactor = random.between(1, 3);
      const count = initialSets * replicationFactor;
      for (let at = 0; at < count; at++) {
        world.add({ initialSets, replicationFactor, writeQuorum: replicationFactor });
        world.pass(random.exponential(5));
        const { coordinator } = random.pick(world.nodes);
        const kinds = [
          () => coordinator.cut(random.chance(0.5) ? "lost" : "arrives"),
          () => coordinator.expire(),
          () => coordinator.loseReply(random.chance(0.5)),
          () => coordinator.freezeReads(),
        ];
        random.pick(kinds)();
      }
      world.pass(2 * SESSION_MS);
      for (const { coordinator } of world.nodes) coordinator.thawReads();
      world.until("placed", () => world.placed === count);
      const { sets } = world;
      expect(sets.length).toBe(initialSets);
      const members = sets.flatMap((set) => set.members.map(({ nodeId }) => nodeId));
      expect(members.toSorted()).toEqual(world.nodes.map((_, at) => nodeIdOf(at + 1)));
      for (const [at, { setId }] of world.nodes.entries()) {
        const own = sets.find((set) =>
          set.members.some((each) => each.nodeId === nodeIdOf(at + 1)),
        );
        expect(setId).toBe(own!.id);
      }
    }
  });
});
