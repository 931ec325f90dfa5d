/** Nodes that are gone, taken out of the documents of a coordinator in memory. */
import { beforeEach, describe, expect, test } from "bun:test";
import {
  nodeDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../../../src/cluster/coordination/documents.ts";
import type { MemoryCoordinator } from "../../../src/cluster/coordination/memory-coordinator.ts";
import { nodePath, presencePath, setPath } from "../../../src/cluster/coordination/paths.ts";
import { forgetNode } from "../../../src/cluster/node/forget-node.ts";
import { CoordinatedWorld } from "./coordinated-world.ts";

const idOf = (at: number) => at.toString(16).padStart(40, "0");
const memberOf = (at: number) => ({ nodeId: idOf(at), incarnation: 1 });
const SET = "5".repeat(40);
const [WRITER, MEMBER, LEARNER, SPARE, UNKNOWN] = [1, 2, 3, 4, 5].map(idOf) as [
  ...[string, string, string, string, string],
];

describe("forgetNode", () => {
  let world: CoordinatedWorld;
  let coordinator: MemoryCoordinator;

  const set: ReplicaSetDocument = {
    ...{ format: 1, id: SET, epoch: 3, phase: "ACTIVE", writer: WRITER, claim: "c".repeat(32) },
    ...{ members: [memberOf(1), memberOf(2)], learners: [memberOf(3)] },
    ...{ writeQuorum: 2, replicationFactor: 3, slots: [{ start: 0, end: 1023 }] },
    isDraining: false,
  };

  beforeEach(() => {
    world = new CoordinatedWorld(1);
    world.makeFolders();
    coordinator = world.connect();
    world.until("connected", () => coordinator.session.state === "connected");
    const path = setPath(SET);
    world.settled(coordinator.create(path, replicaSetDocument.encode(set), "durable"));
    for (const id of [WRITER, MEMBER, LEARNER, SPARE]) {
      const data = nodeDocument.encode({
        ...{ format: 1, id, host: "h", port: 1, peerPort: 1, hostname: "", incarnation: 1 },
        ...{ bootId: "00000000-0000-4000-8000-000000000001", version: "1" },
      });
      world.settled(coordinator.create(nodePath(id), data, "durable"));
    }
  });

  const forget = (id: string) => world.settled(forgetNode(coordinator, id));
  const nodeOf = (id: string) => world.ensemble.view.get(nodePath(id));
  const setNow = () =>
    replicaSetDocument.parse(setPath(SET), world.ensemble.view.get(setPath(SET))!.data);

  test("a learner leaves its set, and its own document goes", () => {
    expect(forget(LEARNER)).toBeUndefined();
    expect(setNow()).toEqual({ ...set, learners: [] });
    expect(nodeOf(LEARNER)).toBeUndefined();
    expect(forget(LEARNER)).toBe(`ERR Unknown node ${LEARNER}`);
  });

  test("a spare has no set to leave", () => {
    expect(forget(SPARE)).toBeUndefined();
    expect(setNow()).toEqual(set);
    expect(nodeOf(SPARE)).toBeUndefined();
  });

  test("a member's copy counts, and one that is there is not gone", () => {
    expect(forget(MEMBER)).toStartWith("ERR the node is still a member");
    expect(forget(WRITER)).toStartWith("ERR the node is still a member");
    const presence = presencePath(LEARNER);
    world.settled(coordinator.create(presence, Buffer.from("{}"), "ephemeral"));
    expect(forget(LEARNER)).toStartWith("ERR the node is there");
    expect(setNow()).toEqual(set);
    for (const id of [MEMBER, WRITER, LEARNER]) expect(nodeOf(id)).toBeDefined();
    expect(forget(UNKNOWN)).toBe(`ERR Unknown node ${UNKNOWN}`);
  });

  test("a set's document that changes meanwhile is not written over", () => {
    const path = setPath(SET);
    const newer = { ...set, epoch: 4, claim: "d".repeat(32) };
    const other = world.connect();
    world.until("connected", () => other.session.state === "connected");
    const forgetting = forgetNode(coordinator, LEARNER);
    const version = world.ensemble.view.get(path)!.version;
    const written = other.write(path, replicaSetDocument.encode(newer), version);
    expect(world.settled(forgetting)).toBeUndefined();
    expect(world.settled(written).kind).toBe("ok");
    expect(setNow()).toEqual({ ...newer, learners: [] });
  });

  test("without the coordinator it says so, and changes nothing", () => {
    world.settled(coordinator.close());
    expect(forget(LEARNER)).toStartWith("TRYAGAIN ");
    expect(setNow()).toEqual(set);
  });
});
