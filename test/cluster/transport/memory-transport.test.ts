import { expect, test } from "bun:test";
import {
  MemoryNetwork,
  type MemoryTransport,
} from "../../../src/cluster/transport/memory-transport.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { testTransport } from "./transport-contract.ts";
import { nodeId, type RecordingHandlers, record } from "./transport-support.ts";

class World {
  readonly clock = new SimulatedClock(1_000_000);
  readonly network = new MemoryNetwork({
    clock: this.clock,
    latencyMs: () => 1,
    retryMs: 10,
    silenceMs: 50,
    queueBytes: 1 << 20,
  });
  readonly #nodes: { transport: MemoryTransport }[] = [];

  start(name: string): {
    transport: MemoryTransport;
    out: RecordingHandlers;
    in: RecordingHandlers;
    id: string;
  } {
    const id = nodeId(name);
    const transport = this.network.start(id, 1, { host: name, port: 1 });
    const node = { transport, ...record(transport), id };
    this.#nodes.push(node);
    return node;
  }

  step(): void {
    while (this.clock.runImmediates());
    this.clock.advance(1);
  }

  until(what: string, isSo: () => boolean): Promise<void> {
    for (let steps = 0; !isSo(); steps++) {
      if (steps > 10_000) throw new Error(`it never came: ${what}`);
      this.step();
    }
    return Promise.resolve();
  }

  stop(): void {
    for (const { transport } of this.#nodes) transport.stop();
  }
}

testTransport("MemoryTransport", () => {
  const world = new World();
  return {
    start: (name) => world.start(name),
    target: (node, purposes) => ({ host: node.id.replace(/^0+/, ""), port: 1, purposes }),
    until: (what, isSo) => world.until(what, isSo),
    cut: () => {
      world.network.cut(nodeId("a"), nodeId("b"));
      world.network.heal(nodeId("a"), nodeId("b"));
    },
    stop: () => world.stop(),
  };
});

test("MemoryNetwork holds back what is silenced, and ends links that stay silent", async () => {
  const world = new World();
  const [a, b] = [world.start("a"), world.start("b")];
  a.transport.setPeers(new Map([[b.id, { host: "b", port: 1, purposes: ["control"] }]]));
  await world.until("link", () => a.transport.link(b.id, "control") !== undefined);
  world.network.silence(a.id, b.id);
  a.transport.send(b.id, "control", 0, [Buffer.from("late")]);
  for (let i = 0; i < 20; i++) world.step();
  expect(b.in.messages).toEqual([]);
  world.network.speak(a.id, b.id);
  expect(b.in.messages).toEqual(["0:late"]);
  world.network.silence(a.id, b.id);
  await world.until("silence", () => b.in.events.length === 2);
  expect(b.in.events[1]).toBe("down control: silent");
  for (let i = 0; i < 100; i++) world.step();
  expect(a.transport.link(b.id, "control")).toBeUndefined();
  world.network.speak(a.id, b.id);
  await world.until("link", () => a.transport.link(b.id, "control") !== undefined);
  world.stop();
});
