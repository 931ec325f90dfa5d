import { afterEach, describe, expect, test } from "bun:test";
import * as net from "node:net";
import { StartupError } from "../../../src/base/errors.ts";
import { PURPOSES } from "../../../src/cluster/transport/transport.ts";
import type { TransportLimits } from "../../../src/cluster/transport/transport-limits.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";
import { testTransport } from "./transport-contract.ts";
import { nodeId, type SocketNode, startNode, until } from "./transport-support.ts";

const SMALL: Partial<TransportLimits> = {
  backoffMinMs: 5,
  backoffMaxMs: 20,
  queueBytes: 1 << 20,
  windowBytes: 1 << 20,
};

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanups.splice(0)) cleanUp();
});

function start(name: string, changes: Parameters<typeof startNode>[1] = {}): SocketNode {
  const node = startNode(name, { limits: SMALL, ...changes });
  cleanups.push(() => node.transport.stop());
  return node;
}

async function proxyTo(node: SocketNode): Promise<TcpProxy> {
  const proxy = await TcpProxy.start(node.transport.port);
  cleanups.push(() => proxy.stop());
  return proxy;
}

function connect(from: SocketNode, to: SocketNode, port = to.transport.port): void {
  const target = { host: "127.0.0.1", port, purposes: ["replication"] as const };
  from.transport.setPeers(new Map([[to.id, target]]));
}

const linkOf = (from: SocketNode, to: SocketNode) => from.transport.link(to.id, "replication");
const linked = (from: SocketNode, to: SocketNode) =>
  until("link", () => linkOf(from, to) !== undefined);

testTransport("SocketTransport", () => {
  const nodes: SocketNode[] = [];
  const sockets: net.Socket[] = [];
  let relay: net.Server | undefined;
  return {
    start: (name) => {
      const node = startNode(name, { limits: SMALL });
      nodes.push(node);
      return node;
    },
    target: (node, purposes) => {
      const { port } = (node as SocketNode).transport;
      relay = net.createServer((near) => {
        const far = net.connect(port, "127.0.0.1");
        sockets.push(near, far);
        for (const [one, other] of [
          [near, far],
          [far, near],
        ] as const) {
          one.pipe(other);
          one.on("error", () => other.destroy());
          one.on("close", () => other.destroy());
        }
      });
      relay.listen(0, "127.0.0.1");
      return { host: "127.0.0.1", port: (relay.address() as net.AddressInfo).port, purposes };
    },
    until,
    cut: () => {
      for (const socket of sockets.splice(0)) socket.destroy();
    },
    stop: () => {
      for (const node of nodes) node.transport.stop();
      relay?.close();
      for (const socket of sockets) socket.destroy();
    },
  };
});

/** A raw connection; what came, and whether it has been closed. */
function rawConnection(node: SocketNode, bytes: Buffer | string) {
  const seen = { received: 0, isClosed: false };
  const socket = net.connect(node.transport.port, "127.0.0.1", () => socket.write(bytes));
  socket.on("data", (chunk) => {
    seen.received += chunk.length;
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    seen.isClosed = true;
  });
  cleanups.push(() => socket.destroy());
  return seen;
}

describe("SocketTransport, strangers", () => {
  test("a node without a secret does not start unless that is allowed", () => {
    const secret = new Uint8Array(0);
    expect(() => startNode("a", { secret })).toThrow(StartupError);
    start("a", { secret, allowsNoSecret: true });
  });

  test("garbage is closed at once and logged, once for many", async () => {
    const a = start("a");
    const strangers = Array.from({ length: 20 }, () =>
      rawConnection(a, "GET / HTTP/1.1\r\n\r\n\r\n"),
    );
    await until("closed", () => strangers.every((stranger) => stranger.isClosed));
    expect(strangers.every((stranger) => stranger.received === 0)).toBe(true);
    expect(a.logger.reasons).toEqual(["not a frame"]);
    expect(a.transport.connectionCount).toBe(0);
  });

  test("who says nothing keeps no place when others come", async () => {
    const a = start("a", { limits: { ...SMALL, handshakesMax: 4, handshakeMs: 3_600_000 } });
    const silent = Array.from({ length: 10 }, () => rawConnection(a, "d"));
    await until("some evicted", () => silent.filter((each) => each.isClosed).length >= 6);
    const b = start("b");
    connect(b, a);
    await linked(b, a);
    expect(a.logger.reasons).toEqual(["too many handshakes"]);
    expect(linkOf(b, a)).toBeDefined();
  });

  test("who says nothing keeps no place for long", async () => {
    const a = start("a", { limits: { ...SMALL, handshakeMs: 100, pingMs: 40 } });
    const silent = rawConnection(a, "d");
    await until("closed", () => silent.isClosed);
    expect(a.logger.reasons).toEqual(["handshake timed out"]);
  });

  test("another secret, another cluster and another node than expected are refused and logged", async () => {
    const a = start("a");
    const cases = [
      { node: start("b", { secret: Buffer.from("wrong") }), reason: "secret" },
      { node: start("c", { clusterId: "d".repeat(40) }), reason: "cluster id" },
    ];
    for (const { node, reason } of cases) {
      connect(node, a);
      await until("both logs", () =>
        [a, node].every(({ logger }) => logger.reasons.some((each) => `${each}`.includes(reason))),
      );
    }
    const d = start("d");
    const port = a.transport.port;
    const wrong = { host: "127.0.0.1", port, purposes: ["replication"] as const };
    d.transport.setPeers(new Map([[nodeId("e"), wrong]]));
    await until("refusal", () => d.logger.reasons.includes("refused by the peer: node id"));
    expect(a.in.events).toEqual([]);
  });

  test("an older incarnation does not replace a newer one; a newer connection does replace", async () => {
    const a = start("a");
    const newer = start("b", { incarnation: 2 });
    connect(newer, a);
    await linked(newer, a);
    const older = start("b", { incarnation: 1 });
    connect(older, a);
    await until("refusal", () => older.logger.reasons.includes("refused by the peer: incarnation"));
    expect(a.in.events).toEqual(["up replication"]);
    const newest = start("b", { incarnation: 2 });
    connect(newest, a);
    await until("replaced", () => a.in.events.length >= 3);
    expect(a.in.events.slice(0, 3)).toEqual([
      "up replication",
      "down replication: replaced by a newer connection",
      "up replication",
    ]);
  });
});

describe("SocketTransport, traffic", () => {
  test("10,000 small messages arrive in order", async () => {
    const [a, b] = [start("a"), start("b")];
    connect(a, b);
    await linked(a, b);
    const count = 10_000;
    let next = 0;
    b.in.onEach = ({ parts }) => {
      const value = Buffer.from(parts[0]!).readUInt32LE();
      if (value === next) next++;
    };
    for (let i = 0; i < count; i++) {
      const part = Buffer.alloc(40);
      part.writeUInt32LE(i);
      expect(a.transport.send(b.id, "replication", 1, [part])).toBe(true);
    }
    await until("all", () => next === count);
  });

  test("64 MiB of shared memory arrive as they were, without being copied at the sender", async () => {
    const [a, b] = [start("a"), start("b")];
    connect(a, b);
    await linked(a, b);
    const bytes = new Uint8Array(new SharedArrayBuffer(64 << 20));
    for (let i = 0; i < bytes.length; i += 4096) bytes[i] = i >>> 12;
    const hash = Bun.hash.xxHash64(bytes);
    let isReleased = false;
    let received: { hash: bigint; header: string } | undefined;
    b.in.onEach = ({ parts }) => {
      received = { header: Buffer.from(parts[0]!).toString(), hash: Bun.hash.xxHash64(parts[1]!) };
    };
    const link = linkOf(a, b)!;
    link.send(0, [Buffer.from("header"), bytes], () => {
      isReleased = true;
    });
    expect(link.canSend).toBe(false);
    await until("arrival", () => received !== undefined);
    expect(received).toEqual({ header: "header", hash });
    await until("release", () => isReleased);
  });

  test("a peer that reads nothing stops its sender within queue and window, and all comes later", async () => {
    const [a, b] = [start("a"), start("b")];
    const proxy = await proxyTo(b);
    connect(a, b, proxy.port);
    await linked(a, b);
    let received = 0;
    b.in.onEach = () => received++;
    proxy.silence("toServer");
    const part = Buffer.alloc(10_000);
    let sent = 0;
    // Until nothing more is taken for a while: the proxy swallows only what credit allows.
    for (let idle = 0; idle < 20; idle++) {
      while (linkOf(a, b)!.send(0, [part])) {
        sent++;
        idle = 0;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(sent * part.length).toBeLessThanOrEqual((2 << 20) + 2 * 10_100);
    expect(linkOf(a, b)!.queuedBytes).toBeLessThanOrEqual((1 << 20) + 10_100);
    expect(received).toBe(0);
    proxy.speak();
    await until("all of it", () => received === sent);
  });
});

describe("SocketTransport, broken networks", () => {
  test("a half-open connection ends on both sides, and is made again when the network is back", async () => {
    const limits = { ...SMALL, pingMs: 40, silenceMs: 400, connectMs: 200, handshakeMs: 200 };
    const [a, b] = [start("a", { limits }), start("b", { limits })];
    const proxy = await proxyTo(b);
    connect(a, b, proxy.port);
    await linked(a, b);
    proxy.silence("toServer", "toClient");
    await until("both down", () => a.out.events.length >= 2 && b.in.events.length >= 2);
    expect(a.out.events[1]).toBe("down replication: silent");
    expect(b.in.events[1]).toBe("down replication: silent");
    proxy.speak();
    await linked(a, b);
  });

  test("storms: whatever is cut while all connect to all, all links come up, one a purpose", async () => {
    const names = ["a", "b", "c", "d"];
    const nodes = names.map((name) => start(name));
    const proxies = await Promise.all(nodes.map(proxyTo));
    const peers = new Map(
      nodes.map((node, i) => [
        node.id,
        { host: "127.0.0.1", port: proxies[i]!.port, purposes: PURPOSES },
      ]),
    );
    for (const proxy of proxies) proxy.refuse(true);
    for (const node of nodes) node.transport.setPeers(peers);
    await until("failures", () => nodes.every((node) => node.logger.lines.length > 0));
    for (const proxy of proxies) proxy.refuse(false);
    for (let round = 0; round < 10; round++) {
      proxies[round % proxies.length]!.cut();
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    const links = () =>
      nodes.flatMap((node) =>
        nodes
          .filter((peer) => peer !== node)
          .flatMap((peer) => PURPOSES.map((purpose) => node.transport.link(peer.id, purpose))),
      );
    await until("all links", () => links().every((link) => link !== undefined));
    // Each node: three peers, four purposes, outgoing and incoming.
    await until("no others", () => nodes.every((node) => node.transport.connectionCount === 24));
    for (const node of nodes) {
      const { events } = node.out;
      const ups = events.filter((event) => event.startsWith("up")).length;
      expect(ups - (events.length - ups)).toBe(12);
    }
  });

  test("a peer that moves is found at its new address", async () => {
    const [a, b] = [start("a"), start("b")];
    connect(a, b);
    await linked(a, b);
    b.transport.stop();
    await until("down", () => linkOf(a, b) === undefined);
    const moved = start("b");
    connect(a, moved);
    await linked(a, moved);
    a.transport.send(moved.id, "replication", 0, [Buffer.from("hello")]);
    await until("message", () => moved.in.messages.length === 1);
  });
});
