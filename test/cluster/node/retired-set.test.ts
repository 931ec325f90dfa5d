/**
 * Sets that drain and go: who is asked for what, in whatever order, no move is left whose set is gone, one set always stays,
 * and what is gone without being counted is not taken for retired.
 */
import { describe, expect, test } from "bun:test";
import {
  clusterDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
  type SlotMoveDocument,
  slotMoveDocument,
} from "../../../src/cluster/coordination/documents.ts";
import { childrenOf } from "../../../src/cluster/coordination/memory-tree.ts";
import {
  CLUSTER_PATH,
  MOVES_PATH,
  movePath,
  SETS_PATH,
  setPath,
} from "../../../src/cluster/coordination/paths.ts";
import { MoveDocuments } from "../../../src/cluster/node/move-documents.ts";
import { MoveRequests } from "../../../src/cluster/node/move-requests.ts";
import { fateOfSet, retireSet, setIdOf } from "../../../src/cluster/node/retired-set.ts";
import { CoordinatedWorld } from "./coordinated-world.ts";

const SEED = Number(process.env["DKV_TEST_SEED"] ?? 1);
const CLUSTER = "c".repeat(40);
const idOf = (at: number) => setIdOf(CLUSTER, at - 1);
const [A, B, C] = [idOf(1), idOf(2), idOf(3)];

class SetsWorld extends CoordinatedWorld {
  readonly coordinator = this.connect();
  readonly requests = this.newRequests(this.coordinator);

  /** Sets 1 … with these slots. */
  constructor(seed: number, slots: ReplicaSetDocument["slots"][]) {
    super(seed);
    this.makeFolders();
    this.createCluster(CLUSTER);
    for (const [at, each] of slots.entries()) this.#addSet(at + 1, each);
    this.until("connected", () => this.coordinator.session.state === "connected");
  }

  newRequests(coordinator = this.connect()): MoveRequests {
    const newId = () => Buffer.from(this.random.bytes(20)).toString("hex");
    return new MoveRequests({ coordinator, newId });
  }

  set(id: string): ReplicaSetDocument | undefined {
    const found = this.ensemble.view.get(setPath(id));
    return found && replicaSetDocument.parse(setPath(id), found.data);
  }

  get sets(): ReplicaSetDocument[] {
    return childrenOf(this.ensemble.view, SETS_PATH).map((id) => this.set(id)!);
  }

  get moves(): SlotMoveDocument[] {
    const { view } = this.ensemble;
    return childrenOf(view, MOVES_PATH).map((id) =>
      slotMoveDocument.parse(movePath(id), view.get(movePath(id))!.data),
    );
  }

  get counts() {
    const { data } = this.ensemble.view.get(CLUSTER_PATH)!;
    const { setsFormed, setsRetired } = clusterDocument.parse(CLUSTER_PATH, data);
    return { setsFormed, setsRetired };
  }

  fate(id: string) {
    return this.settled(fateOfSet(this.coordinator, CLUSTER, id));
  }

  /** As both writers would carry it out: until it is decided, and when it is over. */
  async flip({ id, source }: SlotMoveDocument, coordinator = this.coordinator): Promise<void> {
    const documents = new MoveDocuments(coordinator, source);
    if (await documents.announce(id)) await documents.flip(id);
  }

  async close({ id, source }: SlotMoveDocument, coordinator = this.coordinator): Promise<void> {
    await new MoveDocuments(coordinator, source).remove(id);
  }

  #addSet(at: number, slots: ReplicaSetDocument["slots"]): void {
    const member = { nodeId: at.toString(16).padStart(40, "a"), incarnation: 1 };
    const data = replicaSetDocument.encode({
      ...{ format: 1, id: idOf(at), epoch: 3, phase: "ACTIVE", writer: member.nodeId },
      ...{ claim: this.nonce(), members: [member], writeQuorum: 1, replicationFactor: 1 },
      ...{ learners: [], slots, isDraining: false },
    });
    const { data: before, version } = this.ensemble.view.get(CLUSTER_PATH)!;
    const cluster = clusterDocument.parse(CLUSTER_PATH, before);
    const counted = clusterDocument.encode({ ...cluster, setsFormed: cluster.setsFormed + 1 });
    const session = this.ensemble.openSession(1e9, () => undefined);
    this.ensemble.commit(
      [
        { kind: "create", path: setPath(idOf(at)), data, lifetime: "durable" },
        { kind: "write", path: CLUSTER_PATH, version, data: counted },
      ],
      session,
    );
  }
}

const HALVES = [[{ start: 0, end: 3 }], [{ start: 4, end: 7 }]];

describe("a drain", () => {
  test("makes moves of all that the set has, and the set goes when they are over, not before", () => {
    const world = new SetsWorld(SEED, HALVES);
    const reply = world.settled(world.requests.drain(A, false));
    expect(reply).toEqual({
      moves: [{ source: A, destination: B, slots: [{ start: 0, end: 3 }] }],
    });
    expect(world.set(A)!.isDraining).toBe(true);
    expect(world.moves.length).toBe(4);
    const { moves } = world;
    for (const move of moves) {
      expect(world.set(A)!.slots).not.toEqual([]);
      world.settled(retireSet(world.coordinator, A));
      expect(world.fate(A)).toBe("there");
      world.settled(world.flip(move));
    }
    for (const move of moves) {
      expect(world.set(A)!.slots).toEqual([]);
      world.settled(retireSet(world.coordinator, A));
      expect(world.fate(A)).toBe("there");
      world.settled(world.close(move));
    }
    world.settled(retireSet(world.coordinator, A));
    expect(world.set(A)).toBeUndefined();
    expect(world.counts).toEqual({ setsFormed: 2, setsRetired: 1 });
    expect(world.fate(A)).toBe("retired");
    expect(world.fate(B)).toBe("there");
    expect(world.set(B)!.slots).toEqual([{ start: 0, end: 7 }]);
  });

  test("that is asked for with DRYRUN changes nothing", () => {
    const world = new SetsWorld(SEED, HALVES);
    const before = world.sets;
    const reply = world.settled(world.requests.drain(A, true));
    expect(reply).toMatchObject({ moves: [{ source: A, destination: B }] });
    expect(world.sets).toEqual(before);
    expect(world.moves).toEqual([]);
  });

  test("of a set without slots retires it at once, with or without a writer", () => {
    const world = new SetsWorld(SEED, [...HALVES, []]);
    expect(world.settled(world.requests.drain(C, false))).toEqual({ moves: [] });
    expect(world.fate(C)).toBe("retired");
  });

  test("of the last set that does not drain is refused", () => {
    const world = new SetsWorld(SEED, HALVES);
    world.settled(world.requests.drain(A, false));
    for (const isDry of [true, false])
      expect(world.settled(world.requests.drain(B, isDry))).toMatchObject({
        problem: expect.stringContaining("last replica set that is not draining"),
      });
    expect(world.set(B)!.isDraining).toBe(false);
  });

  test("is called off by slots for the set, by a weight, and by ABORT ALL", () => {
    const one = { start: 4, end: 4 };
    const actions: ((requests: MoveRequests) => Promise<unknown>)[] = [
      (requests) => requests.move([one], A, false),
      (requests) => requests.rebalance(new Map([[A, 1]]), false),
      (requests) => requests.abort(undefined),
    ];
    for (const act of actions) {
      const world = new SetsWorld(SEED, HALVES);
      world.settled(world.requests.drain(A, false));
      world.settled(world.requests.rebalance(new Map([[B, 1]]), false));
      world.settled(world.requests.move([one], A, true));
      expect(world.set(A)!.isDraining).toBe(true);
      world.settled(act(world.requests));
      expect(world.set(A)!.isDraining).toBe(false);
    }
  });

  test("leaves a set without a share of later plans", () => {
    const world = new SetsWorld(SEED, [...HALVES, []]);
    world.settled(world.requests.drain(A, false));
    for (const move of world.moves) world.settled(world.flip(move));
    for (const move of world.moves) world.settled(world.close(move));
    const reply = world.settled(world.requests.rebalance(new Map(), true));
    expect(reply).toEqual({ moves: [] });
  });
});

test("a set whose document is missing without being counted is lost, not retired", () => {
  const world = new SetsWorld(SEED, [...HALVES, []]);
  const { version } = world.ensemble.view.get(setPath(C))!;
  world.settled(world.coordinator.remove(setPath(C), version));
  expect(world.fate(C)).toBe("lost");
  const cluster = world.ensemble.view.get(CLUSTER_PATH)!;
  world.settled(world.coordinator.remove(CLUSTER_PATH, cluster.version));
  expect(world.fate(A)).toBe("lost");
});

test("a set that an older state of the ensemble does not know yet is lost, though all others are there", () => {
  const world = new SetsWorld(SEED, HALVES);
  expect(world.counts).toEqual({ setsFormed: 2, setsRetired: 0 });
  expect(world.fate(C)).toBe("lost");
});

test(`whatever is asked at one time, moves have their sets, slots their owners, and one set stays (DKV_TEST_SEED=${SEED})`, () => {
  for (let seed = SEED; seed < SEED + 300; seed++) {
    const empty: [][] = Array.from({ length: seed % 4 }, () => []);
    const world = new SetsWorld(seed, [...HALVES, ...empty]);
    const { random } = world;
    const ids = world.sets.map(({ id }) => id);
    const operators = Array.from({ length: 3 }, () => {
      const coordinator = world.connect();
      return { coordinator, requests: world.newRequests(coordinator), isOver: false };
    });
    world.until("connected", () =>
      operators.every(({ coordinator }) => coordinator.session.state === "connected"),
    );
    const act = async ({ requests, coordinator }: (typeof operators)[number]): Promise<unknown> => {
      const slot = random.below(8);
      const kinds = [
        () => requests.drain(random.pick(ids), false),
        () => requests.drain(random.pick(ids), false),
        () => requests.drain(random.pick(ids), false),
        () => requests.move([{ start: slot, end: slot }], random.pick(ids), false),
        () => requests.move([{ start: slot, end: slot }], random.pick(ids), false),
        () => retireSet(coordinator, random.pick(ids)),
        async () => {
          for (const move of world.moves) await world.flip(move, coordinator);
          for (const move of world.moves) await world.close(move, coordinator);
        },
        () => requests.abort(undefined),
      ];
      return await random.pick(kinds)();
    };
    for (const operator of operators) {
      const run = async () => {
        for (let at = 0; at < 6; at++) await act(operator);
        operator.isOver = true;
      };
      void run();
    }
    const check = () => {
      const there = new Set(world.sets.map(({ id }) => id));
      for (const { source, destination } of world.moves)
        expect([there.has(source), there.has(destination)]).toEqual([true, true]);
      const owned = world.sets.flatMap(({ slots }) =>
        slots.map(({ start, end }) => end - start + 1),
      );
      expect(owned.reduce((sum, count) => sum + count, 0)).toBe(8);
      expect(world.sets.some(({ isDraining }) => !isDraining)).toBe(true);
      const { setsFormed, setsRetired } = world.counts;
      expect(setsFormed - setsRetired).toBe(there.size);
      return operators.every(({ isOver }) => isOver);
    };
    world.until("all have asked", check);
  }
});
