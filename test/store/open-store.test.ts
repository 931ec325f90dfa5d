import { expect, test } from "bun:test";
import { openStore } from "../../src/store/open-store.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { memoryStoreOptions } from "./memory-store.ts";

function open(fileSystem: MemoryFileSystem) {
  return openStore(memoryStoreOptions(fileSystem));
}

test("openStore() sums recovery up in numbers: the line that says so is written at every start", async () => {
  const fileSystem = new MemoryFileSystem();
  const { store } = await open(fileSystem);
  await store.runUnit(() => {
    const key = Buffer.from("key");
    store.select(key, 0, key.length);
    store.put(key, 0, key.length, 0);
  });
  await store.close();
  const again = await open(fileSystem);
  expect(again.recovery).toEqual({
    replayedBytes: expect.any(Number),
    cutBytes: 0,
    records: 1,
  });
  expect(again.recovery.replayedBytes).toBeGreaterThan(0);
  await again.store.close();
});
