/**
 * What the memtable keeps per resident segment, beside the arena: its records in order, the chains that scans follow,
 * and what its records change in the counts (memtable.ts).
 */
import { deadSetBytes } from "./flush.ts";

/** Chains in the order of positions: slot << 6 | top 6 bits of the hash. */
export const CHAIN_COUNT = 1 << 16;
/**
 * Mean record size that a segment's arrays and the buckets are sized for: a segment of smaller records closes early.
 */
export const RECORD_BYTES_EXPECTED_MIN = 80;

/** The arena of a segment, as the log provides it. */
export interface SegmentArena {
  readonly number: number;
  readonly shared: SharedArrayBuffer;
  readonly bytes: Buffer;
  readonly words: Int32Array;
}

/** What the memtable keeps per resident segment. Reused with its arena. */
export class MemorySegment {
  readonly offsetsShared: SharedArrayBuffer;
  readonly offsets: Uint32Array;
  readonly next: Uint32Array;
  /** Records that a later one of this group has overwritten: a flush of the whole group passes over them (flush.ts). */
  readonly deadShared: SharedArrayBuffer;
  readonly dead: Uint8Array;
  deadCount = 0;
  /** Segments of one group are flushed together. */
  group = 0;
  readonly chains = new Uint32Array(CHAIN_COUNT);
  arena: SegmentArena | undefined = undefined;
  recordCount = 0;
  firstSequence = 0;
  /** Exact change of the live keys per slot by this segment's records, but for records with a count mark. */
  readonly knownDeltas: Float64Array;
  /** Records with a count mark. */
  unknownCounts = 0;
  /** Records before this ordinal have had their marks resolved into knownDeltas. */
  resolvedRecords = 0;
  /** Records that carry an expiry. */
  expiringCount = 0;
  /** It holds a deletion of all keys, or of some slots: 1 for each of them. */
  hasRangeDeletion = false;
  readonly deletedSlots: Uint8Array;

  constructor(segmentBytes: number, slotCount: number) {
    const records = Math.ceil(segmentBytes / RECORD_BYTES_EXPECTED_MIN);
    this.offsetsShared = new SharedArrayBuffer(records * 4);
    this.offsets = new Uint32Array(this.offsetsShared);
    this.next = new Uint32Array(records);
    this.deadShared = new SharedArrayBuffer(deadSetBytes(segmentBytes));
    this.dead = new Uint8Array(this.deadShared);
    this.knownDeltas = new Float64Array(slotCount);
    this.deletedSlots = new Uint8Array(slotCount);
  }

  attach(arena: SegmentArena, firstSequence: number, group: number): void {
    this.arena = arena;
    this.group = group;
    this.deadCount = 0;
    this.recordCount = 0;
    this.firstSequence = firstSequence;
    this.unknownCounts = 0;
    this.resolvedRecords = 0;
    this.expiringCount = 0;
    if (this.hasRangeDeletion) this.deletedSlots.fill(0);
    this.hasRangeDeletion = false;
    this.chains.fill(0);
    this.dead.fill(0);
    this.knownDeltas.fill(0);
  }

  get isFull(): boolean {
    return this.recordCount === this.offsets.length;
  }
}
