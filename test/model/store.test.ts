/**
 * The Store against a Map: random units of random operations on stores of random shapes (tiny segments, tables, levels
 * and caches; reads that always wait; storage jobs in this thread or in the Worker; each sync policy), over time
 * that passes, flushes and restarts. Units run one after the other or several at once; whichever ends first is in the Map
 * first, and every unit sees exactly the Map while it runs.
 *
 * DKV_MODEL_RUNS: stores (default 12). DKV_MODEL_SEED: the first seed; a failure prints its own.
 */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { DiskFileSystem, type FileSystem } from "../../src/base/file-system.ts";
import { InlineExecutor, WorkerExecutor } from "../../src/lsm/storage-executor.ts";
import { PREPARING, Refusal, UnitWork } from "../../src/store/interrupt.ts";
import { openStore } from "../../src/store/open-store.ts";
import type { Store } from "../../src/store/store.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { type Action, KIB, MIB, type Shape, type Step, shape, step } from "./random-store.ts";

const RUNS = Number(process.env["DKV_MODEL_RUNS"] ?? 12);
const SEED = process.env["DKV_MODEL_SEED"];
const TIMEOUT_MS = 24 * 3_600_000;
const START_MS = 1_700_000_000_000;

let units = 0;
let restarts = 0;

interface Entry {
  readonly value: Buffer;
  /** 0: none. */
  readonly expiry: number;
}

type Changes = Map<string, Entry | undefined>;

function nameOf(index: number): string {
  return index % 5 === 0 ? `{tag}${index}` : `key-${index}`;
}

function fillOf(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = (seed + i * 31 + (i >>> 8)) & 0xff;
  return bytes;
}

class Subject {
  readonly #shape: Shape;
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #clock = new SimulatedClock(START_MS, true);
  readonly #model = new Map<string, Entry>();
  /** Names ever written, which a deep check reads. */
  readonly #names = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  /** Room for two large values or so: others wait. */
  readonly #largeBytes = new ByteBudget(4 * MIB);
  #failure: Error | undefined = undefined;
  #store!: Store;

  constructor(kind: Shape) {
    this.#shape = kind;
    this.#fileSystem = kind.onDisk ? new DiskFileSystem() : new MemoryFileSystem();
    this.#directory = kind.onDisk ? mkdtempSync(`${tmpdir()}/dkv-model-`) : "/data";
  }

  async open(): Promise<void> {
    const { segmentBytes, segments, policy, tuning, onDisk } = this.#shape;
    const { store } = await openStore({
      fileSystem: this.#fileSystem,
      directory: this.#directory,
      clock: this.#clock,
      executor: onDisk ? await WorkerExecutor.start(2 ** 30) : new InlineExecutor(this.#fileSystem),
      random: new Uint8Array(24).fill(9),
      syncPolicy: policy,
      segmentBytes,
      segmentPoolBytes: segments * segmentBytes,
      tuning,
      minFreeDiskBytes: () => 0,
      valueBytesMax: 16 * MIB,
      largeBytes: this.#largeBytes,
      onFatal: (error) => {
        this.#failure ??= error;
      },
      onCommitted: () => undefined,
      onRecovering: () => undefined,
    });
    this.#store = store;
  }

  async close(): Promise<void> {
    await this.#idle();
    await this.#store.close();
    this.#check();
  }

  dispose(): void {
    if (this.#shape.onDisk) rmSync(this.#directory, { recursive: true });
  }

  async perform(each: Step): Promise<void> {
    if (each.do === "unit") await this.#unit(each);
    else if (each.do === "burst") await this.#burst(each.count, each.from);
    else if (each.do === "removeAll") await this.#removeAll();
    else if (each.do === "advance") this.#clock.advance(each.ms);
    else if (each.do === "turns") for (let i = 0; i < each.count; i++) await turn();
    else if (each.do === "flush") await this.#flush();
    else if (each.do === "scan") await this.#scan(each.count);
    else if (each.do === "reopen") await this.reopen();
    else await this.checkAll();
    this.#check();
  }

  async reopen(): Promise<void> {
    restarts++;
    await this.close();
    await this.open();
  }

  /** Every key that was ever written is as the model says, and so are size and scan. */
  async checkAll(): Promise<void> {
    await this.#idle();
    for (const name of this.#names) {
      await this.#run(() => {
        this.#read(name, new Map(), 0, 1000);
        return new Map();
      });
    }
    // Reading has removed all that had expired.
    let count = -1;
    await this.#run(() => {
      count = this.#store.size();
      return new Map();
    });
    expect(count).toBe(this.#liveNames().length);
    await this.#scan(1000);
  }

  async #unit(each: Extract<Step, { do: "unit" }>): Promise<void> {
    const run = this.#run(() => {
      const changes: Changes = new Map();
      for (const one of each.actions) this.#act(one, changes);
      return each.isAborted ? undefined : changes;
    });
    if (!each.isConcurrent) {
      await run;
      return;
    }
    const running: Promise<void> = run.finally(() => this.#running.delete(running));
    this.#running.add(running);
    running.catch((error: Error) => {
      this.#failure ??= error;
    });
  }

  async #burst(count: number, from: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const name = `burst-${(from * 7 + i) % 500}`;
      const value = fillOf(1 + ((from + i * 13) % 900), i & 0xff);
      await this.#run(() => {
        this.#select(name);
        this.#store.put(value, 0, value.length, 0);
        return new Map([[name, { value, expiry: 0 }]]);
      });
    }
  }

  async #removeAll(): Promise<void> {
    await this.#run(() => {
      this.#store.removeAll();
      return "all";
    });
  }

  async #flush(): Promise<void> {
    const { pipeline, segments } = this.#store.internals;
    pipeline.endTurn();
    if (segments.roll()) await segments.flush();
  }

  async #scan(count: number): Promise<void> {
    const isAlone = this.#running.size === 0;
    const before = new Set(this.#liveNames());
    const seen = new Set<string>();
    let cursor = 0;
    do {
      await this.#run(() => {
        const page = this.#store.scan(cursor, count);
        for (const { key: bytes } of page.keys) seen.add(bytes.toString());
        cursor = page.next;
        return new Map();
      });
    } while (cursor !== 0);
    if (!isAlone) return;
    expect([...seen].sort()).toEqual([...before].sort());
  }

  #act(one: Action, changes: Changes): void {
    if (one.do === "read") this.#read(nameOf(one.key), changes, one.from, one.to);
    else if (one.do === "put") this.#put(one, changes);
    else if (one.do === "patch") this.#patch(one, changes);
    else if (one.do === "remove") this.#remove(nameOf(one.key), changes);
    else if (one.do === "expire") this.#expire(one, changes);
    else this.#size(changes);
  }

  #put(one: Extract<Action, { do: "put" }>, changes: Changes): void {
    const name = nameOf(one.key);
    const value = fillOf(this.#lengthOf(one.size), one.seed);
    const at = one.expiry === 0 ? 0 : this.#store.nowMs + one.expiry;
    this.#select(name);
    if (one.seed % 3 === 0) this.#store.putPieces([value.subarray(0, 7), value.subarray(7)], at);
    else this.#store.put(value, 0, value.length, at);
    changes.set(name, { value, expiry: at });
  }

  #patch(one: Extract<Action, { do: "patch" }>, changes: Changes): void {
    const name = nameOf(one.key);
    const old = this.#expected(name, changes);
    const bytes = fillOf(Math.min(100 * KIB, this.#lengthOf(one.size)), one.seed);
    const offset = Math.floor(((old?.value.length ?? 0) * one.at) / 700) + (one.at % 7);
    this.#select(name);
    const exists = this.#store.find();
    expect(exists).toBe(old !== undefined);
    const length = this.#store.patch(exists, offset, bytes, 0, bytes.length);
    const value = Buffer.alloc(Math.max(old?.value.length ?? 0, offset + bytes.length));
    old?.value.copy(value);
    bytes.copy(value, offset);
    expect(length).toBe(value.length);
    changes.set(name, { value, expiry: old?.expiry ?? 0 });
  }

  #remove(name: string, changes: Changes): void {
    this.#select(name);
    expect(this.#store.remove()).toBe(this.#expected(name, changes) !== undefined);
    changes.set(name, undefined);
  }

  #expire(one: Extract<Action, { do: "expire" }>, changes: Changes): void {
    const name = nameOf(one.key);
    const old = this.#expected(name, changes);
    this.#select(name);
    expect(this.#store.find()).toBe(old !== undefined);
    if (old === undefined) return;
    const at = one.expiry === 0 ? 0 : this.#store.nowMs + one.expiry;
    this.#store.setExpiry(at);
    changes.set(name, { ...old, expiry: at });
  }

  #read(name: string, changes: Changes, from: number, to: number): void {
    const store = this.#store;
    const expected = this.#expected(name, changes);
    this.#select(name);
    const exists = store.find();
    if (exists !== (expected !== undefined)) {
      throw new Error(
        `${name} ${exists ? "exists" : "is gone"}, ${this.#describe(expected)} expected`,
      );
    }
    if (expected === undefined) return;
    const { value } = expected;
    expect(store.found.expiry).toBe(expected.expiry);
    expect(store.valueLength).toBe(value.length);
    const start = Math.floor((value.length * Math.min(from, to)) / 1000);
    const end = Math.floor((value.length * Math.max(from, to)) / 1000);
    const isWhole = start === 0 && end === value.length;
    let bytes = Buffer.alloc(end - start, 0xee);
    if (isWhole && value.length > MIB) bytes = Buffer.concat(store.valuePieces());
    else store.readValue(start, end, bytes, 0);
    if (bytes.equals(value.subarray(start, end))) return;
    const at = bytes.findIndex((byte, i) => byte !== value[start + i]);
    throw new Error(`${name} differs from ${this.#describe(expected)} at ${start + at}`);
  }

  #size(changes: Changes): void {
    const size = this.#store.size();
    const all = new Map<string, Entry | undefined>([...this.#model, ...changes]);
    const written = [...all.values()].filter((entry) => entry !== undefined);
    const live = written.filter((entry) => this.#isLive(entry));
    // What has expired counts until somebody has noticed.
    expect(size).toBeGreaterThanOrEqual(live.length);
    expect(size).toBeLessThanOrEqual(written.length);
  }

  /** Runs a unit as often as it takes; its changes are in the model when it has ended. `undefined`: abort it. */
  async #run(unit: () => Changes | "all" | undefined): Promise<void> {
    const store = this.#store;
    const work = new UnitWork();
    for (;;) {
      store.beginBatch();
      store.beginUnit(work);
      try {
        const changes = unit();
        if (changes === undefined) store.abortUnit();
        else store.endUnit();
        units++;
        this.#apply(changes);
        this.#largeBytes.release(work.heldBytes);
        return;
      } catch (error) {
        store.abortUnit();
        if (error instanceof Refusal) {
          this.#largeBytes.release(work.heldBytes);
          return;
        }
        if (error === PREPARING) {
          work.results.push((await work.pending)!);
          work.pending = undefined;
        } else if (store.isInterrupt(error)) {
          await store.resolve(error);
        } else {
          throw error;
        }
      }
    }
  }

  #apply(changes: Changes | "all" | undefined): void {
    if (changes === undefined) return;
    if (changes === "all") {
      this.#model.clear();
      return;
    }
    for (const [name, entry] of changes) {
      this.#names.add(name);
      if (entry === undefined) this.#model.delete(name);
      else this.#model.set(name, entry);
    }
  }

  #select(name: string): void {
    const bytes = Buffer.from(name);
    this.#store.select(bytes, 0, bytes.length);
  }

  #isLive(entry: Entry): boolean {
    return entry.expiry === 0 || entry.expiry > this.#store.nowMs;
  }

  #expected(name: string, changes: Changes): Entry | undefined {
    const entry = changes.has(name) ? changes.get(name) : this.#model.get(name);
    return entry !== undefined && this.#isLive(entry) ? entry : undefined;
  }

  #liveNames(): string[] {
    this.#store.beginBatch();
    return [...this.#model].filter(([, entry]) => this.#isLive(entry)).map(([name]) => name);
  }

  #lengthOf([kind, tenths]: readonly [string, number]): number {
    if (kind === "tiny") return tenths % 20;
    if (kind === "small") return tenths;
    const isRoomy = this.#shape.segmentBytes >= 4 * MIB;
    if (kind === "chunked") return 30 * KIB + tenths * (isRoomy ? 500 : 30);
    return isRoomy ? MIB - 2000 + tenths * 2000 : 50 * KIB + tenths;
  }

  #describe(entry: Entry | undefined): string {
    return entry === undefined ? "nothing" : `${entry.value.length} bytes until ${entry.expiry}`;
  }

  async #idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled([...this.#running]);
    this.#check();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test(
  "Store does what a Map does, through flushes, merges, waits and restarts",
  async () => {
    const steps = fc.array(step, { minLength: 1, maxLength: 80, size: "max" });
    await fc.assert(
      fc.asyncProperty(shape, steps, async (kind, all) => {
        const subject = new Subject(kind);
        await subject.open();
        try {
          for (const each of all) await subject.perform(each);
          await subject.checkAll();
          await subject.reopen();
          await subject.checkAll();
        } finally {
          await subject.close();
          subject.dispose();
        }
      }),
      { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
    );
    console.log(`store model: ${RUNS} stores, ${units} units, ${restarts} restarts`);
  },
  TIMEOUT_MS,
);
