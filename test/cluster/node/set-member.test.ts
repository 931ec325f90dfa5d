/** The driver of a core: what it does with a log that waits, with long batches, with syncs of another generation. */
import { describe, expect, test } from "bun:test";
import { replicaSetDocument } from "../../../src/cluster/coordination/documents.ts";
import { setPath } from "../../../src/cluster/coordination/paths.ts";
import type {
  FrameBytes,
  InstallableCheckpoint,
  LogEvents,
  LogStanding,
  ReplicatedLog,
} from "../../../src/cluster/node/replicated-log.ts";
import { SetMember, type SetMemberEvents } from "../../../src/cluster/node/set-member.ts";
import type { Append, Message } from "../../../src/cluster/replication/message.ts";
import { DEFAULT_REPLICATION_OPTIONS } from "../../../src/cluster/replication/options.ts";
import { FRAME_HEADER_BYTES, sealFrame } from "../../../src/wal/frame.ts";
import { Arena } from "../../../src/wal/segment.ts";
import { CoordinatedWorld } from "./coordinated-world.ts";

const SET = "5".repeat(40);
const OWN = "a".repeat(40);
const WRITER = "b".repeat(40);
const OTHER = "c".repeat(40);
const CHECKPOINT_LAST = 50;

/** Frames of one epoch, empty. */
function framesOf(epoch: number, first: number, last: number): Uint8Array {
  const arena = new Arena(64 * 1024);
  let checksum = 0n;
  let end = 0;
  for (let index = first; index <= last; index++, end += FRAME_HEADER_BYTES) {
    const fields = { epoch, index, durableIndex: 0, clockMs: 1, firstSequence: 1, recordCount: 0 };
    checksum = sealFrame(arena, end, end + FRAME_HEADER_BYTES, checksum, fields);
  }
  return arena.bytes.subarray(0, end);
}

/** A log that does what it is told, when it is told to. */
class FakeLog implements ReplicatedLog {
  readonly standing = { runs: [], last: 0, commit: 0, firstRetained: 1 };
  readonly done: string[] = [];
  events!: LogEvents;
  last = 0;
  /** Of this turn. */
  hasOpenFrame = false;
  /** Work that waits until release(). */
  isSlow = false;
  readonly #release: (() => void)[] = [];

  bind(events: LogEvents): void {
    this.events = events;
  }

  appendFrames(frames: Uint8Array): void | Promise<void> {
    this.last += frames.length / FRAME_HEADER_BYTES;
    return this.#do(`append to ${this.last}`);
  }

  appendEpochStart(epoch: number): void | Promise<void> {
    this.last++;
    return this.#do(`epoch ${epoch}`);
  }

  async truncateAfter(last: number): Promise<void> {
    this.last = last;
    await this.#do(`truncate to ${last}`);
  }

  commit(index: number): void {
    this.#note(`commit ${index}`);
  }

  lead(): void {
    this.#note("lead");
  }

  async follow(commit: number, last: number): Promise<void> {
    await this.#do(`follow from ${commit} to ${last}`);
  }

  async install(checkpoint: InstallableCheckpoint): Promise<LogStanding> {
    await this.#do("install");
    checkpoint.install();
    this.last = CHECKPOINT_LAST;
    const runs = [{ epoch: 1, first: 1 }];
    return { runs, last: this.last, commit: this.last, firstRetained: this.last };
  }

  closeFrame(): void {
    this.#note("close frame");
    if (!this.hasOpenFrame) return;
    this.hasOpenFrame = false;
    this.events.onWritten(++this.last);
  }

  sync(): void {
    this.events.onDurable(this.last);
  }

  /** One frame at a time. */
  readFrames(first: number): FrameBytes | undefined {
    return { bytes: framesOf(1, first, first), first, last: first };
  }

  retain(): void {}

  release(): void {
    this.isSlow = false;
    for (const release of this.#release.splice(0)) release();
  }

  #note(what: string): void {
    this.done.push(what);
  }

  #do(what: string): void | Promise<void> {
    if (!this.isSlow) return this.#note(what);
    return new Promise<void>((resolve) => this.#release.push(resolve)).then(() => this.#note(what));
  }
}

interface Sent {
  readonly to: string;
  readonly message: Message;
  readonly frames: Uint8Array | undefined;
}

class MemberWorld extends CoordinatedWorld {
  readonly log = new FakeLog();
  readonly sent: Sent[] = [];
  readonly told: string[] = [];
  readonly member: SetMember;

  constructor(nodes: readonly string[], writeQuorum: number) {
    super(1);
    this.makeFolders();
    const document = replicaSetDocument.encode({
      ...{ format: 1, id: SET, epoch: 0, phase: "RECOVERING", writer: null, claim: null },
      members: nodes.map((nodeId) => ({ nodeId, incarnation: 1 })),
      ...{ writeQuorum, replicationFactor: nodes.length, learners: [], slots: [] },
      isDraining: false,
    });
    const session = this.ensemble.openSession(1e9, () => undefined);
    const creation = { kind: "create", path: setPath(SET), lifetime: "durable" } as const;
    this.ensemble.commit([{ ...creation, data: document }], session);
    this.member = this.#start();
  }

  #start(): SetMember {
    const tell = (what: string) => () => void this.told.push(what);
    const events: SetMemberEvents = {
      onServe: (epoch) => this.told.push(`serve ${epoch}`),
      onPause: tell("pause"),
      onResume: tell("resume"),
      onStepDown: () => {
        this.told.push("step down");
        return Promise.resolve();
      },
      onFollow: tell("follow"),
      onDocument: () => undefined,
      onDocumentMissing: tell("missing"),
      onCheckpointNeeded: () => undefined,
      onFatal: (error) => this.told.push(error.message),
    };
    const { clock, logger, log } = this;
    return new SetMember({
      ...{ nodeId: OWN, incarnation: 1, setId: SET, promise: { epoch: 0, leaseMs: 0 } },
      ...{ replication: DEFAULT_REPLICATION_OPTIONS, log, clock, logger, events },
      coordinator: this.connect(),
      peers: { send: (to, message, frames) => this.sent.push({ to, message, frames }) },
      newClaimId: () => this.nonce(),
      persist: () => Promise.resolve(),
    });
  }

  /** The frames [first, last] of epoch 1, from its writer. */
  append(first: number, last: number, change: Partial<Append> = {}): void {
    const epoch = change.epoch ?? 1;
    const message: Append = {
      ...{ type: "append", epoch, sequence: first, round: 0, commit: 0, durableOnAll: 0 },
      previous: { epoch: first === 1 ? 0 : 1, index: first - 1 },
      runs: first > last ? [] : [{ epoch, first }],
      ...{ last, sendTime: 1, leaseMs: 1000, isQuorate: true },
      ...change,
    };
    this.member.receive(WRITER, message, framesOf(epoch, first, last));
    this.pass(1);
  }

  get lastSent(): Message | undefined {
    return this.sent.at(-1)?.message;
  }
}

function replica(): MemberWorld {
  const world = new MemberWorld([OWN, WRITER, OTHER], 2);
  world.pass(50);
  // The promise; what an epoch's first message brings is answered by the epoch table.
  world.append(1, 0);
  return world;
}

/** It has `count` frames, synced. */
function replicaWith(count: number): MemberWorld {
  const world = replica();
  world.append(1, count);
  world.log.events.onDurable(count);
  return world;
}

describe("a replica", () => {
  test("appends what comes, and acknowledges what its log calls durable", () => {
    const world = replica();
    world.append(1, 3);
    expect(world.log.done).toEqual(["append to 3"]);
    expect(world.lastSent).toMatchObject({ type: "append-ack", matched: 3, durable: 0 });
    world.log.events.onDurable(3);
    expect(world.lastSent).toMatchObject({ type: "append-ack", matched: 3, durable: 3 });
    world.append(4, 3, { commit: 2 });
    expect(world.log.done).toEqual(["append to 3", "commit 2"]);
  });

  test("takes no frames while its log waits, and does what is behind them in order", () => {
    const world = replica();
    world.log.isSlow = true;
    world.append(1, 2);
    world.append(3, 4);
    expect(world.member.lastIndex).toBe(2);
    world.append(3, 2, { commit: 1 });
    expect(world.lastSent).toMatchObject({ type: "append-ack", matched: 2 });
    expect(world.log.done).toEqual([]);
    world.log.release();
    world.pass(1);
    expect(world.log.done).toEqual(["append to 2", "commit 1"]);
    world.append(3, 4);
    expect(world.log.done).toEqual(["append to 2", "commit 1", "append to 4"]);
  });

  test("passes over frames that are not the ones announced", () => {
    const world = replica();
    world.member.receive(WRITER, { ...firstAppend(), last: 2 }, framesOf(1, 1, 1));
    world.member.receive(WRITER, { ...firstAppend(), last: 1 }, framesOf(2, 1, 1));
    world.member.receive(WRITER, { ...firstAppend(), last: 1 }, undefined);
    world.pass(1);
    expect(world.member.lastIndex).toBe(0);
    expect(world.lines.filter((line) => line.includes("not the frames announced")).length).toBe(3);
  });

  test("does not take a sync from before a truncation for one of what came after", () => {
    const world = replica();
    world.append(1, 3);
    world.log.isSlow = true;
    const conflict = { epoch: 2, previous: { epoch: 1, index: 1 } };
    world.append(2, 3, conflict);
    world.pass(1);
    world.append(2, 3, conflict);
    // A sync that began before.
    world.log.events.onDurable(3);
    world.log.release();
    world.pass(1);
    expect(world.log.done).toEqual(["append to 3", "truncate to 1"]);
    world.append(2, 3, { ...conflict, sequence: 9 });
    expect(world.log.done.at(-1)).toBe("append to 3");
    expect(world.lastSent).toMatchObject({ type: "append-ack", epoch: 2, matched: 3, durable: 1 });
  });
});

describe("a writer", () => {
  test("leads, ships what its log has written in parts, and commits what is durable", () => {
    const world = new MemberWorld([OWN], 1);
    world.until("serving", () => world.member.isServing);
    expect(world.told).toEqual(["serve 1"]);
    expect(world.log.done).toEqual(["epoch 1", "commit 1", "lead"]);
    expect(world.member.isLeaseValid).toBe(true);
    expect(world.member.admission).toBe("accept");
    world.log.last = 4;
    world.log.events.onWritten(4);
    expect(world.member.lastIndex).toBe(4);
    world.log.events.onDurable(4);
    expect(world.log.done.at(-1)).toBe("commit 4");
    // A sync may cover what has not been announced.
    world.log.last = 5;
    world.log.events.onDurable(5);
    expect(world.log.done.at(-1)).toBe("commit 5");
  });

  test("that hears of a higher epoch drops what it was doing, and has its log follow", async () => {
    const world = new MemberWorld([OWN], 1);
    world.until("serving", () => world.member.isServing);
    world.log.last = 3;
    world.log.events.onWritten(3);
    const reading = world.member.confirm();
    world.log.last = 4;
    world.member.receive(WRITER, { type: "seal", epoch: 9 }, undefined);
    expect(world.member.isServing).toBe(false);
    expect(world.member.admission).toBe("not-writer");
    // Written, but told to nobody.
    world.log.events.onWritten(4);
    world.log.events.onDurable(4);
    world.pass(5);
    expect(world.told).toEqual(["serve 1", "step down", "follow"]);
    expect(world.log.done.at(-1)).toBe("follow from 1 to 3");
    expect(await Promise.race([reading, Promise.resolve("open")])).toBe(true);
    expect(await world.member.confirm()).toBe(false);
  });

  test("that has stepped down says nothing of what its log still writes", () => {
    const world = new MemberWorld([OWN], 1);
    world.until("serving", () => world.member.isServing);
    world.log.isSlow = true;
    world.member.receive(WRITER, { type: "seal", epoch: 9 }, undefined);
    world.log.last = 2;
    world.log.events.onWritten(2);
    world.log.events.onDurable(2);
    expect(world.member.lastIndex).toBe(1);
    world.log.release();
    world.pass(5);
    expect(world.log.done.at(-1)).toBe("follow from 1 to 1");
  });

  test("reports what others acknowledge to who wants to know", () => {
    const world = new MemberWorld([OWN, OTHER], 2);
    const { member } = world;
    let reports = 0;
    member.onProgress = () => void reports++;
    world.until("EPOCH_START", () => member.phase === "starting");
    const ack = { type: "append-ack", epoch: 1, incarnation: 1, sequence: 1, round: 0 } as const;
    member.receive(OTHER, { ...ack, sendTime: 0, matched: 1, durable: 1 }, undefined);
    expect([reports, member.countHolders(1)]).toEqual([1, 0]);
    world.until("serving", () => member.isServing);
    expect([1, 2].map((index) => member.countHolders(index))).toEqual([1, 0]);
    expect(member.status().peers).toMatchObject([{ nodeId: OTHER, matched: 1, durable: 1 }]);
    member.receive(OTHER, { type: "seal", epoch: 9 }, undefined);
    expect([reports, member.countHolders(1)]).toEqual([1, 0]);
  });

  test("hands over what it had taken in this turn, too, when a replica asks for its role", () => {
    const world = new MemberWorld([OWN, OTHER], 2);
    const { member } = world;
    world.until("EPOCH_START", () => member.phase === "starting");
    const acknowledge = (index: number) => {
      const ack = { type: "append-ack", epoch: 1, incarnation: 1, round: 0, sendTime: 0 } as const;
      const message = { ...ack, sequence: index, matched: index, durable: index };
      member.receive(OTHER, message, undefined);
    };
    acknowledge(1);
    world.until("serving", () => member.isServing);
    world.log.hasOpenFrame = true;
    member.receive(OTHER, { type: "handover-request", epoch: 1 }, undefined);
    expect([member.admission, member.lastIndex]).toEqual(["paused", 2]);
    world.log.events.onDurable(2);
    expect(world.told).toEqual(["serve 1", "pause"]);
    acknowledge(2);
    expect(world.told).toEqual(["serve 1", "pause", "step down"]);
    expect(world.log.done).toContain("commit 2");
  });

  test("ships in parts what is more than one message takes", () => {
    const world = replica();
    world.append(1, 3);
    world.member.receive(OTHER, { type: "seal", epoch: 4 }, undefined);
    world.pass(5);
    const previous = { epoch: 0, index: 0 };
    world.member.receive(OTHER, { type: "fetch", epoch: 4, previous }, undefined);
    const replies = world.sent.filter(({ message }) => message.type === "fetch-reply");
    expect(replies.map(({ message }) => (message as Append).last)).toEqual([1, 2, 3]);
    expect(replies.map(({ message }) => (message as Append).previous.index)).toEqual([0, 1, 2]);
  });
});

describe("a log that a checkpoint takes the place of", () => {
  const position = { epoch: 1, index: CHECKPOINT_LAST };

  /** What has become of it. */
  function install(world: MemberWorld): { isInstalled: boolean; isDone: boolean } {
    const outcome = { isInstalled: false, isDone: false };
    const install = () => {
      outcome.isInstalled = true;
    };
    const isBegun = world.member.install({ install }, () => {
      outcome.isDone = true;
    });
    expect(isBegun).toBe(true);
    return outcome;
  }

  test("is needed only while it lacks the checkpoint's end, and no later epoch is promised", () => {
    const { member } = replicaWith(3);
    expect(member.needsCheckpoint(1, position)).toBe(true);
    expect(member.needsCheckpoint(0, position)).toBe(false);
    expect(member.needsCheckpoint(1, { epoch: 1, index: 3 })).toBe(false);
    // Of a log that parts from this one before it.
    expect(member.needsCheckpoint(4, { epoch: 3, index: 3 })).toBe(true);
  });

  test("takes no frames and answers no claim as a log until it is in place", () => {
    const world = replicaWith(3);
    world.log.isSlow = true;
    const outcome = install(world);
    world.pass(5);
    expect(outcome).toEqual({ isInstalled: false, isDone: false });
    world.append(4, 5);
    world.member.receive(OTHER, { type: "seal", epoch: 7 }, undefined);
    world.pass(5);
    const answer = world.sent.findLast(({ message }) => message.type === "seal-answer");
    expect(answer?.message).toMatchObject({ epoch: 7, isComplete: false, last: 0 });
    expect(world.member.needsCheckpoint(9, position)).toBe(false);
    expect(world.log.done.filter((what) => what === "append to 5")).toEqual([]);
    world.log.release();
    world.pass(5);
    expect(outcome).toEqual({ isInstalled: true, isDone: true });
    expect(world.told).toEqual(["step down", "follow"]);
    expect(world.member.commitIndex).toBe(CHECKPOINT_LAST);
    expect(world.member.lastIndex).toBe(CHECKPOINT_LAST);
  });

  test("goes on by log behind it", () => {
    const world = replicaWith(3);
    install(world);
    world.pass(5);
    world.append(CHECKPOINT_LAST + 1, CHECKPOINT_LAST + 2);
    expect(world.member.lastIndex).toBe(CHECKPOINT_LAST + 2);
    world.log.events.onDurable(CHECKPOINT_LAST + 2);
    const ack = world.sent.findLast(({ message }) => message.type === "append-ack");
    expect(ack?.message).toMatchObject({ durable: CHECKPOINT_LAST + 2 });
  });

  test("is not given up while work waits for it", () => {
    const world = replicaWith(3);
    world.log.isSlow = true;
    world.append(4, 4);
    const checkpoint = { install: () => undefined };
    expect(world.member.install(checkpoint, () => undefined)).toBe(false);
  });
});

describe("a member whose set is retired", () => {
  test("steps down if it is the writer, keeps its log, and is never anything again", () => {
    const world = new MemberWorld([OWN], 1);
    world.until("it serves", () => world.member.isServing);
    world.log.done.length = 0;
    world.told.length = 0;
    world.member.retire();
    expect(world.member.isServing).toBe(false);
    world.pass(20_000);
    expect(world.told).toEqual(["step down", "follow"]);
    expect(world.log.done.filter((what) => !what.startsWith("follow"))).toEqual([]);
    expect(world.member.role).toBe("replica");
  });

  test("says and takes nothing any more as a replica", () => {
    const world = replicaWith(3);
    world.member.retire();
    world.sent.length = 0;
    world.log.done.length = 0;
    world.append(4, 5);
    world.member.receive(OTHER, { type: "seal", epoch: 7 }, undefined);
    world.pass(20_000);
    expect([world.sent, world.log.done, world.told]).toEqual([[], [], []]);
  });

  test("is told of no document, and decides nothing by that", () => {
    const world = new MemberWorld([OWN], 1);
    world.until("it serves", () => world.member.isServing);
    world.log.done.length = 0;
    world.told.length = 0;
    const version = world.ensemble.view.get(setPath(SET))!.version;
    const session = world.ensemble.openSession(1e9, () => undefined);
    world.ensemble.commit([{ kind: "remove", path: setPath(SET), version }], session);
    world.pass(20_000);
    expect(new Set(world.told)).toEqual(new Set(["missing"]));
    expect(world.member.isServing).toBe(true);
    expect(world.log.done).toEqual([]);
  });
});

function firstAppend(): Append {
  return {
    ...{ type: "append", epoch: 1, sequence: 1, round: 0, commit: 0, durableOnAll: 0 },
    ...{ previous: { epoch: 0, index: 0 }, runs: [{ epoch: 1, first: 1 }], last: 1 },
    ...{ sendTime: 1, leaseMs: 1000, isQuorate: true },
  };
}
