/** Large values that are moved over several turns, while the node is a replica or stops being the writer. */
import { expect, test } from "bun:test";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { PREPARING, UnitWork } from "../../src/store/interrupt.ts";
import { ReplicatedStore } from "../../src/store/replicated-store.ts";
import type { Store } from "../../src/store/store.ts";
import { memoryStoreOptions } from "./memory-store.ts";

const MIB = 1024 * 1024;
const KEY = Buffer.from("k");

let failure: Error | undefined;

async function open(): Promise<ReplicatedStore> {
  failure = undefined;
  return await ReplicatedStore.open({
    ...memoryStoreOptions(),
    ...{ segmentBytes: 8 * MIB, segmentPoolBytes: 64 * MIB, valueBytesMax: 15 * MIB },
    largeBytes: new ByteBudget(64 * MIB),
    onFatal: (error) => {
      failure ??= error;
    },
    replication: { commitIndex: 0, retainBytesMax: 1 << 30 },
    replicator: { onWritten: () => undefined, onDurable: () => undefined },
  });
}

async function openWriter(): Promise<ReplicatedStore> {
  const writer = await open();
  writer.replica.appendEpochStart(1, 1_700_000_000_000);
  writer.replica.commit(writer.facts.last);
  writer.lead();
  return writer;
}

/** `onTurn` is called once: when the unit's second slow work, behind taking memory, has begun. */
async function unit(store: Store, action: () => void, onTurn?: () => unknown): Promise<void> {
  const work = new UnitWork();
  let waits = 0;
  const wasWriter = store.replica === undefined;
  for (;;) {
    store.beginBatch();
    store.beginUnit(work);
    try {
      action();
      store.endUnit();
      return;
    } catch (error) {
      store.abortUnit();
      if (error === PREPARING) {
        const { pending } = work;
        if (++waits === 2) {
          await store.nextTurn();
          await onTurn?.();
        }
        work.results.push((await pending)!);
        // The server sends it to another node.
        if (wasWriter && store.replica !== undefined) return;
      } else if (store.isInterrupt(error)) await store.resolve(error);
      else throw error;
    }
  }
}

const put = (store: Store, byte: number, length: number): Promise<void> =>
  unit(store, () => {
    store.select(KEY, 0, KEY.length);
    store.putPieces([Buffer.alloc(length, byte)], 0);
  });

async function ship(from: ReplicatedStore, to: ReplicatedStore): Promise<void> {
  from.store.pipeline.endTurn();
  const { log } = from.store.internals;
  while (to.facts.last < log.writtenIndex) {
    const frames = await log.readFrames(to.facts.last + 1, log.writtenIndex, MIB);
    to.replica.appendFrames(Buffer.from(frames!.bytes));
  }
  to.replica.commit(log.writtenIndex);
}

test("a replica's reader of a large value sees one version of it, whatever is applied meanwhile", async () => {
  const writer = await openWriter();
  const replica = await open();
  await put(writer.store, 1, 5 * MIB);
  await ship(writer, replica);
  await put(writer.store, 2, 5 * MIB);
  let value = Buffer.alloc(0);
  const { store } = replica;
  await unit(
    store,
    () => {
      store.select(KEY, 0, KEY.length);
      expect(store.find()).toBe(true);
      value = Buffer.concat(store.valuePieces());
    },
    () => ship(writer, replica),
  );
  expect(value.equals(Buffer.alloc(5 * MIB, 2))).toBe(true);
  expect(failure).toBeUndefined();
  await writer.close();
  await replica.close();
});

test("a large value that is on its way into the log of a writer that follows is given up", async () => {
  const writer = await openWriter();
  const { store } = writer;
  const isStaged = put(store, 1, 8 * MIB);
  for (let turn = 0; turn < 3; turn++) await store.nextTurn();
  store.pipeline.endTurn();
  writer.store.pipeline.commit(writer.facts.last);
  await store.suspend();
  const stepped = await writer.stepDown(writer.facts.last);
  stepped.resume();
  expect(stepped).toBe(store);
  const { last } = writer.facts;
  await Promise.race([isStaged.catch(() => undefined), Bun.sleep(200)]);
  store.pipeline.endTurn();
  expect(failure).toBeUndefined();
  expect(store.internals.log.hasOpenRecords).toBe(false);
  expect(writer.facts.last).toBe(last);
  await writer.close();
});

test("a large value that is on its way into the log of a store that is closed is given up", async () => {
  const writer = await openWriter();
  const { store } = writer;
  const isStaged = put(store, 1, 8 * MIB).catch((error: Error) => error);
  for (let turn = 0; turn < 3; turn++) await store.nextTurn();
  await writer.close();
  await Promise.race([isStaged, Bun.sleep(200)]);
  for (let turn = 0; turn < 5; turn++) await store.nextTurn();
  expect(failure).toBeUndefined();
});
