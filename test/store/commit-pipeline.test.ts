import { describe, expect, test } from "bun:test";
import { CommitPipeline } from "../../src/store/commit-pipeline.ts";
import { LOG_START, Log } from "../../src/wal/log.ts";
import { Arena } from "../../src/wal/segment.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const SEGMENT_BYTES = 65_536;
const RECORD_BYTES = 64;
const SYNC_MS = 4;
/** More turns than any wait may take. */
const TURNS_MAX = 1000;

/** A pipeline with appendfsync always whose syncs end when the test says so. */
class Fixture {
  readonly clock = new SimulatedClock(1_000_000);
  readonly log: Log;
  readonly pipeline: CommitPipeline;
  #endSync: (() => void) | undefined = undefined;

  constructor() {
    const seed = { low: 1, high: 2 };
    const start = { seed, position: LOG_START, segments: [] };
    this.log = new Log(new MemoryFileSystem(), "/wal", start);
    this.log.roll(new Arena(SEGMENT_BYTES));
    const sync = this.log.sync.bind(this.log);
    this.log.sync = async () => {
      const target = sync();
      await new Promise<void>((resolve) => {
        this.#endSync = resolve;
      });
      return target;
    };
    this.pipeline = new CommitPipeline(this.log, "always", {
      clock: this.clock,
      onCommitted: () => undefined,
      onFatal: (error) => {
        throw error;
      },
    });
  }

  /** A turn in which so many clients each write a record. */
  turn(records: number): void {
    for (let i = 0; i < records; i++) this.log.reserve(RECORD_BYTES);
    this.pipeline.endTurn();
  }

  /** Runs turns without writes until a sync is on; returns how many that took. */
  turnsUntilSync(): number {
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      if (this.pipeline.isSyncing) return turns;
      this.clock.runImmediates();
    }
    throw new Error("no sync begins");
  }

  async endSync(): Promise<void> {
    this.clock.advance(SYNC_MS);
    const end = this.#endSync!;
    this.#endSync = undefined;
    end();
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }
}

describe("CommitPipeline with appendfsync always", () => {
  test("a sync that nobody has been answered before begins at once", () => {
    const fixture = new Fixture();
    fixture.turn(1);
    expect(fixture.pipeline.isSyncing).toBe(true);
  });

  test("one client alone never waits for others", async () => {
    const fixture = new Fixture();
    for (let round = 1; round <= 5; round++) {
      fixture.turn(1);
      expect(fixture.pipeline.isSyncing).toBe(true);
      await fixture.endSync();
      expect(fixture.pipeline.committed).toBe(round);
    }
  });

  test("the clients that a sync has answered are waited for, so that two groups become one", async () => {
    const fixture = new Fixture();
    fixture.turn(3);
    fixture.turn(2);
    await fixture.endSync();
    expect(fixture.pipeline.isSyncing).toBe(false);
    fixture.clock.runImmediates();
    fixture.turn(2);
    fixture.clock.runImmediates();
    expect(fixture.pipeline.isSyncing).toBe(false);
    fixture.turn(1);
    expect(fixture.pipeline.isSyncing).toBe(true);
    await fixture.endSync();
    expect(fixture.pipeline.committed).toBe(fixture.log.writtenIndex);
  });

  test("clients that do not come back are waited for some turns only", async () => {
    const fixture = new Fixture();
    fixture.turn(100);
    fixture.turn(1);
    await fixture.endSync();
    expect(fixture.turnsUntilSync()).toBeGreaterThan(1);
    await fixture.endSync();
    expect(fixture.pipeline.committed).toBe(2);
  });

  test("clients that come one by one hold a sync up for the time of two syncs at most", async () => {
    const fixture = new Fixture();
    fixture.turn(500);
    fixture.turn(1);
    await fixture.endSync();
    let waitedMs = 0;
    while (!fixture.pipeline.isSyncing) {
      fixture.turn(1);
      fixture.clock.advance(1);
      waitedMs++;
      fixture.clock.runImmediates();
    }
    expect(waitedMs).toBe(2 * SYNC_MS);
  });
});
