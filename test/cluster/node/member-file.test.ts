/** MEMBER: a promise that was answered is kept whatever a power failure takes, and no damage is read as a promise. */
import { describe, expect, test } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import {
  encodeMemberState,
  MEMBER_FILE,
  MemberFile,
  type MemberState,
  parseMemberState,
} from "../../../src/cluster/node/member-file.ts";
import { SimDisk } from "../../sim/disk.ts";
import { SimRandom } from "../../sim/random.ts";
import { Scheduler } from "../../sim/scheduler.ts";
import { Trace } from "../../sim/trace.ts";

const SEED = Number(process.env["DKV_TEST_SEED"] ?? 1);
const DIRECTORY = "/data";
const PATH = `${DIRECTORY}/${MEMBER_FILE}`;
const BOOT = "00000000-0000-4000-8000-000000000001";
const OTHER_BOOT = "00000000-0000-4000-8000-000000000002";
const IDS = { nodeId: "a".repeat(40), clusterId: "c".repeat(40), bootId: BOOT };

/** A machine whose disk forgets what was not synced. */
class Machine {
  readonly scheduler = new Scheduler(new Trace());
  readonly disk: SimDisk;

  constructor(random: SimRandom) {
    const capacityBytes = 1 << 30;
    const options = { syncMicros: 1000, readMicros: 1, coldReadShare: 0, capacityBytes };
    this.disk = new SimDisk(random, options);
  }

  /** Of a process that lives until `isAlive` is false. */
  mount(host: { isAlive: boolean }) {
    const { scheduler } = this;
    return this.disk.mount({
      get isAlive() {
        return host.isAlive;
      },
      spend: () => undefined,
      after: (delay, what, action) =>
        scheduler.after(delay, what, () => {
          if (host.isAlive) action();
        }),
      crash: () => undefined,
    });
  }
}

function openOrCreate(machine: Machine, host: { isAlive: boolean }): MemberFile {
  const fileSystem = machine.mount(host);
  return MemberFile.open(fileSystem, DIRECTORY) ?? MemberFile.create(fileSystem, DIRECTORY, IDS);
}

describe("a promise", () => {
  test(`is kept once it was answered, whatever is lost (DKV_TEST_SEED=${SEED})`, () => {
    const random = new SimRandom(SEED);
    let answers = 0;
    for (let round = 0; round < 200; round++) {
      const machine = new Machine(random.fork(`${round}`));
      let kept = { epoch: 0, leaseMs: 0 };
      for (let life = 0; life < 4; life++) {
        const host = { isAlive: true };
        const file = openOrCreate(machine, host);
        file.begin({ bootId: BOOT, isExposed: false });
        expect(file.state.promise.epoch).toBeGreaterThanOrEqual(kept.epoch);
        expect(file.state.promise.leaseMs).toBeGreaterThanOrEqual(kept.leaseMs);
        expect(file.state.incarnation).toBe(1);
        let { promise } = file.state;
        for (let count = random.below(4); count > 0; count--) {
          promise = { epoch: promise.epoch + random.between(0, 3), leaseMs: promise.leaseMs + 10 };
          const answered = promise;
          void file.persist(promise).then(() => {
            if (!host.isAlive) return;
            kept = answered;
            answers++;
          });
        }
        machine.scheduler.runUntilDone(() => false, random.below(12_000));
        host.isAlive = false;
        machine.disk.losePower();
      }
    }
    expect(answers).toBeGreaterThan(100);
  });

  test("of less is a mistake in the program", () => {
    const file = openOrCreate(new Machine(new SimRandom(SEED)), { isAlive: true });
    void file.persist({ epoch: 3, leaseMs: 1000 });
    expect(() => file.persist({ epoch: 2, leaseMs: 1000 })).toThrow();
    expect(() => file.persist({ epoch: 4, leaseMs: 999 })).toThrow();
  });
});

describe("the incarnation", () => {
  function restart(isExposed: boolean, isClean: boolean, bootId: string): number {
    const machine = new Machine(new SimRandom(SEED));
    const before = openOrCreate(machine, { isAlive: true });
    before.begin({ bootId: BOOT, isExposed });
    if (isClean) {
      void before.setExposed(false);
      machine.scheduler.runUntilDone(() => false, 1_000_000);
    }
    const after = openOrCreate(machine, { isAlive: true });
    const isNew = after.begin({ bootId, isExposed });
    expect(isNew).toBe(after.state.incarnation > 1);
    return after.state.incarnation;
  }

  test("is a new one when the machine was started anew under everysec or no", () => {
    expect(restart(true, false, OTHER_BOOT)).toBe(2);
  });

  test("stays when only the process died, when it had stopped cleanly, and under always", () => {
    expect(restart(true, false, BOOT)).toBe(1);
    expect(restart(true, true, OTHER_BOOT)).toBe(1);
    expect(restart(false, false, OTHER_BOOT)).toBe(1);
  });

  test("is a new one when power went under always before what everysec had left was synced", () => {
    const machine = new Machine(new SimRandom(SEED));
    const start = () => openOrCreate(machine, { isAlive: true });
    start().begin({ bootId: BOOT, isExposed: true });
    expect(start().begin({ bootId: BOOT, isExposed: false })).toBe(false);
    expect(start().begin({ bootId: OTHER_BOOT, isExposed: false })).toBe(true);
    expect(start().begin({ bootId: BOOT, isExposed: false })).toBe(false);
  });
});

test("the data is one set's for ever", () => {
  const machine = new Machine(new SimRandom(SEED));
  const file = openOrCreate(machine, { isAlive: true });
  file.begin({ bootId: BOOT, isExposed: false });
  void file.enter("a".repeat(40));
  machine.scheduler.runUntilDone(() => false, 100_000);
  machine.disk.losePower();
  const again = openOrCreate(machine, { isAlive: true });
  expect(again.state.setId).toBe("a".repeat(40));
  expect(again.enter("b".repeat(40))).rejects.toThrow("data of another replica set");
});

test("frames speak for the node while it is a member, and no longer than its incarnation lives", () => {
  const machine = new Machine(new SimRandom(SEED));
  const file = openOrCreate(machine, { isAlive: true });
  file.begin({ bootId: BOOT, isExposed: true });
  expect(file.state.marksFrom).toBeNull();
  void file.setMarksFrom(12);
  // A member that stays one goes on from where it began.
  void file.setMarksFrom(40);
  machine.scheduler.runUntilDone(() => false, 100_000);
  machine.disk.losePower();
  const again = openOrCreate(machine, { isAlive: true });
  expect(again.state.marksFrom).toBe(12);
  expect(again.begin({ bootId: OTHER_BOOT, isExposed: true })).toBe(true);
  expect(again.state.marksFrom).toBeNull();
});

describe("the file", () => {
  const state: MemberState = {
    ...IDS,
    setId: "5e7".padEnd(40, "0"),
    incarnation: 7,
    promise: { epoch: 12, leaseMs: 1000 },
    isExposed: true,
    marksFrom: 17,
  };

  test("says what was written", () => {
    expect(parseMemberState(PATH, Buffer.from(encodeMemberState(state)))).toEqual(state);
  });

  test("with any byte changed, or cut, is an error or the same", () => {
    const bytes = Buffer.from(encodeMemberState(state));
    const random = new SimRandom(SEED);
    for (let round = 0; round < 2000; round++) {
      const damaged = Buffer.from(
        random.chance(0.2) ? bytes.subarray(0, random.below(bytes.length)) : bytes,
      );
      for (let count = random.between(1, 3); count > 0 && damaged.length > 0; count--)
        damaged[random.below(damaged.length)] = random.below(256);
      let parsed: MemberState;
      try {
        parsed = parseMemberState(PATH, damaged);
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptionError);
        continue;
      }
      expect(parsed).toEqual(state);
    }
  });
});
