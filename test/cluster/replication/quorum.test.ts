import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  jointlyReached,
  type Membership,
  reachedBy,
  sealQuorum,
} from "../../../src/cluster/replication/quorum.ts";

function membershipOf(nodes: readonly string[], writeQuorum: number): Membership {
  return { members: nodes.map((nodeId) => ({ nodeId, incarnation: 1 })), writeQuorum };
}

/** All subsets of `nodes` with `size` nodes. */
function subsets(nodes: readonly string[], size: number): string[][] {
  if (size === 0) return [[]];
  return nodes.flatMap((node, at) =>
    subsets(nodes.slice(at + 1), size - 1).map((rest) => [node, ...rest]),
  );
}

const meets = (a: readonly string[], b: readonly string[]) => a.some((each) => b.includes(each));

test("reachedBy is the Q-th largest value", () => {
  expect(reachedBy([5, 9, 7], 1)).toBe(9);
  expect(reachedBy([5, 9, 7], 2)).toBe(7);
  expect(reachedBy([5, 9, 7], 3)).toBe(5);
});

test("I6: every commit quorum meets every seal quorum", () => {
  for (let count = 1; count <= 6; count++) {
    const nodes = [..."abcdef"].slice(0, count);
    for (let writeQuorum = 1; writeQuorum <= count; writeQuorum++) {
      const seals = subsets(nodes, sealQuorum(membershipOf(nodes, writeQuorum)));
      for (const commit of subsets(nodes, writeQuorum))
        for (const seal of seals) expect(meets(commit, seal)).toBe(true);
    }
  }
});

test("I6 across a change: what is jointly committed meets the seal quorums of both memberships", () => {
  const nodes = fc.subarray([..."abcdef"], { minLength: 1 });
  void fc.assert(
    fc.property(nodes, nodes, fc.nat(5), fc.func(fc.boolean()), (old, next, q, holds) => {
      const writeQuorum = 1 + (q % Math.min(old.length, next.length));
      const memberships = [membershipOf(old, writeQuorum), membershipOf(next, writeQuorum)];
      const holders = [..."abcdef"].filter((node) => holds(node));
      const reached = jointlyReached(memberships, ({ nodeId }) =>
        holders.includes(nodeId) ? 1 : 0,
      );
      if (reached === 0) return;
      for (const membership of memberships) {
        const ids = membership.members.map((member) => member.nodeId);
        for (const seal of subsets(ids, sealQuorum(membership)))
          expect(meets(seal, holders)).toBe(true);
      }
    }),
  );
});
