/**
 * Slots that move between two real stores, piece by piece, while clients write at the source: what has arrived is what is
 * there, and the source shows nothing of it any more.
 */
import { expect, test } from "bun:test";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import type { SlotMove } from "../../src/store/slot-moves.ts";
import { areRecords, filterFrames, recordBytesOf } from "../../src/store/slot-records.ts";
import type { Store } from "../../src/store/store.ts";
import { seededRandom } from "../support/crash-states.ts";
import { StoreFixture } from "./store-support.ts";

const MOVE = "m".repeat(40);
const PIECE_BYTES = 200 * 1024;
const TIMEOUT_MS = 600_000;
const LARGE = 100_000;

function keyIn(slot: number, index: number): Buffer {
  for (let i = 0; ; i++) {
    const tag = `${slot}.${i}`;
    if (slotOf(Buffer.from(tag), 0, tag.length) === slot) return Buffer.from(`{${tag}}${index}`);
  }
}

function put(store: Store, key: Buffer, value: Uint8Array, expiry = 0): void {
  store.select(key, 0, key.length);
  store.put(value, 0, value.length, expiry);
}

/** Every key that can be seen, with its value and expiry. */
async function contentsOf({ store }: StoreFixture): Promise<Map<string, string>> {
  const contents = new Map<string, string>();
  let cursor = 0;
  do {
    let keys: Buffer[] = [];
    await store.runUnit(() => {
      const page = store.scan(cursor, 100);
      keys = page.keys.map(({ key }) => key);
      cursor = page.next;
    });
    for (const key of keys) {
      await store.runUnit(() => {
        store.select(key, 0, key.length);
        if (!store.find()) return;
        const { expiry } = store.found;
        contents.set(key.toString(), `${Bun.hash(store.copyValue())} ${expiry}`);
      });
    }
  } while (cursor !== 0);
  return contents;
}

async function sizeOf({ store }: StoreFixture, slot?: number): Promise<number> {
  let size = 0;
  await store.runUnit(() => {
    size = store.size(slot);
  });
  return size;
}

/** One step of a move, as the source's and the destination's writers would do it. False: nothing is left to be sent. */
class Mover {
  readonly slots: { start: number; end: number }[];
  readonly #source: StoreFixture;
  readonly #target: StoreFixture;
  #snapshot: ReturnType<Store["slots"]["snapshot"]> | undefined;

  constructor(source: StoreFixture, target: StoreFixture, slot: number) {
    this.#source = source;
    this.#target = target;
    this.slots = [{ start: slot, end: slot }];
  }

  get #state() {
    return this.#target.store.slots.moves.importing(MOVE)!;
  }

  /** A writer of the source has died: another one goes on from what the destination has. */
  forget(): void {
    this.#snapshot = undefined;
  }

  async step(sourceClockMs?: number): Promise<boolean> {
    const { pieces, resume } = this.#state;
    if (resume?.phase === "log") return await this.#sendLog(pieces, resume, sourceClockMs);
    const { store } = this.#source;
    const index = resume?.index ?? store.committed;
    this.#snapshot ??= store.slots.snapshot(this.slots, resume);
    const piece = await this.#snapshot.next(PIECE_BYTES);
    await this.#send(
      pieces,
      piece.records,
      piece.next === undefined
        ? { phase: "log", index, skip: 0 }
        : { phase: "keys", index, ...piece.next },
    );
    return true;
  }

  async #sendLog(
    number: number,
    place: { index: number; skip: number },
    sourceClockMs: number | undefined,
  ): Promise<boolean> {
    const { log } = this.#source.store.internals;
    const frames = await log.readFrames(place.index + 1, log.writtenIndex, PIECE_BYTES);
    const found =
      frames === undefined
        ? { records: Buffer.alloc(0), index: place.index, skip: place.skip }
        : filterFrames(frames.bytes, place, this.slots, PIECE_BYTES);
    const isLast = found.index === log.writtenIndex;
    const { records, index, skip } = found;
    const resume = { phase: "log", index, skip } as const;
    await this.#send(number, records, resume, isLast ? sourceClockMs : undefined);
    return !isLast;
  }

  async #send(
    number: number,
    bytes: Buffer,
    resume: NonNullable<Extract<SlotMove, { kind: "importing" }>["resume"]>,
    sourceClockMs?: number,
  ): Promise<void> {
    const records = recordBytesOf(bytes);
    expect(areRecords(records, this.slots)).toBe(true);
    const { slots } = this.#target.store;
    const before = slots.moves.importing(MOVE)!.chain;
    const piece = { number, before, records, resume, sourceClockMs };
    expect(await slots.importPiece(MOVE, { ...piece, before: "1" })).toBeUndefined();
    expect(await slots.importPiece(MOVE, piece)).toBeDefined();
    expect(await slots.importPiece(MOVE, piece)).toBeUndefined();
  }
}

/** Random writes of one slot's keys, large values among them. */
async function write(fixture: StoreFixture, slot: number, random: () => number): Promise<void> {
  const pick = (count: number) => Math.floor(random() * count);
  const key = keyIn(slot, pick(20));
  await fixture.run((store) => {
    store.select(key, 0, key.length);
    const kind = pick(20);
    if (kind === 0 && slot % 2 === 0) {
      store.removeAll();
    } else if (kind < 8) {
      store.put(Buffer.alloc(pick(60), pick(256)), 0, pick(10) === 0 ? 0 : 1, 0);
    } else if (kind < 11) {
      const bytes = Buffer.alloc(LARGE + pick(LARGE), pick(256));
      store.put(bytes, 0, bytes.length, 0);
    } else if (kind < 15) {
      const bytes = Buffer.alloc(1 + pick(100), pick(256));
      store.patch(store.find(), pick(2 * LARGE), bytes, 0, bytes.length);
    } else if (kind < 17) {
      if (store.find()) store.setExpiry(pick(2) === 0 ? 0 : store.nowMs + 1_000_000 + pick(1000));
    } else if (kind < 19) {
      store.remove();
    }
  });
  if (pick(20) === 0) await fixture.flush();
}

/** What was not written is lost, so the source goes on from what is there. */
async function killed(target: StoreFixture, mover: Mover): Promise<void> {
  await target.kill();
  mover.forget();
}

async function moveOnce(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const source = await StoreFixture.open();
  const target = await StoreFixture.open();
  const slot = Math.floor(random() * 1000);
  const other = keyIn((slot + 1) % SLOT_COUNT, 0);
  try {
    for (let i = 0; i < 60; i++) await write(source, slot, random);
    for (let i = 0; i < 10; i++) await write(target, (slot + 2) % SLOT_COUNT, random);
    await source.run((store) => put(store, other, Buffer.from("stays")));
    // Left over by nobody, but what arrives must not meet it.
    await target.run((store) => put(store, keyIn(slot, 1), Buffer.alloc(LARGE, 1)));
    const mover = new Mover(source, target, slot);
    await target.store.slots.begin(MOVE, mover.slots);
    await target.run(() => undefined);
    const seen = await contentsOf(target);
    for (;;) {
      if (random() < 0.6) await write(source, slot, random);
      if (random() < 0.2) mover.forget();
      if (random() < 0.1) await killed(target, mover);
      const isMore = await mover.step();
      expect(await contentsOf(target)).toEqual(seen);
      expect(await sizeOf(target)).toBe(seen.size);
      if (!isMore && random() < 0.3) break;
    }
    await source.store.slots.freeze(MOVE, mover.slots);
    await source.run(() => undefined);
    const moved = await contentsOf(source);
    if (random() < 0.3) await source.kill();
    expect(source.store.slots.moves.isHeld(slot)).toBe(true);
    const clockMs = source.store.internals.log.clockMs + 5_000;
    while (await mover.step(clockMs)) if (random() < 0.3) await killed(target, mover);
    await target.run(() => undefined);
    expect(await contentsOf(target)).toEqual(seen);
    await target.store.slots.end(MOVE, false);
    expect(target.store.internals.log.clockMs).toBeGreaterThanOrEqual(clockMs);
    await source.store.slots.end(MOVE, true);
    for (const fixture of [source, target]) {
      await fixture.run(() => undefined);
      if (random() < 0.5) await fixture.flush();
      if (random() < 0.5) await fixture.kill();
    }
    const inSlot = (key: string) => slotOf(Buffer.from(key), 0, key.length) === slot;
    const kept = new Map([...moved].filter(([key]) => !inSlot(key)));
    const came = new Map([...moved].filter(([key]) => inSlot(key)));
    expect(await contentsOf(source)).toEqual(kept);
    expect(await sizeOf(source)).toBe(kept.size);
    expect(await contentsOf(target)).toEqual(new Map([...seen, ...came]));
    expect(await sizeOf(target, slot)).toBe(came.size);
    expect(target.store.slots.moves.isIdle).toBe(true);
    expect(source.store.slots.moves.all).toEqual([
      { kind: "left", id: "left", slots: mover.slots },
    ]);
  } finally {
    await source.close();
    await target.close();
  }
}

test(
  "a slot arrives as it was frozen, whoever dies on the way, and is not seen before",
  async () => {
    const seeds = Number(process.env["DKV_MOVE_SEEDS"] ?? 12);
    const first = Number(process.env["DKV_MOVE_SEED"] ?? 1);
    for (let seed = first; seed < first + seeds; seed++) {
      try {
        await moveOnce(seed);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  },
  TIMEOUT_MS,
);
