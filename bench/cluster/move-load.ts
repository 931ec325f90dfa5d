/**
 * The load process of the benchmark of moving slots: ioredis and node-redis as their users have them, each with so many
 * commands a second, SET and GET in turn, whether or not those before were answered. So a pause is seen by every command that
 * falls into it, and the machine is not saturated. Half of the reads are of keys written lately, by either client.
 *
 * Its only argument is a MoveLoadSpec; it talks by IPC: "ready", a mark for each "mark", and after "stop", when
 * everything has been answered and all keys were read, a report.
 */

import { build, type Histogram } from "hdr-histogram-js";
import { KeyVersions } from "./key-versions.ts";
import {
  type ClientMark,
  keyOf,
  type LoadMessage,
  type LoadOrder,
  type MoveLoadReport,
  type MoveLoadSpec,
  valueFor,
} from "./move-protocol.ts";
import { openStockClient, type StockClient, type StockClientName } from "./stock-client.ts";

const TICK_MS = 2;
const RECENT_MAX = 4096;
const READ_BATCH = 500;
const SHOWN_MAX = 100;

const report: MoveLoadReport = {
  ...{ acknowledged: 0, reads: 0, failures: {}, stale: [], lost: [], keysRead: 0 },
};

/** Keeps the first of them: there may be very many. */
function complain(complaints: string[], text: string | undefined): void {
  if (text !== undefined && complaints.length < SHOWN_MAX) complaints.push(text);
}

class ClientLoad {
  readonly #name: StockClientName;
  readonly #client: StockClient;
  readonly #spec: MoveLoadSpec;
  readonly #versions: KeyVersions;
  /** Of all clients. */
  readonly #recent: number[];
  readonly #underWay = new Set<Promise<void>>();
  #histogram: Histogram = build();
  #longestMs = 0;
  #markedAt = performance.now();
  #startedAt = 0;
  #sent = 0;
  ownLagMs = 0;

  constructor(name: StockClientName, client: StockClient, shared: Shared) {
    this.#name = name;
    this.#client = client;
    ({ spec: this.#spec, versions: this.#versions, recent: this.#recent } = shared);
  }

  start(): void {
    this.#startedAt = performance.now();
    this.mark();
  }

  /** Sends what is due. */
  tick(): void {
    const intervalMs = 1000 / this.#spec.rate;
    const due = Math.floor((performance.now() - this.#startedAt) / intervalMs);
    this.ownLagMs = Math.max(this.ownLagMs, (due - this.#sent) * intervalMs - TICK_MS);
    while (this.#sent < due) {
      if (this.#sent++ % 2 === 0) this.#write();
      else this.#read();
    }
  }

  mark(): ClientMark {
    const now = performance.now();
    const histogram = this.#histogram;
    const ms = (percent: number): number => histogram.getValueAtPercentile(percent) / 1000;
    const mark: ClientMark = {
      client: this.#name,
      seconds: (now - this.#markedAt) / 1000,
      commands: histogram.totalCount,
      ...{ p50Ms: ms(50), p99Ms: ms(99), longestMs: this.#longestMs },
    };
    this.#histogram = build();
    this.#longestMs = 0;
    this.#markedAt = now;
    return mark;
  }

  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  #anyKey(): number {
    return Math.floor(Math.random() * this.#spec.keys);
  }

  #write(): void {
    const index = this.#anyKey();
    const version = this.#versions.begin(index);
    if (version === undefined) return;
    const set = this.#client.set(keyOf(index), valueFor(index, version, this.#spec.valueBytes));
    this.#track(set, (isAnswered) => {
      this.#versions.end(index, version, isAnswered);
      if (!isAnswered) return;
      this.#recent[report.acknowledged++ % RECENT_MAX] = index;
    });
  }

  #read(): void {
    const { length } = this.#recent;
    const isRecent = length > 0 && Math.random() < 0.5;
    const index = isRecent ? this.#recent[Math.floor(Math.random() * length)]! : this.#anyKey();
    const known = this.#versions.known(index);
    this.#track(this.#client.get(keyOf(index)), (isAnswered, value) => {
      if (!isAnswered) return;
      report.reads++;
      complain(report.stale, this.#versions.complaint(index, value as string | null, known));
    });
  }

  #track(reply: Promise<unknown>, onEnd: (isAnswered: boolean, value?: unknown) => void): void {
    const sentAt = performance.now();
    const tracked = reply.then(
      (value) => {
        const ms = performance.now() - sentAt;
        this.#histogram.recordValue(Math.max(1, Math.round(ms * 1000)));
        this.#longestMs = Math.max(this.#longestMs, ms);
        onEnd(true, value);
      },
      (error: Error) => {
        report.failures[error.message] = (report.failures[error.message] ?? 0) + 1;
        onEnd(false);
      },
    );
    this.#underWay.add(tracked);
    void tracked.then(() => this.#underWay.delete(tracked));
  }
}

interface Shared {
  readonly spec: MoveLoadSpec;
  readonly versions: KeyVersions;
  readonly recent: number[];
}

async function readBack(clients: readonly StockClient[], versions: KeyVersions): Promise<void> {
  let next = 0;
  const readSome = async (client: StockClient): Promise<void> => {
    while (next < versions.count) {
      const from = next;
      next = Math.min(versions.count, from + READ_BATCH);
      const indexes = Array.from({ length: next - from }, (_, at) => from + at);
      const values = await Promise.all(indexes.map((index) => client.get(keyOf(index))));
      indexes.forEach((index, at) => {
        report.keysRead++;
        complain(report.lost, versions.complaint(index, values[at]!, versions.known(index)));
      });
    }
  };
  await Promise.all(clients.map(readSome));
}

function tell(message: LoadMessage): void {
  process.send!(message);
}

const spec = JSON.parse(process.argv[2]!) as MoveLoadSpec;
const shared: Shared = { spec, versions: new KeyVersions(spec.keys), recent: [] };
const clients: StockClient[] = [];
const loads: ClientLoad[] = [];
for (const name of ["ioredis", "node-redis"] as const) {
  const client = await openStockClient(name, spec.ports);
  clients.push(client);
  loads.push(new ClientLoad(name, client, shared));
}
for (const load of loads) load.start();
const timer = setInterval(() => {
  for (const load of loads) load.tick();
}, TICK_MS);

async function stop(): Promise<void> {
  clearInterval(timer);
  for (const load of loads) await load.settled();
  await readBack(clients, shared.versions);
  tell({ type: "report", report });
  for (const client of clients) client.close();
  process.exit(0);
}

process.on("message", (order: LoadOrder) => {
  if (order === "stop") {
    void stop();
    return;
  }
  const ownLagMs = Math.max(...loads.map((load) => load.ownLagMs));
  for (const load of loads) load.ownLagMs = 0;
  tell({ type: "mark", mark: { clients: loads.map((load) => load.mark()), ownLagMs } });
});
tell({ type: "ready" });
