/**
 * dkv against redis-server 7.0: both get the same random pipelines, and every reply must be the same bytes. Only times
 * to live, which the two take at different moments, may differ a little. dkv runs on segments so small, and reads tables so
 * asynchronously, that the commands meet flushes, merges and waits.
 *
 * DKV_MODEL_RUNS: sequences of pipelines (default 40). DKV_MODEL_SEED: the first seed; a failure prints its own.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { ManagedDkv } from "../support/managed-dkv.ts";
import {
  decodeReply,
  encodeRequest,
  RawConnection,
  type ReplyValue,
} from "../support/raw-connection.ts";
import { redisCommand, type ServerProcess, startServer } from "../support/server-process.ts";
import { ALL_KEYS, CONNECTIONS, type Command, type Group, groups } from "./random-commands.ts";

const RUNS = Number(process.env["DKV_MODEL_RUNS"] ?? 40);
const SEED = process.env["DKV_MODEL_SEED"];
const TIMEOUT_MS = 24 * 3_600_000;
const START_MS = 150_000;
const HAS_REDIS = Bun.which("redis-server") !== null;
const WHY_SKIPPED = HAS_REDIS ? "" : " (skipped: there is no redis-server to compare with)";
const TINY_ENGINE = [
  ..."--maxmemory 512mb --appendfsync no --engine-segment-bytes 1mb --engine-segment-pool-percent 1".split(
    " ",
  ),
  ..."--engine-block-cache-percent 1 --engine-table-bytes 1mb --engine-level-base-bytes 1mb".split(
    " ",
  ),
  ..."--engine-level0-trigger 2 --engine-block-bytes 1kb --engine-slow-read-micros 1".split(" "),
];
/** Answers of these may differ by the time that passed between two servers. */
const TIMES = new Map([
  ["ttl", 2],
  ["expiretime", 2],
  ["pttl", 2000],
  ["pexpiretime", 2000],
]);

let dkv: ManagedDkv;
let redis: ServerProcess;
let executed = 0;

/** What both servers are sent, and what they answer. */
class Player {
  readonly #connections: RawConnection[][] = [];
  /** Commands queued since MULTI, by connection. */
  readonly #queued: (string[] | undefined)[] = [];

  static async open(protocol: 2 | 3): Promise<Player> {
    const player = new Player();
    for (let i = 0; i < CONNECTIONS; i++) {
      const pair = [await RawConnection.open(dkv.port), await RawConnection.open(redis.port)];
      player.#connections.push(pair);
    }
    await player.play({ connection: 0, commands: [["FLUSHALL"]], waitMs: 0 });
    if (protocol === 3) {
      for (const [ours, theirs] of player.#connections as [RawConnection, RawConnection][]) {
        for (const each of [ours, theirs]) {
          each.send(encodeRequest(["HELLO", "3"]));
          await each.reply();
        }
      }
    }
    return player;
  }

  async play({ connection, commands, waitMs }: Group): Promise<void> {
    const [ours, theirs] = this.#connections[connection] as [RawConnection, RawConnection];
    const pipeline = Buffer.concat(commands.map(encodeRequest));
    ours.send(pipeline);
    theirs.send(pipeline);
    for (const command of commands) {
      const expected = await theirs.reply();
      const actual = await ours.reply();
      executed++;
      this.#compare(connection, command, actual, expected);
    }
    if (waitMs === 0) return;
    await Bun.sleep(waitMs);
    // An expired key counts until somebody has noticed.
    await this.play({ connection, commands: [["EXISTS", ...ALL_KEYS]], waitMs: 0 });
  }

  close(): void {
    for (const pair of this.#connections) for (const each of pair) each.close();
  }

  #compare(
    connection: number,
    command: Command,
    actual: Uint8Array | undefined,
    expected: Uint8Array | undefined,
  ): void {
    const name = command[0]!.toLowerCase();
    const queued = this.#queued[connection];
    const text = show(expected);
    if (text === "+QUEUED\r\n") queued?.push(name);
    else if (name === "multi" && text.startsWith("+")) this.#queued[connection] = [];
    if (show(actual) === text) return;
    const isClose =
      actual !== undefined &&
      expected !== undefined &&
      areClose(name, decodeReply(actual, 0)[0], decodeReply(expected, 0)[0], queued ?? []);
    if (!isClose) {
      expect({ command: command.map(abbreviate), reply: abbreviate(show(actual)) }).toEqual({
        command: command.map(abbreviate),
        reply: abbreviate(text),
      });
    }
  }
}

function show(reply: Uint8Array | undefined): string {
  return reply === undefined ? "(closed)" : Buffer.from(reply).toString("latin1");
}

function abbreviate(text: string): string {
  if (text.length < 400) return text;
  return `${text.slice(0, 200)}… ${Bun.hash(text)} (${text.length}) …${text.slice(-100)}`;
}

function areClose(
  name: string,
  actual: ReplyValue,
  expected: ReplyValue,
  queued: readonly string[],
): boolean {
  if (name === "exec" && Array.isArray(actual) && Array.isArray(expected)) {
    return expected.every((each, i) => areClose(queued[i]!, actual[i], each, []));
  }
  const tolerance = TIMES.get(name);
  if (tolerance === undefined || typeof actual !== "number" || typeof expected !== "number") {
    return Bun.deepEquals(actual, expected);
  }
  const isClose = Math.abs(actual - expected) <= tolerance;
  return isClose && Math.sign(actual) === Math.sign(expected);
}

/** All keys that SCAN gives, sorted. */
async function scan(connection: RawConnection, options: Command): Promise<string[]> {
  const keys = new Set<string>();
  let cursor = "0";
  do {
    connection.send(encodeRequest(["SCAN", cursor, ...options]));
    const [value] = decodeReply((await connection.reply())!, 0) as [[string, string[]], number];
    cursor = value[0];
    for (const key of value[1]) keys.add(key);
  } while (cursor !== "0");
  return [...keys].sort();
}

async function sorted(connection: RawConnection, command: Command): Promise<string[]> {
  connection.send(encodeRequest(command));
  const [value] = decodeReply((await connection.reply())!, 0) as [string[], number];
  return [...value].sort();
}

/** After a sequence, both hold the same keys and values. */
async function compareContents(): Promise<void> {
  const player = await Promise.all([RawConnection.open(dkv.port), RawConnection.open(redis.port)]);
  const [ours, theirs] = player;
  for (const pattern of ["*", "*t*", "?", "[ab]", "\\{t\\}?"]) {
    expect({ pattern, keys: await sorted(ours, ["KEYS", pattern]) }).toEqual({
      pattern,
      keys: await sorted(theirs, ["KEYS", pattern]),
    });
  }
  for (const options of [
    ["COUNT", "1"],
    ["MATCH", "?", "COUNT", "3"],
    ["TYPE", "string"],
  ]) {
    expect({ options, keys: await scan(ours, options) }).toEqual({
      options,
      keys: await scan(theirs, options),
    });
  }
  for (const command of [["MGET", ...ALL_KEYS], ["DBSIZE"], ["EXISTS", ...ALL_KEYS]]) {
    for (const each of player) each.send(encodeRequest(command));
    const [actual, expected] = [show(await ours.reply()), show(await theirs.reply())];
    if (actual !== expected) {
      expect({ command, reply: abbreviate(actual) }).toEqual({
        command,
        reply: abbreviate(expected),
      });
    }
  }
  for (const each of player) each.close();
}

beforeAll(async () => {
  if (!HAS_REDIS) return;
  redis = await startServer(redisCommand);
  dkv = await ManagedDkv.start(TINY_ENGINE);
}, START_MS);

afterAll(async () => {
  if (!HAS_REDIS) return;
  await dkv.dispose();
  await redis.stop();
  console.log(`command model: ${executed} replies compared`);
});

test.skipIf(!HAS_REDIS)(
  `dkv answers random commands as redis-server does${WHY_SKIPPED}`,
  async () => {
    await fc.assert(
      fc.asyncProperty(groups, fc.constantFrom<2 | 3>(2, 3), async (sequence, protocol) => {
        const player = await Player.open(protocol);
        try {
          for (const group of sequence) await player.play(group);
        } finally {
          player.close();
        }
        await compareContents();
      }),
      { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
    );
  },
  TIMEOUT_MS,
);
