/**
 * Flush: what frozen memtables hand over, and how it becomes tables.
 */

/**
 * A run of consecutive records in one arena. Ordinal i has sequence firstSequence + i. The buffers are shared,
 * so a Worker maps the memory that the event loop wrote.
 */
export interface FlushSource {
  /** The arena: records as base/record.ts lays them out. */
  readonly bytes: SharedArrayBuffer;
  /** u32 per ordinal: arena offset of the record (a multiple of 8) | OFFSET_COUNT_UNKNOWN. */
  readonly offsets: SharedArrayBuffer;
  /** A bit per 8 bytes of the arena: the record there was overwritten by a later one of the same flush. */
  readonly dead?: SharedArrayBuffer;
  /** The first ordinal to flush. */
  readonly firstRecord: number;
  /** The ordinal after the last one to flush. */
  readonly recordCount: number;
  /** Sequence of ordinal 0. */
  readonly firstSequence: number;
}

/** This record is the first write of its key since the key left memory: only tables know whether it existed. */
export const OFFSET_COUNT_UNKNOWN = 1;

/** Bytes of the bit set for an arena. */
export function deadSetBytes(arenaBytes: number): number {
  return arenaBytes >>> 6;
}

export function isDead(dead: Uint8Array, offset: number): boolean {
  return (dead[offset >>> 6]! & (1 << ((offset >>> 3) & 7))) !== 0;
}

export function markDead(dead: Uint8Array, offset: number): void {
  dead[offset >>> 6]! |= 1 << ((offset >>> 3) & 7);
}

/** Takes markDead() back; whether there was a mark. */
export function unmarkDead(dead: Uint8Array, offset: number): boolean {
  const wasDead = isDead(dead, offset);
  dead[offset >>> 6]! &= ~(1 << ((offset >>> 3) & 7));
  return wasDead;
}
