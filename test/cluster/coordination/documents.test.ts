/** Documents: round trips, refusals that name their place, and random bytes. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { AssertionError } from "../../../src/base/assert.ts";
import { DOCUMENT_BYTES_MAX } from "../../../src/cluster/coordination/coordinator.ts";
import {
  type ClusterDocument,
  clusterDocument,
  type DocumentCodec,
  DocumentError,
  type NodeDocument,
  nodeDocument,
  type PresenceDocument,
  presenceDocument,
  type ReplicaSetDocument,
  replicaSetDocument,
  type SlotMoveDocument,
  slotMoveDocument,
} from "../../../src/cluster/coordination/documents.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const C = "c".repeat(40);
const NONCE = "0123456789abcdef0123456789abcdef";

const CLUSTER: ClusterDocument = {
  format: 1,
  id: A,
  slotCount: 1024,
  hashSeed: { low: 0, high: 0xffffffff },
  createdMs: 1_700_000_000_000,
  ...{ setsFormed: 3, setsRetired: 1 },
};
const NODE: NodeDocument = {
  format: 1,
  id: A,
  host: "::1",
  port: 6379,
  peerPort: 16379,
  hostname: "",
  incarnation: 1,
  bootId: "5f9c3f7e-2b1d-4c8a-9f60-0d3b6a3e8f11",
  version: "0.1.0",
};
const PRESENCE: PresenceDocument = {
  ...{ format: 1, nodeId: A, incarnation: 3, setId: "", sessionNonce: NONCE },
};
const SET: ReplicaSetDocument = {
  format: 1,
  id: C,
  epoch: 7,
  phase: "ACTIVE",
  writer: A,
  claim: NONCE,
  members: [
    { nodeId: A, incarnation: 1 },
    { nodeId: B, incarnation: 2 },
  ],
  writeQuorum: 2,
  replicationFactor: 3,
  learners: [{ nodeId: C, incarnation: 1 }],
  slots: [
    { start: 0, end: 0 },
    { start: 2, end: 1023 },
  ],
  isDraining: false,
};
const MOVE: SlotMoveDocument = {
  format: 1,
  id: A,
  source: B,
  destination: C,
  slots: [{ start: 5, end: 9 }],
  state: "FREEZING",
  sourceVersion: 4,
  destinationVersion: 0,
};

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

function errorOf(codec: DocumentCodec<unknown>, data: Uint8Array): DocumentError {
  try {
    codec.parse("/sets/x", data);
  } catch (error) {
    expect(error).toBeInstanceOf(DocumentError);
    return error as DocumentError;
  }
  throw new Error("parsed");
}

const ALL: [string, DocumentCodec<unknown>, object][] = [
  ["clusterDocument", clusterDocument as DocumentCodec<unknown>, CLUSTER],
  ["nodeDocument", nodeDocument as DocumentCodec<unknown>, NODE],
  ["presenceDocument", presenceDocument as DocumentCodec<unknown>, PRESENCE],
  ["replicaSetDocument", replicaSetDocument as DocumentCodec<unknown>, SET],
  ["slotMoveDocument", slotMoveDocument as DocumentCodec<unknown>, MOVE],
];

describe.each(ALL)("%s", (_name, codec, sample) => {
  test("parse returns what encode was given", () => {
    expect(codec.parse("/p", codec.encode(sample))).toEqual(sample);
  });

  test("parse refuses a missing field, an unknown field and a wrong type, and names it", () => {
    for (const field of Object.keys(sample)) {
      const { [field]: _left, ...rest } = sample as Record<string, unknown>;
      const error = errorOf(codec, bytes(rest));
      expect(error.field).toBe(field);
      expect(error.message).toStartWith(`/sets/x, field ${field}: `);
      const wrong = typeof (sample as Record<string, unknown>)[field] === "boolean" ? 1 : true;
      expect(errorOf(codec, bytes({ ...sample, [field]: wrong })).field).toBe(field);
    }
    expect(errorOf(codec, bytes({ ...sample, more: 1 })).message).toContain("more");
  });

  test("parse says that a newer format is newer", () => {
    const error = errorOf(codec, bytes({ ...sample, format: 2, unheard: "of" }));
    expect(error.field).toBe("format");
    expect(error.message).toContain("format 2 is of a newer version of dkv");
  });

  test("parse answers any bytes with a DocumentError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
        errorOf(codec, data);
      }),
    );
    fc.assert(
      fc.property(fc.json(), (text) => {
        errorOf(codec, new TextEncoder().encode(text));
      }),
    );
  });

  test("parse answers a damaged document with a DocumentError or a document of the schema", () => {
    const encoded = codec.encode(sample);
    const damage = fc.array(fc.tuple(fc.nat(encoded.length - 1), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(damage, fc.nat(encoded.length), (changes, length) => {
        const data = encoded.slice(0, length % 3 === 0 ? length : encoded.length);
        for (const [at, byte] of changes) if (at < data.length) data[at] = byte;
        try {
          const document = codec.parse("/p", data);
          expect(codec.parse("/p", codec.encode(document))).toEqual(document);
        } catch (error) {
          if (!(error instanceof DocumentError)) throw error;
        }
      }),
    );
  });

  test("parse refuses what is too large or too deep", () => {
    expect(errorOf(codec, new Uint8Array(DOCUMENT_BYTES_MAX + 1)).message).toContain("too large");
    errorOf(codec, new TextEncoder().encode("[".repeat(DOCUMENT_BYTES_MAX)));
    errorOf(codec, new TextEncoder().encode(`{"format":${"[".repeat(100_000)}`));
  });

  test("parse refuses a prototype in the document", () => {
    const text = JSON.stringify(sample).replace("{", '{"__proto__":{"x":1},');
    errorOf(codec, new TextEncoder().encode(text));
  });
});

describe("replicaSetDocument", () => {
  const refusals: [string, string, Partial<Record<keyof ReplicaSetDocument, unknown>>][] = [
    ["a member twice", "members", { members: [SET.members[0], SET.members[0]] }],
    ["a learner that is a member", "members", { learners: [SET.members[0]] }],
    ["a quorum beyond the members", "members", { members: [SET.members[0]] }],
    ["a quorum beyond the factor", "writeQuorum", { replicationFactor: 1 }],
    ["a writer that is no member", "writer", { writer: C }],
    ["no writer while active", "writer", { writer: null, claim: null }],
    ["a writer without a claim", "claim", { claim: null }],
    ["no incarnation", "members.0.incarnation", { members: [{ nodeId: A }, SET.members[1]] }],
    ["slots that overlap", "slots.1", { slots: [SET.slots[1], SET.slots[0]] }],
    ["slots that touch", "slots.1", { slots: [SET.slots[0], { start: 1, end: 2 }] }],
    ["a slot too many", "slots.0.end", { slots: [{ start: 0, end: 1024 }] }],
    ["an epoch below zero", "epoch", { epoch: -1 }],
    ["an epoch beyond what is counted exactly", "epoch", { epoch: 2 ** 53 }],
  ];
  test.each(refusals)("parse refuses %s", (_what, field, change) => {
    expect(errorOf(replicaSetDocument, bytes({ ...SET, ...change })).field).toBe(field);
  });

  test("encode does not write what nobody could read", () => {
    expect(() => replicaSetDocument.encode({ ...SET, writer: C })).toThrow(AssertionError);
  });

  test("the largest set fits a document", () => {
    const members = Array.from({ length: 32 }, (_, index) => ({
      nodeId: index.toString(16).padStart(40, "0"),
      incarnation: Number.MAX_SAFE_INTEGER,
    }));
    const learners = members.map((each) => ({ ...each, nodeId: each.nodeId.replace(/^00/, "ff") }));
    const slots = Array.from({ length: 512 }, (_, index) => ({ start: 2 * index, end: 2 * index }));
    const writer = members[0]!.nodeId;
    const set = { ...SET, writer, members, learners, slots };
    expect(replicaSetDocument.encode(set).length).toBeLessThan(DOCUMENT_BYTES_MAX / 4);
  });
});

test("slotMoveDocument refuses a move to its own source", () => {
  expect(errorOf(slotMoveDocument, bytes({ ...MOVE, destination: B })).field).toBe("destination");
});

test("nodeDocument refuses hosts that are none", () => {
  for (const host of ["", "a b", "x/y", "http://x", "\n", "a".repeat(256)]) {
    expect(errorOf(nodeDocument, bytes({ ...NODE, host })).field).toBe("host");
  }
});
