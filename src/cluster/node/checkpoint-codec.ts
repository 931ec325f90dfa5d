/**
 * What the nodes of a set say to each other about checkpoints, for purpose `bulk`:
 *
 *     writer                              node
 *       ── offer (what it is) ─────────────►        again, until it asks
 *       ◄─ fetch (file, offset, length) ───         several at a time: these are the writer's credit
 *       ── chunk (bytes) ──────────────────►        as fast as the writer's rate allows
 *       ◄─ end (installed, unneeded, failed) ─►     (gone)
 *
 * Nothing relies on messages being neither lost nor doubled nor in order. A message is its head, and of a chunk the bytes
 * behind it, as two parts:
 *
 *   offset  size
 *        0     8  checksum       XXH64 of head bytes [8, end)
 *        8     4  magic          "dkvC"
 *       12     1  type           index in TYPES
 *       13     1  version        1
 *       14     2  zero
 *       16     8  bytes checksum XXH64 of a chunk's bytes, else 0
 *       24     …  the fields in the order below: numbers are varints, runs as in epoch-table.ts
 *
 * All integers are little-endian.
 */
import { assert } from "../../base/assert.ts";
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from "../../base/checksum.ts";
import type { HashSeed } from "../../base/order-hash.ts";
import { varintBytes, writeVarint } from "../../base/varint.ts";
import { type EpochRun, readRuns, runsBytes, writeRuns } from "../replication/epoch-table.ts";
import { FieldReader } from "../replication/field-reader.ts";

/** Of a chunk, as a node asks for it, and at most. */
export const CHUNK_BYTES = 256 * 1024;
export const CHUNK_BYTES_MAX = 1024 * 1024;
/** Of manifest and log, which a node reads as a whole. */
export const PART_BYTES_MAX = 1024 * 1024 * 1024;
const HEAD_BYTES = 24;
/** What the runs of an epoch table may take. */
const HEAD_BYTES_MAX = 1024 * 1024;
const MAGIC = 0x43766b64;
const VERSION = 1;
const TYPES = ["offer", "fetch", "chunk", "end"] as const;
const OUTCOMES = ["installed", "unneeded", "failed", "gone"] as const;

/** How it ended: at the node, or ("gone") the writer has it no longer. */
export type CheckpointOutcome = (typeof OUTCOMES)[number];

export interface CheckpointOffer {
  readonly type: "offer";
  /** No other checkpoint has it. */
  readonly id: number;
  /** Of the writer. */
  readonly epoch: number;
  readonly seed: HashSeed;
  readonly runs: readonly EpochRun[];
  readonly last: number;
  readonly manifestBytes: number;
  readonly logBytes: number;
  /** Of all files. */
  readonly bytes: number;
}

/** Files by number: manifest, log, tables in the order of the manifest. */
export interface CheckpointFetch {
  readonly type: "fetch";
  readonly id: number;
  readonly file: number;
  readonly offset: number;
  readonly length: number;
}

export interface CheckpointChunk {
  readonly type: "chunk";
  readonly id: number;
  readonly file: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface CheckpointEnd {
  readonly type: "end";
  readonly id: number;
  readonly outcome: CheckpointOutcome;
}

export type CheckpointMessage = CheckpointOffer | CheckpointFetch | CheckpointChunk | CheckpointEnd;

/** Its parts. Borrows a chunk's bytes. */
export function encodeCheckpoint(message: CheckpointMessage): Uint8Array[] {
  const numbers = numbersOf(message);
  const runs = message.type === "offer" ? message : undefined;
  const fieldBytes = numbers.reduce((sum, value) => sum + varintBytes(value), 0);
  const head = new Uint8Array(
    HEAD_BYTES + fieldBytes + (runs === undefined ? 0 : runsBytes(runs.runs, runs.last)),
  );
  assert(head.length <= HEAD_BYTES_MAX, "an offer with too many epochs");
  const view = new DataView(head.buffer);
  view.setUint32(8, MAGIC, true);
  head[12] = TYPES.indexOf(message.type);
  head[13] = VERSION;
  if (message.type === "chunk") writeChecksum(message.bytes, head, 16);
  let at = HEAD_BYTES;
  for (const value of numbers) at = writeVarint(head, at, value);
  if (runs !== undefined) writeRuns(head, at, runs.runs, runs.last);
  writeChecksum(head.subarray(CHECKSUM_BYTES), head, 0);
  return message.type === "chunk" ? [head, message.bytes] : [head];
}

function numbersOf(message: CheckpointMessage): number[] {
  switch (message.type) {
    case "offer": {
      const { id, epoch, seed, manifestBytes, logBytes, bytes } = message;
      return [id, epoch, seed.low >>> 0, seed.high >>> 0, manifestBytes, logBytes, bytes];
    }
    case "fetch":
      return [message.id, message.file, message.offset, message.length];
    case "chunk":
      return [message.id, message.file, message.offset];
    case "end":
      return [message.id, OUTCOMES.indexOf(message.outcome)];
  }
}

/** The message that came as these parts, whose bytes it borrows; undefined when they are none. */
export function decodeCheckpoint(parts: readonly Uint8Array[]): CheckpointMessage | undefined {
  const [head, bytes] = parts;
  if (head === undefined || head.length < HEAD_BYTES || head.length > HEAD_BYTES_MAX)
    return undefined;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  if (view.getUint32(8, true) !== MAGIC || head[13] !== VERSION) return undefined;
  if (head[14] !== 0 || head[15] !== 0) return undefined;
  if (!checksumMatches(head.subarray(CHECKSUM_BYTES), head, 0)) return undefined;
  const type = TYPES[head[12]!];
  if (type === undefined || parts.length !== (type === "chunk" ? 2 : 1)) return undefined;
  if (type !== "chunk") {
    if (view.getBigUint64(16, true) !== 0n) return undefined;
  } else if (bytes!.length > CHUNK_BYTES_MAX || !checksumMatches(bytes!, head, 16))
    return undefined;
  const reader = new FieldReader(head, HEAD_BYTES, head.length);
  const message = readFields(type, reader, bytes);
  return reader.isDone && message !== undefined && isWellFormed(message) ? message : undefined;
}

/** The properties of an object literal are evaluated in the order written. */
function readFields(
  type: CheckpointMessage["type"],
  reader: FieldReader,
  bytes: Uint8Array | undefined,
): CheckpointMessage | undefined {
  const id = reader.varint();
  switch (type) {
    case "offer":
      return {
        ...{ type, id, epoch: reader.varint() },
        // As a directory's identity has them.
        seed: { low: reader.varint() | 0, high: reader.varint() | 0 },
        manifestBytes: reader.varint(),
        logBytes: reader.varint(),
        bytes: reader.varint(),
        ...readRuns(reader),
      };
    case "fetch":
      return {
        ...{ type, id, file: reader.varint() },
        offset: reader.varint(),
        length: reader.varint(),
      };
    case "chunk":
      return { ...{ type, id, file: reader.varint() }, offset: reader.varint(), bytes: bytes! };
    case "end": {
      const outcome = OUTCOMES[reader.varint()];
      return outcome && { type, id, outcome };
    }
  }
}

function isWellFormed(message: CheckpointMessage): boolean {
  if (message.type === "fetch") return message.length > 0 && message.length <= CHUNK_BYTES_MAX;
  if (message.type !== "offer") return true;
  const { runs, last, manifestBytes, logBytes, bytes } = message;
  if (runs[0]?.first !== 1 || last === 0) return false;
  if (manifestBytes === 0 || manifestBytes > PART_BYTES_MAX) return false;
  if (logBytes === 0 || logBytes > PART_BYTES_MAX) return false;
  return manifestBytes + logBytes <= bytes;
}
