/** Removal of expired keys by the store itself, while no client reads or writes them. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { StoreFixture } from "./store-support.ts";

const KEYS = 500;
const HOUR_MS = 3_600_000;
const ROUNDS_MAX = 2000;

let fixture: StoreFixture;
beforeEach(async () => {
  fixture = await StoreFixture.open();
});
afterEach(async () => {
  await fixture.close();
});

async function putExpiring(): Promise<void> {
  const expiry = fixture.clock.wallMs() + HOUR_MS;
  await fixture.run((store) => {
    for (let i = 0; i < KEYS; i++) {
      const key = Buffer.from(`key-${i}`);
      store.select(key, 0, key.length);
      store.put(key, 0, key.length, expiry);
    }
  });
}

async function size(): Promise<number> {
  let keys = -1;
  await fixture.run((store) => {
    keys = store.size();
  });
  return keys;
}

test("keys that expire in tables are removed although nothing is written", async () => {
  await putExpiring();
  const { pipeline, segments, lsm } = fixture.store.internals;
  pipeline.endTurn();
  expect(segments.roll()).toBe(true);
  await fixture.flush();
  expect(lsm.info.levels[0]!.records).toBe(KEYS);
  fixture.clock.shiftMs = 2 * HOUR_MS;
  for (let round = 0; round < ROUNDS_MAX && (await size()) > 0; round++) {
    fixture.store.housekeeping.maintain();
    await fixture.store.nextTurn();
  }
  expect(await size()).toBe(0);
});
