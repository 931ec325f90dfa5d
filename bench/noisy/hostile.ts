/**
 * The ten hostile clients of `bench noisy`, in a process of their own:
 *
 *     3 × KEYS *        3 × SET and GET of a large value        2 × SCAN from 0 to 0
 *     1 × FLUSHALL now and then                                 1 × MSET, to fill up again what that has deleted
 *
 * Each client has one command in flight and sends the next at once. In the end every key is written once more and
 * nothing deletes it, so that what must exist is known. Started with a HostileSpec as its argument.
 */
import { encodeCommand } from "../client.ts";
import { LargeValues, largeKey } from "./large-values.ts";
import type { Deletion, HostileReport, HostileSpec, Miss } from "./protocol.ts";
import { type Reply, Skimmer } from "./replies.ts";

const KEYS_CLIENTS = 3;
const LARGE_CLIENTS = 3;
const SCAN_CLIENTS = 2;
const SCAN_COUNT = "1000";
const REFILL_KEYS = 500;
const REFILL_VALUE = Buffer.alloc(64, "v");
const CRLF = Buffer.from("\r\n");
/** Reads of each large value between two writes. */
const READS = 2;

class Hostile {
  readonly #spec: HostileSpec;
  readonly #values: LargeValues;
  readonly #endAt: number;
  readonly #counts: Record<string, number> = {};
  readonly #deletions: Deletion[] = [];
  readonly #misses: Miss[] = [];
  readonly #wrong: string[] = [];
  readonly #large: { key: string; version: number }[] = [];

  constructor(spec: HostileSpec) {
    this.#spec = spec;
    this.#values = new LargeValues(spec.largeBytes);
    this.#endAt = performance.now() + spec.seconds * 1000;
  }

  async run(): Promise<HostileReport> {
    const startedAt = performance.now();
    const clients: Promise<void>[] = [];
    const start = (
      count: number,
      client: (connection: Skimmer, index: number) => Promise<void>,
    ) => {
      for (let i = 0; i < count; i++) {
        clients.push(Skimmer.open(this.#spec.port).then((connection) => client(connection, i)));
      }
    };
    const deleting = Skimmer.open(this.#spec.port).then((connection) => this.#delete(connection));
    start(KEYS_CLIENTS, (connection) => this.#listKeys(connection));
    start(LARGE_CLIENTS, (connection, i) => this.#moveLarge(connection, i, deleting));
    start(SCAN_CLIENTS, (connection) => this.#scan(connection));
    start(1, (connection) => this.#refill(connection, deleting));
    await Promise.all([deleting, ...clients]);
    return {
      type: "report",
      seconds: (performance.now() - startedAt) / 1000,
      counts: this.#counts,
      deletions: this.#deletions,
      misses: this.#misses,
      wrong: this.#wrong,
      large: this.#large,
      smallKeys: this.#spec.keys,
    };
  }

  get #isOver(): boolean {
    return performance.now() >= this.#endAt;
  }

  #note(name: string, reply: Reply, isRight: boolean): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + 1;
    if (!isRight) {
      const { kind, text, wrongBytes, bytes } = reply;
      this.#wrong.push(
        `${name} answered ${kind}${text.slice(0, 80)} ${wrongBytes} of ${bytes} wrong`,
      );
    }
  }

  async #listKeys(connection: Skimmer): Promise<void> {
    while (!this.#isOver) {
      const reply = await connection.ask([encodeCommand(["KEYS", "*"])]);
      this.#note("KEYS", reply, reply.kind === "*");
    }
    connection.close();
  }

  async #scan(connection: Skimmer): Promise<void> {
    let cursor = "0";
    while (!this.#isOver) {
      const reply = await connection.ask([encodeCommand(["SCAN", cursor, "COUNT", SCAN_COUNT])]);
      cursor = reply.first;
      this.#note(cursor === "0" ? "SCAN, whole" : "SCAN, page", reply, reply.kind === "*");
    }
    connection.close();
  }

  async #delete(connection: Skimmer): Promise<void> {
    const { flushIntervalMs } = this.#spec;
    while (performance.now() + flushIntervalMs < this.#endAt) {
      await Bun.sleep(flushIntervalMs);
      const deletion: Deletion = { sentAt: Date.now(), answeredAt: Number.POSITIVE_INFINITY };
      const reply = await connection.ask([encodeCommand(["FLUSHALL"])]);
      deletion.answeredAt = Date.now();
      this.#deletions.push(deletion);
      this.#note("FLUSHALL", reply, reply.text === "OK");
    }
    connection.close();
  }

  /** Goes round the keys, and once more from the first one after the last deletion. */
  async #refill(connection: Skimmer, deleting: Promise<void>): Promise<void> {
    for (let isLast = false; ; ) {
      for (let from = 0; from < this.#spec.keys; from += REFILL_KEYS) {
        const reply = await connection.ask([this.#encodeRefill(from)]);
        this.#note("MSET", reply, reply.text === "OK");
        if (!isLast && this.#isOver) break;
      }
      if (isLast) break;
      if (!this.#isOver) continue;
      await deleting;
      isLast = true;
    }
    connection.close();
  }

  #encodeRefill(from: number): Buffer {
    const words: (string | Buffer)[] = ["MSET"];
    const end = Math.min(this.#spec.keys, from + REFILL_KEYS);
    for (let key = from; key < end; key++) {
      words.push(`key:${String(key).padStart(12, "0")}`, REFILL_VALUE);
    }
    return encodeCommand(words);
  }

  async #moveLarge(connection: Skimmer, index: number, deleting: Promise<void>): Promise<void> {
    const key = largeKey(index);
    let version = index;
    while (!this.#isOver) {
      version += LARGE_CLIENTS;
      await this.#writeLarge(connection, key, version);
    }
    await deleting;
    version += LARGE_CLIENTS;
    await this.#writeLarge(connection, key, version);
    this.#large.push({ key, version });
    connection.close();
  }

  async #writeLarge(connection: Skimmer, key: string, version: number): Promise<void> {
    const expected = this.#values.of(version);
    const writtenAt = Date.now();
    const head = `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${expected.length}\r\n`;
    const written = await connection.ask([Buffer.from(head), expected, CRLF]);
    this.#note("SET, large", written, written.text === "OK");
    for (let i = 0; i < READS; i++) {
      const read = await connection.ask([encodeCommand(["GET", key])], { expected });
      if (read.kind === "_") this.#misses.push({ key, writtenAt, answeredAt: Date.now() });
      const isWhole = read.kind === "$" && read.bytes === expected.length && read.wrongBytes === 0;
      this.#note("GET, large", read, isWhole || read.kind === "_");
    }
  }
}

async function main(): Promise<void> {
  // The benchmark is gone: stop loading its server.
  process.on("disconnect", () => process.exit(1));
  const report = await new Hostile(JSON.parse(process.argv[2]!) as HostileSpec).run();
  process.send!(report, () => process.exit(0));
}

await main();
