/** A replica set's messages over a transport: whole, with their frames, and lost where the contract says so. */
import { expect, test } from "bun:test";
import { TransportPeers } from "../../../src/cluster/node/transport-peers.ts";
import type { Append, Message } from "../../../src/cluster/replication/message.ts";
import { MemoryNetwork } from "../../../src/cluster/transport/memory-transport.ts";
import { CoordinatedWorld } from "./coordinated-world.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const PURPOSES = ["control", "replication", "bulk"] as const;
const SEAL: Message = { type: "seal", epoch: 7 };
const APPEND: Append = {
  ...{ type: "append", epoch: 1, sequence: 1, round: 0, commit: 0, durableOnAll: 0 },
  ...{ previous: { epoch: 0, index: 0 }, runs: [{ epoch: 1, first: 1 }], last: 1 },
  ...{ sendTime: 1, leaseMs: 1000, isQuorate: true },
};

function start() {
  const world = new CoordinatedWorld(1);
  const network = new MemoryNetwork({
    clock: world.clock,
    latencyMs: () => 1,
    ...{ retryMs: 20, silenceMs: 200, queueBytes: 1 << 20 },
  });
  const nodes = [A, B].map((nodeId) => {
    const transport = network.start(nodeId, 1, { host: nodeId, port: 1 });
    const got: { from: string; message: Message; frames: string | undefined }[] = [];
    const links: string[] = [];
    const bulk: Uint8Array[][] = [];
    const peers = new TransportPeers(transport, world.logger, { ofSet: [], ofAll: [] });
    peers.start({
      receive: (from, message, frames) =>
        got.push({ from, message, frames: frames && Buffer.from(frames).toString("hex") }),
      receiveMove: () => undefined,
      receiveBulk: (_, parts) => void bulk.push(parts.map((part) => part.slice())),
      onLink: (node, isUp) => void links.push(`${node[0]} ${isUp ? "up" : "down"}`),
    });
    const other = nodeId === A ? B : A;
    peers.setPeers(new Map([[other, { host: other, port: 1, isOfSet: true }]]));
    return { transport, peers, got, links, bulk };
  });
  const isLinked = ({ transport }: (typeof nodes)[number]) =>
    PURPOSES.every((purpose) => transport.link(transport.nodeId === A ? B : A, purpose));
  world.until("connected", () => nodes.every(isLinked));
  return { world, network, a: nodes[0]!, b: nodes[1]! };
}

test("messages arrive, those with frames as they were when they were sent", () => {
  const { world, a, b } = start();
  a.peers.send(B, SEAL, undefined);
  const frames = Uint8Array.from([1, 2, 3]);
  a.peers.send(B, APPEND, frames);
  // Of an arena that is another segment's by now.
  frames.fill(0);
  world.until("there", () => b.got.length === 2);
  const bySize = b.got.toSorted((x, y) => (x.frames?.length ?? 0) - (y.frames?.length ?? 0));
  expect(bySize).toEqual([
    { from: A, message: SEAL, frames: undefined },
    { from: A, message: APPEND, frames: "010203" },
  ]);
  expect(a.got).toEqual([]);
});

test("what is for checkpoints arrives apart, as the parts that were sent, and is let go of", () => {
  const { world, a, b } = start();
  const parts = [Uint8Array.from([1]), new Uint8Array(100_000).fill(2)];
  let released = 0;
  world.until("taken", () => a.peers.sendBulk(B, parts, () => released++));
  world.until("there", () => b.bulk.length === 1);
  expect(b.bulk[0]!.map((part) => [part.length, part[0]])).toEqual([
    [1, 1],
    [100_000, 2],
  ]);
  expect(released).toBe(1);
  expect(b.got).toEqual([]);
});

test("a link that ends and comes back is told, and what is sent meanwhile is lost", () => {
  const { world, network, a, b } = start();
  network.cut(A, B);
  world.until("down", () => a.links.includes("b down") && b.links.includes("a down"));
  a.peers.send(B, SEAL, undefined);
  network.heal(A, B);
  world.until("up", () => a.links.at(-1) === "b up" && b.links.at(-1) === "a up");
  world.pass(100);
  expect(b.got).toEqual([]);
  expect(a.links).toEqual(["b up", "b down", "b up"]);
});

test("a peer that sends what is no message loses its link", () => {
  const { world, a, b } = start();
  a.transport.send(B, "control", 0, [Buffer.from("garbage")]);
  world.until("down", () => a.links.includes("b down"));
  expect(b.got).toEqual([]);
  expect(world.lines.join()).toContain("cannot be read");
});
