/**
 * What a table's properties say, gathered while it is written: counts, ranges and a sample of the expiries.
 *
 * Expiries are thinned, not sorted whole: when the sample is full every other one goes and the stride doubles,
 * so that it stays even over the table and bounded.
 */
import { RecordFlag, RecordType } from "../base/record.ts";
import { isLiveType, type RecordView, slotOfPosition } from "./order-key.ts";
import { EXPIRY_QUANTILES, type TableProperties } from "./table-format.ts";

const SAMPLE_MAX = 4096;

/** The part of the properties that follows from the records alone. */
export type RecordStatistics = Omit<
  TableProperties,
  "blockCount" | "fileBytes" | "dataBytes" | "level" | "createdMs"
>;

export class TableStatistics {
  #recordCount = 0;
  #liveKeyCount = 0;
  #tombstoneCount = 0;
  #chunkCount = 0;
  #keyCount = 0;
  #minSequence = 0;
  #maxSequence = 0;
  #minPosition = 0;
  #maxPosition = 0;
  readonly #slotCounts: number[] = [];
  #keyBytes = 0;
  #valueBytes = 0;
  #expiringCount = 0;
  #minExpiry = 0;
  #maxExpiry = 0;
  readonly #expirySample = new Float64Array(SAMPLE_MAX);
  #sampleCount = 0;
  #sampleStride = 1;

  get recordCount(): number {
    return this.#recordCount;
  }

  add(record: RecordView, position: number): void {
    if (this.#recordCount === 0) this.#minPosition = position;
    this.#maxPosition = position;
    this.#recordCount++;
    this.#countSlot(record.slot);
    if (record.subKeyStart === record.subKeyEnd) this.#keyCount++;
    if (record.type === RecordType.CHUNK) this.#chunkCount++;
    else if (record.type === RecordType.TOMBSTONE) this.#tombstoneCount++;
    else if (isLiveType(record.type)) this.#liveKeyCount++;
    const sequence = record.sequence;
    if (sequence !== 0) {
      if (this.#minSequence === 0 || sequence < this.#minSequence) this.#minSequence = sequence;
      if (sequence > this.#maxSequence) this.#maxSequence = sequence;
    }
    this.#keyBytes += record.keyEnd - record.keyStart + record.subKeyEnd - record.subKeyStart;
    this.#valueBytes += record.valueEnd - record.valueStart;
    if (record.flags & RecordFlag.EXPIRES) this.#sampleExpiry(record.expiry);
  }

  finish(): RecordStatistics {
    return {
      recordCount: this.#recordCount,
      liveKeyCount: this.#liveKeyCount,
      tombstoneCount: this.#tombstoneCount,
      chunkCount: this.#chunkCount,
      keyCount: this.#keyCount,
      minSequence: this.#minSequence,
      maxSequence: this.#maxSequence,
      minPosition: this.#minPosition,
      maxPosition: this.#maxPosition,
      slotRecordCounts: this.#slotCounts,
      keyBytes: this.#keyBytes,
      valueBytes: this.#valueBytes,
      expiringCount: this.#expiringCount,
      expiryQuantilesMs: this.#quantiles(),
    };
  }

  #countSlot(slot: number): void {
    const counts = this.#slotCounts;
    const index = slot - slotOfPosition(this.#minPosition);
    while (counts.length <= index) counts.push(0);
    counts[index]!++;
  }

  #sampleExpiry(expiry: number): void {
    if (this.#expiringCount === 0 || expiry < this.#minExpiry) this.#minExpiry = expiry;
    if (expiry > this.#maxExpiry) this.#maxExpiry = expiry;
    if (this.#expiringCount % this.#sampleStride === 0) {
      if (this.#sampleCount === SAMPLE_MAX) this.#thin();
      this.#expirySample[this.#sampleCount++] = expiry;
    }
    this.#expiringCount++;
  }

  #thin(): void {
    const sample = this.#expirySample;
    for (let i = 0; i < SAMPLE_MAX / 2; i++) sample[i] = sample[2 * i]!;
    this.#sampleCount = SAMPLE_MAX / 2;
    this.#sampleStride *= 2;
  }

  #quantiles(): number[] {
    if (this.#expiringCount === 0) return [];
    const sorted = this.#expirySample.slice(0, this.#sampleCount).sort();
    const quantiles: number[] = [];
    for (let i = 1; i <= EXPIRY_QUANTILES; i++) {
      quantiles.push(sorted[Math.ceil((i * sorted.length) / EXPIRY_QUANTILES) - 1]!);
    }
    // The ends are exact: "nothing has expired yet" and "all of it has" must not depend on a sample.
    quantiles[EXPIRY_QUANTILES - 1] = this.#maxExpiry;
    if (this.#expiringCount <= EXPIRY_QUANTILES) quantiles[0] = this.#minExpiry;
    return quantiles;
  }
}
