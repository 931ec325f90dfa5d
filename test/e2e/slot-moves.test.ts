/**
 * Slots that move between replica sets of real processes while clients write: no command fails, nothing is lost, nothing
 * is stale; also while a writer is killed in the middle.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Cluster } from "ioredis";
import { slotOf } from "../../src/base/slot.ts";
import { DkvCluster, until } from "../support/dkv-cluster.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: clusters with a real ZooKeeper: ${MISSING}`);

setDefaultTimeout(180_000);

const WORKERS = 8;
const KEYS = 400;
const VALUES = 20_000;
const BATCH = 500;
const MIB = 1024 * 1024;

/**
 * Writes growing numbers, each key by one worker alone: what is read must be what was written last, or what was tried
 * since.
 */
class Load {
  readonly #client: Cluster;
  readonly #name = `load${performance.now()}`;
  readonly failures: string[] = [];
  readonly stale: string[] = [];
  readonly #written = new Map<string, { acknowledged: number; tried: number }>();
  commands = 0;
  longestMs = 0;
  #isStopped = false;
  readonly #workers: Promise<void>[];

  constructor(client: Cluster) {
    this.#client = client;
    this.#workers = Array.from({ length: WORKERS }, (_, index) => this.#run(index));
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#workers);
    for (const key of this.#written.keys()) await this.#read(key);
  }

  async #run(worker: number): Promise<void> {
    for (let round = 0; !this.#isStopped; round++) {
      const key = `${this.#name}:${(round * WORKERS + worker) % KEYS}`;
      const startMs = performance.now();
      await this.#read(key);
      await this.#write(key);
      this.commands += 2;
      this.longestMs = Math.max(this.longestMs, performance.now() - startMs);
    }
  }

  async #read(key: string): Promise<void> {
    const { acknowledged = 0, tried = 0 } = this.#written.get(key) ?? {};
    try {
      const value = Number((await this.#client.get(key)) ?? 0);
      const isRight = value === acknowledged || value === tried;
      if (!isRight) this.stale.push(`${key}: ${value}, written ${acknowledged}, tried ${tried}`);
      this.#written.set(key, { acknowledged: value, tried: value });
    } catch (error) {
      this.failures.push((error as Error).message);
    }
  }

  async #write(key: string): Promise<void> {
    const { acknowledged = 0, tried = 0 } = this.#written.get(key) ?? {};
    const next = tried + 1;
    this.#written.set(key, { acknowledged, tried: next });
    try {
      await this.#client.set(key, next);
      this.#written.set(key, { acknowledged: next, tried: next });
    } catch (error) {
      this.failures.push((error as Error).message);
    }
  }
}

describe.skipIf(MISSING !== "")("slots of a cluster of two sets with three nodes each", () => {
  let cluster: DkvCluster;
  let client: Cluster;

  beforeAll(async () => {
    cluster = await DkvCluster.start({ sets: 2, nodesPerSet: 3, writeQuorum: 2 });
    client = new Cluster(cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })));
    client.on("error", () => undefined);
  });

  afterAll(async () => {
    client?.disconnect();
    await cluster?.stop();
  });

  async function setIdOf(port: number): Promise<string> {
    const node = cluster.nodes.find((each) => each.port === port)!;
    return `${await node.ask("CLUSTER", "MYSHARDID")}`;
  }

  /** Set ids by slot, as a node sees them. */
  async function owners(): Promise<string[]> {
    const [node] = cluster.nodes.filter(({ isRunning }) => isRunning);
    const slots = (await node!.ask("CLUSTER", "SLOTS")) as [number, number, [string, number]][];
    const bySlot: string[] = [];
    for (const [first, last, [, port]] of slots) {
      const id = await setIdOf(port);
      for (let slot = first / 16; slot <= Math.floor(last / 16); slot++) bySlot[slot] = id;
    }
    return bySlot;
  }

  async function untilMoved(): Promise<void> {
    await until(
      "all moves are over",
      async () => {
        const [node] = cluster.nodes.filter(({ isRunning }) => isRunning);
        const moves = await node!.ask("CLUSTER", "MOVES");
        return Array.isArray(moves) && moves.length === 0;
      },
      () => cluster.nodes.map(({ output }) => output.slice(-1500)).join("\n---\n"),
    );
  }

  async function writeAll(): Promise<void> {
    for (let i = 0; i < VALUES; i += BATCH)
      await Promise.all(
        Array.from({ length: BATCH }, (_, at) => client.set(`key:${i + at}`, `value ${i + at}`)),
      );
  }

  async function expectAll(): Promise<void> {
    for (let i = 0; i < VALUES; i += BATCH) {
      const indexes = Array.from({ length: BATCH }, (_, at) => i + at);
      const values = await Promise.all(indexes.map((index) => client.get(`key:${index}`)));
      expect(values).toEqual(indexes.map((index) => `value ${index}`));
    }
  }

  /** Moves slots to the other set while clients write. */
  async function moveUnderLoad(
    range: { first: number; last: number },
    disturb: () => Promise<void>,
  ): Promise<Load> {
    const before = await owners();
    const from = before[range.first]!;
    const to = before.find((id) => id !== from)!;
    const load = new Load(client);
    try {
      await Bun.sleep(300);
      const [node] = cluster.nodes.filter(({ isRunning }) => isRunning);
      const slots = `${range.first}-${range.last}`;
      const count = range.last - range.first + 1;
      const plan = await node!.ask("CLUSTER", "MOVE", slots, "TO", to);
      expect(plan).toEqual([[from, to, slots, count]]);
      await disturb();
      await untilMoved();
      const after = await owners();
      const isMoved = (_: string, slot: number) => slot >= range.first && slot <= range.last;
      expect(after.filter(isMoved)).toEqual(new Array(count).fill(to));
    } finally {
      await load.stop();
    }
    expect(load.stale).toEqual([]);
    return load;
  }

  async function afterSomeMoves(count: number): Promise<void> {
    const [node] = cluster.nodes.filter(({ isRunning }) => isRunning);
    await until("some slots have moved", async () => {
      const moves = await node!.ask("CLUSTER", "MOVES");
      return Array.isArray(moves) && moves.length <= count;
    });
  }

  test("move by hand under load: no command fails, no read is stale, the source is empty of them", async () => {
    await writeAll();
    const load = await moveUnderLoad({ first: 0, last: 59 }, () => Promise.resolve());
    expect(load.failures).toEqual([]);
    await expectAll();
    const sizes: number[] = [];
    for (const node of cluster.nodes)
      if (`${await node.ask("INFO", "replication")}`.includes("role:master"))
        sizes.push(Number(await node.ask("DBSIZE")));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(VALUES + KEYS);
    const logs = cluster.nodes.map(({ output }) => output).join("");
    const begun = [...logs.matchAll(/"move":"(\w+)".*"slots begin to move away"/g)];
    expect(begun.length).toBe(60);
    expect(new Set(begun.map(([, id]) => id)).size).toBe(60);
    const infos = await Promise.all(cluster.nodes.map((node) => node.ask("INFO", "dkv")));
    const frozen = infos.map((info) => /cluster_moves_frozen_ms_max:(\d+)/.exec(`${info}`)?.[1]);
    expect(Math.max(...frozen.map((ms) => Number(ms ?? 0)))).toBeGreaterThan(0);
  });

  test("a slot of many pieces moves under load, large values among them", async () => {
    const tag = keyOfSlot(300);
    const values = Array.from({ length: 60 }, (_, at) => `${at}`.padEnd(at < 2 ? 3 * MIB : 40_000));
    const keys = values.map((_, at) => `{${tag}}:${at}`);
    await Promise.all(keys.map((key, at) => client.set(key, values[at]!)));
    const load = await moveUnderLoad({ first: 300, last: 301 }, () => Promise.resolve());
    expect(load.failures).toEqual([]);
    const found = await Promise.all(keys.map((key) => client.get(key)));
    expect(found.map((value, at) => value === values[at])).toEqual(values.map(() => true));
  });

  for (const side of ["source", "destination"] as const) {
    test(`the ${side}'s writer is killed while slots move: nothing is lost, nothing is stale`, async () => {
      const range = side === "source" ? { first: 100, last: 159 } : { first: 200, last: 259 };
      const [source, destination] = [keyOfSlot(range.first), keyOfSlot(1000)];
      const killed = await cluster.writerOf(side === "source" ? source : destination);
      const load = await moveUnderLoad(range, async () => {
        await afterSomeMoves(45);
        await killed.kill();
      });
      expect(load.failures.filter((text) => !text.startsWith("UNKNOWN"))).toEqual([]);
      await expectAll();
      killed.launch();
      await cluster.untilServing();
    });
  }
});

describe.skipIf(MISSING !== "")("a cluster of one set and three spares", () => {
  test("has two sets with half of the slots each, as soon as it may, and one of them is retired again", async () => {
    const cluster = await DkvCluster.start({ sets: 1, nodesPerSet: 3, writeQuorum: 2, spares: 3 });
    const client = new Cluster(cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })));
    client.on("error", () => undefined);
    try {
      const keys = Array.from({ length: 2000 }, (_, at) => `key:${at}`);
      await Promise.all(keys.map((key) => client.set(key, key)));
      const load = new Load(client);
      for (const node of cluster.nodes)
        await node.ask("CONFIG", "SET", "cluster-auto-rebalance", "yes");
      const sizes = async () => {
        const shards = (await cluster.nodes[0]!.ask("CLUSTER", "SHARDS")) as [string, number[]][];
        return shards.map(([, slots]) =>
          slots.reduce((sum, each, at) => sum + (at % 2 === 0 ? -each : each + 1), 0),
        );
      };
      const untilSizes = (wanted: number[]) =>
        until(
          `slots ${wanted.join()}`,
          async () => (await sizes()).sort((a, b) => a - b).join() === wanted.join(),
          () => cluster.nodes.map(({ output }) => output.slice(-1500)).join("\n---\n"),
        );
      await untilSizes([8192, 8192]);
      const drained = await cluster.nodes[0]!.ask("CLUSTER", "MYSHARDID");
      await cluster.nodes[0]!.ask("CLUSTER", "DRAIN", `${drained}`);
      await untilSizes([16_384]);
      await load.stop();
      expect({ failures: load.failures, stale: load.stale }).toEqual({ failures: [], stale: [] });
      expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(keys);
    } finally {
      client.disconnect();
      await cluster.stop();
    }
  });
});

function keyOfSlot(slot: number): string {
  for (let i = 0; ; i++)
    if (slotOf(Buffer.from(`k${i}`), 0, `k${i}`.length) === slot) return `k${i}`;
}
