import { expect, test } from "bun:test";
import type { ClusterPicture } from "../../src/tools/cluster-picture.ts";
import { headline, pictureJson, statusTable } from "../../src/tools/cluster-report.ts";
import { styleFor } from "../../src/tools/text-table.ts";

const PLAIN = styleFor({ write: () => undefined }, {});

function pictureOf(isDraining: boolean): ClusterPicture {
  const node = {
    ...{ id: "ab".repeat(20), host: "127.0.0.1", port: 7000, kind: "member" },
    role: "writer" as const,
    ...{ health: "online", isReachable: true, lagFrames: undefined, info: new Map() },
  };
  const set = { id: "9907ca53".padEnd(40, "0"), epoch: 1, slots: [{ start: 3, end: 9 }] };
  return { isOk: true, epoch: 1, slotsServed: 1024, sets: [{ ...set, isDraining, nodes: [node] }] };
}

test("a set that drains is shown so, in tables and to programs", () => {
  expect(statusTable(pictureOf(true), PLAIN)).toContain("3-9 draining");
  expect(statusTable(pictureOf(false), PLAIN)).not.toContain("draining");
  expect(pictureJson(pictureOf(true)).sets[0]).toMatchObject({ isDraining: true });
});

test("what there is one of is not many", () => {
  expect(headline(pictureOf(false), PLAIN)).toContain("1 replica set, 1 node, epoch 1");
});
