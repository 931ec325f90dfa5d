/**
 * How many keys carry an expiry, and for how long on average: an estimate, because nothing counts them.
 *
 * Of each unflushed segment a sample of records is looked at, or all of them if they are few: which carry an expiry
 * and are still their key's newest. What tables hold is added as their properties tell it.
 */
import {
  expiryAt,
  hashAt,
  keyBytesAt,
  keyStartAt,
  RecordType,
  slotAt,
  subKeyBytesAt,
  typeAt,
} from "../base/record.ts";
import { OFFSET_COUNT_UNKNOWN } from "../lsm/flush.ts";
import type { Lsm } from "../lsm/lsm.ts";
import type { Memtable } from "../lsm/memtable.ts";
import { emptyQuery } from "../lsm/order-key.ts";
import type { Resident, Segments } from "./segments.ts";

const SAMPLES_PER_SEGMENT = 1024;

export interface ExpiryEstimate {
  readonly keys: number;
  readonly averageMs: number;
}

interface Parts {
  readonly lsm: Lsm;
  readonly memtable: Memtable;
  readonly segments: Segments;
}

/** Adds up what a sample of one segment's records says. */
function sampleSegment(memtable: Memtable, { segment, memory }: Resident, nowMs: number) {
  const { words, bytes } = segment;
  const stride = Math.max(1, Math.floor(memory.recordCount / SAMPLES_PER_SEGMENT));
  const query = emptyQuery();
  let keys = 0;
  let leftMs = 0;
  for (let ordinal = 0; ordinal < memory.recordCount; ordinal += stride) {
    const offset = memory.offsets[ordinal]! & ~OFFSET_COUNT_UNKNOWN;
    const expiry = expiryAt(words, offset);
    const type = typeAt(words, offset);
    if (expiry === 0 || subKeyBytesAt(words, offset) !== 0) continue;
    if (type !== RecordType.VALUE && type !== RecordType.CHUNKED) continue;
    query.bytes = bytes;
    query.keyStart = keyStartAt(words, offset);
    query.keyEnd = query.keyStart + keyBytesAt(words, offset);
    query.slot = slotAt(words, offset);
    query.hash = hashAt(words, offset);
    const newest = memtable.find(query, query.hash);
    if (newest !== memtable.positionOf(segment.number, offset)) continue;
    keys += stride;
    leftMs += stride * Math.max(0, expiry - nowMs);
  }
  return { keys, leftMs };
}

/** `keysMax`: the number of all keys. */
export function estimateExpiring(parts: Parts, keysMax: number, nowMs: number): ExpiryEstimate {
  const tables = parts.lsm.expiring(nowMs);
  let keys = tables.records;
  let leftMs = tables.leftMs;
  for (const resident of parts.segments.unflushed) {
    if (resident.memory.expiringCount === 0) continue;
    const sample = sampleSegment(parts.memtable, resident, nowMs);
    keys += sample.keys;
    leftMs += sample.leftMs;
  }
  return {
    keys: Math.min(keys, keysMax),
    averageMs: keys === 0 ? 0 : Math.round(leftMs / keys),
  };
}
