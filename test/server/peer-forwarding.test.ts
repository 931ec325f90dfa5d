/** Units over the peer port: their format, limits, order, and what becomes of clients and links that end. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  CHANNEL_REQUESTS,
  EntryReader,
  ForwardBatch,
} from "../../src/cluster/transport/forward-codec.ts";
import { MemoryNetwork } from "../../src/cluster/transport/memory-transport.ts";
import type { ForwardUnit } from "../../src/server/forwarder.ts";
import { PeerForwarding } from "../../src/server/peer-forwarding.ts";
import type { PeerLink } from "../../src/server/peer-link.ts";
import { readUnit, unitLength, writeUnit } from "../../src/server/unit-codec.ts";
import { SimRandom } from "../sim/random.ts";
import { encodeRequest } from "../support/raw-connection.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { SocketLinks } from "../support/socket-links.ts";
import { type StaticCluster, slotOfKey } from "../support/static-cluster.ts";
import { ask, bulk, RoutingFixture } from "./routing/routing-fixture.ts";

const SEED = Number(process.env["DKV_FUZZ_SEED"] ?? 1);
const RUNS = Number(process.env["DKV_FUZZ_RUNS"] ?? 300);
const TIMEOUT_MS = 60_000;
const MIB = 1 << 20;
const UNIT_MAX = 2 * MIB;

function randomUnit(random: SimRandom): ForwardUnit {
  const isWatched = random.below(2) === 0;
  const kinds = ["command", "transaction", "watch", "unwatch"] as const;
  return {
    client: random.below(2) === 0 ? random.below(1000) : Number.MAX_SAFE_INTEGER - random.below(9),
    epoch: random.below(2) === 0 ? random.below(1000) : 2 ** 40 + random.below(1000),
    slot: random.below(1024),
    kind: isWatched ? "transaction" : kinds[random.below(4)]!,
    isWatched,
    protocol: random.below(2) === 0 ? 2 : 3,
    requests: 1 + random.below(2 ** 32 - 1),
    bytes: Array.from({ length: 1 + random.below(3) }, (_, i) => Buffer.alloc(1 + i, 65 + i)),
    settle: () => undefined,
  };
}

function encode(...units: ForwardUnit[]): Buffer {
  const batch = new ForwardBatch();
  for (const [index, unit] of units.entries()) {
    batch.begin(1, index, 0);
    writeUnit(unit, batch);
    batch.end();
  }
  return batch.take();
}

describe("a unit's bytes", () => {
  test("come back as they were", () => {
    for (let run = 0; run < RUNS; run++) {
      const unit = randomUnit(new SimRandom(SEED + run));
      const reader = new EntryReader([encode(unit)]);
      expect(reader.next()).toBe(true);
      expect(reader.end - reader.start).toBe(unitLength(unit));
      const { settle: _, ...fields } = unit;
      const read = readUnit(reader.bytes, reader.start, reader.end)!;
      expect({ seed: SEED + run, ...read, bytes: Buffer.concat(read.bytes) }).toEqual({
        seed: SEED + run,
        ...fields,
        bytes: Buffer.concat(unit.bytes),
      });
    }
  });

  test("whatever they are, reading them throws nothing and keeps the bounds", () => {
    for (let run = 0; run < 10 * RUNS; run++) {
      const random = new SimRandom(SEED + run);
      const bytes = Buffer.from(random.bytes(random.below(40)));
      if (random.below(2) === 0 && bytes.length > 20) bytes.fill(0, 5, 20);
      const unit = readUnit(bytes, 0, bytes.length);
      if (unit === undefined) continue;
      expect(unit.slot).toBeLessThan(1024);
      expect(unit.requests).toBeGreaterThan(0);
      expect(unit.isWatched && unit.kind !== "transaction").toBe(false);
    }
  });
});

describe("over the peer port", () => {
  const links = new SocketLinks({ unitBytesMax: UNIT_MAX, messageBytesMax: 3 * MIB });
  let fixture: RoutingFixture;
  let cluster: StaticCluster;
  let there: string;

  beforeAll(async () => {
    fixture = await RoutingFixture.start(links);
    ({ cluster } = fixture);
  }, TIMEOUT_MS);
  afterAll(() => cluster.stop(), TIMEOUT_MS);

  beforeEach(() => {
    fixture.renew();
    ({ there } = fixture);
  });

  const watches = () => cluster.nodesOf(1)[0]!.server.context.watchedKeys.count;
  const until = async (what: string, isSo: () => boolean): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (!isSo()) {
      if (performance.now() > deadline) throw new Error(`it never came: ${what}`);
      await Bun.sleep(1);
    }
  };

  test("a command too large is not sent, and its client told; others go their way", async () => {
    const connection = await fixture.named();
    const large = "x".repeat(UNIT_MAX);
    const replies = await ask(
      connection,
      `SET ${there} 1`,
      `SET ${there} ${large}`,
      `GET ${there}`,
    );
    expect(replies[0]).toBe("+OK\r\n");
    expect(replies[1]).toMatch(
      /^-ERR command of \d+ bytes is too large to forward \(at most 2097152 bytes\)/,
    );
    expect(replies[2]).toBe(bulk("1"));
    const transaction = ["MULTI", `SET ${there} ${large}`, "EXEC", `GET ${there}`];
    const [, , exec, value] = await ask(connection, ...transaction);
    expect(exec).toStartWith("-ERR command of ");
    expect(value).toBe(bulk("1"));
  });

  test("a reply too large says so, and what has run has run", async () => {
    await ask(await fixture.connect(1), `SET ${there} ${"x".repeat(UNIT_MAX)}`);
    const connection = await fixture.named();
    const replies = await ask(connection, `GET ${there}`, `GETDEL ${there}`, `EXISTS ${there}`);
    for (const reply of replies.slice(0, 2))
      expect(reply).toStartWith("-ERR the command has run, but its reply of ");
    expect(replies[2]).toBe(":0\r\n");
  });

  test("units beyond one message: each client's stay in order", async () => {
    const clients = await Promise.all(Array.from({ length: 6 }, () => fixture.named()));
    const part = "y".repeat(400_000);
    const requests = Array.from({ length: 4 }, (_, i) => `APPEND ${there} ${i}${part}`);
    const keys = clients.map((_, i) => cluster.keyOf(1, i, `${there}:`));
    const asked = clients.map((client, i) =>
      ask(client, ...requests.map((request) => request.replace(there, keys[i]!))),
    );
    const lengths = requests.map((_, i) => `:${(i + 1) * (part.length + 1)}\r\n`);
    expect(await Promise.all(asked)).toEqual(clients.map(() => lengths));
    for (const key of keys) {
      const reads = requests.map((_, i) => {
        const at = i * (part.length + 1);
        return `GETRANGE ${key} ${at} ${at}`;
      });
      expect(await ask(clients[0]!, ...reads)).toEqual(["0", "1", "2", "3"].map(bulk));
    }
  });

  test("a client that goes away leaves no watch, whoever owns the slot by then", async () => {
    const before = watches();
    const watching = async () => {
      const connection = await fixture.named();
      expect(await ask(connection, `WATCH ${there}`)).toEqual(["+OK\r\n"]);
      expect(watches()).toBe(before + 1);
      return connection;
    };
    const quiet = await watching();
    quiet.close();
    await until("unwatched", () => watches() === before);
    // The sender does not know who the writer is; the owner has not heard of it.
    const unaware = await watching();
    cluster.elect(1, -1, [cluster.writer(1)]);
    unaware.close();
    await until("unwatched", () => watches() === before);
    cluster.elect(1, 0);
    await watching();
    cluster.elect(1, 0);
    await until("void", () => watches() === before);
    await watching();
    cluster.links.breakLinks(cluster.writer(1).id);
    await until("ended", () => watches() === before);
  });

  test("bytes that are no unit end the link, others are answered or not: nothing is thrown", async () => {
    const [from, to] = [cluster.members[0]!.id, cluster.writer(1).id];
    const linkOf = () => links.transportOf(from).link(to, "forward");
    const value = await fixture.connect(1);
    await ask(value, `SET ${there} 1`);
    for (let run = 0; run < 40; run++) {
      const random = new SimRandom(SEED + run);
      await until("link", () => linkOf() !== undefined);
      const link = linkOf()!;
      const units = Array.from({ length: 1 + random.below(4) }, () => ({
        ...randomUnit(random),
        ...{ epoch: 0, slot: slotOfKey(there), requests: 1 + random.below(3) },
        bytes: [
          random.below(2) === 0
            ? Buffer.concat([encodeRequest(["GET", there]), encodeRequest(["PING"])])
            : Buffer.from(random.bytes(1 + random.below(60))),
        ],
      }));
      const bytes = encode(...units);
      const isUnit = run % 16 !== 3;
      // The kind of the first unit is one of a later version.
      if (!isUnit) bytes[16 + 18] = 200;
      link.send(CHANNEL_REQUESTS, [bytes]);
      if (isUnit) await Bun.sleep(1);
      else await until("closed", () => !link.isUp);
    }
    expect(await ask(value, `GET ${there}`)).toEqual([bulk("1")]);
    expect(await ask(await fixture.named(), `GET ${there}`)).toEqual([bulk("1")]);
  });
});

/** One node, which forwards to another one. */
function pair() {
  const clock = new SimulatedClock(0);
  const network = new MemoryNetwork({
    ...{ clock, latencyMs: () => 1, retryMs: 10, silenceMs: 5000, queueBytes: MIB },
  });
  const [a, b] = ["a", "b"].map((name) => name.repeat(40));
  const [from, to] = [a!, b!].map((id) => network.start(id, 1, { host: id, port: 1 }));
  const forwarding = new PeerForwarding({ transport: from!, clock });
  const run = (ms: number) => {
    for (let i = 0; i < ms; i++) {
      while (clock.runImmediates());
      clock.advance(1);
    }
  };
  const connect = () => {
    from!.setPeers(new Map([[b!, { host: b!, port: 1, purposes: ["forward"] }]]));
    run(20);
  };
  const outcomes: string[] = [];
  const unit = (): ForwardUnit => ({
    ...randomUnit(new SimRandom(1)),
    settle: ({ kind }) => void outcomes.push(kind),
  });
  const node = { id: b!, host: b!, port: 1, peerPort: 1, hostname: "", health: "online" } as const;
  return { clock, to: to!, forwarding, run, connect, outcomes, unit, node };
}

test("a node that stops waits for no replies", () => {
  const { to, forwarding, run, connect, outcomes, unit, node } = pair();
  // It is there, and answers nothing.
  const silent = { onMessage: () => undefined, onUp: () => undefined };
  to.handle("forward", { ...silent, onDown: () => undefined, onDrain: () => undefined });
  connect();
  const stopped = new AbortController();
  forwarding.forward(node, [unit(), unit()], stopped.signal);
  run(20);
  expect(outcomes).toEqual([]);
  stopped.abort();
  expect(outcomes).toEqual(["unknown", "unknown"]);
  forwarding.forward(node, [unit()], stopped.signal);
  expect(outcomes).toEqual(["unknown", "unknown", "refused"]);
});

test("a node that stops answers what it executes for others, and refuses what comes then", async () => {
  for (const answers of [true, false]) {
    const { clock, to, forwarding, run, connect, outcomes, unit, node } = pair();
    const owner = new PeerForwarding({ transport: to, clock });
    const executed: ForwardUnit[] = [];
    const link = {
      execute: (units: ForwardUnit[]) => executed.push(...units),
      close: () => undefined,
    };
    owner.serve(() => link as unknown as PeerLink);
    connect();
    const { signal } = new AbortController();
    forwarding.forward(node, [unit(), unit()], signal);
    run(20);
    expect(executed).toHaveLength(2);
    let isDrained = false;
    const drained = owner.drain().then(() => {
      isDrained = true;
    });
    forwarding.forward(node, [unit()], signal);
    run(20);
    expect(outcomes).toEqual(["refused"]);
    await Promise.resolve();
    expect(isDrained).toBe(false);
    if (answers)
      for (const each of executed) each.settle({ kind: "reply", bytes: Buffer.from("+OK\r\n") });
    run(answers ? 20 : 2000);
    await drained;
    expect(outcomes).toEqual(answers ? ["refused", "reply", "reply"] : ["refused"]);
  }
});
