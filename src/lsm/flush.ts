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
  /** The first ordinal to flush. */
  readonly firstRecord: number;
  /** The ordinal after the last one to flush. */
  readonly recordCount: number;
  /** Sequence of ordinal 0. */
  readonly firstSequence: number;
}

/** This record is the first write of its key since the key left memory: only tables know whether it existed. */
export const OFFSET_COUNT_UNKNOWN = 1;
