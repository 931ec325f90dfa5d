/**
 * A Store driven unit by unit, with a history of what it was told: what the crash tests write and read with.
 *
 * Every unit's reads are compared with the history as it goes.
 */
import { ByteBudget } from "../../src/base/byte-budget.ts";
import { slotOf } from "../../src/base/slot.ts";
import type { InlineExecutor } from "../../src/lsm/storage-executor.ts";
import type { SyncPolicy } from "../../src/store/commit-pipeline.ts";
import { PREPARING, Refusal, UnitWork } from "../../src/store/interrupt.ts";
import { openStore, type StoreOptions } from "../../src/store/open-store.ts";
import { decodeSlotMoves, encodeSlotMoves } from "../../src/store/slot-moves.ts";
import type { Store } from "../../src/store/store.ts";
import type { SimulatedClock } from "../support/simulated-clock.ts";
import type { TracedFileSystem } from "../support/traced-file-system.ts";
import { applyUnit, contentsAfter, digestOf, type Entry, MOVES_KEY, type Unit } from "./history.ts";

export const DIRECTORY = "/data";
const KIB = 1024;
const SLICE_BYTES = 512 * KIB;

export interface SessionOptions {
  readonly fileSystem: TracedFileSystem<unknown>;
  readonly clock: SimulatedClock;
  readonly policy: SyncPolicy;
  readonly segmentBytes: number;
  /** Segments that memory holds; 4 unless told. */
  readonly segmentCount?: number;
  readonly executor: InlineExecutor;
  /** Opens the store; openStore() unless told. */
  readonly open?: (options: StoreOptions) => Promise<Store>;
}

async function openAlone(options: StoreOptions): Promise<Store> {
  return (await openStore(options)).store;
}

type Changes = [string, Entry | undefined][];

export class StoreSession {
  readonly units: Unit[];
  /** The history's contents after all units. */
  readonly contents: Map<string, Entry>;
  /** Units whose replies have left; units whose frames are synced. */
  acknowledged: number;
  synced: number;
  failure: Error | undefined = undefined;
  /** Set once open() is over. */
  store!: Store;

  private constructor(units: readonly Unit[]) {
    this.units = [...units];
    this.contents = contentsAfter(units, units.length);
    this.acknowledged = units.length;
    this.synced = units.length;
  }

  /** Opens the store, which is expected to hold what `units` wrote. */
  static async open(options: SessionOptions, units: readonly Unit[]): Promise<StoreSession> {
    const { fileSystem, clock, policy, segmentBytes } = options;
    const session = new StoreSession(units);
    session.store = await (options.open ?? openAlone)({
      fileSystem,
      directory: DIRECTORY,
      clock,
      executor: options.executor,
      random: new Uint8Array(24).fill(7),
      syncPolicy: policy,
      segmentBytes,
      segmentPoolBytes: (options.segmentCount ?? 4) * segmentBytes,
      tuning: {
        blockBytes: KIB,
        targetTableBytes: 32 * KIB,
        levelBaseBytes: 64 * KIB,
        levelMultiplier: 3,
        level0Trigger: 2,
        level0DepthMax: 3,
        manifestBytes: 4 * KIB,
        cacheBytes: 256 * KIB,
      },
      minFreeDiskBytes: () => 0,
      valueBytesMax: 16 * 1024 * KIB,
      largeBytes: new ByteBudget(64 * 1024 * KIB),
      onFatal: (error) => {
        session.failure ??= error;
      },
      onCommitted: () => session.onCommitted(),
      onRecovering: () => undefined,
    });
    return session;
  }

  /** Only the first `count` units are there. */
  truncate(count: number): void {
    this.units.length = count;
    this.contents.clear();
    for (const unit of this.units) applyUnit(this.contents, unit);
    this.acknowledged = count;
    this.synced = count;
  }

  onCommitted(): void {
    const committed = this.store.committed;
    const { units } = this;
    while (this.acknowledged < units.length && units[this.acknowledged]!.tag <= committed)
      this.acknowledged++;
  }

  noteSynced(): void {
    const durable = this.store.internals.log.durableIndex;
    while (this.synced < this.units.length && this.units[this.synced]!.tag <= durable)
      this.synced++;
  }

  /** Runs `action` as a unit, as often as interrupts demand; what it answers becomes history. */
  async run(action: () => Changes | "all"): Promise<void> {
    const { store } = this;
    const work = new UnitWork();
    for (;;) {
      store.beginBatch();
      store.beginUnit(work);
      try {
        const changes = action();
        store.endUnit();
        this.note({ changes, tag: store.tag });
        return;
      } catch (error) {
        store.abortUnit();
        if (error instanceof Refusal) return;
        if (error === PREPARING) {
          work.results.push(await work.pending!);
          work.pending = undefined;
        } else if (store.isInterrupt(error)) {
          await store.resolve(error);
        } else {
          throw error;
        }
      }
    }
  }

  /** A unit has run: it is history. */
  note(unit: Unit): void {
    if (unit.changes !== "all" && unit.changes.length === 0) return;
    this.units.push(unit);
    applyUnit(this.contents, unit);
  }

  select(key: string): void {
    const bytes = Buffer.from(key);
    this.store.select(bytes, 0, bytes.length);
  }

  put(key: string, value: Uint8Array, expiry: number): Changes[number] {
    this.select(key);
    this.store.put(value, 0, value.length, expiry);
    return [key, { digest: digestOf(value), expiry }];
  }

  /** REQUIRES: within a unit. */
  read(key: string): { bytes: Buffer; expiry: number } | undefined {
    this.select(key);
    if (!this.store.find()) return undefined;
    const { expiry } = this.store.found;
    const bytes = Buffer.alloc(this.store.valueLength);
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      this.select(key);
      this.store.find();
      this.store.readValue(at, Math.min(bytes.length, at + SLICE_BYTES), bytes, at);
    }
    return { bytes, expiry };
  }

  /** The slots on the move as an entry of the history; undefined: nothing moves, and nothing has left. */
  get movesEntry(): Entry | undefined {
    const { moves } = this.store.slots;
    if (moves.isIdle) return undefined;
    // Fields in one order, whoever made them.
    const written = encodeSlotMoves(decodeSlotMoves(encodeSlotMoves(moves.all), "moves"));
    return { digest: digestOf(written), expiry: 0 };
  }

  /** Whether nobody may read or write the key now: its slot is on the move, or has left. */
  isHeld(key: string): boolean {
    return this.store.slots.moves.isHeld(slotOfKey(key));
  }

  /** Every key of `keys` that exists and can be seen, and MOVES_KEY. Removes those that have expired. */
  async readAll(keys: Iterable<string>): Promise<Map<string, Entry>> {
    const contents = new Map<string, Entry>();
    const { movesEntry } = this;
    if (movesEntry !== undefined) contents.set(MOVES_KEY, movesEntry);
    for (const key of keys) {
      if (key === MOVES_KEY || this.store.slots.moves.isImporting(slotOfKey(key))) continue;
      await this.run(() => {
        contents.delete(key);
        const found = this.read(key);
        if (found !== undefined) {
          contents.set(key, { digest: digestOf(found.bytes), expiry: found.expiry });
        }
        return [];
      });
    }
    return contents;
  }

  async size(): Promise<number> {
    let size = -1;
    await this.run(() => {
      size = this.store.size();
      return [];
    });
    return size;
  }

  async scanAll(): Promise<string[]> {
    const keys: string[] = [];
    let cursor = 0;
    do {
      await this.run(() => {
        const page = this.store.scan(cursor, 1000);
        keys.push(...page.keys.map(({ key }) => key.toString()));
        cursor = page.next;
        return [];
      });
    } while (cursor !== 0);
    return keys;
  }

  /** Freezes the active segment and writes all that is frozen as tables. */
  async flush(): Promise<void> {
    const { pipeline, segments } = this.store.internals;
    pipeline.endTurn();
    if (!segments.roll()) return;
    await segments.flush();
  }
}

export function slotOfKey(key: string): number {
  const bytes = Buffer.from(key);
  return slotOf(bytes, 0, bytes.length);
}
