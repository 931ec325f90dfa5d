/** A node's documents are there whenever it has a session, whatever became of the one before. */
import { expect, test } from "bun:test";
import {
  type NodeDocument,
  nodeDocument,
  presenceDocument,
} from "../../../src/cluster/coordination/documents.ts";
import { nodePath, presencePath } from "../../../src/cluster/coordination/paths.ts";
import { Registration } from "../../../src/cluster/node/registration.ts";
import { CoordinatedWorld, SESSION_MS } from "./coordinated-world.ts";

const SEED = Number(process.env["DKV_TEST_SEED"] ?? 1);
const ID = "a".repeat(40);
const NODE: NodeDocument = {
  ...{ format: 1, id: ID, host: "10.0.0.1", port: 6379, peerPort: 16379, hostname: "" },
  ...{ incarnation: 2, bootId: "00000000-0000-4000-8000-000000000001", version: "1.0.0" },
};

function start(seed = SEED) {
  const world = new CoordinatedWorld(seed);
  world.makeFolders();
  const register = (node: NodeDocument, setId = "") => {
    const coordinator = world.connect();
    const { clock, logger } = world;
    const newNonce = () => world.nonce();
    return {
      coordinator,
      registration: new Registration({ coordinator, clock, logger, node, setId, newNonce }),
    };
  };
  const node = () => nodeDocument.parse(nodePath(ID), world.ensemble.view.get(nodePath(ID))!.data);
  const presence = () => {
    const found = world.ensemble.view.get(presencePath(ID));
    return found && presenceDocument.parse(presencePath(ID), found.data);
  };
  return { world, register, node, presence };
}

test("a node says where it is, and that it is there", () => {
  const { world, register, node, presence } = start();
  const { registration } = register(NODE);
  world.until("registered", () => registration.isRegistered);
  expect(node()).toEqual(NODE);
  expect(presence()).toMatchObject({ nodeId: ID, incarnation: 2, setId: "" });
});

test("a session that is over takes the presence along, and the next one brings it back", () => {
  const { world, register, presence } = start();
  const { coordinator, registration } = register(NODE);
  world.until("registered", () => registration.isRegistered);
  const before = presence()!.sessionNonce;
  coordinator.expire();
  world.until("gone", () => presence() === undefined);
  world.until("back", () => presence() !== undefined);
  expect(presence()!.sessionNonce).not.toBe(before);
  world.until("registered", () => registration.isRegistered);
});

test("the leftover of a process that was killed goes with its session, and then the new one is there", () => {
  const { world, register, node, presence } = start();
  const first = register(NODE);
  world.until("registered", () => first.registration.isRegistered);
  const before = presence()!.sessionNonce;
  first.registration.stop();
  first.coordinator.stall();
  const second = register({ ...NODE, host: "10.0.0.2" });
  world.pass(SESSION_MS / 4);
  expect(second.registration.isRegistered).toBe(false);
  expect(presence()!.sessionNonce).toBe(before);
  world.until("registered", () => second.registration.isRegistered);
  expect(presence()!.sessionNonce).not.toBe(before);
  expect(node().host).toBe("10.0.0.2");
});

test("an older copy of a directory does not take the node's place", () => {
  const { world, register, node, presence } = start();
  const { registration, coordinator } = register({ ...NODE, incarnation: 3 });
  world.until("registered", () => registration.isRegistered);
  registration.stop();
  coordinator.expire();
  const old = register(NODE);
  world.pass(3 * SESSION_MS);
  expect(old.registration.isRegistered).toBe(false);
  expect(node().incarnation).toBe(3);
  expect(presence()).toBeUndefined();
  expect(world.lines.join()).toContain("an older copy");
});

test(`in the end it is registered, whatever becomes of requests and sessions (DKV_TEST_SEED=${SEED})`, () => {
  for (let seed = SEED; seed < SEED + 40; seed++) {
    const { world, register, presence, node } = start(seed);
    const { coordinator, registration } = register(NODE);
    for (let fault = 0; fault < 12; fault++) {
      world.pass(world.random.exponential(300));
      const kinds = [
        () => coordinator.cut(world.random.chance(0.5) ? "lost" : "arrives"),
        () => coordinator.expire(),
        () => coordinator.loseReply(world.random.chance(0.5)),
        () => coordinator.stall("arrives"),
        () => coordinator.resume(),
      ];
      world.random.pick(kinds)();
    }
    coordinator.resume();
    world.pass(3 * SESSION_MS);
    world.until("registered", () => registration.isRegistered);
    expect(presence()?.nodeId).toBe(ID);
    expect(node()).toEqual(NODE);
  }
});

test("a node that enters a set is told of as one with its data, in this session and in all that follow", () => {
  for (let seed = SEED; seed < SEED + 40; seed++) {
    const { world, register, presence } = start(seed);
    const { random } = world;
    const { coordinator, registration } = register(NODE);
    const set = "5".repeat(40);
    world.pass(random.exponential(30));
    const kinds = [
      () => coordinator.cut(random.chance(0.5) ? "lost" : "arrives"),
      () => coordinator.expire(),
      () => coordinator.loseReply(random.chance(0.5)),
      () => undefined,
    ];
    let isTold = false;
    random.pick(kinds)();
    registration.enter(set).then(() => {
      expect(presence()!.setId).toBe(set);
      isTold = true;
    });
    world.pass(random.exponential(5));
    random.pick(kinds)();
    world.until("told", () => isTold);
    coordinator.expire();
    world.until("gone", () => presence() === undefined);
    world.until("back", () => presence() !== undefined);
    expect(presence()!.setId).toBe(set);
  }
});
