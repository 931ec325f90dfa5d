import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Resident } from "../../src/store/segments.ts";
import { StoreFixture } from "./store-support.ts";

const KEYS = 200;

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await StoreFixture.open();
});

afterEach(async () => {
  await fixture.close();
});

async function putAll(value: string): Promise<void> {
  const bytes = Buffer.from(value);
  await fixture.run((store) => {
    for (let i = 0; i < KEYS; i++) {
      const key = Buffer.from(`key-${i}`);
      store.select(key, 0, key.length);
      store.put(bytes, 0, bytes.length, 0);
    }
  });
}

function roll(): void {
  const { pipeline, segments } = fixture.store.internals;
  pipeline.endTurn();
  expect(segments.roll()).toBe(true);
}

function residents(): readonly Resident[] {
  return fixture.store.internals.segments.residents;
}

function level0Records(): number {
  return fixture.store.internals.lsm.info.levels[0]!.records;
}

describe("groups of segments", () => {
  test("records that another segment of the group has overwritten are marked, and unmarked when the unit is taken back", async () => {
    await putAll("one");
    roll();
    const { store } = fixture;
    const [first, second] = residents();
    expect(second!.memory.group).toBe(first!.memory.group);
    expect(first!.memory.deadCount).toBe(0);
    await store
      .runUnit(() => {
        const key = Buffer.from("key-7");
        store.select(key, 0, key.length);
        store.put(key, 0, key.length, 0);
        expect(first!.memory.deadCount).toBe(1);
        throw new Error("taken back");
      })
      .catch((error: Error) => expect(error.message).toBe("taken back"));
    expect(first!.memory.deadCount).toBe(0);
    expect(first!.memory.dead.every((byte) => byte === 0)).toBe(true);
    await putAll("two");
    expect(first!.memory.deadCount).toBe(KEYS);
  });

  test("a group grows while its records are overwritten, and is flushed with the newest of each key only", async () => {
    let rounds = 0;
    while (residents().at(-1)!.memory.group === residents()[0]!.memory.group) {
      await putAll(`round ${rounds++}`);
      roll();
    }
    // Six arenas: without overwritten records a group would have two segments.
    expect(rounds).toBeGreaterThan(2);
    await fixture.flush();
    expect(level0Records()).toBe(KEYS);
  });

  test("a flush of a part of a group keeps records that have been overwritten behind it", async () => {
    await putAll("one");
    roll();
    await putAll("two");
    expect(residents()[0]!.memory.deadCount).toBe(KEYS);
    expect(residents()[1]!.memory.group).toBe(residents()[0]!.memory.group);
    await fixture.flush();
    expect(level0Records()).toBe(KEYS);
  });
});
