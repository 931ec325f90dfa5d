/**
 * The documents of a cluster: JSON in UTF-8, at most 256 KiB, with a `format` number each. This is their
 * specification; a node that cannot read one says why and changes nothing.
 *
 *     {"format":1,"id":"…","epoch":7,"phase":"ACTIVE","writer":"…","claim":"…","members":[…],…}
 *
 * A format grows by a new number, never by a field more: an old node that ignored a field would write the document
 * back without it. So unknown fields are refused, and a newer format is an error that says so.
 *
 * What parse returns has passed every check below, the ones across fields included; encode asserts the same, so no
 * node can write what others cannot read.
 */
import { z } from "zod";
import { assert } from "../../base/assert.ts";
import { SLOT_COUNT } from "../../base/slot.ts";
import { DOCUMENT_BYTES_MAX } from "./coordinator.ts";
import { ID } from "./paths.ts";

export const DOCUMENT_FORMAT = 1;
/** Members, learners: far more than any replication factor in use, so that documents stay small. */
const NODES_PER_SET_MAX = 32;
const TEXT_MAX = 255;

/** Bytes are not the document that should be there. */
export class DocumentError extends Error {
  override readonly name = "DocumentError";
  readonly path: string;
  /** As in `members.0.incarnation`; empty when it is about the whole. */
  readonly field: string;

  constructor(problem: string, place: { path: string; field?: string; cause?: unknown }) {
    const field = place.field ?? "";
    const where = field === "" ? place.path : `${place.path}, field ${field}`;
    super(`${where}: ${problem}`, { cause: place.cause });
    this.path = place.path;
    this.field = field;
  }
}

const id = z.string().regex(ID, "expected 40 hexadecimal digits");
const nonce = z.string().regex(/^[0-9a-f]{32}$/, "expected 32 hexadecimal digits");
const count = z.int().min(0);
/** Grows whenever a node cannot prove that it kept what it acknowledged. */
const incarnation = z.int().min(1);
const port = z.int().min(1).max(65_535);
const host = z
  .string()
  .max(TEXT_MAX)
  .regex(/^[A-Za-z0-9_.:-]+$/, "expected an address or a host name");
const slot = z
  .int()
  .min(0)
  .max(SLOT_COUNT - 1);
const uint32 = z.int().min(0).max(0xffff_ffff);
const format = z.literal(DOCUMENT_FORMAT);

/** Both ends included, ascending, neither overlapping nor touching: one way to write a set of slots. */
const slotRanges = z
  .array(z.strictObject({ start: slot, end: slot }))
  .max(SLOT_COUNT / 2)
  .superRefine((ranges, context) => {
    let next = 0;
    for (const [index, range] of ranges.entries()) {
      if (range.start < next || range.end < range.start) {
        const message = "ranges must ascend and not touch";
        context.addIssue({ code: "custom", message, path: [index] });
      }
      next = range.end + 2;
    }
  });

const clusterSchema = z.strictObject({
  format,
  id,
  /** Fixed: keys are routed by it. */
  slotCount: z.literal(SLOT_COUNT),
  /** The order hash of every directory in the cluster, so that tables can be sent as they are. */
  hashSeed: z.strictObject({ low: uint32, high: uint32 }),
  createdMs: count,
  /** Replica sets that were ever formed, so that no id is given twice; 0: the first ones are still to be formed. */
  setsFormed: count,
  /** As many of them have been retired: the others must have a document, or documents have been lost. */
  setsRetired: count,
});

const nodeSchema = z.strictObject({
  format,
  id,
  /** What clients and peers are told; checked on every start, since addresses change. */
  host,
  port,
  peerPort: port,
  /** Empty: none. */
  hostname: z.union([z.literal(""), host]),
  incarnation,
  /** The kernel's boot id: a change without a clean stop means that unsynced data may be gone. */
  bootId: z.uuid(),
  /** Of dkv, for people. */
  version: z.string().min(1).max(TEXT_MAX),
});

const presenceSchema = z.strictObject({
  format,
  nodeId: id,
  incarnation,
  /** The set that the node has a part in, or whose data its directory holds; empty: none. */
  setId: z.union([z.literal(""), id]),
  /** New with every session: tells a node's own leftover from another process with the same id. */
  sessionNonce: nonce,
});

const member = z.strictObject({ nodeId: id, incarnation });

const replicaSetSchema = z
  .strictObject({
    format,
    id,
    epoch: count,
    phase: z.enum(["ACTIVE", "RECOVERING"]),
    /** While RECOVERING: the claimant. */
    writer: id.nullable(),
    /** Of the claim that made this epoch: its author recognises its own write by it. */
    claim: nonce.nullable(),
    members: z.array(member).max(NODES_PER_SET_MAX),
    /** Q, the writer included. */
    writeQuorum: z.int().min(1).max(NODES_PER_SET_MAX),
    /** N, the writer included. */
    replicationFactor: z.int().min(1).max(NODES_PER_SET_MAX),
    learners: z.array(member).max(NODES_PER_SET_MAX),
    slots: slotRanges,
    /** It gets no slots any more, and goes when it has none. */
    isDraining: z.boolean(),
  })
  .superRefine((set, context) => {
    const refuse = (field: string, message: string) =>
      context.addIssue({ code: "custom", message, path: [field] });
    const members = new Set(set.members.map((each) => each.nodeId));
    const all = new Set([...members, ...set.learners.map((each) => each.nodeId)]);
    if (all.size !== set.members.length + set.learners.length) refuse("members", "a node twice");
    if (set.writeQuorum > set.replicationFactor)
      refuse("writeQuorum", "more than there are copies");
    if (set.members.length < set.writeQuorum) refuse("members", "fewer than the write quorum");
    if (set.writer !== null && !members.has(set.writer)) refuse("writer", "not a member");
    if (set.writer === null && set.phase === "ACTIVE") refuse("writer", "none, but ACTIVE");
    if ((set.writer === null) !== (set.claim === null)) refuse("claim", "goes with the writer");
  });

const slotMoveSchema = z
  .strictObject({
    format,
    id,
    source: id,
    destination: id,
    slots: slotRanges.min(1),
    /** FLIPPED and ABORTED are decisions: final, whatever becomes of source and destination. */
    state: z.enum(["MIGRATING", "FREEZING", "FLIPPED", "ABORTED"]),
    /** Versions of both replica-set documents that the flip has demanded; before it, of when the move was planned. */
    sourceVersion: count,
    destinationVersion: count,
  })
  .superRefine((move, context) => {
    if (move.source === move.destination)
      context.addIssue({ code: "custom", message: "the source itself", path: ["destination"] });
  });

export type ClusterDocument = z.infer<typeof clusterSchema>;
export type NodeDocument = z.infer<typeof nodeSchema>;
export type PresenceDocument = z.infer<typeof presenceSchema>;
export type ReplicaSetDocument = z.infer<typeof replicaSetSchema>;
export type ReplicaSetMember = z.infer<typeof member>;
export type SlotMoveDocument = z.infer<typeof slotMoveSchema>;
export type SlotRange = z.infer<typeof slotRanges>[number];

export interface DocumentCodec<T> {
  encode(document: T): Uint8Array;
  /** Throws DocumentError and nothing else; `path` is for its message. */
  parse(path: string, data: Uint8Array): T;
}

export const clusterDocument: DocumentCodec<ClusterDocument> = codec(clusterSchema);
export const nodeDocument: DocumentCodec<NodeDocument> = codec(nodeSchema);
export const presenceDocument: DocumentCodec<PresenceDocument> = codec(presenceSchema);
export const replicaSetDocument: DocumentCodec<ReplicaSetDocument> = codec(replicaSetSchema);
export const slotMoveDocument: DocumentCodec<SlotMoveDocument> = codec(slotMoveSchema);

function codec<T>(schema: z.ZodType<T>): DocumentCodec<T> {
  return {
    encode(document) {
      assert(schema.safeParse(document).success, "document that no node could read");
      const data = new TextEncoder().encode(JSON.stringify(document));
      assert(data.length <= DOCUMENT_BYTES_MAX, "document too large");
      return data;
    },
    parse(path, data) {
      const value = parseJson(path, data);
      checkFormat(path, value);
      const result = schema.safeParse(value);
      if (result.success) return result.data;
      const issue = result.error.issues[0];
      const field = issue?.path.join(".") ?? "";
      throw new DocumentError(issue?.message ?? "invalid", { path, field });
    },
  };
}

function parseJson(path: string, data: Uint8Array): unknown {
  if (data.length > DOCUMENT_BYTES_MAX) throw new DocumentError("too large", { path });
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch (cause) {
    throw new DocumentError("not JSON", { path, cause });
  }
}

/** Before the fields: a newer format explains itself better than the first field that is strange. */
function checkFormat(path: string, value: unknown): void {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new DocumentError("not a JSON object", { path });
  const found = Object.hasOwn(value, "format") ? (value as { format: unknown }).format : undefined;
  if (typeof found === "number" && found > DOCUMENT_FORMAT) {
    const problem = `format ${found} is of a newer version of dkv; this one reads up to ${DOCUMENT_FORMAT}`;
    throw new DocumentError(problem, { path, field: "format" });
  }
}
