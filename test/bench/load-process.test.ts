/**
 * The measuring processes against servers that misbehave: wrong answers must fail the run, stalls must show.
 *
 * The servers here live in the test process: one command a chunk, unless they are made to sleep.
 */

import { afterEach, expect, test } from "bun:test";
import { Prober, runLoad } from "../../bench/load/load-process.ts";
import type { LoadReport, LoadSpec } from "../../bench/load/protocol.ts";

const DEADLINE_MS = 20_000;
const servers: { stop(force: boolean): void }[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.stop(true);
});

/** A server that answers every chunk by `answer`, told the chunk and how many came before it. */
function serve(answer: (request: string, count: number) => string): number {
  let count = 0;
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, chunk) {
        socket.write(Buffer.from(answer(chunk.toString("latin1"), count++), "latin1"));
      },
    },
  });
  servers.push(server);
  return server.port;
}

function load(
  port: number,
  workload: Partial<LoadSpec["workload"]>,
  waitReplicas = 0,
): Promise<LoadReport> {
  return runLoad({
    port,
    checksStamps: true,
    waitReplicas,
    ...{ connections: 1, pipeline: 1, keyPrefix: "key:", valueBytes: 20, seconds: 0.2 },
    workload: { kind: "fill", keys: 50, seed: 1, ...workload } as LoadSpec["workload"],
  });
}

const bulk = (stamp: number): string =>
  `$4\r\n${String.fromCharCode(stamp & 0xff, stamp >> 8, 0, 0)}\r\n`;
const keyOf = (request: string): number => Number(/key:(\d{12})/.exec(request)![1]);

test(
  "a load writes each key once, its number leading a value of the size asked for",
  async () => {
    const seen: number[] = [];
    const port = serve((request) => {
      const parts = request.split("\r\n");
      expect(parts.slice(0, 4)).toEqual(["*3", "$3", "SET", "$16"]);
      expect(parts[5]).toBe("$20");
      const value = Buffer.from(request.slice(-22, -2), "latin1");
      expect(value.readUInt32LE(0)).toBe(keyOf(request));
      seen.push(keyOf(request));
      return "+OK\r\n";
    });
    const report = await load(port, {});
    expect(report.operations).toBe(50);
    expect(seen.sort((a, b) => a - b)).toEqual([...Array(50).keys()]);
  },
  DEADLINE_MS,
);

test(
  "a load counts nil as a miss and accepts the value of the key asked for",
  async () => {
    const port = serve((request, count) => (count === 3 ? "$-1\r\n" : bulk(keyOf(request))));
    const report = await load(port, { kind: "uniform" });
    expect(report.misses).toBe(1);
    expect(report.operations).toBeGreaterThan(4);
  },
  DEADLINE_MS,
);

test(
  "a load fails at another key's value, at an error reply, and at a lost connection",
  async () => {
    const wrong = serve((request, count) => bulk(keyOf(request) + (count === 5 ? 1 : 0)));
    await expect(load(wrong, { kind: "uniform" })).rejects.toThrow("stamp");
    const failing = serve((_request, count) => (count === 5 ? "-MISCONF full\r\n" : "+OK\r\n"));
    await expect(load(failing, {})).rejects.toThrow("MISCONF full");
    const surplus = serve(() => "+OK\r\n+OK\r\n");
    await expect(load(surplus, {})).rejects.toThrow("more replies than requests");
    const closing = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          socket.end();
        },
      },
    });
    servers.push(closing);
    await expect(load(closing.port, {})).rejects.toThrow("closed a connection");
  },
  DEADLINE_MS,
);

test(
  "a load with WAIT counts a batch when its WAIT is answered, and fails if too few replicas have it",
  async () => {
    const waitMs = 5;
    const port = serve((request) => {
      expect(request).toEndWith("*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$1\r\n0\r\n");
      Bun.sleepSync(waitMs);
      return "+OK\r\n:2\r\n";
    });
    const report = await load(port, { kind: "write" }, 2);
    expect(report.operations).toBeGreaterThan(2);
    expect(report.p50Ms).toBeGreaterThanOrEqual(waitMs * 0.95);
    const behind = serve(() => "+OK\r\n:1\r\n");
    await expect(load(behind, { kind: "write" }, 2)).rejects.toThrow("1 replicas");
  },
  DEADLINE_MS,
);

test(
  "a prober and a load both see a stall",
  async () => {
    const stallMs = 150;
    let seen = 0;
    const port = serve((request, count) => {
      seen = count;
      if (count === 20) Bun.sleepSync(stallMs);
      // Probes sent during the stall arrive together.
      return "$-1\r\n".repeat(request.split("GET").length - 1);
    });
    const prober = await Prober.start({ port, keyPrefix: "key:", keys: 10, intervalMs: 5 });
    while (seen < 100) await Bun.sleep(5);
    const probe = await prober.stop();
    expect(probe.maxMs).toBeGreaterThanOrEqual(stallMs * 0.95);
    expect(probe.p50Ms).toBeLessThan(stallMs);

    const slow = serve((_request, count) => {
      if (count === 20) Bun.sleepSync(stallMs);
      return "+OK\r\n";
    });
    const report = await load(slow, {});
    expect(report.longestGapMs).toBeGreaterThanOrEqual(stallMs * 0.95);
    expect(report.maxMs).toBeGreaterThanOrEqual(stallMs * 0.95);
  },
  DEADLINE_MS,
);
