import { expect, test } from "bun:test";
import { MemoryNetwork } from "../../../src/cluster/transport/memory-transport.ts";
import { WatchedTransport } from "../../../src/cluster/transport/watched-transport.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { nodeId, record } from "./transport-support.ts";

const START_MS = 1_000_000;

function start() {
  const clock = new SimulatedClock(START_MS);
  const network = new MemoryNetwork({
    ...{ clock, latencyMs: () => 1, retryMs: 10, silenceMs: 50, queueBytes: 1 << 20 },
  });
  const nodes = ["a", "b"].map((name) => {
    const id = nodeId(name);
    const transport = new WatchedTransport(network.start(id, 1, { host: name, port: 1 }), clock);
    return { id, transport, ...record(transport) };
  });
  const until = (what: string, isSo: () => boolean): void => {
    for (let steps = 0; !isSo(); steps++) {
      if (steps > 10_000) throw new Error(`it never came: ${what}`);
      while (clock.runImmediates());
      clock.advance(1);
    }
  };
  return { network, until, a: nodes[0]!, b: nodes[1]! };
}

test("WatchedTransport shows links of both directions while they are up, and passes on the rest", () => {
  const { network, until, a, b } = start();
  const purposes = ["control", "replication"] as const;
  a.transport.setPeers(new Map([[b.id, { host: "b", port: 1, purposes }]]));
  until("links", () => a.out.ups.length === 2 && b.in.ups.length === 2);
  const shown = { events: "r", allocatedBytes: 0, usedBytes: 0 } as const;
  expect(a.transport.links()).toMatchObject(
    purposes.map(() => ({ direction: "to", nodeId: b.id, ...shown })),
  );
  expect(b.transport.links()).toMatchObject(
    purposes.map(() => ({ direction: "from", nodeId: a.id, ...shown })),
  );
  for (const { createdMs } of a.transport.links())
    expect(createdMs).toBeWithin(START_MS, START_MS + 1000);

  expect(a.transport.send(b.id, "control", 3, [Buffer.from("hello")])).toBe(true);
  until("message", () => b.in.messages.length === 1);
  expect(b.in.messages).toEqual(["3:hello"]);

  network.cut(a.id, b.id);
  until("down", () => a.out.events.length === 4 && b.in.events.length === 4);
  expect([a.transport.links(), b.transport.links()]).toEqual([[], []]);
  network.heal(a.id, b.id);
  until("up again", () => a.transport.links().length === 2);
  a.transport.stop();
  expect(a.transport.links()).toEqual([]);
});

test("WatchedTransport shows what is queued on a link", () => {
  const { until, a, b } = start();
  a.transport.setPeers(new Map([[b.id, { host: "b", port: 1, purposes: ["control"] }]]));
  until("link", () => a.transport.link(b.id, "control") !== undefined);
  a.transport.send(b.id, "control", 0, [Buffer.alloc(1000)]);
  const { queuedBytes } = a.transport.link(b.id, "control")!;
  expect(queuedBytes).toBeGreaterThanOrEqual(1000);
  expect(a.transport.links()).toMatchObject([{ events: "rw", usedBytes: queuedBytes }]);
});
