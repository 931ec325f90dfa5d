/**
 * Rounds of: load over several connections, kill -9 at a random moment, start again, verify every key.
 *
 * A connection's commands are a history of their own, and the server must show a prefix of it that holds all that was
 * answered. Sent and unanswered commands may be there or not, each whole.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Random, seededRandom } from "../support/crash-states.ts";
import { DkvProcess } from "../support/dkv-process.ts";
import { decodeReply, encodeRequest, RawConnection } from "../support/raw-connection.ts";
import { contentsAfter, differences, digestOf, type Entry, matchingPrefix } from "./history.ts";
import { LoadConnection } from "./load-connection.ts";

const CONNECTIONS = 4;
const LOAD_MS_MAX = 500;
/** Share of rounds in which the server is killed once more while it starts. */
const START_KILL_SHARE = 0.25;
const START_KILL_MS_MAX = 400;

export interface KillRunOptions {
  readonly seed: number;
  readonly rounds: number;
  readonly policy: "always" | "everysec";
  /** One connection, which deletes all keys now and then. */
  readonly deletesAll: boolean;
  onRound?(commands: number): void;
}

/** Returns the number of answered commands, all of which were found. */
export async function runKills(options: KillRunOptions): Promise<number> {
  const parent = mkdtempSync(join(tmpdir(), "dkv-kill-"));
  const run = new KillRun(options, join(parent, "data"));
  try {
    await run.run();
    rmSync(parent, { recursive: true, force: true });
    return run.answered;
  } catch (cause) {
    const where = `seed ${options.seed}, ${options.policy}, directory ${parent}`;
    throw new Error(`${where}: ${(cause as Error).message}`, { cause });
  }
}

class KillRun {
  readonly #options: KillRunOptions;
  readonly #random: Random;
  readonly #directory: string;
  readonly #connections: LoadConnection[];
  #server: DkvProcess | undefined;

  constructor(options: KillRunOptions, directory: string) {
    this.#options = options;
    this.#directory = directory;
    this.#random = seededRandom(options.seed);
    const count = options.deletesAll ? 1 : CONNECTIONS;
    this.#connections = Array.from(
      { length: count },
      (_, i) => new LoadConnection(`c${i}:`, this.#random, options.deletesAll),
    );
  }

  get answered(): number {
    return this.#connections.reduce((sum, connection) => sum + connection.total, 0);
  }

  async run(): Promise<void> {
    try {
      this.#server = await this.#start();
      for (let round = 1; round <= this.#options.rounds; round++) {
        await this.#load();
        if (this.#random() < START_KILL_SHARE) await this.#killStarting();
        this.#server = await this.#start();
        try {
          await this.#verify();
        } catch (cause) {
          throw new Error(`round ${round}: ${(cause as Error).message}`, { cause });
        }
        this.#options.onRound?.(this.answered);
      }
    } finally {
      await this.#server?.kill();
    }
  }

  get #serverOptions() {
    return { directory: this.#directory, arguments: ["--appendfsync", this.#options.policy] };
  }

  #start(): Promise<DkvProcess> {
    return DkvProcess.start(this.#serverOptions);
  }

  async #load(): Promise<void> {
    await Promise.all(this.#connections.map((each) => each.start(this.#server!.port)));
    await Bun.sleep(this.#random() * LOAD_MS_MAX);
    await this.#server!.kill();
    for (const connection of this.#connections) {
      while (!connection.isClosed) await Bun.sleep(1);
      if (connection.failure !== undefined) throw connection.failure;
    }
  }

  async #killStarting(): Promise<void> {
    const server = new DkvProcess(this.#serverOptions);
    await Bun.sleep(this.#random() * START_KILL_MS_MAX);
    await server.kill();
  }

  async #verify(): Promise<void> {
    const reader = await RawConnection.open(this.#server!.port);
    let present = 0;
    const expiries: number[] = [];
    for (const connection of this.#connections) {
      const contents = await this.#verifyOne(reader, connection);
      present += contents.size;
      for (const { expiry } of contents.values()) if (expiry !== 0) expiries.push(expiry);
    }
    reader.send(encodeRequest(["DBSIZE"]));
    const size = decodeReply((await reader.reply())!, 0)[0] as number;
    reader.close();
    const nowMs = wallMs();
    const vanishing = expiries.filter((expiry) => expiry <= nowMs).length;
    if (size > present || size < present - vanishing)
      throw new Error(`DBSIZE is ${size}, but ${present} keys exist`);
  }

  async #verifyOne(reader: RawConnection, connection: LoadConnection): Promise<Map<string, Entry>> {
    const nowMs = wallMs();
    const contents = new Map<string, Entry>();
    const values = new Map<string, Buffer>();
    for (const key of connection.keys) {
      reader.send(encodeRequest(["GET", key]));
      reader.send(encodeRequest(["PEXPIRETIME", key]));
      const value = decodeReply((await reader.reply())!, 0)[0];
      const expiry = decodeReply((await reader.reply())!, 0)[0] as number;
      if (typeof value !== "string" || expiry === -2) continue;
      const bytes = Buffer.from(value, "latin1");
      values.set(key, bytes);
      contents.set(key, { digest: digestOf(bytes), expiry: Math.max(0, expiry) });
    }
    const moment = { nowMs, latestMs: wallMs() };
    const { units, acknowledged } = connection;
    const held = matchingPrefix(units, acknowledged, contents, moment);
    if (held.differing > 0) {
      const lines = differences(contentsAfter(units, held.count), contents, moment);
      throw new Error(
        `no prefix of at least ${acknowledged} of ${units.length} commands; nearest ${held.count}: ${lines.join("; ")}`,
      );
    }
    connection.reset(values, contents);
    return contents;
  }
}

function wallMs(): number {
  return performance.timeOrigin + performance.now();
}
