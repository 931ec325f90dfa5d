/** Topology: the same answers as a plain map, whatever the documents, and what mixtures of different times show. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { SLOT_COUNT } from "../../src/base/slot.ts";
import type {
  NodeDocument,
  ReplicaSetDocument,
  SlotRange,
} from "../../src/cluster/coordination/documents.ts";
import { nodeDocument, replicaSetDocument } from "../../src/cluster/coordination/documents.ts";
import { topologyOf } from "../../src/cluster/topology.ts";

const hexId = (number: number) => number.toString(16).padStart(40, "0");

function node(number: number): NodeDocument {
  const document: NodeDocument = {
    format: 1,
    id: hexId(number),
    host: "127.0.0.1",
    port: 7000 + number,
    peerPort: 17_000 + number,
    hostname: "",
    incarnation: 1,
    bootId: "0b5f3c1e-6c1e-4d0e-9a62-0d9c3e0f3f10",
    version: "0.1.0",
  };
  return nodeDocument.parse("node", nodeDocument.encode(document));
}

/** Replica set `index` with nodes 10 × index + 1 … + 3, the last of them a learner. */
function replicaSet(
  index: number,
  slots: SlotRange[],
  changes: Partial<ReplicaSetDocument> = {},
): ReplicaSetDocument {
  const members = [1, 2].map((each) => ({ nodeId: hexId(index * 10 + each), incarnation: 1 }));
  const document: ReplicaSetDocument = {
    format: 1,
    id: hexId(1000 + index),
    epoch: 5 + index,
    phase: "ACTIVE",
    writer: members[0]!.nodeId,
    claim: "0".repeat(32),
    members,
    isDraining: false,
    writeQuorum: 2,
    replicationFactor: 3,
    learners: [{ nodeId: hexId(index * 10 + 3), incarnation: 1 }],
    slots,
    ...changes,
  };
  return replicaSetDocument.parse("set", replicaSetDocument.encode(document));
}

const nodesOf = (indexes: number[]) =>
  indexes.flatMap((index) => [1, 2, 3].map((each) => node(index * 10 + each)));

function rangesOf(owners: readonly number[], set: number): SlotRange[] {
  const ranges: SlotRange[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (owners[slot] !== set) continue;
    const last = ranges.at(-1);
    if (last?.end === slot - 1) ranges[ranges.length - 1] = { start: last.start, end: slot };
    else ranges.push({ start: slot, end: slot });
  }
  return ranges;
}

/** An owner for each slot, −1: none, in stretches of any length. */
const ownersArbitrary = fc
  .array(fc.tuple(fc.integer({ min: -1, max: 3 }), fc.integer({ min: 1, max: 200 })), {
    minLength: 1,
    maxLength: 60,
  })
  .map((stretches) => {
    const owners = stretches.flatMap(([set, length]) => new Array<number>(length).fill(set));
    while (owners.length < SLOT_COUNT) owners.push(owners.length % 3);
    return owners.slice(0, SLOT_COUNT);
  });

test("owners and runs are those of the documents", () => {
  fc.assert(
    fc.property(ownersArbitrary, (owners) => {
      const indexes = [0, 1, 2, 3];
      const topology = topologyOf({
        version: 7,
        sets: indexes.map((index) => replicaSet(index, rangesOf(owners, index))),
        nodes: nodesOf(indexes),
        present: new Set(nodesOf(indexes).map((each) => each.id)),
      });
      const found = owners.map((_, slot) => topology.ownerOf(slot)?.id);
      expect(found).toEqual(owners.map((set) => (set < 0 ? undefined : hexId(1000 + set))));
      const fromRuns = new Array<string | undefined>(SLOT_COUNT).fill(undefined);
      let lastEnd = -1;
      let lastSet = "";
      for (const { start, end, set } of topology.runs) {
        expect(start > lastEnd && end >= start).toBe(true);
        if (start === lastEnd + 1) expect(set.id).not.toBe(lastSet);
        fromRuns.fill(set.id, start, end + 1);
        lastEnd = end;
        lastSet = set.id;
      }
      expect(fromRuns).toEqual(found);
      expect(topology.ownedSlots).toBe(found.filter((each) => each !== undefined).length);
      expect(topology.version).toBe(7);
      expect(topology.epoch).toBe(8);
    }),
    { numRuns: 60 },
  );
});

test("roles and health come from members, learners and presence", () => {
  const topology = topologyOf({
    version: 1,
    sets: [replicaSet(0, [{ start: 0, end: 1023 }])],
    nodes: nodesOf([0]),
    present: new Set([hexId(1), hexId(3)]),
  });
  const set = topology.setOf(hexId(2))!;
  expect(set.writer?.id).toBe(hexId(1));
  expect(set.replicas.map(({ id, health }) => [id, health])).toEqual([
    [hexId(2), "fail"],
    [hexId(3), "loading"],
  ]);
  expect(topology.nodes.map((each) => each.port)).toEqual([7001, 7002, 7003]);
});

test("a claimant is no writer, and a node without a document is nowhere", () => {
  const topology = topologyOf({
    version: 1,
    sets: [replicaSet(0, [{ start: 0, end: 9 }], { phase: "RECOVERING" })],
    nodes: [node(1), node(3)],
    present: new Set([hexId(1), hexId(2), hexId(3)]),
  });
  const set = topology.ownerOf(9)!;
  expect(set.writer).toBeUndefined();
  expect(set.replicas.map((each) => each.id)).toEqual([hexId(1), hexId(3)]);
  expect(topology.setOf(hexId(2))).toBeUndefined();
});

test("a slot that two sets claim has no owner, and a node in two sets is in the first", () => {
  const [stays, comes] = [hexId(2), hexId(11)];
  const topology = topologyOf({
    version: 1,
    sets: [
      replicaSet(1, [{ start: 50, end: 200 }], {
        members: [comes, stays].map((nodeId) => ({ nodeId, incarnation: 1 })),
        writer: comes,
      }),
      replicaSet(0, [{ start: 0, end: 100 }]),
    ],
    nodes: nodesOf([0, 1]),
    present: new Set(),
  });
  expect(topology.ownerOf(49)?.id).toBe(hexId(1000));
  expect(topology.ownerOf(50)).toBeUndefined();
  expect(topology.ownerOf(100)).toBeUndefined();
  expect(topology.ownerOf(101)?.id).toBe(hexId(1001));
  expect(topology.runs.map(({ start, end }) => [start, end])).toEqual([
    [0, 49],
    [101, 200],
  ]);
  expect(topology.setOf(stays)?.id).toBe(hexId(1000));
});
