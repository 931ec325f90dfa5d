import { expect, test } from "bun:test";
import type { ReplicaSetDocument } from "../../../src/cluster/replication/document-register.ts";
import {
  type MembershipView,
  type NodeState,
  nextMembership,
} from "../../../src/cluster/replication/membership.ts";

const at = (durable: number, more: Partial<NodeState> = {}): NodeState => ({
  incarnation: 1,
  durable,
  silentMs: 0,
  needsCheckpoint: false,
  ...more,
});

function view(
  members: string,
  learners: string,
  states: Record<string, NodeState>,
  more: Partial<MembershipView> = {},
): MembershipView {
  const listed = (nodes: string) => [...nodes].map((nodeId) => ({ nodeId, incarnation: 1 }));
  const document: ReplicaSetDocument = {
    id: "set",
    epoch: 4,
    phase: "ACTIVE",
    writer: "a",
    claim: "claim",
    members: listed(members),
    writeQuorum: 2,
    replicationFactor: 3,
    learners: listed(learners),
  };
  const stateOf = (nodeId: string) => states[nodeId]!;
  const base = { required: 100, isCommitting: true, lossMs: 5000, joinsAt: 92 };
  return { document, stateOf, ...base, ...more };
}

const namesOf = (document: ReplicaSetDocument | undefined) =>
  document?.members.map((each) => `${each.nodeId}${each.incarnation}`).join(" ");
const silent = { silentMs: 5000 };

test("a lost member is dropped once Q others hold what is committed, and becomes a learner", () => {
  const states = { a: at(110), b: at(99), c: at(100, silent) };
  expect(nextMembership(view("abc", "", states))).toBeUndefined();
  const next = nextMembership(view("abc", "", { ...states, b: at(100) }));
  expect(namesOf(next)).toBe("a1 b1");
  expect(next!.learners).toEqual([{ nodeId: "c", incarnation: 1 }]);
});

test("membership never shrinks below Q", () => {
  expect(nextMembership(view("ab", "", { a: at(110), b: at(100, silent) }))).toBeUndefined();
});

test("a learner that is near joins, one that is far or silent does not", () => {
  const states = { a: at(110), b: at(100) };
  expect(namesOf(nextMembership(view("ab", "c", { ...states, c: at(92) })))).toBe("a1 b1 c1");
  expect(nextMembership(view("ab", "c", { ...states, c: at(91) }))).toBeUndefined();
  expect(nextMembership(view("ab", "c", { ...states, c: at(99, silent) }))).toBeUndefined();
});

test("a learner replaces a lost member only with all that is committed, not when it is near", () => {
  const states = { a: at(110), b: at(0, silent) };
  expect(nextMembership(view("ab", "c", { ...states, c: at(99) }))).toBeUndefined();
  expect(namesOf(nextMembership(view("ab", "c", { ...states, c: at(100) })))).toBe("a1 c1");
});

test("a node that came back as another incarnation replaces itself", () => {
  const back = at(100, { incarnation: 2 });
  expect(namesOf(nextMembership(view("ab", "", { a: at(110), b: back })))).toBe("a1 b2");
});

test("before its first commit a writer only replaces, by a learner with its whole log", () => {
  const starting = { isCommitting: false, required: 110 };
  const states = { a: at(110), b: at(110), c: at(0, silent) };
  expect(nextMembership(view("abc", "", states, starting))).toBeUndefined();
  const learned = (d: number) => view("abc", "d", { ...states, d: at(d) }, starting);
  expect(nextMembership(learned(109))).toBeUndefined();
  expect(namesOf(nextMembership(learned(110)))).toBe("a1 b1 d1");
});

test("a member whose frames are gone from the log leaves before it gets a checkpoint", () => {
  const states = { a: at(110), b: at(110), c: at(3, { needsCheckpoint: true }) };
  expect(namesOf(nextMembership(view("abc", "", states)))).toBe("a1 b1");
});

test("nodes that are gone for good do not fill the document: of many learners the one that is silent longest goes", () => {
  const learners = "defghijklmnopqrs";
  const states = Object.fromEntries(
    [...learners].map((name, index) => [name, at(0, { silentMs: 10_000 + index })]),
  );
  const next = nextMembership(
    view("abc", learners, { ...states, a: at(110), b: at(100), c: at(100, silent) }),
  );
  expect(namesOf(next)).toBe("a1 b1");
  expect(next!.learners.map(({ nodeId }) => nodeId).join("")).toBe("defghijklmnopqrc");
});
