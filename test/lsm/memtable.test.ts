import { expect, test } from "bun:test";
import { orderHash } from "../../src/base/order-hash.ts";
import { recordBytes } from "../../src/base/record.ts";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { MemorySegment } from "../../src/lsm/memory-segment.ts";
import { Memtable } from "../../src/lsm/memtable.ts";
import { emptyQuery, type KeyQuery, prefixOf } from "../../src/lsm/order-key.ts";

const SEGMENT_BYTES = 1 << 26;
/** Positions are compared within half of their range: 16 GiB of log. */
const FAR = 2 ** 34 / SEGMENT_BYTES + 8;

function queryOf(key: string): KeyQuery {
  const query = emptyQuery();
  query.bytes = Buffer.from(key);
  query.keyEnd = query.bytes.length;
  query.hash = orderHash(query.bytes, 0, query.keyEnd, 1, 2);
  query.slot = slotOf(query.bytes, 0, query.keyEnd);
  query.prefix = prefixOf(query.slot, query.hash);
  return query;
}

function segmentOf(number: number): MemorySegment {
  const memory = new MemorySegment(SEGMENT_BYTES, SLOT_COUNT);
  const shared = new SharedArrayBuffer(1 << 16);
  const bytes = Buffer.from(shared);
  memory.attach({ number, shared, bytes, words: new Int32Array(shared) }, 1, number);
  return memory;
}

function insert(memtable: Memtable, key: string, offset: number): void {
  const query = queryOf(key);
  const { bytes } = memtable.active.arena!;
  bytes[offset] = 1;
  bytes.writeUInt16LE(query.slot, offset + 2);
  bytes.writeUInt32LE(query.hash, offset + 4);
  bytes.writeUInt16LE(key.length, offset + 12);
  bytes.write(key, offset + 16);
  memtable.insert(query, query.hash, offset);
}

function has(memtable: Memtable, key: string): boolean {
  const query = queryOf(key);
  return memtable.find(query, query.hash) !== 0;
}

const STEP = recordBytes(0, 8, 0, 0);
const FIRST = 64;

function opened(): { memtable: Memtable; first: MemorySegment } {
  const memtable = new Memtable(SEGMENT_BYTES, 1 << 16);
  const first = segmentOf(1);
  memtable.activate(first);
  return { memtable, first };
}

test("Memtable.hideSlotsBefore hides what these slots had, and can be taken back", () => {
  const { memtable } = opened();
  insert(memtable, "one", FIRST);
  insert(memtable, "two", FIRST + STEP);
  const slot = queryOf("one").slot;
  const unhide = memtable.hideSlotsBefore(slot, slot + 1, memtable.positionOf(1, FIRST + 2 * STEP));
  expect([has(memtable, "one"), has(memtable, "two")]).toEqual([false, true]);
  unhide();
  expect(has(memtable, "one")).toBe(true);
  memtable.hideSlotsBefore(slot, slot + 1, memtable.positionOf(1, FIRST + 2 * STEP));
  insert(memtable, "one", FIRST + 3 * STEP);
  expect(has(memtable, "one")).toBe(true);
});

test("a deletion hides nothing that is written after its segment has left memory, however much later", () => {
  for (const hide of [
    (memtable: Memtable, position: number) => memtable.hideBefore(position),
    (memtable: Memtable, position: number) => memtable.hideSlotsBefore(0, SLOT_COUNT, position),
  ]) {
    const { memtable, first } = opened();
    insert(memtable, "one", FIRST);
    hide(memtable, memtable.positionOf(1, FIRST + STEP));
    expect(has(memtable, "one")).toBe(false);
    memtable.retire(first);
    memtable.activate(segmentOf(FAR));
    insert(memtable, "one", FIRST);
    expect(has(memtable, "one")).toBe(true);
  }
});
