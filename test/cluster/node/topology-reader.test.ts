/** The picture follows the documents: whole, at the cost of what has changed, and never by our own silence. */
import { expect, test } from "bun:test";
import { type Operation, parentOf } from "../../../src/cluster/coordination/coordinator.ts";
import {
  type NodeDocument,
  nodeDocument,
  presenceDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
} from "../../../src/cluster/coordination/documents.ts";
import { nodePath, presencePath, setPath } from "../../../src/cluster/coordination/paths.ts";
import { CurrentTopology } from "../../../src/cluster/current-topology.ts";
import { TopologyReader } from "../../../src/cluster/node/topology-reader.ts";
import { Topology } from "../../../src/cluster/topology.ts";
import type { Address } from "../../../src/cluster/transport/transport.ts";
import { CoordinatedWorld, SESSION_MS } from "./coordinated-world.ts";

const SEED = Number(process.env["DKV_TEST_SEED"] ?? 1);
const NONCE = "0".repeat(32);
const idOf = (number: number) => number.toString(16).padStart(40, "0");
const OWN = idOf(1);
const SET = 0xa000;

function node(number: number, port = 7000): NodeDocument {
  const address = { host: "h", port, peerPort: port + 1, hostname: "" };
  const bootId = "00000000-0000-4000-8000-000000000001";
  return { format: 1, id: idOf(number), incarnation: 1, bootId, version: "1", ...address };
}

/** Nodes 3 × index + 1 … + 3, the first of them the writer. */
function set(index: number, changes: Partial<ReplicaSetDocument> = {}): ReplicaSetDocument {
  const members = [1, 2, 3].map((at) => ({ nodeId: idOf(3 * index + at), incarnation: 1 }));
  return {
    ...{ format: 1, id: idOf(SET + index), epoch: 5, phase: "ACTIVE" },
    ...{ writer: members[0]!.nodeId, claim: NONCE, members, writeQuorum: 2 },
    ...{ replicationFactor: 3, learners: [], isDraining: false },
    slots: [{ start: index, end: index }],
    ...changes,
  };
}

class ReaderWorld extends CoordinatedWorld {
  readonly coordinator = this.connect();
  readonly topology = new CurrentTopology(new Topology(0, []));
  readonly versions: number[] = [];
  readonly asked: string[] = [];
  readonly #session = this.ensemble.openSession(1e9, () => undefined);
  addresses: ReadonlyMap<string, Address> = new Map();
  reader!: TopologyReader;

  constructor(seed: number, sets: number) {
    super(seed);
    this.makeFolders();
    for (let index = 0; index < sets; index++) {
      this.create(setPath(set(index).id), replicaSetDocument.encode(set(index)));
      for (const at of [1, 2, 3]) this.#addNode(3 * index + at);
    }
    for (const operation of ["read", "list"] as const) {
      const original = this.coordinator[operation].bind(this.coordinator) as () => never;
      this.coordinator[operation] = (...request: unknown[]) => {
        this.asked.push(request[0] as string);
        return original(...(request as []));
      };
    }
  }

  start(): this {
    const { coordinator, clock, logger, topology } = this;
    this.reader = new TopologyReader({
      ...{ coordinator, clock, logger, topology, node: node(1) },
      onAddresses: (addresses) => {
        this.addresses = addresses;
      },
    });
    topology.onChange(() => this.versions.push(topology.value.version));
    return this;
  }

  known(): this {
    this.start().until("known", () => this.topology.value.version > 0);
    this.pass(200);
    this.asked.length = 0;
    this.versions.length = 0;
    return this;
  }

  create(path: string, data: Uint8Array): void {
    this.change({ kind: "create", path, data, lifetime: "durable" });
  }

  write(path: string, data: Uint8Array, version = 0): void {
    this.change({ kind: "write", path, data, version });
  }

  change(...operations: Operation[]): void {
    expect(this.ensemble.commit(operations, this.#session)).toBeUndefined();
  }

  set(index: number) {
    return this.topology.value.sets.find(({ id }) => id === idOf(SET + index))!;
  }

  #addNode(number: number): void {
    const document = node(number);
    const presence = { format: 1, nodeId: document.id, incarnation: 1, setId: "" } as const;
    this.create(nodePath(document.id), nodeDocument.encode(document));
    const data = presenceDocument.encode({ ...presence, sessionNonce: NONCE });
    this.create(presencePath(document.id), data);
  }
}

test("the first picture is whole, and shows all nodes' peer ports but the own", () => {
  const world = new ReaderWorld(SEED, 40).start();
  world.until("known", () => world.topology.value.version > 0);
  expect(world.topology.value.sets).toHaveLength(40);
  expect(world.topology.value.ownedSlots).toBe(40);
  expect(world.topology.value.nodes.map(({ health }) => health)).toEqual(
    new Array(120).fill("online"),
  );
  expect(world.addresses.size).toBe(119);
  expect(world.addresses.get(idOf(2))).toEqual({ host: "h", port: 7001 });
  expect(world.addresses.has(OWN)).toBe(false);
});

test("a node that is neither there nor in a set is not to be reached", () => {
  const world = new ReaderWorld(SEED, 1);
  const gone = node(9);
  world.create(nodePath(gone.id), nodeDocument.encode(gone));
  world.start().until("known", () => world.topology.value.version > 0);
  expect(world.addresses.has(gone.id)).toBe(false);
  const presence = { format: 1, nodeId: gone.id, incarnation: 1, setId: "" } as const;
  const data = presenceDocument.encode({ ...presence, sessionNonce: NONCE });
  world.create(presencePath(gone.id), data);
  world.until("it is there", () => world.addresses.has(gone.id));
});

test("one change reads one document, and a burst makes few pictures", () => {
  const world = new ReaderWorld(SEED, 300).known();
  const elected = set(7, { epoch: 6, writer: idOf(23) });
  world.write(setPath(elected.id), replicaSetDocument.encode(elected));
  world.until("elected", () => world.set(7).writer?.id === idOf(23));
  expect(world.asked).toEqual([setPath(elected.id)]);
  expect(world.versions).toHaveLength(1);
  world.asked.length = 0;
  for (let number = 2; number <= 101; number++)
    world.write(nodePath(idOf(number)), nodeDocument.encode(node(number, 8000)));
  for (let number = 102; number <= 201; number++)
    world.change({ kind: "remove", path: presencePath(idOf(number)), version: 0 });
  world.until("moved", () => world.set(33).writer?.port === 8000);
  world.until("gone", () => world.set(34).writer?.health === "fail");
  world.pass(200);
  expect(world.asked.filter((path) => parentOf(path) === "/nodes")).toHaveLength(100);
  expect(world.asked.filter((path) => path === "/presence").length).toBeLessThanOrEqual(4);
  expect(world.versions.length).toBeLessThanOrEqual(6);
  expect(world.addresses.get(idOf(101))).toEqual({ host: "h", port: 8001 });
});

test("slots that change hands in one write have one of both owners at every moment", () => {
  const owners = new Set<string | undefined>();
  for (let seed = SEED; seed < SEED + 50; seed++) {
    const world = new ReaderWorld(seed, 5).known();
    world.topology.onChange(() => owners.add(world.topology.value.ownerOf(3)?.id));
    const [from, to] = [set(3, { slots: [] }), set(2, { slots: [{ start: 2, end: 3 }] })] as const;
    const writes = [from, to].map((document) => ({
      ...({ kind: "write", path: setPath(document.id), version: 0 } as const),
      data: replicaSetDocument.encode(document),
    }));
    world.change(...writes);
    world.until("moved", () => world.topology.value.ownerOf(3)?.id === to.id);
  }
  expect([...owners]).toEqual([idOf(SET + 2)]);
});

test("without the coordinator the last picture stays, and afterwards it is as new as before", () => {
  const world = new ReaderWorld(SEED, 10).known();
  const before = world.topology.value;
  world.coordinator.suspend();
  world.pass(3 * SESSION_MS);
  const elected = set(7, { epoch: 6, writer: idOf(23) });
  world.write(setPath(elected.id), replicaSetDocument.encode(elected));
  world.change({ kind: "remove", path: presencePath(OWN), version: 0 });
  world.pass(1000);
  expect(world.topology.value).toBe(before);
  world.coordinator.resume();
  world.until("elected", () => world.set(7).writer?.id === idOf(23));
  world.pass(1000);
  expect(world.topology.value.nodes.every(({ health }) => health === "online")).toBe(true);
});

test("this node is its set's writer while it serves in that epoch, at once", () => {
  const world = new ReaderWorld(SEED, 2).known();
  const { reader } = world;
  const writers: (string | undefined)[] = [];
  world.topology.onChange(() => writers.push(world.set(0).writer?.id));
  expect(world.set(0).writer).toBeUndefined();
  expect(world.set(0).replicas).toHaveLength(3);
  reader.setServing(5);
  expect(world.set(0).writer?.id).toBe(OWN);
  reader.noteOwnSet(set(0, { epoch: 6, writer: idOf(2) }), 1);
  expect(world.set(0).writer?.id).toBe(idOf(2));
  // What a watch brings is older.
  world.write(setPath(idOf(SET + 1)), replicaSetDocument.encode(set(1, { epoch: 9 })));
  world.until("read", () => world.set(1).epoch === 9);
  expect(world.set(0)).toMatchObject({ epoch: 6, writer: { id: idOf(2) } });
  reader.setServing(undefined);
  reader.noteOwnSet(set(0, { epoch: 7 }), 2);
  expect(world.set(0)).toMatchObject({ epoch: 7, writer: undefined });
  reader.setServing(7);
  expect(world.set(0).writer?.id).toBe(OWN);
  const versions = world.versions.toSorted((a, b) => a - b);
  expect(world.versions).toEqual(versions);
  expect(writers).toEqual([OWN, idOf(2), idOf(2), idOf(2), undefined, OWN]);
});

test("a set that is retired is in no picture any more, and its node in none", () => {
  const world = new ReaderWorld(SEED, 3).known();
  const { reader } = world;
  reader.noteOwnSet(set(0, { slots: [] }), 1);
  reader.setServing(5);
  world.write(setPath(idOf(SET + 1)), replicaSetDocument.encode(set(1, { slots: [] })));
  world.until("read", () => world.set(1).slots.length === 0);
  world.change({ kind: "remove", path: setPath(idOf(SET + 1)), version: 1 });
  world.until("another set is gone", () => world.topology.value.sets.length === 2);
  world.change({ kind: "remove", path: setPath(idOf(SET)), version: 0 });
  world.pass(200);
  // Until the node itself has found out why.
  expect(world.topology.value.setOf(OWN)?.id).toBe(idOf(SET));
  reader.forgetOwnSet();
  expect(world.topology.value.setOf(OWN)).toBeUndefined();
  world.pass(200);
  expect(world.topology.value.sets.map(({ id }) => id)).toEqual([idOf(SET + 2)]);
});

test("a document that is not understood is said once, and what was known of it stays", () => {
  const world = new ReaderWorld(SEED, 3).known();
  const newer = Buffer.from('{"format":2}');
  world.write(setPath(idOf(SET + 2)), newer);
  world.pass(1000);
  world.write(setPath(idOf(SET + 2)), newer, 1);
  world.write(setPath(idOf(SET + 1)), replicaSetDocument.encode(set(1, { epoch: 9 })));
  world.until("read", () => world.set(1).epoch === 9);
  expect(world.set(2).writer?.id).toBe(idOf(7));
  expect(world.lines.filter((line) => line.includes("not understood"))).toHaveLength(1);
});

test("in the end the picture is that of the documents, whatever becomes of the connection", () => {
  for (let seed = SEED; seed < SEED + 20; seed++) {
    const world = new ReaderWorld(seed, 4).known();
    const { random } = world;
    const versions = [0, 0, 0, 0];
    for (let step = 0; step < 60; step++) {
      const index = random.below(4);
      const document = set(index, {
        epoch: 6 + step,
        writer: idOf(3 * index + 1 + random.below(3)),
      });
      world.write(setPath(document.id), replicaSetDocument.encode(document), versions[index]!++);
      if (random.below(10) === 0) world.coordinator.cut();
      if (random.below(30) === 0) world.coordinator.expire();
      world.pass(random.below(100));
    }
    world.pass(5 * SESSION_MS);
    const shown = world.topology.value.sets.map(({ id, epoch }) => [id, epoch]);
    const written = [0, 1, 2, 3].map((index) => {
      const path = setPath(idOf(SET + index));
      const { id, epoch } = replicaSetDocument.parse(path, world.ensemble.view.get(path)!.data);
      return [id, epoch];
    });
    expect({ seed, shown }).toEqual({ seed, shown: written });
  }
});
