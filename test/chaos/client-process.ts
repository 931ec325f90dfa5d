/**
 * A process with stock clients on one host of the lab. Its only argument is a ClientPlan in JSON; it prints an
 * OperationRecord a line, and ends by itself once a line comes in and all operations have ended.
 */
import { SimRandom } from "../sim/random.ts";
import type { ReplyValue } from "../support/raw-connection.ts";
import type { ClientKind, ClientOptions, ClusterClient } from "./clients/cluster-client.ts";
import { IoredisClient } from "./clients/ioredis-client.ts";
import { NodeRedisClient } from "./clients/node-redis-client.ts";
import { isRefusal } from "./clients/outcome.ts";
import { RawClient } from "./clients/raw-client.ts";
import type { Address } from "./clients/resp-socket.ts";
import type { OperationRecord } from "./operation-record.ts";
import { sharedMicros } from "./shared-clock.ts";
import { resultOf, type Step, Workload, wordsOf } from "./workload.ts";

export interface ClientShare {
  readonly kind: ClientKind;
  /** Users of the client, each of which does one operation after the other. */
  readonly lanes: number;
  /** The share of reads in what they do. */
  readonly reads: number;
}

export interface ClientPlan {
  readonly seed: number;
  readonly nodes: readonly Address[];
  readonly clients: readonly ClientShare[];
  /** Number of the first lane; every lane of a campaign has its own. */
  readonly firstLane: number;
  /** A lane uses one of these sets of hash tags, the next lane the next one. */
  readonly tagSets: readonly (readonly number[])[];
  /** Operations a second of one lane, at most. */
  readonly rate: number;
  readonly timeoutMs: number;
  /** Generations of keys are counted from here. */
  readonly startMicros: number;
  readonly generationMs: number;
}

/** Failures in a row after which a user would restart the program: a client's connection may hang for minutes. */
const FAILURES_MAX = 6;

const CLIENTS: Record<ClientKind, new (options: ClientOptions) => ClusterClient> = {
  ioredis: IoredisClient,
  "node-redis": NodeRedisClient,
  raw: RawClient,
};

const plan = JSON.parse(process.argv[2]!) as ClientPlan;
let isStopping = false;

/** A client that is made anew when it does not get over a failure by itself. */
class SharedClient {
  readonly #kind: ClientKind;
  readonly #random: SimRandom;
  #client: ClusterClient;
  #failures = 0;

  constructor(kind: ClientKind, random: SimRandom) {
    this.#kind = kind;
    this.#random = random;
    this.#client = this.#make();
  }

  async call(step: Step): Promise<ReplyValue> {
    let timer: Timer | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no reply in time")), plan.timeoutMs);
    });
    try {
      const reply = this.#client.call(wordsOf(step), step.call.kind === "get");
      const answer = await Promise.race([reply, late]);
      this.#failures = 0;
      return answer;
    } catch (error) {
      if (++this.#failures >= FAILURES_MAX) this.#restart();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#client.close();
  }

  #restart(): void {
    this.#failures = 0;
    this.#client.close();
    this.#client = this.#make();
  }

  #make(): ClusterClient {
    const { nodes, timeoutMs } = plan;
    const shuffled = this.#random.shuffle(nodes);
    return new CLIENTS[this.#kind]({
      nodes: shuffled,
      timeoutMs,
      random: () => this.#random.unit(),
    });
  }
}

async function perform(client: SharedClient, lane: number, step: Step): Promise<OperationRecord> {
  const callMicros = sharedMicros();
  const { key, call } = step;
  const what = { client: lane, key, call, callMicros };
  try {
    const result = resultOf(step, await client.call(step));
    return { ...what, outcome: "ok", result, returnMicros: sharedMicros() };
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown.message : String(thrown);
    const outcome = isRefusal(error) ? "refused" : "unknown";
    return { ...what, outcome, error, returnMicros: sharedMicros() };
  }
}

async function runLane(
  client: SharedClient,
  lane: number,
  reads: number,
  random: SimRandom,
): Promise<void> {
  const tags = plan.tagSets[lane % plan.tagSets.length]!;
  const workload = new Workload(random.fork("workload"), { client: lane, tags, reads });
  const pauseMs = 1000 / plan.rate;
  while (!isStopping) {
    const sinceStartMs = (sharedMicros() - plan.startMicros) / 1000;
    const step = workload.next(Math.floor(sinceStartMs / plan.generationMs));
    const record = await perform(client, lane, step);
    process.stdout.write(`${JSON.stringify(record)}\n`);
    const tookMs = (record.returnMicros - record.callMicros) / 1000;
    await Bun.sleep(Math.max(1, pauseMs * random.unit() * 2 - tookMs));
  }
}

// What stock clients reject in the background concerns no operation: every operation has its own promise.
process.on("unhandledRejection", () => undefined);
process.on("uncaughtException", (error) => process.stderr.write(`${error.stack}\n`));
process.stdin.once("data", () => {
  isStopping = true;
});

const random = new SimRandom(plan.seed);
let lane = plan.firstLane;
const lanes: Promise<void>[] = [];
const clients = plan.clients.map(({ kind, lanes: count, reads }) => {
  const client = new SharedClient(kind, random.fork(`${kind} ${lane}`));
  for (let i = 0; i < count; i++) {
    lanes.push(runLane(client, lane, reads, random.fork(`lane ${lane}`)));
    lane++;
  }
  return client;
});
await Promise.all(lanes);
for (const client of clients) client.close();
process.exit(0);
