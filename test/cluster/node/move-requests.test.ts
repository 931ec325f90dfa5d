/** Plans of moves that operators ask for, against documents of a coordinator in memory. */
import { beforeEach, describe, expect, test } from "bun:test";
import { slotsOf } from "../../../src/base/slot-ranges.ts";
import {
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../../../src/cluster/coordination/documents.ts";
import type { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import { setPath } from "../../../src/cluster/coordination/paths.ts";
import { MoveRequests } from "../../../src/cluster/node/move-requests.ts";
import { CoordinatedWorld } from "./coordinated-world.ts";

const [FIRST, SECOND, THIRD] = ["1", "2", "3"].map((digit) => digit.repeat(40)) as [
  ...[string, string, string],
];

describe("requests for moves", () => {
  let world: CoordinatedWorld;
  let coordinator: MemoryCoordinator;
  let requests: MoveRequests;

  beforeEach(() => {
    world = new CoordinatedWorld(1);
    world.makeFolders();
    coordinator = world.connect();
    world.until("connected", () => coordinator.session.state === "connected");
    for (const [id, start, end] of [
      ...([
        [FIRST, 0, 499],
        [SECOND, 500, 999],
        [THIRD, 1000, 1023],
      ] as const),
    ]) {
      const set: ReplicaSetDocument = {
        ...{ format: 1, id, epoch: 3, phase: "ACTIVE", writer: id, claim: "c".repeat(32) },
        ...{ members: [{ nodeId: id, incarnation: 1 }], learners: [], slots: [{ start, end }] },
        ...{ writeQuorum: 1, replicationFactor: 1, isDraining: false },
      };
      const data = replicaSetDocument.encode(set);
      world.settled(coordinator.create(setPath(id), data, "durable"));
    }
    let ids = 0;
    requests = new MoveRequests({
      coordinator,
      newId: () => (++ids).toString(16).padStart(40, "0"),
    });
  });

  const move = (start: number, end: number, to: string, isDry = false) =>
    world.settled(requests.move([{ start, end }], to, isDry));
  const list = () => world.settled(requests.list());

  test("a dry run answers what would move, and writes nothing", () => {
    const planned = { source: FIRST, destination: SECOND, slots: [{ start: 0, end: 9 }] };
    expect(move(0, 9, SECOND, true)).toEqual({ moves: [planned] });
    expect(list()).toEqual([]);
    expect(move(0, 9, SECOND)).toEqual({ moves: [planned] });
    expect(list()).toHaveLength(10);
  });

  test("slots on the move already are in no plan: they are left alone", () => {
    move(0, 9, SECOND);
    for (const isDry of [true, false]) {
      expect(move(5, 14, THIRD, isDry)).toEqual({
        moves: [{ source: FIRST, destination: THIRD, slots: [{ start: 10, end: 14 }] }],
      });
    }
    expect(move(0, 14, SECOND)).toEqual({ moves: [] });
    expect(list()).toHaveLength(15);
  });

  test("a rebalance gives away what rests, and counts what arrives", () => {
    move(0, 9, SECOND);
    const reply = world.settled(requests.rebalance(new Map(), false));
    if ("problem" in reply) throw new Error(reply.problem);
    const given = reply.moves.flatMap(({ slots }) => slotsOf(slots));
    // 1,024 slots in three shares, of which the third set has 24.
    expect([317, 318]).toContain(given.length);
    expect(reply.moves.every(({ destination }) => destination === THIRD)).toBe(true);
    expect(given.filter((slot) => slot < 10)).toEqual([]);
  });

  test("nobody can say what is open while the ensemble is away", () => {
    coordinator.suspend();
    expect(list()).toBeUndefined();
  });
});
