/**
 * Client libraries × cluster-redirect × what they do, against two replica sets of three real processes. What is expected
 * is the tables of docs/clients.md: a cell with a number fails with the words that the note of that number begins with.
 *
 * DKV_CLIENTS=all also kills a writer under the load of all clients in every mode; else only with auto.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CLIENT_SLOT_COUNT, clientSlotOf } from "../../src/base/client-slot.ts";
import { SLOT_COUNT, slotOf } from "../../src/base/slot.ts";
import { bunRedisClient } from "../clients/bun-redis-client.ts";
import { glide } from "../clients/glide.ts";
import { ioredisFamily } from "../clients/ioredis-family.ts";
import { nodeRedisFamily } from "../clients/node-redis-family.ts";
import { redisTools } from "../clients/redis-tools.ts";
import { scriptClients } from "../clients/script-clients.ts";
import { type Context, FEATURES, type Load, type Subject } from "../clients/subject.ts";
import { type ClusterProcess, DkvCluster, until } from "../support/dkv-cluster.ts";
import { whyNoZookeeper } from "../support/zookeeper.ts";

const MISSING = whyNoZookeeper();
if (MISSING !== "") console.warn(`skipped: clients against a cluster: ${MISSING}`);

const MODES = ["auto", "forward", "moved"] as const;
type Mode = (typeof MODES)[number];
const FAILOVER = "failover";
const FAILOVER_MODES = process.env["DKV_CLIENTS"] === "all" ? MODES : (["auto"] as const);
const GOES_ON = 10;
const GOES_ON_MS_MAX = 20_000;
const DOCS = join(dirname(dirname(import.meta.dirname)), "docs", "clients.md");

setDefaultTimeout(180_000);

/** One table of the page: cells by client and column. */
type Table = Map<string, Map<string, string>>;

function readTable(page: string, mode: Mode): Table {
  const section = page.split(/^### /m).find((each) => each.startsWith(`\`${mode}\``))!;
  const rows = section
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .map((line) => line.split("|").slice(1, -1));
  const [head, ...others] = rows.map((row) => row.map((cell) => cell.trim().replaceAll("`", "")));
  return new Map(
    others.map(([name, ...cells]) => [
      name!,
      new Map(cells.map((cell, i) => [head![i + 1]!, cell])),
    ]),
  );
}

/** By number: words of which one is in the error. */
function readNotes(page: string): Map<string, string[]> {
  const notes = new Map<string, string[]>();
  for (const [, number, words] of page.matchAll(/^(\d+)\. (`.*?):(?: |$)/gm))
    notes.set(
      number!,
      [...words!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!),
    );
  return notes;
}

/** Whether a key lies in the second set, which has the upper half of the slots. */
function isUpper(key: string): boolean {
  const bytes = Buffer.from(key);
  return slotOf(bytes, 0, bytes.length) >= SLOT_COUNT / 2;
}

/** Keys of every kind, by where a client that hashes as Redis does looks for them and where they are. */
function pickKeys(prefix: string, perKind: number): string[] {
  const kinds: string[][] = [[], [], [], []];
  for (let i = 0; kinds.some((kind) => kind.length < perKind); i++) {
    const key = Buffer.from(`${prefix}${i}`);
    const looked = clientSlotOf(key) >= CLIENT_SLOT_COUNT / 2 ? 2 : 0;
    const kind = kinds[looked + (isUpper(`${key}`) ? 1 : 0)]!;
    if (kind.length < perKind) kind.push(`${key}`);
  }
  return kinds.flat();
}

describe.skipIf(MISSING !== "")("clients of a cluster", () => {
  const page = readFileSync(DOCS, "utf8");
  const notes = readNotes(page);
  const isAlone = ({ name }: Subject) => name.startsWith("redis-benchmark");
  const present = pickKeys("present:", 8);
  const subjects: Subject[] = [];
  let cluster: DkvCluster;
  let serial = 0;

  beforeAll(async () => {
    cluster = await DkvCluster.start({ sets: 2, nodesPerSet: 3, writeQuorum: 2 });
    const all = [
      ioredisFamily,
      nodeRedisFamily,
      [glide, bunRedisClient],
      scriptClients,
      redisTools,
    ];
    for (const subject of all.flat()) {
      const why = await subject.whyMissing();
      if (why === "") subjects.push(subject);
      else console.warn(`skipped: ${subject.name} against a cluster: ${why}`);
    }
    await put(present);
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  async function put(keys: readonly string[]): Promise<void> {
    const [hello, ...replies] = await cluster.nodes[0]!.pipeline([
      ["HELLO", "3"],
      ...keys.map((key) => ["SET", key, key]),
    ]);
    expect(hello).toBeInstanceOf(Map);
    expect(replies).toEqual(keys.map(() => "OK"));
    await until("replicas have them", async () => {
      const gets = [["HELLO", "3"], ["READONLY"], ...keys.map((key) => ["GET", key])];
      const all = await Promise.all(cluster.nodes.map((node) => node.pipeline(gets)));
      return all.every((values) => Bun.deepEquals(values.slice(2), keys));
    });
  }

  async function redirect(mode: Mode): Promise<void> {
    for (const node of cluster.nodes)
      expect(await node.ask("CONFIG", "SET", "cluster-redirect", mode)).toBe("OK");
  }

  function contextOf(): Context {
    serial++;
    return {
      ports: cluster.nodes.map(({ port }) => port),
      keys: pickKeys(`key${serial}:`, 5),
      tags: pickKeys(`tag${serial}:`, 1),
      present,
      presentPrefix: "present:",
    };
  }

  function expectedOf(mode: Mode, columns: readonly string[]): Record<string, string[]> {
    const table = readTable(page, mode);
    return Object.fromEntries(
      subjects.map(({ name }) => [name, columns.map((column) => cell(table, name, column))]),
    );
  }

  function cell(table: Table, name: string, column: string): string {
    return `${column}: ${table.get(name)?.get(column) ?? "not in the table"}`;
  }

  /** As the table words it, if the error is the one of the note that the table has there. */
  function worded(error: string, expected: string): string {
    if (error === "") return "yes";
    const [, number] = /\((\d+)\)$/.exec(expected) ?? [];
    const isNoted = notes.get(number ?? "")?.some((words) => error.includes(words)) === true;
    return isNoted ? `no (${number})` : `no: ${error}`;
  }

  async function cellsOf(subject: Subject, table: Table): Promise<string[]> {
    const outcomes = await subject.run(contextOf());
    return FEATURES.map((feature) => {
      const error = outcomes.get(feature);
      const expected = table.get(subject.name)?.get(feature) ?? "";
      return `${feature}: ${error === undefined ? "–" : worded(error, expected)}`;
    });
  }

  for (const mode of MODES) {
    test(`${mode}: what the table says`, async () => {
      await redirect(mode);
      const table = readTable(page, mode);
      const actual: Record<string, string[]> = {};
      const run = async (subject: Subject) => {
        actual[subject.name] = await cellsOf(subject, table);
      };
      await Promise.all(subjects.filter((each) => !isAlone(each)).map(run));
      for (const subject of subjects.filter(isAlone)) await run(subject);
      expect(actual).toEqual(expectedOf(mode, FEATURES));
    });
  }

  for (const mode of FAILOVER_MODES) {
    test(`${mode}: when a writer is killed, clients go on, and what was acknowledged is there`, async () => {
      await redirect(mode);
      const table = readTable(page, mode);
      const writing = subjects.filter(
        ({ name, write }) =>
          write !== undefined && !table.get(name)?.get(FAILOVER)?.startsWith("–"),
      );
      const loads = await writeThroughFailover(writing);
      const actual = loads.map(
        ({ load, isGoingOn }) => `${load.prefix} ${isGoingOn ? "yes" : "no"}`,
      );
      const expected = loads.map(
        ({ load }, at) => `${load.prefix} ${table.get(writing[at]!.name)!.get(FAILOVER)}`,
      );
      const keys = loads.flatMap(({ load }) => load.acknowledged);
      const values = await read(keys);
      const lost = keys.filter((key, at) => values[at] !== key);
      expect({ mode, lost }).toEqual({ mode, lost: [] });
      expect(actual).toEqual(expected);
    });
  }

  /** By a node that forwards. */
  async function read(keys: readonly string[]): Promise<unknown[]> {
    await redirect("forward");
    const values = await cluster.nodes.at(-1)!.pipeline(keys.map((key) => ["GET", key]));
    expect(values).toHaveLength(keys.length);
    return values;
  }

  function loadOf({ name }: Subject, killed: ClusterProcess, stop: AbortSignal): Load {
    serial++;
    const living = cluster.nodes.filter((node) => node !== killed);
    const ports = [killed, ...living].map(({ port }) => port);
    const prefix = `${name.replaceAll(" ", "-")}:${serial}:`;
    return { ports, prefix, stop, acknowledged: [], failures: [], longestMs: 0 };
  }

  /** Whether each of them wrote to the killed node's set when that had another writer. */
  async function writeThroughFailover(
    writing: readonly Subject[],
  ): Promise<{ load: Load; isGoingOn: boolean }[]> {
    const stop = new AbortController();
    const [first] = pickKeys("key:", 1);
    const isLost = (key: string) => isUpper(key) === isUpper(first!);
    const killed = await cluster.writerOf(first!);
    const loads = writing.map((subject) => loadOf(subject, killed, stop.signal));
    const done = writing.map((subject, index) => subject.write!(loads[index]!));
    const countLost = () => loads.map((load) => load.acknowledged.filter(isLost).length);
    try {
      await until("all write", async () => countLost().every((count) => count > GOES_ON));
      await killed.kill();
      await until("another writer", isServing);
      const before = countLost();
      const isGoingOn = () => countLost().map((count, index) => count > before[index]! + GOES_ON);
      const deadlineMs = performance.now() + GOES_ON_MS_MAX;
      while (!isGoingOn().every(Boolean) && performance.now() < deadlineMs) await Bun.sleep(50);
      return isGoingOn().map((each, index) => ({ load: loads[index]!, isGoingOn: each }));
    } finally {
      stop.abort();
      await Promise.all(done);
      report(loads);
      killed.launch();
      await cluster.untilServing();
    }
  }

  async function isServing(): Promise<boolean> {
    const running = cluster.nodes.filter(({ isRunning }) => isRunning);
    const infos = await Promise.all(running.map((node) => node.ask("CLUSTER", "INFO")));
    return infos.every((info) => `${info}`.includes("cluster_state:ok"));
  }

  function report(loads: readonly Load[]): void {
    for (const { prefix, acknowledged, failures, longestMs } of loads) {
      const kinds = new Map(failures.map((each) => [each.split(" ", 1)[0], each]));
      const counts = `${acknowledged.length} acknowledged, ${failures.length} failed`;
      console.info(
        `${prefix} ${counts}, longest gap ${longestMs.toFixed()} ms; ${[...kinds.values()].join("; ")}`,
      );
    }
  }
});
