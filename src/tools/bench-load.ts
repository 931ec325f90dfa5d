/**
 * The load of `bench`: so many connections, each with so many commands on its way, keys at random. Each command goes to
 * the node that owns its slot, so nothing is forwarded.
 */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { slotOf } from "../base/slot.ts";
import type { ToolEnvironment } from "./environment.ts";
import { encodeWords, errorOf, type RespClient } from "./resp-client.ts";

export interface LoadOptions {
  readonly requests: number;
  readonly clients: number;
  readonly pipeline: number;
  readonly keys: number;
  readonly valueBytes: number;
}

export interface Workload {
  readonly name: string;
  /** The words of one command; the key comes second. */
  words(key: string, value: Buffer): readonly (string | Buffer)[];
}

export const WORKLOADS: readonly Workload[] = [
  { name: "set", words: (key, value) => ["SET", key, value] },
  { name: "get", words: (key) => ["GET", key] },
  { name: "incr", words: (key) => ["INCR", `counter:${key}`] },
  { name: "setex", words: (key, value) => ["SET", key, value, "EX", "3600"] },
  { name: "del", words: (key) => ["DEL", key] },
];

export interface LoadResult {
  readonly name: string;
  readonly requests: number;
  readonly errors: number;
  /** The first error, to say what they are. */
  readonly firstError: string;
  readonly seconds: number;
  /** Microseconds of whole pipelines. */
  readonly latency: RecordableHistogram;
}

/** Connections by the first slot that their node owns: whoever owns a slot is found by it. */
export interface Route {
  /** The place of a slot's owner among the nodes of a client. */
  nodeOf(slot: number): number;
}

interface Progress {
  left: number;
  errors: number;
  firstError: string;
}

/** One client has a connection to every writer. */
export async function runLoad(
  workload: Workload,
  clients: readonly (readonly RespClient[])[],
  route: Route,
  options: LoadOptions,
  environment: ToolEnvironment,
): Promise<LoadResult> {
  const { clock } = environment;
  const latency = createHistogram();
  const progress: Progress = { left: options.requests, errors: 0, firstError: "" };
  const value = Buffer.alloc(options.valueBytes, "x");
  const startMs = clock.monotonicMs();
  const runOne = async (connections: readonly RespClient[]): Promise<void> => {
    while (progress.left > 0) {
      const count = Math.min(options.pipeline, progress.left);
      progress.left -= count;
      const batches = makeBatches(workload, value, count, {
        connections,
        route,
        options,
        environment,
      });
      const startMicros = clock.monotonicMicros();
      await Promise.all(batches.map((batch) => send(batch, progress)));
      latency.record(Math.max(1, Math.round(clock.monotonicMicros() - startMicros)));
    }
  };
  await Promise.all(clients.map(runOne));
  const seconds = (clock.monotonicMs() - startMs) / 1000;
  const { errors, firstError } = progress;
  return { name: workload.name, requests: options.requests, errors, firstError, seconds, latency };
}

interface Batch {
  readonly client: RespClient;
  readonly requests: Buffer[];
}

interface BatchContext {
  readonly connections: readonly RespClient[];
  readonly route: Route;
  readonly options: LoadOptions;
  readonly environment: ToolEnvironment;
}

function makeBatches(
  workload: Workload,
  value: Buffer,
  count: number,
  { connections, route, options, environment }: BatchContext,
): Batch[] {
  const batches: Batch[] = connections.map((client) => ({ client, requests: [] }));
  for (let each = 0; each < count; each++) {
    const words = workload.words(`key:${Math.floor(environment.random() * options.keys)}`, value);
    const key = Buffer.from(words[1]!);
    const at = route.nodeOf(slotOf(key, 0, key.length));
    batches[at]!.requests.push(encodeWords(words));
  }
  return batches.filter(({ requests }) => requests.length > 0);
}

async function send({ client, requests }: Batch, progress: Progress): Promise<void> {
  for (const reply of await client.pipeline(Buffer.concat(requests), requests.length)) {
    const error = errorOf(reply);
    if (error === undefined) continue;
    progress.errors++;
    progress.firstError ||= error;
  }
}
