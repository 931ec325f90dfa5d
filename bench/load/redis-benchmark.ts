/**
 * Load from redis-benchmark, the C generator that ships with Redis: cheap enough not to be the limit on one core.
 *
 * It runs one command at a time, so the mix is not its work. Keys are `key:` + 12 digits (`counter:` for INCR), uniform
 * over the key space. redis-benchmark 7 ends with status 1 at the first error reply, which fails the run.
 */

import { SetupError } from "../harness.ts";

export interface RedisBenchmarkRun {
  executable: string;
  port: number;
  test: "set" | "get" | "incr" | "mset";
  pipeline: number;
  valueBytes: number;
  keyspace: number;
  connections: number;
  requests: number;
  threads: number;
}

export interface LoadResult {
  operations: number;
  seconds: number;
  p50Ms: number;
  p99Ms: number;
}

/** Runs the test to its end. */
export async function runRedisBenchmark(run: RedisBenchmarkRun): Promise<LoadResult> {
  // A multiple of what one turn of all connections sends: none idles at the end.
  const turn = run.connections * run.pipeline;
  const requests = Math.max(1, Math.round(run.requests / turn)) * turn;
  const args = [
    ...["-h", "127.0.0.1", "-p", String(run.port), "-t", run.test, "-n", String(requests)],
    ...["-c", String(run.connections), "-P", String(run.pipeline), "-r", String(run.keyspace)],
    ...["-d", String(run.valueBytes), "--csv"],
    ...(run.threads > 1 ? ["--threads", String(run.threads)] : []),
  ];
  const generator = Bun.spawn([run.executable, ...args], { stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([
    new Response(generator.stdout).text(),
    new Response(generator.stderr).text(),
    generator.exited,
  ]);
  const result = parseCsv(output, requests);
  if (generator.exitCode !== 0 || result === undefined) {
    throw new SetupError(
      `redis-benchmark ${args.join(" ")} failed: ${errors.trim() || output.trim()}`,
    );
  }
  return result;
}

/** The last line is `"test","rps","avg","min","p50","p95","p99","max"`; latencies in milliseconds. */
export function parseCsv(output: string, requests: number): LoadResult | undefined {
  const fields = [...(output.trim().split("\n").at(-1) ?? "").matchAll(/"([^"]*)"/g)];
  const numbers = fields.slice(-7).map((field) => Number(field[1]));
  const [rate, , , p50Ms, , p99Ms] = numbers;
  if (rate === undefined || p50Ms === undefined || p99Ms === undefined) return undefined;
  if (!(rate > 0)) return undefined;
  return { operations: requests, seconds: requests / rate, p50Ms, p99Ms };
}
