/**
 * Lsm against a sorted Map: random flushes with range deletions, tombstones, chunked values and expiries, merges,
 * restarts; tables and levels so small that every few records make one. Reads, scans and counts must agree
 * exactly after every step, and after a full compaction nothing but live records may be left.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { RecordType } from "../../src/base/record.ts";
import { SLOT_COUNT } from "../../src/base/slot.ts";
import type { FlushSource } from "../../src/lsm/flush.ts";
import { Lsm } from "../../src/lsm/lsm.ts";
import { type KeyQuery, RecordView } from "../../src/lsm/order-key.ts";
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import { ColdReadError } from "../../src/lsm/table-iterator.ts";
import { FindStatus } from "../../src/lsm/table-reader.ts";
import { ArenaBuilder, keyOf, queryOf, SEED, valueTextOf } from "../support/arena.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const { VALUE, TOMBSTONE, CHUNKED, CHUNK } = RecordType;
const KEYS = [
  ...Array.from({ length: 40 }, (_, i) => `key-${i}`),
  ...Array.from({ length: 10 }, (_, i) => `{tag}:${i}`),
  ...Array.from({ length: 10 }, (_, i) => `~{same}:${i}`),
];
const QUERIES = new Map(KEYS.map((key) => [key, queryOf(key)]));
const CHUNKS_MAX = 4;
const DIRECTORY = "/lsm";

type Change =
  | { kind: "set"; key: number; value: number; mark: boolean; expiry: number }
  | { kind: "remove"; key: number; mark: boolean }
  | { kind: "chunks"; key: number; value: number; count: number; mark: boolean }
  | { kind: "rewrite"; key: number; value: number; chunk: number }
  | { kind: "drop"; start: number; end: number; commit: boolean }
  | { kind: "undone drop"; start: number; end: number }
  | { kind: "new source" };

type Step =
  | { kind: "flush"; changes: readonly Change[] }
  | { kind: "reopen" }
  | { kind: "compact all" }
  | { kind: "tick"; ms: number };

const key = fc.nat(KEYS.length - 1);
const value = fc.nat(1000);
const slot = fc.nat(SLOT_COUNT - 1);
const mark = fc.boolean();
const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      kind: fc.constant("set" as const),
      key,
      value,
      mark,
      expiry: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 2000 })),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("remove" as const), key, mark }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("chunks" as const),
      key,
      value,
      count: fc.integer({ min: 1, max: CHUNKS_MAX }),
      mark,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("rewrite" as const),
      key,
      value,
      chunk: fc.nat(CHUNKS_MAX - 1),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("drop" as const),
      start: slot,
      end: slot,
      commit: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("undone drop" as const), start: slot, end: slot }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("new source" as const) }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("flush" as const),
      changes: fc.array(change, { minLength: 1, maxLength: 60, size: "max" }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact all" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("tick" as const), ms: fc.nat(1000) }),
  },
);

interface Entry {
  value: string;
  expiry: number;
  /** Of a CHUNKED record. */
  version: number;
  chunks: string[];
}

function chunkSubKey(version: number, chunk: number): Uint8Array {
  const subKey = new Uint8Array(10);
  const view = new DataView(subKey.buffer);
  view.setUint16(0, Math.floor(version / 2 ** 32));
  view.setUint32(2, version);
  view.setUint32(6, chunk);
  return subKey;
}

function chunkedValue(version: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint32(6, version, true);
  view.setUint16(10, Math.floor(version / 2 ** 32), true);
  return bytes;
}

class Harness {
  readonly fileSystem = new MemoryFileSystem();
  readonly model = new Map<string, Entry>();
  clockMs = 1;
  sequence = 0;
  reported = 0;
  lsm: Lsm;
  readonly #sources: FlushSource[] = [];
  #arena: ArenaBuilder;
  /** As a memtable would know them. */
  #known = new Float64Array(SLOT_COUNT);
  readonly #inMemory = new Set<string>();
  readonly #uncommitted: number[] = [];
  readonly #tuning: { forceAsync: boolean; compression: "none" | "zstd" };

  constructor(tuning: { forceAsync: boolean; compression: "none" | "zstd" }) {
    this.#tuning = tuning;
    this.lsm = this.open();
    this.#arena = new ArenaBuilder(this.sequence, 64 * 1024);
  }

  open(): Lsm {
    return Lsm.open({
      fileSystem: this.fileSystem,
      directory: DIRECTORY,
      executor: new InlineExecutor(this.fileSystem),
      nowMicros: () => 0,
      clockMs: () => this.clockMs,
      hashSeed: SEED,
      tuning: {
        ...this.#tuning,
        blockBytes: 256,
        targetTableBytes: 1024,
        levelBaseBytes: 2048,
        levelMultiplier: 3,
        level0Trigger: 2,
        level0DepthMax: 3,
        manifestBytes: 16 * 1024,
        expiredPerJob: 3,
      },
      onError: (error) => {
        throw error;
      },
      onExpired: (batch) => {
        this.reported += batch.count;
      },
    });
  }

  /** A write of the key itself: marks it or counts it. */
  #write(name: string, exists: boolean, wantsMark: boolean): boolean {
    const existed = this.model.has(name);
    const isFirst = !this.#inMemory.has(name);
    this.#inMemory.add(name);
    if (isFirst && wantsMark) return true;
    this.#known[QUERIES.get(name)!.slot]! += (exists ? 1 : 0) - (existed ? 1 : 0);
    return false;
  }

  change(change: Change): void {
    const arena = this.#arena;
    switch (change.kind) {
      case "set": {
        const name = KEYS[change.key]!;
        const text = `${name}=${change.value}`;
        const expiry = change.expiry;
        const marked = this.#write(name, true, change.mark);
        const spec = { type: VALUE, key: name, value: text, mark: marked };
        arena.add(expiry === 0 ? spec : { ...spec, expiry });
        this.model.set(name, { value: text, expiry, version: -1, chunks: [] });
        return;
      }
      case "remove": {
        const name = KEYS[change.key]!;
        arena.add({ type: TOMBSTONE, key: name, mark: this.#write(name, false, change.mark) });
        this.model.delete(name);
        return;
      }
      case "chunks": {
        const name = KEYS[change.key]!;
        const version = arena.nextSequence;
        const marked = this.#write(name, true, change.mark);
        arena.add({ type: CHUNKED, key: name, value: chunkedValue(version), mark: marked });
        const chunks = Array.from({ length: change.count }, (_, i) => `${i}:${change.value}`);
        chunks.forEach((text, i) => {
          arena.add({ type: CHUNK, key: name, subKey: chunkSubKey(version, i), value: text });
        });
        this.model.set(name, { value: "", expiry: 0, version, chunks });
        return;
      }
      case "rewrite": {
        const name = KEYS[change.key]!;
        const entry = this.model.get(name);
        if (entry === undefined || change.chunk >= entry.chunks.length) return;
        const text = `again:${change.value}`;
        const subKey = chunkSubKey(entry.version, change.chunk);
        arena.add({ type: CHUNK, key: name, subKey, value: text });
        entry.chunks[change.chunk] = text;
        return;
      }
      case "drop":
        this.#drop(change);
        return;
      case "undone drop": {
        // A frame that never got committed: its sequences are used again.
        const start = Math.min(change.start, change.end);
        this.lsm.addRangeDeletion(
          arena.nextSequence,
          start,
          Math.max(change.start, change.end) + 1,
        );
        this.lsm.removeRangeDeletion(arena.nextSequence);
        return;
      }
      case "new source":
        this.#newSource();
    }
  }

  #drop(change: { start: number; end: number; commit: boolean }): void {
    const start = Math.min(change.start, change.end);
    const end = Math.max(change.start, change.end) + 1;
    const sequence = this.#arena.addRangeDeletion(start, end);
    this.lsm.addRangeDeletion(sequence, start, end);
    for (let s = start; s < end; s++) this.#known[s] = -this.lsm.baseCounts[s]!;
    for (const [name, query] of QUERIES) {
      if (query.slot < start || query.slot >= end) continue;
      this.model.delete(name);
      // Gone from memory with the rest: the next write may be marked again.
      this.#inMemory.delete(name);
    }
    if (change.commit) this.#uncommitted.push(sequence);
  }

  #newSource(): void {
    if (this.#arena.count === 0) return;
    this.#sources.push(this.#arena.source());
    this.sequence = this.#arena.nextSequence;
    this.#arena = new ArenaBuilder(this.sequence, 64 * 1024);
  }

  async flush(): Promise<void> {
    for (const sequence of this.#uncommitted.splice(0)) this.lsm.commitRangeDeletions([sequence]);
    this.#newSource();
    const sources = this.#sources.splice(0);
    if (sources.length === 0) return;
    const resolved = await this.lsm.resolveCounts(sources);
    const expected = this.lsm.baseCounts.map((count, s) => count + this.#known[s]! + resolved[s]!);
    await this.lsm.flush(sources, this.#known);
    expect([...this.lsm.baseCounts]).toEqual([...expected]);
    this.#known = new Float64Array(SLOT_COUNT);
    this.#inMemory.clear();
  }

  async reopen(): Promise<void> {
    await this.lsm.close();
    expect(this.fileSystem.openFiles).toBe(0);
    this.lsm = this.open();
    expect(this.lsm.flushedSequence).toBe(this.sequence);
  }

  async check(): Promise<void> {
    const counts = new Float64Array(SLOT_COUNT);
    for (const name of this.model.keys()) counts[QUERIES.get(name)!.slot]!++;
    expect([...this.lsm.baseCounts]).toEqual([...counts]);
    for (const [name, query] of QUERIES) {
      const entry = this.model.get(name);
      const found = await this.#find(query);
      if (entry === undefined) {
        expect(found === undefined || found.type === TOMBSTONE).toBe(true);
        continue;
      }
      expect(found?.expiry).toBe(entry.expiry);
      if (entry.version < 0) expect(found?.text).toBe(entry.value);
      else expect(found?.type).toBe(CHUNKED);
      for (const [i, text] of entry.chunks.entries()) {
        const chunk = await this.#find(queryOf(name, chunkSubKey(entry.version, i)));
        expect(chunk?.text).toBe(text);
      }
    }
    expect(await this.#scan()).toEqual([...this.model.keys()].sort());
  }

  /** After a full compaction: nothing is stored but what lives. */
  checkCompact(): void {
    let records = 0;
    for (const entry of this.model.values()) records += 1 + entry.chunks.length;
    const { levels, rangeDeletions } = this.lsm.info;
    expect(levels.reduce((sum, level) => sum + level.records, 0)).toBe(records);
    expect(rangeDeletions).toBe(0);
    const tables = levels.reduce((sum, level) => sum + level.tables, 0);
    // The tables, a manifest and CURRENT.
    expect(this.fileSystem.list(DIRECTORY).length).toBe(tables + 2);
  }

  async #find(
    query: KeyQuery,
  ): Promise<{ type: number; text: string; expiry: number } | undefined> {
    const record = new RecordView();
    let status = this.lsm.find(query, record);
    for (let tries = 0; status === FindStatus.COLD; tries++) {
      // A merge may change the version during a wait, but not for ever.
      expect(tries).toBeLessThan(20);
      await this.lsm.prefetch([query]);
      status = this.lsm.find(query, record);
      this.lsm.unpin();
    }
    if (status === FindStatus.ABSENT) return undefined;
    return { type: record.type, text: valueTextOf(record), expiry: record.expiry };
  }

  async #scan(): Promise<string[]> {
    for (;;) {
      try {
        const iterator = this.lsm.iterator();
        const keys: string[] = [];
        let last = -1;
        for (iterator.seek(0); iterator.isValid(); iterator.next()) {
          const record = iterator.current;
          const position = record.slot * 2 ** 32 + record.hash;
          expect(position).toBeGreaterThanOrEqual(last);
          last = position;
          if (record.type === VALUE || record.type === CHUNKED) keys.push(keyOf(record));
        }
        return keys.sort();
      } catch (error) {
        if (!(error instanceof ColdReadError)) throw error;
        await error.load();
      }
    }
  }
}

async function play(
  steps: readonly Step[],
  tuning: { forceAsync: boolean; compression: "none" | "zstd" },
): Promise<void> {
  const harness = new Harness(tuning);
  for (const step of steps) {
    if (step.kind === "flush") {
      for (const change of step.changes) harness.change(change);
      await harness.flush();
    } else if (step.kind === "reopen") {
      await harness.reopen();
    } else if (step.kind === "tick") {
      harness.clockMs += step.ms;
    } else {
      await harness.lsm.compactAll();
      await harness.lsm.waitIdle();
      harness.checkCompact();
    }
    await harness.check();
  }
  await harness.lsm.waitIdle();
  await harness.check();
  await harness.lsm.close();
  expect(harness.fileSystem.openFiles).toBe(0);
}

const runs = Number(process.env["DKV_FUZZ_RUNS"] ?? 40);

test("Lsm agrees with a map", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 3, maxLength: 25, size: "max" }),
      fc.record({
        forceAsync: fc.boolean(),
        compression: fc.constantFrom("none" as const, "zstd" as const),
      }),
      play,
    ),
    { numRuns: runs },
  );
}, 600_000);
