/**
 * Both sides of checkpoints over a network that loses, doubles and reorders messages: what comes is what was sent, at the
 * rate that is allowed, and whatever goes wrong ends it without a trace.
 */
import { beforeAll, expect, test } from "bun:test";
import { decodeCheckpoint, encodeCheckpoint } from "../../../src/cluster/node/checkpoint-codec.ts";
import { type BulkPort, Checkpoints } from "../../../src/cluster/node/checkpoints.ts";
import type { InstallableCheckpoint } from "../../../src/cluster/node/replicated-log.ts";
import type { SetMember } from "../../../src/cluster/node/set-member.ts";
import type { Checkpoint } from "../../../src/store/checkpoint.ts";
import type { Entry } from "../../crash/history.ts";
import { World } from "../../store/replicated-nodes.ts";
import { seededRandom } from "../../support/crash-states.ts";
import { TracedFileSystem } from "../../support/traced-file-system.ts";
import { CoordinatedWorld } from "./coordinated-world.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const DIRECTORY = "/data";
const KIB = 1024;
const CHUNK_BYTES = 1000;

let checkpoint: Checkpoint;
let identity: Uint8Array;

/** Of a real store. */
beforeAll(async () => {
  const world = new World({
    ...{ random: seededRandom(5), policy: "no", segmentBytes: 128 * KIB, segmentCounts: [3, 3, 3] },
  });
  await world.open();
  for (let i = 0; i < 60; i++) {
    const value = Buffer.alloc(10 * KIB, `${i} `);
    await world.write((session) => [session.put(`key-${i}`, value, 0) as [string, Entry]]);
  }
  await world.converge();
  await world.writer.session.flush();
  checkpoint = (await world.writer.replicated.checkpoint())!;
  expect(checkpoint.files.length).toBeGreaterThan(4);
  identity = world.writer.fileSystem.image().get(`${DIRECTORY}/IDENTITY`)!;
});

interface Change {
  lossShare?: number;
  bytesPerSecond?: number;
  freeBytes?: number;
  identity?: Uint8Array;
  isNeeded?: () => boolean;
  /** Of the store's bytes as they are read. */
  damage?: (file: number, bytes: Uint8Array) => void;
  /** The member's log is at work so many times. */
  busyTimes?: number;
}

class Pair extends CoordinatedWorld {
  readonly a: Checkpoints;
  readonly b: Checkpoints;
  readonly fileSystem: TracedFileSystem<unknown>;
  readonly change: Change;
  readonly kept: (number | undefined)[] = [];
  readonly fatal: Error[] = [];
  installed = 0;
  released = 0;
  matched = 0;
  sentBytes = 0;
  isCut = false;
  #busyTimes: number;

  constructor(change: Change = {}) {
    super(3);
    this.change = change;
    this.#busyTimes = change.busyTimes ?? 0;
    this.fileSystem = new TracedFileSystem<unknown>(
      new Map([[`${DIRECTORY}/IDENTITY`, change.identity ?? identity]]),
      () => undefined,
      () => undefined,
    );
    this.fileSystem.freeBytes = () => change.freeBytes ?? 1 << 30;
    this.a = this.#side(A, this.#writer() as unknown as SetMember);
    this.b = this.#side(B, this.#node() as unknown as SetMember);
  }

  #writer() {
    const peer = () => ({ nodeId: B, matched: this.matched });
    return { epoch: 9, status: () => ({ last: checkpoint.last + 10, peers: [peer()] }) };
  }

  #node() {
    return {
      needsCheckpoint: (epoch: number, { index }: { index: number }) =>
        epoch === 9 && index === checkpoint.last && (this.change.isNeeded?.() ?? true),
      install: (_: InstallableCheckpoint, onDone: () => void) => {
        if (this.#busyTimes-- > 0) return false;
        this.installed++;
        this.clock.after(50, onDone);
        return true;
      },
    };
  }

  #side(id: string, member: SetMember): Checkpoints {
    const { clock, logger, fileSystem } = this;
    return new Checkpoints({
      ...{ clock, logger, fileSystem, directory: DIRECTORY },
      log: {
        checkpoint: () => Promise.resolve(this.#checkpoint()),
        keepFor: (first) => void this.kept.push(first),
      },
      peers: this.#port(id),
      pace: { bytesPerSecond: () => this.change.bytesPerSecond ?? 0, chunkBytes: CHUNK_BYTES },
      spareDiskBytes: () => KIB,
      member: () => member,
      random: (bytes) => this.random.bytes(bytes),
      onFatal: (error) => this.fatal.push(error),
    });
  }

  #checkpoint(): Checkpoint {
    return {
      ...checkpoint,
      read: async (file, offset, into) => {
        await checkpoint.read(file, offset, into);
        this.change.damage?.(file, into);
      },
      release: () => this.released++,
    };
  }

  #port(id: string): BulkPort {
    return {
      sendBulk: (_, parts, release) => {
        const copies = parts.map((part) => part.slice());
        release();
        const { lossShare = 0 } = this.change;
        const count = this.random.chance(lossShare) ? 2 : 1;
        for (let copy = 0; copy < count; copy++) {
          if (this.isCut || this.random.chance(lossShare)) continue;
          this.sentBytes += id === A ? (copies[1]?.length ?? 0) : 0;
          this.clock.after(this.random.exponential(lossShare > 0 ? 20 : 1), () => {
            const to = id === A ? this.b : this.a;
            if (!this.isCut) to.receive(id, copies);
          });
        }
        return true;
      },
    };
  }

  get staged(): string[] {
    return this.fileSystem.list(`${DIRECTORY}/checkpoint`);
  }

  hasLogged(text: string): boolean {
    return this.lines.some((line) => line.includes(text));
  }
}

test("A checkpoint arrives whole over a network that loses, doubles and reorders", () => {
  const pair = new Pair({ lossShare: 0.1 });
  pair.a.offer(B);
  pair.until("transferring", () => pair.b.status.receiving?.phase === "transferring");
  pair.until("installed", () => pair.installed === 1);
  const names = [...checkpoint.files.map(({ name }) => name), "CURRENT", "EPOCHS"].sort();
  expect(pair.staged).toEqual(names);
  for (const [number, { name, bytes }] of checkpoint.files.entries()) {
    const wanted = new Uint8Array(bytes);
    void checkpoint.read(number, 0, wanted);
    pair.pass(1);
    const file = pair.fileSystem.open(`${DIRECTORY}/checkpoint/${name}`, "read");
    const actual = new Uint8Array(file.size());
    file.read(actual, 0);
    file.close();
    expect(actual).toEqual(wanted);
  }
  expect(pair.fatal).toEqual([]);
});

test("Log is kept for the node until it has caught up, tables until it has them", () => {
  const pair = new Pair();
  pair.a.offer(B);
  pair.until("sent", () => pair.a.status.sending?.phase === "catching-up");
  expect(pair.b.status.receiving).toBeUndefined();
  expect(pair.released).toBe(1);
  expect(pair.kept).toEqual([checkpoint.last]);
  pair.matched = checkpoint.last + 3;
  pair.pass(1000);
  expect(pair.kept).toEqual([checkpoint.last, checkpoint.last + 4]);
  pair.matched = checkpoint.last + 10;
  pair.until("over", () => pair.a.status.sending === undefined);
  expect(pair.kept.at(-1)).toBeUndefined();
  expect(pair.released).toBe(1);
});

test("A checkpoint is sent at the rate that is configured, which may change", () => {
  const bytesPerSecond = 256 * KIB;
  const timeOf = (change: Change) => {
    const pair = new Pair(change);
    const startMs = pair.clock.monotonicMs();
    pair.a.offer(B);
    pair.until("all is sent", () => pair.sentBytes >= checkpoint.bytes);
    return pair.clock.monotonicMs() - startMs;
  };
  const wantedMs = (checkpoint.bytes / bytesPerSecond) * 1000;
  expect(wantedMs).toBeGreaterThan(500);
  expect(timeOf({ bytesPerSecond })).toBeGreaterThan(wantedMs - 150);
  expect(timeOf({ bytesPerSecond })).toBeLessThan(wantedMs * 1.2);
  expect(timeOf({ bytesPerSecond: bytesPerSecond * 4 })).toBeLessThan(wantedMs / 2);
  const pair = new Pair({ bytesPerSecond });
  pair.a.offer(B);
  pair.pass(50);
  pair.change.bytesPerSecond = 0;
  pair.pass(wantedMs / 2);
  expect(pair.sentBytes).toBe(checkpoint.bytes);
});

test("A checkpoint is for one node at a time, and begins anew when its node says nothing", () => {
  const pair = new Pair();
  pair.isCut = true;
  pair.a.offer(B);
  pair.pass(100);
  pair.a.offer("c".repeat(40));
  expect(pair.a.status.sending?.nodeId).toBe(B);
  pair.until("given up", () => pair.a.status.sending === undefined);
  expect(pair.released).toBe(1);
  expect(pair.kept).toEqual([undefined]);
  pair.isCut = false;
  pair.a.offer(B);
  pair.until("installed", () => pair.installed === 1);
});

test("A node gives up a writer that sends nothing, and what had come goes", () => {
  const pair = new Pair({ bytesPerSecond: 256 * KIB });
  pair.a.offer(B);
  pair.until("some is here", () => (pair.b.status.receiving?.doneBytes ?? 0) > 2 * CHUNK_BYTES);
  pair.isCut = true;
  pair.until("given up", () => pair.b.status.receiving === undefined);
  expect(pair.hasLogged("a checkpoint is dropped: the writer sends nothing")).toBe(true);
  expect(pair.staged).toEqual([]);
});

test("A writer that steps down lets go of everything, and its node hears of it", () => {
  const pair = new Pair({ bytesPerSecond: 256 * KIB });
  pair.a.offer(B);
  pair.until("some is here", () => (pair.b.status.receiving?.doneBytes ?? 0) > 2 * CHUNK_BYTES);
  pair.settled(pair.a.leaveStore());
  expect(pair.released).toBe(1);
  expect(pair.kept).toEqual([undefined]);
  pair.until("dropped", () => pair.b.status.receiving === undefined);
  expect(pair.staged).toEqual([]);
});

test("A writer that steps down while it captures a checkpoint lets it go, too", () => {
  const pair = new Pair();
  pair.a.offer(B);
  pair.settled(pair.a.leaveStore());
  expect(pair.a.status.sending).toBeUndefined();
  expect(pair.released + Number(pair.kept.length > 0)).toBeGreaterThan(0);
  expect(pair.kept.at(-1)).toBeUndefined();
});

test("A checkpoint that is damaged on its way through the writer is found and dropped", () => {
  for (const damaged of [0, 1, 2, 4]) {
    const damage = (file: number, bytes: Uint8Array) => {
      if (file === damaged) bytes[40]! ^= 1;
    };
    const pair = new Pair({ damage });
    pair.a.offer(B);
    pair.until("over", () => pair.a.status.sending === undefined);
    expect(pair.installed).toBe(0);
    expect(pair.hasLogged("a checkpoint that cannot be used")).toBe(true);
    expect(pair.staged).toEqual([]);
    expect(pair.released).toBe(1);
    expect(pair.fatal).toEqual([]);
  }
});

test("A checkpoint that is not needed, of another cluster, or too large, is not taken", () => {
  const other = JSON.parse(Buffer.from(identity).toString());
  other.hashSeed[0] ^= 1;
  const refusals: [Change, string][] = [
    [{ isNeeded: () => false }, "the node says: unneeded"],
    [{ identity: Buffer.from(JSON.stringify(other)) }, "its keys are ordered by another hash"],
    [{ freeBytes: checkpoint.bytes }, "there is no room on the disk"],
  ];
  for (const [change, text] of refusals) {
    const pair = new Pair(change);
    pair.a.offer(B);
    pair.until("refused", () => pair.a.status.sending === undefined && pair.released === 1);
    expect(pair.hasLogged(text)).toBe(true);
    expect(pair.sentBytes).toBe(0);
  }
});

test("A checkpoint waits for a log that is at work, and is dropped when that has caught up", () => {
  const waiting = new Pair({ busyTimes: 3 });
  waiting.a.offer(B);
  waiting.until("installed", () => waiting.installed === 1);
  let isNeeded = true;
  const late = new Pair({ busyTimes: 1e9, isNeeded: () => isNeeded });
  late.a.offer(B);
  late.until("complete", () => late.b.status.receiving?.phase === "installing");
  isNeeded = false;
  late.until("dropped", () => late.b.status.receiving === undefined);
  expect(late.installed).toBe(0);
  expect(late.staged).toEqual([]);
});

test("Garbage for checkpoints is passed over", () => {
  const pair = new Pair();
  pair.b.receive(A, [Uint8Array.from([1, 2, 3])]);
  expect(pair.hasLogged("cannot be read")).toBe(true);
  const strays = [
    { type: "chunk", id: 7, file: 0, offset: 0, bytes: new Uint8Array(3) },
    { type: "end", id: 7, outcome: "installed" },
    { type: "fetch", id: 7, file: 0, offset: 0, length: 3 },
  ] as const;
  for (const stray of strays) pair.b.receive(A, encodeCheckpoint(stray));
  expect(decodeCheckpoint(encodeCheckpoint(strays[2]))).toEqual(strays[2]);
  expect(pair.b.status).toEqual({ sending: undefined, receiving: undefined });
  expect(pair.fatal).toEqual([]);
});
