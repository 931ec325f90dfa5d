/**
 * A seeded workload on a store over a traced file system: what crash states are made from.
 *
 * Everything that can wait (turns, syncs, steps of storage jobs) ends at random moments between units, so that
 * writes go on while syncs, flushes and merges are under way.
 */
import { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { SyncPolicy } from "../../src/store/commit-pipeline.ts";
import type { Random } from "../support/crash-states.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { type DiskImage, TracedFileSystem } from "../support/traced-file-system.ts";
import {
  contentsAfter,
  differences,
  digestOf,
  type Entry,
  keysOf,
  matchingPrefix,
  type Unit,
} from "./history.ts";
import { SlotTrip } from "./slot-trip.ts";
import { StoreSession } from "./store-session.ts";

const KIB = 1024;
const KEY_COUNT = 40;
const QUIET_TURNS = 4;
const START_MS = 1_700_000_000_000;

export interface WorkloadOptions {
  readonly random: Random;
  readonly policy: SyncPolicy;
  readonly segmentBytes: number;
  readonly stepwise: boolean;
  readonly unitCount: number;
  /** Values of more than a megabyte, which are staged over several turns. */
  readonly hasHugeValues: boolean;
}

/** What was known just before a change of the disk. */
export interface Stamp {
  /** The store was open: the history is this workload's own. */
  readonly isOpen: boolean;
  readonly acknowledged: number;
  readonly synced: number;
  readonly wallMs: number;
}

export interface Recording {
  readonly fileSystem: TracedFileSystem<Stamp>;
  readonly units: readonly Unit[];
  readonly endStamp: Stamp;
}

type Changes = [string, Entry | undefined][];

export class Workload {
  readonly #options: WorkloadOptions;
  #clock: SimulatedClock;
  readonly #fileSystem: TracedFileSystem<Stamp>;
  #session: StoreSession | undefined = undefined;
  #executor: InlineExecutor;
  #trip: SlotTrip | undefined = undefined;
  #trips = 0;

  constructor(options: WorkloadOptions, image: DiskImage, wallMs = START_MS) {
    this.#options = options;
    this.#clock = new SimulatedClock(wallMs);
    this.#fileSystem = new TracedFileSystem(image, () => this.#stamp());
    this.#fileSystem.holdsSyncs = true;
    this.#executor = this.#newExecutor();
  }

  /** Plays all units on a store that holds `before`. Throws when the store itself fails. */
  async play(before: readonly Unit[]): Promise<Recording> {
    const { random, unitCount } = this.#options;
    await this.#pumpUntil(this.#begin(before));
    for (let i = 0; i < unitCount; i++) {
      await this.#pumpUntil(this.#step());
      this.#clock.advance(Math.floor(random() * 60));
      for (let turns = Math.floor(random() * 6); turns > 0; turns--) await this.#pump();
    }
    const session = this.#session!;
    return { fileSystem: this.#fileSystem, units: session.units, endStamp: this.#stamp() };
  }

  #stamp(): Stamp {
    const session = this.#session;
    session?.noteSynced();
    return {
      isOpen: session !== undefined,
      acknowledged: session?.acknowledged ?? 0,
      synced: session?.synced ?? 0,
      wallMs: this.#clock.wallMs(),
    };
  }

  async #open(units: readonly Unit[]): Promise<StoreSession> {
    const { policy, segmentBytes } = this.#options;
    const options = {
      fileSystem: this.#fileSystem,
      clock: this.#clock,
      executor: this.#executor,
      policy,
      segmentBytes,
    };
    return await StoreSession.open(options, units);
  }

  async #begin(before: readonly Unit[]): Promise<void> {
    this.#session = await this.#open(before);
  }

  #newExecutor(): InlineExecutor {
    return new InlineExecutor(this.#fileSystem, { stepwise: this.#options.stepwise });
  }

  /** One turn of everything that goes on by itself. */
  async #pump(): Promise<void> {
    const { random } = this.#options;
    await new Promise((resolve) => setImmediate(resolve));
    if (random() < 0.7) this.#clock.runImmediates();
    const held = this.#fileSystem.heldSyncs;
    if (held > 0 && random() < 0.5) this.#fileSystem.endSync(Math.floor(random() * held));
    if (random() < 0.5) this.#executor.step();
    if (this.#session?.failure !== undefined) throw this.#session.failure;
  }

  async #pumpUntil(work: Promise<unknown>): Promise<void> {
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    done.catch(() => undefined);
    while (!isDone) await this.#pump();
    await done;
  }

  async #step(): Promise<void> {
    const { random } = this.#options;
    const chance = random();
    // A second one right after it leaves a segment without frames.
    if (chance < 0.01) await this.#session!.flush();
    if (chance < 0.03) return await this.#session!.flush();
    if (chance < 0.04) return await this.#session!.store.internals.lsm.compactAll();
    if (chance < 0.05) return await this.#restart();
    if (chance < 0.07) return await this.#kill();
    if (chance < 0.08) this.#session!.store.housekeeping.maintain();
    if (chance < (this.#trip === undefined ? 0.1 : 0.4)) return await this.#travel();
    await this.#session!.run(this.#chooseUnit());
  }

  /** Slots leave and come back, some of the way. */
  async #travel(): Promise<void> {
    this.#trip ??= new SlotTrip(this.#options.random, `trip-${this.#trips++}`);
    if (!(await this.#trip.step(this.#session!))) this.#trip = undefined;
  }

  async #restart(): Promise<void> {
    const session = this.#session!;
    this.#clock.runImmediates();
    await session.store.close();
    session.onCommitted();
    session.noteSynced();
    this.#executor = this.#newExecutor();
    this.#session = await this.#open(session.units);
  }

  /** The process dies, and another one goes on from what it had written, which no power failure has taken. */
  async #kill(): Promise<void> {
    const { units, acknowledged } = this.#session!;
    // What the dead one still does needs a sync, a turn or a step of a job: nothing of these comes any more.
    for (let i = 0; i < QUIET_TURNS; i++) await new Promise((resolve) => setImmediate(resolve));
    this.#fileSystem.forgetSyncs();
    this.#clock = new SimulatedClock(this.#clock.wallMs());
    this.#executor = this.#newExecutor();
    const session = await this.#open(units);
    const actual = await session.readAll(keysOf(units));
    const moment = { nowMs: session.store.nowMs, latestMs: this.#clock.wallMs() };
    const held = matchingPrefix(units, acknowledged, actual, moment);
    if (held.differing > 0) {
      const lines = differences(contentsAfter(units, held.count), actual, moment);
      throw new Error(`killed and started again, it has lost units: ${lines.join("; ")}`);
    }
    session.truncate(held.count);
    this.#session = session;
  }

  /** An action that does the same at each of its runs. */
  #chooseUnit(): () => Changes | "all" {
    const { random, hasHugeValues } = this.#options;
    const session = this.#session!;
    const key = this.#key();
    const chance = random();
    if (chance < 0.3) {
      const value = this.#value(300);
      const expiry = random() < 0.2 ? this.#expiry() : 0;
      return () => [session.put(key, value, expiry)];
    }
    if (chance < 0.45) {
      const value = this.#value(8 * KIB);
      return () => [session.put(key, value, 0)];
    }
    if (chance < 0.52) {
      const value = this.#value(48 * KIB);
      return () => [session.put(key, value, 0)];
    }
    if (chance < 0.6) return this.#patch(key);
    if (chance < 0.72) return () => this.#remove(key);
    if (chance < 0.82) return () => this.#count(key);
    if (chance < 0.87) return this.#expire(key);
    if (chance < 0.985) return this.#group();
    if (chance < 0.992 || !hasHugeValues) {
      // Nobody may have all keys deleted while a slot is frozen.
      if (session.store.slots.moves.hasFrozen) return () => [];
      return () => {
        session.store.removeAll();
        return "all";
      };
    }
    const value = Buffer.alloc(1100 * KIB, this.#value(1000));
    return () => [session.put(key, value, 0)];
  }

  /** One that may be read and written. */
  #key(): string {
    for (;;) {
      const key = `key-${Math.floor(this.#options.random() ** 2 * KEY_COUNT)}`;
      if (!this.#session!.isHeld(key)) return key;
    }
  }

  /** Up to `bytesMax` bytes that do not repeat elsewhere. */
  #value(bytesMax: number): Buffer {
    const { random } = this.#options;
    const value = Buffer.alloc(Math.floor(random() * bytesMax), `${random()} `);
    return value;
  }

  #expiry(): number {
    const { random } = this.#options;
    const ms = random() < 0.5 ? 400 : 1_000_000;
    return this.#clock.wallMs() + 1 + Math.floor(random() * ms);
  }

  /** The key's value, compared with the history. */
  #read(key: string): { bytes: Buffer; expiry: number } | undefined {
    const session = this.#session!;
    const found = session.read(key);
    const entry = session.contents.get(key);
    const isLive =
      entry !== undefined && (entry.expiry === 0 || entry.expiry > session.store.nowMs);
    const wanted = isLive ? entry.digest : "absent";
    const got = found === undefined ? "absent" : digestOf(found.bytes);
    if (wanted !== got) throw new Error(`${key} reads ${got}, not ${wanted}, before any crash`);
    return found;
  }

  #remove(key: string): Changes {
    const found = this.#read(key);
    if (found === undefined) return [];
    this.#session!.select(key);
    this.#session!.store.remove();
    return [[key, undefined]];
  }

  #count(key: string): Changes {
    const session = this.#session!;
    const found = this.#read(key);
    const before = found === undefined ? 0 : found.bytes.length;
    const value = Buffer.from(`count ${before} ${session.units.length}`);
    return [session.put(key, value, found?.expiry ?? 0)];
  }

  #patch(key: string): () => Changes {
    const offset = Math.floor(this.#options.random() * 70 * KIB);
    const patch = this.#value(2 * KIB);
    return () => {
      const session = this.#session!;
      const found = this.#read(key);
      if (patch.length === 0) return [];
      const length = Math.max(found?.bytes.length ?? 0, offset + patch.length);
      const value = Buffer.alloc(length);
      if (found !== undefined) value.set(found.bytes);
      value.set(patch, offset);
      session.select(key);
      const exists = session.store.find();
      session.store.patch(exists, offset, patch, 0, patch.length);
      return [[key, { digest: digestOf(value), expiry: found?.expiry ?? 0 }]];
    };
  }

  #expire(key: string): () => Changes {
    const expiry = this.#options.random() < 0.3 ? 0 : this.#expiry();
    return () => {
      const session = this.#session!;
      const found = this.#read(key);
      if (found === undefined) return [];
      session.select(key);
      session.store.find();
      session.store.setExpiry(expiry);
      return [[key, { digest: digestOf(found.bytes), expiry }]];
    };
  }

  /** Several keys at once: MSET, or EXEC of SET and DEL. */
  #group(): () => Changes {
    const { random } = this.#options;
    const keys = new Set<string>();
    for (let i = 2 + Math.floor(random() * 5); i > 0; i--) keys.add(this.#key());
    const plan = [...keys].map((key) => ({
      key,
      value: random() < 0.25 ? undefined : this.#value(random() < 0.1 ? 36 * KIB : 200),
    }));
    return () =>
      plan.flatMap(({ key, value }) =>
        value === undefined ? this.#remove(key) : [this.#session!.put(key, value, 0)],
      );
  }
}
