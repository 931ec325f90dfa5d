/**
 * A unit of work on its way to another node: the bytes of a forwarded request (src/cluster/transport/forward-codec.ts).
 *
 *   offset  size
 *        0     8  client    at the sending node
 *        8     8  epoch     of the replica set, as the sender knows it
 *       16     2  slot
 *       18     1  kind      0 command, 1 transaction, 2 watch, 3 unwatch
 *       19     1  flags     1: under WATCH (a transaction), 2: answers in RESP3
 *       20     4  requests  how many there are, at least one
 *       24     …  requests, in RESP, as a client would send them
 *
 * All integers are little-endian. The reply is what the unit's last request was answered.
 */
import { SLOT_COUNT } from "../base/slot.ts";
import type { ForwardBatch } from "../cluster/transport/forward-codec.ts";
import type { ForwardUnit } from "./forwarder.ts";

export const UNIT_HEADER_BYTES = 24;

const KINDS: readonly ForwardUnit["kind"][] = ["command", "transaction", "watch", "unwatch"];
const FLAG_WATCHED = 1;
const FLAG_RESP3 = 2;
const FLAGS = FLAG_WATCHED | FLAG_RESP3;
const TWO_32 = 2 ** 32;

const header = Buffer.alloc(UNIT_HEADER_BYTES);

/** Bytes that writeUnit() appends. */
export function unitLength(unit: ForwardUnit): number {
  let length = UNIT_HEADER_BYTES;
  for (const part of unit.bytes) length += part.length;
  return length;
}

export function writeUnit(unit: ForwardUnit, batch: ForwardBatch): void {
  const { client, epoch } = unit;
  header.writeUInt32LE(client % TWO_32, 0);
  header.writeUInt32LE(Math.floor(client / TWO_32), 4);
  header.writeUInt32LE(epoch % TWO_32, 8);
  header.writeUInt32LE(Math.floor(epoch / TWO_32), 12);
  header.writeUInt16LE(unit.slot, 16);
  header[18] = KINDS.indexOf(unit.kind);
  header[19] = (unit.isWatched ? FLAG_WATCHED : 0) | (unit.protocol === 3 ? FLAG_RESP3 : 0);
  header.writeUInt32LE(unit.requests, 20);
  batch.append(header);
  for (const part of unit.bytes) batch.append(part);
}

/** What bytes[start, end) say, without how to settle it; undefined when they are no unit. Borrows them. */
export function readUnit(
  bytes: Buffer,
  start: number,
  end: number,
): Omit<ForwardUnit, "settle"> | undefined {
  if (end - start <= UNIT_HEADER_BYTES) return undefined;
  const client = bytes.readUInt32LE(start) + bytes.readUInt32LE(start + 4) * TWO_32;
  const epoch = bytes.readUInt32LE(start + 8) + bytes.readUInt32LE(start + 12) * TWO_32;
  const slot = bytes.readUInt16LE(start + 16);
  const kind = KINDS[bytes[start + 18]!];
  const flags = bytes[start + 19]!;
  const requests = bytes.readUInt32LE(start + 20);
  const isWatched = (flags & FLAG_WATCHED) !== 0;
  const areNumbers = Number.isSafeInteger(client) && Number.isSafeInteger(epoch);
  const isKnown = slot < SLOT_COUNT && flags <= FLAGS && kind !== undefined;
  if (!areNumbers || !isKnown || requests === 0) return undefined;
  if (isWatched && kind !== "transaction") return undefined;
  const protocol = (flags & FLAG_RESP3) !== 0 ? 3 : 2;
  const rest = bytes.subarray(start + UNIT_HEADER_BYTES, end);
  return { client, epoch, slot, kind, isWatched, protocol, requests, bytes: [rest] };
}
