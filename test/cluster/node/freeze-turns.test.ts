import { expect, test } from "bun:test";
import { FreezeTurns } from "../../../src/cluster/node/freeze-turns.ts";

test("one has the turn at a time, in the order in which they asked", () => {
  const turns = new FreezeTurns();
  const begun: string[] = [];
  for (const name of ["a", "b", "c"]) turns.take(() => begun.push(name));
  expect(begun).toEqual(["a"]);
  turns.end();
  expect(begun).toEqual(["a", "b"]);
  turns.end();
  turns.end();
  turns.take(() => begun.push("d"));
  expect(begun).toEqual(["a", "b", "c", "d"]);
});

test("who has no use for the turn hands it on at once", () => {
  const turns = new FreezeTurns();
  const begun: string[] = [];
  turns.take(() => begun.push("a"));
  turns.take(() => turns.end());
  turns.take(() => begun.push("c"));
  turns.end();
  expect(begun).toEqual(["a", "c"]);
});
