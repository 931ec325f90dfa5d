/**
 * Builds what memtables hand to a flush: records in a shared arena with their offsets.
 */
import { orderHash } from "../../src/base/order-hash.ts";
import { RECORD_HEADER_BYTES, RecordFlag, RecordType, recordBytes } from "../../src/base/record.ts";
import { slotOf } from "../../src/base/slot.ts";
import { type FlushSource, OFFSET_COUNT_UNKNOWN } from "../../src/lsm/flush.ts";
import { type KeyQuery, prefixOf, type RecordView } from "../../src/lsm/order-key.ts";

export const SEED = { low: 0x1234_5678, high: 0x0bad_cafe };

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NO_BYTES = new Uint8Array(0);

export interface RecordSpec {
  readonly type: RecordType;
  readonly key: Uint8Array | string;
  readonly subKey?: Uint8Array;
  readonly value?: Uint8Array | string;
  readonly expiry?: number;
  readonly mark?: boolean;
}

function bytesOf(text: Uint8Array | string): Uint8Array {
  return typeof text === "string" ? encoder.encode(text) : text;
}

/** The order hash; keys that start with "~" share two positions per slot, as no seed would let them. */
function hashOf(key: Uint8Array): number {
  const hash = orderHash(key, 0, key.length, SEED.low, SEED.high);
  return key[0] === 0x7e ? (hash & 1) + 0x8000_0000 : hash;
}

export class ArenaBuilder {
  readonly firstSequence: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #offsets: number[] = [];
  #end = 0;

  constructor(firstSequence: number, capacity = 1024 * 1024) {
    this.firstSequence = firstSequence;
    const shared = new SharedArrayBuffer(capacity);
    this.#bytes = new Uint8Array(shared);
    this.#view = new DataView(shared);
  }

  get nextSequence(): number {
    return this.firstSequence + this.#offsets.length;
  }

  get count(): number {
    return this.#offsets.length;
  }

  /** Returns the record's sequence. */
  add(spec: RecordSpec): number {
    const key = bytesOf(spec.key);
    return this.#append(spec, {
      key,
      slot: slotOf(key, 0, key.length),
      hash: hashOf(key),
    });
  }

  addRangeDeletion(startSlot: number, endSlot: number): number {
    const value = new Uint8Array(4);
    new DataView(value.buffer).setUint16(0, startSlot, true);
    new DataView(value.buffer).setUint16(2, endSlot, true);
    const spec = { type: RecordType.RANGE_DELETION, key: "", value };
    return this.#append(spec, { key: NO_BYTES, slot: 0, hash: 0 });
  }

  source(firstRecord = 0): FlushSource {
    const offsets = new SharedArrayBuffer(Math.max(4, this.#offsets.length * 4));
    new Uint32Array(offsets).set(this.#offsets);
    return {
      bytes: this.#bytes.buffer as SharedArrayBuffer,
      offsets,
      firstRecord,
      recordCount: this.#offsets.length,
      firstSequence: this.firstSequence,
    };
  }

  #append(spec: RecordSpec, place: { key: Uint8Array; slot: number; hash: number }): number {
    const { key, slot, hash } = place;
    const subKey = spec.subKey ?? NO_BYTES;
    const value = bytesOf(spec.value ?? NO_BYTES);
    const flags = spec.expiry === undefined ? 0 : RecordFlag.EXPIRES;
    const start = this.#end;
    this.#view.setUint8(start, spec.type);
    this.#view.setUint8(start + 1, flags);
    this.#view.setUint16(start + 2, slot, true);
    this.#view.setUint32(start + 4, hash, true);
    this.#view.setUint32(start + 8, value.length, true);
    this.#view.setUint16(start + 12, key.length, true);
    this.#view.setUint16(start + 14, subKey.length, true);
    let at = start + RECORD_HEADER_BYTES;
    if (spec.expiry !== undefined) {
      this.#view.setBigUint64(at, BigInt(spec.expiry), true);
      at += 8;
    }
    this.#bytes.set(key, at);
    this.#bytes.set(subKey, at + key.length);
    this.#bytes.set(value, at + key.length + subKey.length);
    this.#end = start + recordBytes(flags, key.length, subKey.length, value.length);
    this.#offsets.push(start | (spec.mark === true ? OFFSET_COUNT_UNKNOWN : 0));
    return this.nextSequence - 1;
  }
}

export function queryOf(key: Uint8Array | string, subKey: Uint8Array = NO_BYTES): KeyQuery {
  const bytes = bytesOf(key);
  const slot = slotOf(bytes, 0, bytes.length);
  const hash = hashOf(bytes);
  return {
    bytes,
    keyStart: 0,
    keyEnd: bytes.length,
    subBytes: subKey,
    subKeyStart: 0,
    subKeyEnd: subKey.length,
    slot,
    hash,
    prefix: prefixOf(slot, hash),
  };
}

export function keyOf(record: RecordView): string {
  return decoder.decode(record.bytes.subarray(record.keyStart, record.keyEnd));
}

export function valueTextOf(record: RecordView): string {
  return decoder.decode(record.bytes.subarray(record.valueStart, record.valueEnd));
}
