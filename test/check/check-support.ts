/** Data directories for checks: one made by a real store, and copies of it to damage. */
import * as fs from "node:fs";
import * as path from "node:path";
import { DiskFileSystem } from "../../src/base/file-system.ts";
import { type CheckReport, checkDirectory } from "../../src/store/check/check-directory.ts";
import { StoreFixture } from "../store/store-support.ts";

export interface Sample {
  readonly directory: string;
  /** What the store said. */
  readonly keys: number;
  readonly segments: readonly string[];
  readonly tables: readonly string[];
}

/**
 * Writes a store with flushes, a compaction, chunked values and deletions, and copies what is on disk to `target`.
 * `removesAll`: near its end all keys are deleted.
 */
export async function makeSample(target: string, removesAll = false): Promise<Sample> {
  const fixture = await StoreFixture.open();
  try {
    const put = (name: string, bytes: number, expiry = 0): Promise<void> =>
      fixture.run((store) => {
        const key = Buffer.from(name);
        store.select(key, 0, key.length);
        store.put(Buffer.alloc(bytes, name), 0, bytes, expiry);
      });
    const remove = (name: string): Promise<void> =>
      fixture.run((store) => {
        const key = Buffer.from(name);
        store.select(key, 0, key.length);
        store.remove();
      });
    for (let i = 0; i < 3000; i++) await put(`key:${i}`, 500, i % 7 === 0 ? 4e12 + i : 0);
    for (let i = 0; i < 4; i++) await put(`large:${i}`, 200_000);
    for (let i = 0; i < 3000; i += 3) await remove(`key:${i}`);
    await fixture.flush();
    await fixture.store.internals.lsm.compactAll();
    await fixture.store.internals.lsm.waitIdle();
    for (let i = 2000; i < 5000; i++) await put(`key:${i}`, 300);
    for (let i = 2000; i < 5000; i += 5) await remove(`key:${i}`);
    await fixture.flush();
    await fixture.store.internals.lsm.waitIdle();
    if (removesAll) await fixture.run((store) => store.removeAll());
    for (let i = 4900; i < 5100; i++) await put(`key:${i}`, 100);
    await remove("large:0");
    await fixture.store.internals.segments.resolveCounts();
    let keys = 0;
    await fixture.run((store) => {
      keys = store.size();
    });
    const wal = path.dirname(fixture.store.internals.log.segments[0]!.file.path);
    fs.cpSync(path.dirname(wal), target, { recursive: true });
    const tables = fs.readdirSync(path.join(target, "tables"));
    return {
      directory: target,
      keys,
      segments: fs.readdirSync(path.join(target, "wal")).sort(),
      tables: tables.filter((name) => name.endsWith(".table")).sort(),
    };
  } finally {
    await fixture.close();
  }
}

export function check(directory: string): CheckReport {
  return checkDirectory({
    fileSystem: new DiskFileSystem(),
    directory,
    onProgress: () => undefined,
  });
}

/** Changes one bit of a file. */
export function flip(file: string, offset: number): void {
  const bytes = fs.readFileSync(file);
  bytes[offset]! ^= 0x10;
  fs.writeFileSync(file, bytes);
}

/** Every file below `directory` with its content and time of change: a check must leave all of it alone. */
export function snapshot(directory: string): Record<string, string> {
  const names = fs.readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
  const entries = names.map((name): [string, string] => {
    const file = path.join(directory, name);
    const stat = fs.statSync(file);
    const hash = stat.isFile() ? Bun.hash(fs.readFileSync(file)) : 0;
    return [name, `${stat.mode} ${stat.size} ${stat.mtimeMs} ${stat.ctimeMs} ${hash}`];
  });
  return Object.fromEntries(entries);
}
