/** What a node shows of replication, from a member, a document and a topology that a test makes up. */
import { expect, test } from "bun:test";
import type { ReplicaSetDocument } from "../../../src/cluster/coordination/documents.ts";
import { CurrentTopology } from "../../../src/cluster/current-topology.ts";
import { ReplicationView, type WatchedMember } from "../../../src/cluster/node/replication-view.ts";
import type { MemberStatus } from "../../../src/cluster/replication/member-status.ts";
import type { TransferStatus } from "../../../src/cluster/replication-status.ts";
import { Topology, type TopologyNode } from "../../../src/cluster/topology.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const SET = "5".repeat(40);
const [A, B, C, D] = ["a", "b", "c", "d"].map((digit) => digit.repeat(40)) as [
  string,
  string,
  string,
  string,
];
const NEVER = Number.NEGATIVE_INFINITY;

function nodeOf(id: string, port: number): TopologyNode {
  return { id, host: "10.0.0.1", port, peerPort: port + 1, hostname: "", health: "online" };
}

const DOCUMENT: ReplicaSetDocument = {
  ...{ format: 1, id: SET, epoch: 4, phase: "ACTIVE", writer: A, claim: "0".repeat(32) },
  members: [A, B].map((nodeId) => ({ nodeId, incarnation: 1 })),
  learners: [C, D].map((nodeId) => ({ nodeId, incarnation: 1 })),
  ...{ writeQuorum: 2, replicationFactor: 3, slots: [], isDraining: false },
};

const WRITER: MemberStatus = {
  ...{ role: "writer", phase: "serving", epoch: 4, admission: "accept" },
  ...{ commit: 7, durable: 8, last: 9, isComplete: true },
  ...{ writer: A, writerHeardMs: NEVER, isWriterGone: false },
  peers: [
    { nodeId: B, state: "replicate", matched: 9, durable: 8, lastHeardMs: 9_900 },
    { nodeId: C, state: "checkpoint", matched: 0, durable: 0, lastHeardMs: 9_000 },
    { nodeId: D, state: "probe", matched: 0, durable: 0, lastHeardMs: NEVER },
  ],
  takeovers: { handovers: 1, failovers: 2 },
};

class FakeMember implements WatchedMember {
  onProgress: (() => void) | undefined = undefined;
  isServing = true;
  hearsWriter = true;
  standing: MemberStatus = WRITER;

  status(): MemberStatus {
    return this.standing;
  }

  countHolders(index: number): number {
    return index <= 8 ? 1 : 0;
  }
}

function viewOf(nodeId: string, isSpare = false, receiving?: TransferStatus) {
  const clock = new SimulatedClock(0);
  clock.advance(10_000 - clock.monotonicMs());
  const member = new FakeMember();
  const set = { id: SET, epoch: 4, writer: nodeOf(A, 1), slots: [], isDraining: false };
  const topology = new Topology(1, [{ ...set, replicas: [nodeOf(B, 2), nodeOf(C, 3)] }]);
  const view = new ReplicationView({
    ...{ nodeId, clock, topology: new CurrentTopology(topology) },
    coordinator: { session: { state: "suspended", number: 1, timeoutMs: 4000 } },
    replication: { suspicionMs: 700, lossMs: 5000 },
    member: () => (isSpare ? undefined : member),
    document: () => (isSpare ? undefined : DOCUMENT),
    checkpoints: () => ({ sending: undefined, receiving }),
  });
  return { view, member, clock };
}

test("a writer shows where its replicas are, what they hold, and since when they are silent", () => {
  const { view, clock } = viewOf(A);
  const status = view.status();
  expect(status).toMatchObject({ setId: SET, role: "writer", phase: "serving", isServing: true });
  expect(status).toMatchObject({
    commitIndex: 7,
    durableIndex: 8,
    lastIndex: 9,
    writer: undefined,
  });
  expect(status).toMatchObject({ members: 2, learners: 2, writeQuorum: 2, replicationFactor: 3 });
  expect(status).toMatchObject({ coordination: "suspended", takeovers: { failovers: 2 } });
  expect(status.replicas).toEqual([
    {
      ...{ nodeId: B, host: "10.0.0.1", port: 2, isMember: true, state: "online" },
      ...{ matched: 9, durable: 8, heardMsAgo: 100 },
    },
    {
      ...{ nodeId: C, host: "10.0.0.1", port: 3, isMember: false, state: "checkpoint" },
      ...{ matched: 0, durable: 0, heardMsAgo: 1000 },
    },
    {
      ...{ nodeId: D, host: "", port: 0, isMember: false, state: "offline" },
      ...{ matched: 0, durable: 0, heardMsAgo: -1 },
    },
  ]);
  clock.advance(4500);
  expect(view.status().replicas.map(({ state }) => state)).toEqual([
    "online",
    "offline",
    "offline",
  ]);
});

test("a replica's link is up while its writer is heard and connected", () => {
  const { view, member, clock } = viewOf(B);
  const replica = { ...WRITER, role: "replica", phase: undefined, peers: [] } as const;
  member.isServing = false;
  member.standing = { ...replica, writerHeardMs: 9_900 };
  const link = { nodeId: A, host: "10.0.0.1", port: 1 };
  expect(view.status().writer).toEqual({ ...link, isUp: true, heardMsAgo: 100 });
  expect(view.status()).toMatchObject({ role: "replica", phase: "", admission: "not-writer" });
  member.standing = { ...replica, writerHeardMs: 9_900, isWriterGone: true };
  expect(view.status().writer).toMatchObject({ isUp: false });
  member.standing = { ...replica, writerHeardMs: 9_900 };
  clock.advance(601);
  expect(view.status().writer).toMatchObject({ isUp: false, heardMsAgo: 701 });
  member.standing = { ...replica, writer: undefined };
  expect(view.status().writer).toBeUndefined();
});

test("a node that gets a checkpoint is syncing", () => {
  const amount = { doneBytes: 5, totalBytes: 9, heardMsAgo: 1 };
  const receiving = { nodeId: A, phase: "transferring", ...amount } as const;
  const { view } = viewOf(B, false, receiving);
  expect(view.status()).toMatchObject({ isSyncing: true, checkpoints: { receiving } });
  expect(viewOf(B).view.status().isSyncing).toBe(false);
});

test("a node without a set is a spare", () => {
  const { view } = viewOf(D, true);
  expect(view.status()).toMatchObject({ role: "spare", setId: "", coordination: "suspended" });
  expect([view.isServing, view.countHolders(0)]).toEqual([false, 0]);
});

test("the member reports progress only while somebody listens", () => {
  const { view, member } = viewOf(A);
  const heard: string[] = [];
  const first = view.onProgress(() => heard.push("first"));
  const second = view.onProgress(() => heard.push("second"));
  member.onProgress?.();
  first();
  member.onProgress?.();
  second();
  expect(heard).toEqual(["first", "second", "second"]);
  expect(member.onProgress).toBeUndefined();
});
