/** Single members, step by step: what each rule of the protocol lets out, and what it holds back. */
import { expect, test } from "bun:test";
import type { Action } from "../../../src/cluster/replication/action.ts";
import type { ReplicaSetDocument } from "../../../src/cluster/replication/document-register.ts";
import type { Boot, Event } from "../../../src/cluster/replication/event.ts";
import { Member } from "../../../src/cluster/replication/member.ts";
import {
  type Append,
  type AppendAck,
  type Message,
  NO_GRANT,
} from "../../../src/cluster/replication/message.ts";
import { DEFAULT_REPLICATION_OPTIONS } from "../../../src/cluster/replication/options.ts";

const LOG = {
  runs: [
    { epoch: 1, first: 1 },
    { epoch: 2, first: 3 },
  ],
  last: 4,
};

function start(nodeId: string, boot: Partial<Boot> = {}) {
  const promise = { epoch: 2, leaseMs: 0 };
  const base = { nodeId, incarnation: 1, promise, ...LOG, commit: 1, firstRetained: 1 };
  let claims = 0;
  const newClaimId = () => `${nodeId}-${++claims}`;
  const options = DEFAULT_REPLICATION_OPTIONS;
  const member = new Member({ ...base, isComplete: true, ...boot }, options, newClaimId, 0);
  const step = (event: Event, nowMs = 0): Action[] => member.step(event, nowMs);
  const receive = (from: string, message: Message, nowMs = 0): Action[] =>
    step({ type: "message", from, message }, nowMs);
  return { member, step, receive };
}

function append(more: Partial<Append>): Append {
  const base = { sequence: 1, round: 0, commit: 1, durableOnAll: 0, sendTime: 50, leaseMs: 1000 };
  const previous = { epoch: 2, index: 4 };
  return {
    type: "append",
    epoch: 2,
    previous,
    runs: [],
    last: 4,
    isQuorate: true,
    ...base,
    ...more,
  };
}

function ack(durable: number, more: Partial<AppendAck> = {}): AppendAck {
  const base = { epoch: 4, incarnation: 1, sequence: 1, round: 0, sendTime: NO_GRANT };
  return { type: "append-ack", matched: durable, durable, ...base, ...more };
}

const DOCUMENT: ReplicaSetDocument = {
  id: "set",
  epoch: 3,
  phase: "RECOVERING",
  writer: "a",
  claim: "old",
  members: ["a", "b", "c"].map((nodeId) => ({ nodeId, incarnation: 1 })),
  writeQuorum: 2,
  replicationFactor: 3,
  learners: [],
};

const sent = (actions: readonly Action[]): Message[] =>
  actions.flatMap((each) => (each.type === "send" || each.type === "ship" ? [each.message] : []));
const typesOf = (actions: readonly Action[]) => actions.map((each) => each.type);
const acknowledged = (actions: readonly Action[]) =>
  sent(actions).filter((each) => each.type === "append-ack");

test("a replica refuses an append below its promise and says what it has promised", () => {
  const { receive } = start("c");
  expect(sent(receive("a", append({ epoch: 1 })))).toEqual([{ type: "refusal", epoch: 2 }]);
});

test("a replica of a higher epoch persists the promise first, then says where its log stands", () => {
  const { receive, step } = start("c");
  const promise = { epoch: 3, leaseMs: 1000 };
  const actions = receive("b", append({ epoch: 3 }));
  expect(typesOf(actions)).toEqual(["read-document", "persist"]);
  const [standing] = sent(step({ type: "promise-persisted", promise }));
  expect(standing).toMatchObject({ type: "append-reject", epoch: 3, ...LOG });
});

test("a replica grants no lease before the largest L is persisted", () => {
  const { receive, step } = start("c");
  const [first] = acknowledged(receive("a", append({})));
  expect(first).toMatchObject({ matched: 4, sendTime: NO_GRANT });
  step({ type: "promise-persisted", promise: { epoch: 2, leaseMs: 1000 } });
  const [second] = acknowledged(receive("a", append({ sendTime: 60 })));
  expect(second).toMatchObject({ sendTime: 60 });
});

test("a replica acknowledges at once what arrived, and as durable only what is synced", () => {
  const { receive, step } = start("c", { promise: { epoch: 2, leaseMs: 1000 } });
  const frames = { runs: [{ epoch: 2, first: 5 }], last: 7 };
  const actions = receive("a", append({ ...frames, commit: 9 }));
  expect(typesOf(actions)).toContain("append");
  expect(acknowledged(actions)[0]).toMatchObject({ matched: 7, durable: 4 });
  expect(actions).toContainEqual({ type: "commit", index: 7 });
  const [synced] = acknowledged(step({ type: "durable", index: 6, generation: 0 }));
  expect(synced).toMatchObject({ matched: 7, durable: 6 });
});

test("a seal is answered when the grant has run out, 1.1 L after receipt, and again when asked again", () => {
  const { receive, step } = start("c", { promise: { epoch: 2, leaseMs: 1000 } });
  for (let nowMs = 0; nowMs < 2000; nowMs += 100) step({ type: "tick" }, nowMs);
  receive("a", append({}), 2000);
  receive("b", { type: "seal", epoch: 3 }, 2100);
  const promise = { epoch: 3, leaseMs: 1000 };
  step({ type: "promise-persisted", promise }, 2101);
  expect(sent(step({ type: "tick" }, 3099))).toEqual([]);
  expect(sent(step({ type: "tick" }, 3100))).toMatchObject([{ type: "seal-answer", ...LOG }]);
  const again = receive("b", { type: "seal", epoch: 3 }, 3101);
  expect(sent(again)).toMatchObject([{ type: "seal-answer", epoch: 3 }]);
  expect(sent(receive("a", append({}), 3102))).toEqual([{ type: "refusal", epoch: 3 }]);
});

test("a restarted replica answers no seal before 1.1 times the largest L it ever granted", () => {
  const { receive, step } = start("c", { promise: { epoch: 2, leaseMs: 1000 } });
  receive("b", { type: "seal", epoch: 3 }, 1);
  step({ type: "promise-persisted", promise: { epoch: 3, leaseMs: 1000 } }, 2);
  expect(sent(step({ type: "tick" }, 1099))).toEqual([]);
  expect(sent(step({ type: "tick" }, 1100))).toHaveLength(1);
});

test("a revoked lease frees the seal", () => {
  const { receive, step } = start("c", { promise: { epoch: 2, leaseMs: 1000 } });
  receive("a", append({}), 1);
  receive("a", { type: "lease-revoked", epoch: 2 }, 2);
  receive("b", { type: "seal", epoch: 3 }, 3);
  const actions = step({ type: "promise-persisted", promise: { epoch: 3, leaseMs: 1000 } }, 4);
  expect(sent(actions)).toMatchObject([{ type: "seal-answer" }]);
});

test("a conflict truncates to before it; nothing is acknowledged until that is done", () => {
  const { receive, step } = start("c", { promise: { epoch: 3, leaseMs: 1000 } });
  const other = append({
    epoch: 3,
    previous: { epoch: 2, index: 3 },
    runs: [{ epoch: 3, first: 4 }],
    last: 4,
  });
  const cut = receive("b", other);
  expect(cut).toContainEqual({ type: "truncate", last: 3, generation: 1 });
  expect(sent(cut)).toEqual([]);
  expect(sent(receive("b", other))).toEqual([]);
  const [standing] = sent(step({ type: "truncated", generation: 1 }));
  expect(standing).toMatchObject({ type: "append-reject", last: 3 });
  expect(typesOf(receive("b", other))).toContain("append");
  expect(sent(step({ type: "durable", index: 4, generation: 0 }))[0]).toMatchObject({ durable: 3 });
});

test("a node halts rather than truncate below its commit index", () => {
  const { receive } = start("c", { promise: { epoch: 3, leaseMs: 1000 }, commit: 4 });
  const previous = { epoch: 2, index: 3 };
  const actions = receive(
    "b",
    append({ epoch: 3, previous, runs: [{ epoch: 3, first: 4 }], last: 4 }),
  );
  expect(typesOf(actions)).toContain("halt");
  expect(receive("b", append({ epoch: 3 }))).toEqual([]);
});

/** Brings `a` to a claim of epoch 4, its document write on the way. */
function claimant() {
  const a = start("a", { promise: { epoch: 3, leaseMs: 0 } });
  a.step({ type: "document", document: DOCUMENT, version: 8 });
  const last = { epoch: 2, index: 4 };
  const report = { type: "suspicion", epoch: 3, incarnation: 1, last, isStalled: false } as const;
  const actions = a.receive("b", report, 1);
  const write = actions.find((each) => each.type === "write-document")!;
  return { ...a, write };
}

/** Brings `a` to EPOCH_START(4) at index 5, sealed by itself and `b`. */
function writer() {
  const a = claimant();
  const { request } = a.write;
  a.step({ type: "document-written", request, result: "ok", version: 9 }, 2);
  a.step({ type: "promise-persisted", promise: { epoch: 4, leaseMs: 0 } }, 3);
  const answer = { type: "seal-answer", epoch: 4, incarnation: 1, isComplete: true } as const;
  const actions = a.receive("b", { ...answer, ...LOG }, 4);
  expect(actions).toContainEqual({ type: "append-epoch-start", epoch: 4, index: 5 });
  return a;
}

test("a claim whose write has an unknown outcome is decided by its claim id", () => {
  for (const isOwn of [true, false]) {
    const a = claimant();
    const { request, document, version } = a.write;
    expect(version).toBe(8);
    const result = "unknown";
    a.step({ type: "document-written", request, result, version: -1 }, 2);
    const found = isOwn ? document : { ...document, writer: "c", claim: "c-1" };
    const actions = a.step({ type: "document", document: found, version: 9 }, 3);
    expect(sent(actions).some((each) => each.type === "seal")).toBe(isOwn);
    expect(a.member.role).toBe(isOwn ? "claimant" : "replica");
  }
});

test("a write of unknown outcome is repeated while the version has not moved", () => {
  const a = claimant();
  const { request, document } = a.write;
  a.step({ type: "document-written", request, result: "unknown", version: -1 }, 2);
  const actions = a.step({ type: "document", document: DOCUMENT, version: 8 }, 3);
  const again = { type: "write-document", request: request + 1, document, version: 8 };
  expect(actions).toContainEqual(again as Action);
});

test("copies of older epochs commit nothing until a frame of the own epoch does (Raft's figure 8)", () => {
  const a = writer();
  a.step({ type: "durable", index: 5, generation: 0 }, 5);
  a.receive("b", ack(4), 6);
  a.receive("c", ack(4), 7);
  expect(a.member.commitIndex).toBe(1);
  a.receive("b", ack(5), 8);
  expect(a.member.commitIndex).toBe(5);
});

test("acknowledgements of another epoch or incarnation commit nothing", () => {
  const a = writer();
  a.step({ type: "durable", index: 5, generation: 0 }, 5);
  a.receive("b", ack(5, { epoch: 3 }), 6);
  a.receive("b", ack(5, { incarnation: 2 }), 7);
  expect(a.member.commitIndex).toBe(1);
});

test("a writer serves once ACTIVE is written, and has a lease from its members' grants", () => {
  const a = writer();
  a.step({ type: "durable", index: 5, generation: 0 }, 5);
  const actions = a.receive("b", ack(5, { sendTime: 6 }), 8);
  const write = actions.find((each) => each.type === "write-document")!;
  expect(write.document.phase).toBe("ACTIVE");
  expect(a.member.leaseUntilMs(9)).toBeLessThan(9);
  const { request } = write;
  const served = a.step({ type: "document-written", request, result: "ok", version: 10 }, 9);
  expect(served).toContainEqual({ type: "serve", epoch: 4 });
  expect(a.member.leaseUntilMs(1005)).toBeGreaterThan(1005);
  expect(a.member.leaseUntilMs(1006)).toBe(1006);
});

/** Brings `a` to serve in epoch 4, everything durable at itself and `b`. */
function serving() {
  const a = writer();
  a.step({ type: "durable", index: 5, generation: 0 }, 5);
  const actions = a.receive("b", ack(5, { sendTime: 6 }), 8);
  const { request } = actions.find((each) => each.type === "write-document")!;
  a.step({ type: "document-written", request, result: "ok", version: 10 }, 9);
  return a;
}

test("a writer's status shows its peers, and who holds a frame counts only while it is heard", () => {
  const a = serving();
  a.step({ type: "appended", index: 7 }, 20);
  a.receive("b", ack(6, { matched: 7 }), 30);
  const status = a.member.status(31);
  expect(status).toMatchObject({ role: "writer", phase: "serving", epoch: 4, admission: "accept" });
  expect(status).toMatchObject({ commit: 5, durable: 5, last: 7, isComplete: true, writer: "a" });
  const b = { nodeId: "b", state: "replicate", matched: 7, durable: 6, lastHeardMs: 30 };
  const never = { lastHeardMs: Number.NEGATIVE_INFINITY };
  expect(status.peers.toSorted((x, y) => (x.nodeId < y.nodeId ? -1 : 1))).toEqual([
    b,
    { nodeId: "c", state: "probe", matched: 0, durable: 0, ...never },
  ] as never);
  expect([0, 5, 6, 7].map((index) => a.member.countHolders(index, 31))).toEqual([1, 1, 1, 0]);
  const { lossMs } = DEFAULT_REPLICATION_OPTIONS;
  expect(a.member.countHolders(6, 30 + lossMs)).toBe(1);
  expect(a.member.countHolders(6, 31 + lossMs)).toBe(0);
  a.receive("c", { type: "seal", epoch: 5 }, 40);
  expect(a.member.countHolders(5, 40)).toBe(0);
  expect(a.member.status(40)).toMatchObject({
    role: "replica",
    peers: [],
    admission: "not-writer",
  });
});

test("a checkpoint is asked for a node that is heard, again and again, and for no other", () => {
  const a = serving();
  const { lossMs } = DEFAULT_REPLICATION_OPTIONS;
  const asked = (nowMs: number) =>
    a.step({ type: "tick" }, nowMs).filter(({ type }) => type === "need-checkpoint");
  const standing = { runs: [], last: 0, incarnation: 1 } as const;
  const reject = { type: "append-reject", epoch: 4, sequence: 1000, ...standing } as const;
  a.step({ type: "retained", first: 5 }, 10);
  a.receive("c", reject, 11);
  expect(asked(12)).toEqual([{ type: "need-checkpoint", node: "c" }]);
  a.receive("c", { ...reject, sequence: 2000 }, lossMs);
  expect(asked(11 + lossMs)).toEqual([]);
  expect(asked(12 + lossMs)).toEqual([{ type: "need-checkpoint", node: "c" }]);
  expect(asked(12 + 2 * lossMs)).toEqual([]);
});

test("a replica shows what is current only once it has committed a frame of the writer's epoch", () => {
  const { member, receive, step } = start("c", { promise: { epoch: 2, leaseMs: 1000 } });
  receive("a", append({ commit: 1 }), 10);
  expect(member.hearsWriter(11)).toBe(false);
  receive("a", append({ sequence: 2, commit: 4 }), 20);
  expect(member.hearsWriter(21)).toBe(true);
  expect(member.hearsWriter(21 + DEFAULT_REPLICATION_OPTIONS.suspicionMs)).toBe(false);
  const next = {
    epoch: 3,
    previous: { epoch: 2, index: 4 },
    runs: [{ epoch: 3, first: 5 }],
    last: 5,
  };
  receive("b", append({ ...next, commit: 4 }), 30);
  step({ type: "promise-persisted", promise: { epoch: 3, leaseMs: 1000 } }, 31);
  receive("b", append({ ...next, commit: 4 }), 32);
  expect(member.hearsWriter(33)).toBe(false);
  receive("b", append({ ...next, sequence: 2, commit: 5 }), 34);
  expect(member.hearsWriter(35)).toBe(true);
});

test("a replica's status says when its writer was last heard, in this epoch", () => {
  const { member, receive, step } = start("c");
  const active = { ...DOCUMENT, epoch: 2, phase: "ACTIVE" } as const;
  const never = Number.NEGATIVE_INFINITY;
  step({ type: "document", document: active, version: 8 }, 10);
  expect(member.status(10)).toMatchObject({ role: "replica", writer: "a", writerHeardMs: never });
  receive("a", append({}), 20);
  expect(member.status(30)).toMatchObject({ writerHeardMs: 20, isWriterGone: false, last: 4 });
  step({ type: "link", node: "a", isUp: false }, 40);
  expect(member.status(40)).toMatchObject({ writerHeardMs: 20, isWriterGone: true });
  step({ type: "document", document: { ...active, epoch: 3, writer: "b" }, version: 9 }, 50);
  expect(member.status(50)).toMatchObject({ writer: "b", writerHeardMs: never });
  expect(member.status(50).isWriterGone).toBe(false);
});

test("taking a vacant role counts as a failover, one that was handed over as a handover", () => {
  expect(serving().member.status(10).takeovers).toEqual({ handovers: 0, failovers: 1 });
  const b = start("b", { promise: { epoch: 3, leaseMs: 0 } });
  b.step({ type: "document", document: { ...DOCUMENT, phase: "ACTIVE" }, version: 8 });
  const claim = b.receive("a", { type: "handover", epoch: 3 }, 1);
  const { request } = claim.find((each) => each.type === "write-document")!;
  b.step({ type: "document-written", request, result: "ok", version: 9 }, 2);
  b.step({ type: "promise-persisted", promise: { epoch: 4, leaseMs: 0 } }, 3);
  const answer = { type: "seal-answer", epoch: 4, incarnation: 1, isComplete: true } as const;
  b.receive("a", { ...answer, ...LOG }, 4);
  b.step({ type: "durable", index: 5, generation: 0 }, 5);
  const written = b.receive("a", ack(5), 6).find((each) => each.type === "write-document")!;
  b.step({ type: "document-written", request: written.request, result: "ok", version: 10 }, 7);
  expect(b.member.isServing).toBe(true);
  expect(b.member.status(8).takeovers).toEqual({ handovers: 1, failovers: 0 });
});

test("a sealed writer steps down before it answers", () => {
  const a = writer();
  const types = typesOf(a.receive("c", { type: "seal", epoch: 5 }, 6));
  expect(types).toContain("step-down");
  expect(types.indexOf("step-down")).toBeLessThan(types.indexOf("persist"));
  expect(a.member.role).toBe("replica");
});
